//! Worker incarnations, their leases and the orders they are given.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::lease::interval;
use super::token::SecretHash;
use crate::domain::explain::Crew;
use crate::domain::needs::Labels;
use crate::domain::profile::Profile;
use crate::domain::{Incarnation, LeaseTerms};

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
    /// How long it may act without a heartbeat, and what follows.
    pub terms: LeaseTerms,
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
    /// When its lease was found to have run out.
    pub revoked: DateTime<Utc>,
    /// Whether it has been heard of since.
    pub is_back: bool,
}

/// What the word of an incarnation is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds its lease.
    Holds,
    /// Its lease has run out, but it may come back.
    Lost,
    /// Nothing that it says counts any more.
    Over,
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

/// Waits for what is being stored for a worker, and keeps others from storing more for it until the
/// transaction of `connection` ends. Who locks its row too does that before.
pub(super) async fn await_claims(
    connection: &mut PgConnection,
    worker: Incarnation,
) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock(worker_lock($1))")
        .bind(worker)
        .execute(connection)
        .await?;
    Ok(())
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
            insert into worker (name, host, pid, slots, lease_until, requeue_after, labels, lanes,
                served_by, secret, drained)
            values ($1, $2, $3, $4, clock_timestamp() + $5, $6, $7, $8, $9, $10,
                case when $11 then clock_timestamp() end)
            returning id
            "#,
        )
        .bind(&worker.name)
        .bind(&worker.host)
        .bind(i32::try_from(worker.pid).unwrap_or(i32::MAX))
        .bind(i32::try_from(worker.slots).unwrap_or(i32::MAX))
        .bind(interval(worker.terms.lease))
        .bind(interval(worker.terms.requeue_after))
        .bind(Json(&worker.profile.labels))
        .bind(worker.profile.lanes.as_ref().map(Vec::from_iter))
        .bind(&worker.served_by)
        .bind(worker.secret.as_ref().map(|hash| &hash[..]))
        .bind(worker.drained)
        .fetch_one(&self.read)
        .await?)
    }

    /// Renews a lease, also one that ran out, of a worker with so many attempts in hand. `None`: the
    /// incarnation is over and must not act any more.
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
            where id = $1 and over is null
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
    /// yet [forgotten](Self::forget_worker) too; and who has renewed a lease that was revoked.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn lost_workers(&self) -> Result<Vec<LostWorker>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- worker/lost
            with lost as (
                update worker
                set revoked = case when revoked >= lease_until then revoked else clock_timestamp() end
                where lease_until <= clock_timestamp()
                returning id, name, revoked
            )
            select id, name, revoked, false as is_back from lost
            union all
            select id, name, revoked, true
            from worker
            where revoked is not null and lease_until > clock_timestamp()
            "#,
        )
        .fetch_all(&self.read)
        .await?)
    }

    /// Ends the incarnation of a worker that has been lost for long enough; whether it is over now.
    /// From then on its heartbeat is refused for ever. A heartbeat and this never both win: they
    /// change the same row. Claims that were being stored for it are waited for, so that all that it
    /// holds can be seen.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn end_incarnation(&self, worker: Incarnation) -> Result<bool, StoreError> {
        let mut transaction = self.read.begin().await?;
        let locked: Option<i64> = sqlx::query_scalar(
            r#"
            -- worker/lock_lost
            select id
            from worker
            where id = $1 and lease_until <= clock_timestamp() and revoked >= lease_until
                and (over is not null or revoked + requeue_after <= clock_timestamp())
            for update
            "#,
        )
        .bind(worker)
        .fetch_optional(&mut *transaction)
        .await?;
        if locked.is_none() {
            return Ok(false);
        }
        await_claims(&mut transaction, worker).await?;
        sqlx::query("update worker set over = coalesce(over, clock_timestamp()) where id = $1")
            .bind(worker)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Notes that the attempts of a worker that was revoked at `revoked` were told to go on. Without
    /// effect if it was lost again since.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn recovered(
        &self,
        worker: Incarnation,
        revoked: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- worker/recovered
            update worker
            set revoked = null
            where id = $1 and revoked = $2 and lease_until > clock_timestamp()
            "#,
        )
        .bind(worker)
        .bind(revoked)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// What the word of an incarnation is worth by now.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn standing(&self, worker: Incarnation) -> Result<Standing, StoreError> {
        let found: Option<(bool, bool)> = sqlx::query_as(
            r#"
            -- worker/standing
            select over is not null, lease_until <= clock_timestamp() from worker where id = $1
            "#,
        )
        .bind(worker)
        .fetch_optional(&self.read)
        .await?;
        Ok(match found {
            None | Some((true, _)) => Standing::Over,
            Some((false, true)) => Standing::Lost,
            Some((false, false)) => Standing::Holds,
        })
    }

    /// How long it is until the next lease runs out that is not renewed, or the next incarnation is
    /// over that is not heard of; `None` if there are none.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn next_expiry(&self) -> Result<Option<Duration>, StoreError> {
        let seconds: Option<f64> = sqlx::query_scalar(
            r#"
            -- worker/next_expiry
            select extract(epoch from min(next) - clock_timestamp())::float8
            from (
                select case when lease_until > clock_timestamp() then lease_until
                    else revoked + requeue_after end as next
                from worker
            ) w
            where next > clock_timestamp()
            "#,
        )
        .fetch_one(&self.read)
        .await?;
        Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
    }

    /// Ends an incarnation before its time, at its own wish: it runs nothing any more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn give_back(&self, worker: Incarnation) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- worker/give_back
            update worker
            set lease_until = '-infinity', revoked = clock_timestamp(), over = clock_timestamp()
            where id = $1
            "#,
        )
        .bind(worker)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// Takes out an incarnation that is over and holds nothing any more, and the orders it was given.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_worker(&self, worker: Incarnation) -> Result<(), StoreError> {
        sqlx::query("delete from worker where id = $1").bind(worker).execute(&self.read).await?;
        sqlx::query("delete from stop_order where worker = $1")
            .bind(worker)
            .execute(&self.read)
            .await?;
        Ok(())
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

    /// Those of some incarnations that are not over and are given attempts by `served_by`, and whether
    /// they hold their leases.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn seated(
        &self,
        workers: &[Incarnation],
        served_by: &str,
    ) -> Result<HashMap<Incarnation, bool>, StoreError> {
        let seated: Vec<(Incarnation, bool)> = sqlx::query_as(
            r#"
            -- worker/seated
            select id, lease_until > clock_timestamp()
            from worker
            where id = any ($1) and over is null and served_by = $2
            "#,
        )
        .bind(workers)
        .bind(served_by)
        .fetch_all(&self.read)
        .await?;
        Ok(seated.into_iter().collect())
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
