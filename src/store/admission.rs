//! What operations ask before they begin, and what they were granted.
//!
//! A row is written and ended by the statements that store its operation. All else is decided in
//! *passes*, of which one runs at a time, whatever the number of servers. A pass waits for nothing
//! but its turn: rows that a batch has locked are passed over, and the batch makes them due anew.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use super::columns::Admissions;
use super::error::StoreError;
use super::read::shown_id;
use crate::domain::Run;
use crate::domain::admission::{Rate, Terms};
use crate::domain::scheduling::OnConflict;

/// What a rule for conflicts is stored as.
const fn code(rule: OnConflict) -> i16 {
    match rule {
        OnConflict::Queue => 0,
        OnConflict::CancelRunning => 1,
        OnConflict::CancelNew => 2,
    }
}

impl Admissions {
    /// Stores what a new operation asks.
    pub(super) fn ask(&mut self, run: &Run, terms: Terms) {
        let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (key, places, rule) = terms.concurrency.map_or((None, None, None), |asked| {
            (Some(asked.key), Some(int(asked.limit)), Some(code(asked.on_conflict)))
        });
        let (rate_key, rate, per) = terms.rate_limit.map_or((None, None, None), |asked| {
            let per = i64::try_from(asked.per.as_micros()).unwrap_or(i64::MAX);
            (Some(asked.key), Some(int(asked.limit)), Some(per.max(1)))
        });
        let (priority, cancellable) = (run.jobset().scheduling.priority, run.jobset().cancellable);
        self.asked.push(run.id(), key, places, rule, rate_key, rate, per, priority, cancellable);
    }
}

/// How far an operation has come with what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdmissionState {
    /// It waits for a place under its concurrency key.
    Waits,
    /// It has its place, if it needs one, and waits for its turn under its rate limit.
    Placed,
    /// It may begin.
    Admitted,
    /// It has ended.
    Ended,
}

impl AdmissionState {
    const ALL: [Self; 4] = [Self::Waits, Self::Placed, Self::Admitted, Self::Ended];

    const fn code(self) -> i16 {
        match self {
            Self::Waits => 0,
            Self::Placed => 1,
            Self::Admitted => 2,
            Self::Ended => 3,
        }
    }

    fn read(operation: Uuid, code: i16) -> Result<Self, StoreError> {
        let state = Self::ALL.into_iter().find(|state| state.code() == code);
        state.ok_or_else(|| StoreError::corrupt("admission", "state", &operation, &code))
    }
}

/// A row that has to be looked at.
#[derive(Clone, Debug)]
pub struct DueAdmission {
    /// The operation.
    pub operation: Uuid,
    /// Its concurrency key.
    pub key: Option<String>,
    /// The key of its rate limit.
    pub rate_key: Option<String>,
    /// How far it has come.
    pub state: AdmissionState,
    /// Whether it is cancelled rather than that it waits.
    pub gives_way: bool,
    /// Whether others pass it by.
    pub paused: bool,
    /// When something was decided on it last.
    pub decided: DateTime<Utc>,
    /// The operation for which it is cancelled.
    pub loses_to: Option<Uuid>,
}

#[derive(FromRow)]
struct DueRow {
    operation: Uuid,
    key: Option<String>,
    rate_key: Option<String>,
    state: i16,
    gives_way: bool,
    paused: bool,
    decided: DateTime<Utc>,
    loses_to: Option<Uuid>,
}

/// One that waits for a place.
#[derive(Clone, Debug, FromRow)]
pub struct InLine {
    /// The operation.
    pub operation: Uuid,
    /// Its concurrency key.
    pub key: String,
    /// How many may have places, as it sees it.
    pub places: i32,
    /// The key of its rate limit.
    pub rate_key: Option<String>,
    /// How many have places.
    pub held: i64,
    /// The oldest of those.
    pub holder: Option<Uuid>,
}

/// One that waits for its turn under a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTurn {
    /// The operation.
    pub operation: Uuid,
    /// The key of its rate limit.
    pub key: String,
    /// How many may be admitted in which time, as it sees it.
    pub rate: Rate,
}

/// What was found out about a rate limit.
#[derive(Clone, Debug)]
pub struct RateChange {
    /// Its key.
    pub key: String,
    /// How many were admitted by this pass.
    pub admitted: usize,
    /// The largest limit among those that were looked at, and the longest time.
    pub most: Rate,
    /// When the first in line may be admitted; `None` if none waits.
    pub next: Option<DateTime<Utc>>,
}

