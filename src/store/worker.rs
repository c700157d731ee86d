//! Worker incarnations, their leases and the orders they are given.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Connection;
use sqlx::FromRow;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::operation::held_by;
use crate::domain::Incarnation;
use crate::domain::explain::Crew;
use crate::domain::needs::Labels;
use crate::domain::profile::Profile;

/// A worker process that wants to register.
#[derive(Clone, Debug)]
pub struct NewWorker {
    /// For people.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// How long it may act without a heartbeat.
    pub lease: Duration,
    /// What it offers.
    pub profile: Profile,
}

/// A worker whose lease ran out.
#[derive(Clone, Debug, FromRow)]
pub struct LostWorker {
    /// The incarnation.
    pub id: Incarnation,
    /// For people.
    pub name: String,
    /// Whether it was lost so long ago that others may have what it had.
    pub is_over: bool,
}

/// "End the processes of this attempt."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromRow)]
pub struct Order {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// Whether SIGINT comes before SIGTERM.
    pub interrupt: bool,
    /// Whether SIGKILL comes at once.
    pub force: bool,
}

fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

impl Store {
    /// Registers an incarnation and grants it a lease.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn register(&self, worker: &NewWorker) -> Result<Incarnation, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- worker/register
            insert into worker (name, host, pid, slots, lease_until, labels, lanes)
            values ($1, $2, $3, $4, clock_timestamp() + $5, $6, $7)
            returning id
            "#,
        )
        .bind(&worker.name)
        .bind(&worker.host)
        .bind(i32::try_from(worker.pid).unwrap_or(i32::MAX))
        .bind(i32::try_from(worker.slots).unwrap_or(i32::MAX))
        .bind(interval(worker.lease))
        .bind(Json(&worker.profile.labels))
        .bind(worker.profile.lanes.as_ref().map(Vec::from_iter))
        .fetch_one(&self.read)
        .await?)
    }

    /// Renews a lease. `None`: it ran out, the incarnation must not act any more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn heartbeat(
        &self,
        worker: Incarnation,
        lease: Duration,
    ) -> Result<Option<Vec<Order>>, StoreError> {
        let renewed = sqlx::query(
            r#"
            -- worker/heartbeat
            update worker
            set heartbeat = clock_timestamp(), lease_until = clock_timestamp() + $2
            where id = $1 and lease_until > clock_timestamp()
            "#,
        )
        .bind(worker)
        .bind(interval(lease))
        .execute(&self.read)
        .await?;
        if renewed.rows_affected() == 0 {
            return Ok(None);
        }
        self.orders(worker).await.map(Some)
    }

    /// The orders that a worker has not carried out yet.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn orders(&self, worker: Incarnation) -> Result<Vec<Order>, StoreError> {
        Ok(sqlx::query_as(
            "select operation, step, attempt, interrupt, force from stop_order where worker = $1",
        )
        .bind(worker)
        .fetch_all(&self.read)
        .await?)
    }

    /// Revokes the leases that ran out and answers whose they were, those revoked before and not
    /// yet [forgotten](Self::forget_worker) too. From then on such a worker's heartbeat is refused.
    /// It is over for those that were lost for so long.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn revoke_expired(&self, lost_for: Duration) -> Result<Vec<LostWorker>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- worker/revoke_expired
            update worker
            set lease_until = '-infinity', revoked = coalesce(revoked, clock_timestamp())
            where lease_until <= clock_timestamp()
            returning id, name, clock_timestamp() >= revoked + $1 as is_over
            "#,
        )
        .bind(interval(lost_for))
        .fetch_all(&self.read)
        .await?)
    }

    /// Ends a lease before its time.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn give_back(&self, worker: Incarnation) -> Result<(), StoreError> {
        sqlx::query("update worker set lease_until = '-infinity' where id = $1")
            .bind(worker)
            .execute(&self.read)
            .await?;
        Ok(())
    }

    /// Takes out an incarnation that holds nothing any more, and the orders it was given; one that
    /// holds something stays.
    ///
    /// Batches that give it attempts lock its row (`batch/apply`). So once the row is taken out, what
    /// such a batch has stored is seen, and none that comes later finds the row: no attempt is left
    /// with an incarnation that nobody knows.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_worker(&self, worker: Incarnation) -> Result<(), StoreError> {
        let mut connection = self.read.acquire().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query("delete from worker where id = $1")
            .bind(worker)
            .execute(&mut *transaction)
            .await?;
        if !held_by(&mut transaction, worker).await?.is_empty() {
            return Ok(transaction.rollback().await?);
        }
        sqlx::query("delete from stop_order where worker = $1")
            .bind(worker)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// How many incarnations beside these hold a lease.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn peers(&self, workers: &[Incarnation]) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(
            "select count(*) from worker where id <> all ($1) and lease_until > clock_timestamp()",
        )
        .bind(workers)
        .fetch_one(&self.read)
        .await?)
    }

    /// Those of some incarnations that hold a lease.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn leaseholders(
        &self,
        workers: &[Incarnation],
    ) -> Result<Vec<Incarnation>, StoreError> {
        Ok(sqlx::query_scalar(
            "select id from worker where id = any ($1) and lease_until > clock_timestamp()",
        )
        .bind(workers)
        .fetch_all(&self.read)
        .await?)
    }

    /// The workers that hold a lease and have slots, those that offer the same counted together.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn live_workers(&self) -> Result<Vec<Crew>, StoreError> {
        type Row = (Json<Labels>, Option<Vec<String>>, i64, i64);
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- worker/live_workers
            select labels, lanes, count(*), sum(slots)
            from worker
            where lease_until > clock_timestamp() and slots > 0
            group by labels, lanes
            "#,
        )
        .fetch_all(&self.read)
        .await?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let crew = |(Json(labels), lanes, live, slots): Row| {
            let profile = Profile { labels, lanes: lanes.map(BTreeSet::from_iter) };
            Crew { profile, live: count(live), slots: count(slots) }
        };
        Ok(rows.into_iter().map(crew).collect())
    }

    /// Those of some operations that ended longer ago than `age`, or that are not stored.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn ended(&self, operations: &[Uuid], age: Duration) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- worker/ended
            select asked.id from unnest($1::uuid[]) asked (id)
            left join operation on operation.id = asked.id
            where not exists (select from live where live.operation = asked.id)
              and coalesce(operation.entered < now() - make_interval(secs => $2), true)
            "#,
        )
        .bind(operations)
        .bind(age.as_secs_f64())
        .fetch_all(&self.read)
        .await?)
    }
}
