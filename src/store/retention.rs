//! How operations are buried and forgotten, a day at a time.
//!
//! An operation that ended is *buried*: its row becomes a tombstone, which keeps its outline. When
//! all of a day are tombstones, the day's partitions of everything else are dropped, and a good while
//! later those of the tombstones. Dropping leaves nothing to vacuum; burying changes no indexed column,
//! so that pages are pruned as they are. One operation that is still live keeps the data of its whole
//! day: moving it elsewhere would spare disk space in a rare case and cost a second home for all data.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::record::HAS_MACHINES;
use crate::domain::OperationState;

/// What SQL raises when a lock cannot be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The table of the tombstones; the days of all others go first.
const OPERATIONS: &str = "operation";
/// Tables that a row is in for a short time.
const QUEUES: [&str; 2] = ["ready", "live"];

/// A day of operations that are kept, in whatever form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct KeptDay {
    /// The day, in UTC, on which they were made.
    pub day: NaiveDate,
    /// Whether more than their tombstones is kept.
    pub has_data: bool,
}

impl KeptDay {
    /// When it was over.
    #[must_use]
    pub fn end(&self) -> DateTime<Utc> {
        start(self.day + Days::new(1))
    }
}

/// What a look at some operations of a day came to.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct Buried {
    /// The last one that was looked at; `None` if there is none left.
    pub last: Option<Uuid>,
    /// How many were buried.
    pub buried: i64,
    /// How many are not tombstones yet.
    pub kept: i64,
}

/// Whether something was done, or its lock could not be had in time.
fn is_done<T>(outcome: Result<T, sqlx::Error>) -> Result<bool, StoreError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code() == Some(LOCK_NOT_AVAILABLE.into()) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn start(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

impl Store {
    /// The days before `day` of which something is kept, the oldest first.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn days_before(&self, day: NaiveDate) -> Result<Vec<KeptDay>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- retention/days_before
            select d.day, exists (
                select from partitioned p
                where p.parent <> $2 and to_regclass(p.parent || d.suffix) is not null) as has_data
            from (
                select right(c.relname, 9) as suffix,
                    to_date(right(c.relname, 8), 'YYYYMMDD') as day
                from pg_inherits i
                join pg_class c on c.oid = i.inhrelid
                where i.inhparent = $2::regclass) d
            where d.day < $1
            order by d.day
            "#,
        )
        .bind(day)
        .bind(OPERATIONS)
        .fetch_all(&self.read)
        .await?)
    }

    /// Looks at up to `limit` operations of a day with ids after `after` (nil for all), and buries
    /// those that ended before `ended`. Deadlines that are left of them go as well.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn bury(
        &self,
        day: NaiveDate,
        after: Uuid,
        ended: DateTime<Utc>,
        limit: i64,
    ) -> Result<Buried, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- retention/bury
            with seen as materialized (
                select id, state, version, entered
                from operation
                where id > greatest($1, first_id_at($2)) and id < first_id_at($3)
                order by id
                limit $5
            ), buried as (
                update operation o
                set state = $6, ended_as = o.state, flags = o.flags & $7, version = o.version + 1,
                    entered = clock_timestamp(), steps = coalesce(all_steps(o.id, o.steps), ''),
                    open = '', clock = null
                from seen s
                where o.id = s.id and o.id > greatest($1, first_id_at($2)) and o.id < first_id_at($3)
                    and s.state between 6 and 10 and s.entered < $4 and o.version = s.version
                returning o.id
            ), untimed as (
                delete from deadline where operation in (select id from buried)
            )
            select (select id from seen order by id desc limit 1) as last,
                (select count(*) from buried) as buried,
                (select count(*) from seen where state <> $6) - (select count(*) from buried) as kept
            "#,
        )
        .bind(after)
        .bind(start(day))
        .bind(start(day + Days::new(1)))
        .bind(ended)
        .bind(limit)
        .bind(OperationState::Tombstone.code())
        .bind(HAS_MACHINES)
        .fetch_one(&self.write)
        .await?)
    }

    /// Whether all operations of a day are tombstones since before `buried`.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn is_forgettable(
        &self,
        day: NaiveDate,
        buried: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- retention/is_forgettable
            select not exists (
                select from operation
                where id >= first_id_at($1) and id < first_id_at($2)
                    and (state <> $3 or entered >= $4))
            "#,
        )
        .bind(start(day))
        .bind(start(day + Days::new(1)))
        .bind(OperationState::Tombstone.code())
        .bind(buried)
        .fetch_one(&self.write)
        .await?)
    }

    /// Drops everything of a day but the operations. False: the lock of a table could not be had
    /// soon, and some of it is still there.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn drop_data_of(&self, day: NaiveDate) -> Result<bool, StoreError> {
        let parents: Vec<String> =
            sqlx::query_scalar("select parent from partitioned where parent <> $1 order by parent")
                .bind(OPERATIONS)
                .fetch_all(&self.read)
                .await?;
        let mut is_done = true;
        for parent in parents {
            is_done &= self.drop_partition(&parent, day).await?;
        }
        Ok(is_done)
    }

    /// Drops the operations of a day. False: their lock could not be had soon.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn drop_operations_of(&self, day: NaiveDate) -> Result<bool, StoreError> {
        self.drop_partition(OPERATIONS, day).await
    }

    async fn drop_partition(&self, parent: &str, day: NaiveDate) -> Result<bool, StoreError> {
        let dropped = sqlx::query("call drop_partition($1, $2)")
            .bind(parent)
            .bind(day)
            .execute(&self.write)
            .await;
        is_done(dropped)
    }

    /// Makes the queues anew that have this many dead rows. Vacuum clears these away as long as nobody
    /// keeps a transaction open; when somebody does, whoever looks for the first row of a queue reads
    /// all dead ones before it. `false`: it would have had to wait for somebody who has read one of
    /// them and keeps a transaction open.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn compact_queues(&self, dead_min: i64) -> Result<bool, StoreError> {
        let mut is_done_with_all = true;
        for queue in QUEUES {
            let (dead, living): (i64, i64) = sqlx::query_as(
                r#"
                -- retention/dead
                select pg_stat_get_dead_tuples($1::text::regclass),
                    pg_stat_get_live_tuples($1::text::regclass)
                "#,
            )
            .bind(queue)
            .fetch_one(&self.read)
            .await?;
            if dead >= dead_min.max(2 * living) && !is_done(self.compact(queue).await)? {
                tracing::debug!(queue, "store.compact.busy");
                is_done_with_all = false;
            }
        }
        Ok(is_done_with_all)
    }

    async fn compact(&self, queue: &str) -> Result<(), sqlx::Error> {
        // A copy of the database that is under way has the lock, so that it sees none of this.
        let statements = format!(
            r#"
            set local lock_timeout = '50ms';
            lock table {queue} in access exclusive mode;
            create temporary table compacted on commit drop as select * from {queue};
            truncate {queue};
            insert into {queue} select * from compacted
            "#
        );
        let mut transaction = self.write.begin().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Forgets definitions that no operation was made of since `used` and that no operation has.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_jobsets(&self, used: DateTime<Utc>) -> Result<u64, StoreError> {
        // Who makes an operation of one in this moment locks its row first, by the same condition.
        let forgotten = sqlx::query(
            r#"
            -- retention/forget_jobsets
            delete from jobset j
            where j.used < $1 and not exists (select from operation o where o.jobset = j.id)
            "#,
        )
        .bind(used)
        .execute(&self.ask)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