/// What is decided on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The operation.
    pub operation: Uuid,
    /// How far it has come.
    pub state: AdmissionState,
    /// The operation for which it is cancelled.
    pub loses_to: Option<Uuid>,
    /// Whether it has to be told.
    pub is_due: bool,
}

/// What an operation waits for before it may begin, for people.
#[derive(Clone, Debug)]
pub struct AdmissionView {
    /// How far it has come.
    pub state: AdmissionState,
    /// Its concurrency key and how many may have places.
    pub key: Option<(String, u32)>,
    /// The key of its rate limit, and that.
    pub rate: Option<(String, Rate)>,
    /// How many have places of the concurrency key.
    pub held: u32,
    /// The shown ids of some of them, oldest first.
    pub holders: Vec<String>,
    /// How many stand before it in the line that it waits in, of up to 1,000.
    pub ahead: u32,
    /// The last admissions under the rate limit, oldest first.
    pub admitted: Vec<DateTime<Utc>>,
}

#[derive(FromRow)]
struct ViewRow {
    state: i16,
    key: Option<String>,
    places: Option<i32>,
    rate_key: Option<String>,
    rate: Option<i32>,
    per: Option<i64>,
    held: i64,
    holders: Vec<String>,
    ahead: i64,
    admitted: Vec<DateTime<Utc>>,
}

fn rate(limit: i32, per: i64) -> Rate {
    Rate { limit: usize::try_from(limit).unwrap_or(1), per: TimeDelta::microseconds(per) }
}

