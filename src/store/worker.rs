//! Worker incarnations, their leases and the orders they are given.

use std::time::Duration;

use sqlx::Connection;
use sqlx::FromRow;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::operation::held_by;
use super::token::SecretHash;
use crate::domain::Incarnation;
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
    /// The process that gives it attempts.
    pub served_by: String,
    /// What it proves with that it is this incarnation, if it is asked to.
    pub secret: Option<SecretHash>,
    /// Whether it was told already to take nothing new.
    pub drained: bool,
}

/// What a worker hears when it says that it lives.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// What it was ordered to do.
    pub orders: Vec<Order>,
    /// Whether it is to take nothing new.
    pub drained: bool,
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

/// The workers that hold a lease, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct LiveWorkers {
    /// How many there are.
    pub live: i64,
    /// How many attempts they run at once.
    pub slots: i64,
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

pub(super) fn interval(duration: Duration) -> PgInterval {
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
            insert into worker (name, host, pid, slots, lease_until, labels, lanes, served_by, secret,
                drained)
            values ($1, $2, $3, $4, clock_timestamp() + $5, $6, $7, $8, $9,
                case when $10 then clock_timestamp() end)
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
        .bind(&worker.served_by)
        .bind(worker.secret.as_ref().map(|hash| &hash[..]))
        .bind(worker.drained)
        .fetch_one(&self.read)
        .await?)
    }

    /// Renews a lease of a worker with so many attempts in hand. `None`: it ran out, the incarnation
    /// must not act any more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn heartbeat(
        &self,
        worker: Incarnation,
        lease: Duration,
        running: usize,
    ) -> Result<Option<Heartbeat>, StoreError> {
        let drained: Option<bool> = sqlx::query_scalar(
            r#"
            -- worker/heartbeat
            update worker
            set heartbeat = clock_timestamp(), lease_until = clock_timestamp() + $2, running = $3
            where id = $1 and lease_until > clock_timestamp()
            returning drained is not null
            "#,
        )
        .bind(worker)
        .bind(interval(lease))
        .bind(i32::try_from(running).unwrap_or(i32::MAX))
        .fetch_optional(&self.read)
        .await?;
        let Some(drained) = drained else { return Ok(None) };
        Ok(Some(Heartbeat { orders: self.orders(worker).await?, drained }))
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

    /// Those of some incarnations that hold a lease and are given attempts by `served_by`.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn leaseholders(
        &self,
        workers: &[Incarnation],
        served_by: &str,
    ) -> Result<Vec<Incarnation>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- worker/leaseholders
            select id
            from worker
            where id = any ($1) and lease_until > clock_timestamp() and served_by = $2
            "#,
        )
        .bind(workers)
        .bind(served_by)
        .fetch_all(&self.read)
        .await?)
    }

    /// Counts the workers that hold a lease and have slots, and their slots.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn live_workers(&self) -> Result<LiveWorkers, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- worker/live_workers
            select count(*) as live, coalesce(sum(slots), 0)::bigint as slots
            from worker
            where lease_until > clock_timestamp() and slots > 0
            "#,
        )
        .fetch_one(&self.read)
        .await?)
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