impl Store {
    /// Waits until no other pass runs, and answers the time. Ends a pass whose server stops half way.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn begin_admission(
        &self,
        connection: &mut PgConnection,
    ) -> Result<DateTime<Utc>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- admission/begin
            with turn as materialized (
                select set_config('idle_in_transaction_session_timeout', '5s', true),
                    pg_advisory_xact_lock(hashtext('sutbot.admission'))
            )
            select clock_timestamp() from turn
            "#,
        )
        .fetch_one(connection)
        .await?)
    }

    /// Up to `limit` rows that have to be looked at; those of operations that have ended are gone
    /// then. What was decided after `told_since` is being told by whoever decided it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn take_due_admissions(
        &self,
        connection: &mut PgConnection,
        told_since: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<DueAdmission>, StoreError> {
        let rows: Vec<DueRow> = sqlx::query_as(
            r#"
            -- admission/take_due
            with due as (
                select * from admission
                where is_due
                    and (state = 3 or state < 2 and loses_to is null or decided < $1)
                order by operation
                limit $2
                for update skip locked
            ), gone as (
                delete from admission a using due d
                where d.state = 3 and a.operation = d.operation
            )
            select operation, key, rate_key, state, coalesce(on_conflict = 2, false) as gives_way,
                paused, decided, loses_to
            from due
            "#,
        )
        .bind(told_since)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        let read = |row: DueRow| {
            let DueRow { operation, key, rate_key, gives_way, paused, decided, loses_to, .. } = row;
            let state = AdmissionState::read(operation, row.state)?;
            Ok(DueAdmission {
                operation,
                key,
                rate_key,
                state,
                gives_way,
                paused,
                decided,
                loses_to,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Of each key the newest operation for which older ones are cancelled needs a place: with those
    /// after it and as many before it as have places beside it, it stays; what is older loses. Answers
    /// who loses to whom, and the key.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn supersede(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        now: DateTime<Utc>,
    ) -> Result<Vec<(Uuid, Uuid, String)>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/supersede
            with winner as (
                select k.key, w.operation, stays.operation as first
                from unnest($1::text[]) as k (key)
                cross join lateral (
                    select a.operation, a.places
                    from admission a
                    where a.key = k.key and a.on_conflict = 1 and a.loses_to is null and a.state < 3
                    order by a.operation desc
                    limit 1
                ) w
                cross join lateral (
                    select a.operation
                    from admission a
                    where a.key = k.key and a.operation <= w.operation and a.loses_to is null
                        and a.state < 3
                    order by a.operation desc
                    offset w.places - 1
                    limit 1
                ) stays
            ), loser as (
                select a.operation, w.operation as winner
                from winner w
                join admission a on a.key = w.key and a.operation < w.first
                where a.loses_to is null and a.state < 3 and a.cancellable
                for update of a skip locked
            )
            update admission a
            set loses_to = l.winner, is_due = true, decided = $2
            from loser l
            where a.operation = l.operation
            returning a.operation, a.loses_to, a.key
            "#,
        )
        .bind(keys)
        .bind(now)
        .fetch_all(connection)
        .await?)
    }

    /// The first `limit` in the line of each key.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn lines(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        limit: usize,
    ) -> Result<Vec<InLine>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/lines
            select a.operation, a.key, a.places, a.rate_key, h.held, h.holder
            from unnest($1::text[]) as k (key)
            cross join lateral (
                select a.operation, a.key, a.places, a.rate_key, a.priority
                from admission a
                where a.key = k.key and a.state = 0 and not a.paused and a.loses_to is null
                order by a.priority desc, a.operation
                limit $2
                for update skip locked
            ) a
            cross join lateral (
                select count(*) as held, (array_agg(h.operation order by h.operation))[1] as holder
                from admission h
                where h.key = k.key and h.state in (1, 2)
            ) h
            order by a.key, a.priority desc, a.operation
            "#,
        )
        .bind(keys)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?)
    }

    /// The rate limits of these keys, and of those whose time has come, with their last admissions.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn rates(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<DateTime<Utc>>)>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/rates
            select k.key, coalesce(r.admitted, '{}')
            from (
                select unnest($1::text[])
                union
                (select key from rate_key where next <= $2 order by next limit $3)
            ) as k (key)
            left join rate_key r on r.key = k.key
            "#,
        )
        .bind(keys)
        .bind(now)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?)
    }

    /// The first `limit` that wait for a turn under each of these rate limits.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn turns(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        limit: usize,
    ) -> Result<Vec<InTurn>, StoreError> {
        let rows: Vec<(Uuid, String, i32, i64)> = sqlx::query_as(
            r#"
            -- admission/turns
            select a.operation, a.rate_key, a.rate, a.per
            from unnest($1::text[]) as k (key)
            cross join lateral (
                select a.operation, a.rate_key, a.rate, a.per, a.priority
                from admission a
                where a.rate_key = k.key and a.state = 1 and not a.paused and a.loses_to is null
                order by a.priority desc, a.operation
                limit $2
                for update skip locked
            ) a
            order by a.rate_key, a.priority desc, a.operation
            "#,
        )
        .bind(keys)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        let read = |(operation, key, limit, per)| InTurn { operation, key, rate: rate(limit, per) };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Stores what was decided on operations.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn store_admissions(
        &self,
        connection: &mut PgConnection,
        decided: &[Decided],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let operations: Vec<Uuid> = decided.iter().map(|one| one.operation).collect();
        let states: Vec<i16> = decided.iter().map(|one| one.state.code()).collect();
        let winners: Vec<Option<Uuid>> = decided.iter().map(|one| one.loses_to).collect();
        let due: Vec<bool> = decided.iter().map(|one| one.is_due).collect();
        sqlx::query(
            r#"
            -- admission/store
            update admission a
            set state = u.state, loses_to = u.loses_to, is_due = u.is_due, decided = $5
            from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::boolean[])
                as u (operation, state, loses_to, is_due)
            where a.operation = u.operation
            "#,
        )
        .bind(operations)
        .bind(states)
        .bind(winners)
        .bind(due)
        .bind(now)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Stores what was found out about rate limits.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn store_rates(
        &self,
        connection: &mut PgConnection,
        changes: &[RateChange],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let admitted: Vec<i32> = changes.iter().map(|change| int(change.admitted)).collect();
        let kept: Vec<i32> = changes.iter().map(|change| int(change.most.limit).max(1)).collect();
        let next: Vec<Option<DateTime<Utc>>> = changes.iter().map(|change| change.next).collect();
        let until = |change: &RateChange| {
            now.checked_add_signed(change.most.per).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        let until: Vec<DateTime<Utc>> = changes.iter().map(until).collect();
        sqlx::query(
            r#"
            -- admission/store_rates
            insert into rate_key as r (key, admitted, kept, next, until)
            select key, array_fill($6::timestamptz, array[admitted]), kept, next, until
            from unnest($1::text[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[])
                as u (key, admitted, kept, next, until)
            on conflict (key) do update
            set admitted = (r.admitted || excluded.admitted)[greatest(1,
                    cardinality(r.admitted) + cardinality(excluded.admitted)
                    - greatest(r.kept, excluded.kept) + 1):],
                kept = greatest(r.kept, excluded.kept),
                next = excluded.next,
                until = greatest(r.until, excluded.until)
            "#,
        )
        .bind(keys)
        .bind(admitted)
        .bind(kept)
        .bind(next)
        .bind(until)
        .bind(now)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Takes note that operations were told what was decided on them at `decided`. One that is being
    /// changed is told once more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn admissions_told(
        &self,
        operations: &[Uuid],
        decided: &[DateTime<Utc>],
    ) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- admission/told
            with told as (
                select a.operation
                from unnest($1::uuid[], $2::timestamptz[]) as u (operation, decided)
                join admission a on a.operation = u.operation
                where a.decided = u.decided and a.state < 3
                for update of a skip locked
            )
            update admission a set is_due = false from told t where a.operation = t.operation
            "#,
        )
        .bind(operations)
        .bind(decided)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// How long a pass has nothing to do; `None` if nothing is due and nobody waits for a time.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn next_admission(
        &self,
        told_within: TimeDelta,
    ) -> Result<Option<Duration>, StoreError> {
        let wait: Option<i64> = sqlx::query_scalar(
            r#"
            -- admission/next
            select case
                when exists (
                    select from admission
                    where is_due
                        and (state = 3 or state < 2 and loses_to is null
                            or decided < clock_timestamp() - $1 * interval '1 microsecond'))
                then 0
                else (
                    select ceil(extract(epoch from min(next) - clock_timestamp()) * 1000000)::bigint
                    from rate_key
                    where next is not null)
            end
            "#,
        )
        .bind(told_within.num_microseconds().unwrap_or(i64::MAX))
        .fetch_one(&self.read)
        .await?;
        Ok(wait.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    }

    /// The ids of operations as clients are shown them.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn shown_ids(
        &self,
        operations: &[Uuid],
    ) -> Result<HashMap<Uuid, String>, StoreError> {
        let rows: Vec<(Uuid, Option<String>)> = sqlx::query_as(
            r#"
            -- admission/shown_ids
            select id, alias from operation where id = any ($1)
            "#,
        )
        .bind(operations)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id, alias)| (id, shown_id(id, alias.as_deref()))).collect())
    }

    /// Forgets up to `limit` rate limits that say nothing any more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_rates(&self, limit: i64) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- admission/forget_rates
            delete from rate_key
            where key = any (array(
                select key
                from rate_key
                where until < clock_timestamp() and next is null
                order by until
                limit $1
                for update skip locked))
            "#,
        )
        .bind(limit)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// What an operation waits for before it may begin; `None` if it asks nothing, or has ended.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn admission(&self, operation: Uuid) -> Result<Option<AdmissionView>, StoreError> {
        let row: Option<ViewRow> = sqlx::query_as(
            r#"
            -- admission/view
            select a.state, a.key, a.places, a.rate_key, a.rate, a.per,
                (select count(*) from admission h where h.key = a.key and h.state in (1, 2)) as held,
                array(
                    select coalesce(o.alias, o.id::text)
                    from (
                        select h.operation
                        from admission h
                        where h.key = a.key and h.state in (1, 2)
                        order by h.operation
                        limit 5
                    ) h
                    join operation o on o.id = h.operation
                    order by o.id
                ) as holders,
                case when a.state = 0 then (
                    select count(*) from (
                        select from admission l
                        where l.key = a.key and l.state = 0 and not l.paused and l.loses_to is null
                            and (l.priority > a.priority
                                or l.priority = a.priority and l.operation < a.operation)
                        limit 1000
                    ) l
                ) else (
                    select count(*) from (
                        select from admission l
                        where l.rate_key = a.rate_key and l.state = 1 and not l.paused
                            and l.loses_to is null
                            and (l.priority > a.priority
                                or l.priority = a.priority and l.operation < a.operation)
                        limit 1000
                    ) l
                ) end as ahead,
                coalesce((select r.admitted from rate_key r where r.key = a.rate_key), '{}')
                    as admitted
            from admission a
            where a.operation = $1
            "#,
        )
        .bind(operation)
        .fetch_optional(&self.read)
        .await?;
        let read = |row: ViewRow| {
            let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
            let places = |places: i32| u32::try_from(places).unwrap_or(1);
            Ok(AdmissionView {
                state: AdmissionState::read(operation, row.state)?,
                key: row.key.zip(row.places.map(places)),
                rate: row.rate_key.zip(row.rate.zip(row.per).map(|(limit, per)| rate(limit, per))),
                held: count(row.held),
                holders: row.holders,
                ahead: count(row.ahead),
                admitted: row.admitted,
            })
        };
        row.map(read).transpose()
    }
}
