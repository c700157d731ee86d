//! Workers as clients see them, and what a server has to know of one that talks to it from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::message::{AttemptKey, columns};
use super::packed::unpack_open;
use super::token::SecretHash;
use super::worker::await_claims;
use crate::domain::profile::Profile;
use crate::domain::{Incarnation, LeaseTerms};

/// A worker that has slots, as clients see it.
#[derive(Clone, Debug, FromRow)]
pub struct WorkerView {
    /// The incarnation.
    pub id: Incarnation,
    /// For people.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    pub pid: i32,
    /// How many attempts it runs at once.
    pub slots: i32,
    /// How many it ran at its last heartbeat.
    pub running: i32,
    /// What it has and is, for steps that require it.
    pub labels: Json<BTreeMap<String, String>>,
    /// The only lanes that it takes operations from; `None` for all.
    pub lanes: Option<Vec<String>>,
    /// The process that gives it attempts.
    pub served_by: String,
    /// When it registered.
    pub started: DateTime<Utc>,
    /// When it was last heard of.
    pub heartbeat: DateTime<Utc>,
    /// When it was told to take nothing new.
    pub drained: Option<DateTime<Utc>>,
    /// Whether it holds its lease.
    pub is_live: bool,
}

/// What shows whether somebody is a worker.
#[derive(Clone, Debug, FromRow)]
pub struct KnownWorker {
    secret: Option<Vec<u8>>,
    /// Whether its word counts: its incarnation is not over.
    pub is_live: bool,
}

impl KnownWorker {
    /// Whether this is its secret. Compared are hashes, so how long it takes tells nothing.
    #[must_use]
    pub fn has_secret(&self, hash: &SecretHash) -> bool {
        self.secret.as_deref() == Some(&hash[..])
    }
}

/// A worker whose seat was taken over.
#[derive(Clone, Debug)]
pub struct SeatTaken {
    /// For people.
    pub name: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// What it offers.
    pub profile: Profile,
    /// How long it may act without a heartbeat, and what follows.
    pub terms: LeaseTerms,
    /// How long its lease lasts from now on without one.
    pub left: Duration,
    /// Whether it was told to take nothing new.
    pub drained: bool,
}

/// An attempt, and the name of the worker that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// The attempt.
    pub attempt: AttemptKey,
    /// The name of its worker.
    pub name: String,
}

/// An attempt as it stands in a row.
fn named((operation, step, attempt): (Uuid, i32, i32)) -> AttemptKey {
    let number = |number: i32| u32::try_from(number).unwrap_or(u32::MAX);
    AttemptKey { operation, step: number(step), attempt: number(attempt) }
}

impl Store {
    /// The workers that have slots, in the order in which they registered: all, or the one with that
    /// id.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn workers(&self, id: Option<Incarnation>) -> Result<Vec<WorkerView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- remote/workers
            select id, name, host, pid, slots, running, labels, lanes, served_by, started, heartbeat,
                drained, lease_until > clock_timestamp() as is_live
            from worker
            where slots > 0 and id = coalesce($1, id)
            order by id
            "#,
        )
        .bind(id)
        .fetch_all(&self.read)
        .await?)
    }

    /// Notes that a worker is to take nothing new.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn drain_worker(&self, id: Incarnation) -> Result<(), StoreError> {
        sqlx::query(
            "update worker set drained = coalesce(drained, clock_timestamp()) where id = $1",
        )
        .bind(id)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// What shows whether somebody is that worker. `None`: nobody is.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn known_worker(&self, id: Incarnation) -> Result<Option<KnownWorker>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- remote/known_worker
            select secret, over is null as is_live from worker where id = $1
            "#,
        )
        .bind(id)
        .fetch_optional(&self.read)
        .await?)
    }

    /// From now on `served_by` gives the worker attempts, and nobody else: batches of others that give
    /// it some are seen by whoever asks after this, or are refused. `None`: its incarnation is over.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn take_seat(
        &self,
        id: Incarnation,
        served_by: &str,
    ) -> Result<Option<SeatTaken>, StoreError> {
        type Row =
            (String, i32, Json<BTreeMap<String, String>>, Option<Vec<String>>, [f64; 3], bool);
        let mut transaction = self.read.begin().await?;
        sqlx::query("select from worker where id = $1 for update")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        await_claims(&mut transaction, id).await?;
        let row: Option<Row> = sqlx::query_as(
            r#"
            -- remote/take_seat
            update worker
            set served_by = $2
            where id = $1 and over is null
            returning name, slots, labels, lanes,
                array[extract(epoch from lease_until - heartbeat), extract(epoch from requeue_after),
                    extract(epoch from lease_until - clock_timestamp())]::float8[],
                drained is not null
            "#,
        )
        .bind(id)
        .bind(served_by)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row.map(|(name, slots, Json(labels), lanes, seconds, drained)| {
            let [lease, requeue_after, left] =
                seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
            SeatTaken {
                name,
                slots: u32::try_from(slots).unwrap_or(0),
                profile: Profile { labels, lanes: lanes.map(BTreeSet::from_iter) },
                terms: LeaseTerms { lease, requeue_after },
                left,
                drained,
            }
        }))
    }

    /// Those of some attempts that a worker has settled, of those that left something to keep.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn settled_by(
        &self,
        worker: Incarnation,
        attempts: &[AttemptKey],
    ) -> Result<Vec<AttemptKey>, StoreError> {
        let (operations, steps, numbers) = columns(attempts);
        let rows: Vec<(Uuid, i32, i32)> = sqlx::query_as(
            r#"
            -- remote/settled_by
            select operation, step, attempt
            from unnest($2::uuid[], $3::int[], $4::int[]) asked (operation, step, attempt)
            join attempt using (operation, step, attempt)
            where worker = $1
            "#,
        )
        .bind(worker)
        .bind(operations)
        .bind(steps)
        .bind(numbers)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(named).collect())
    }

    /// Those of some attempts that have begun.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn begun(&self, attempts: &[AttemptKey]) -> Result<Vec<AttemptKey>, StoreError> {
        let (operations, steps, numbers) = columns(attempts);
        let rows: Vec<(Uuid, i32, i32)> = sqlx::query_as(
            r#"
            -- remote/begun
            select operation, step, attempt
            from unnest($1::uuid[], $2::int[], $3::int[]) asked (operation, step, attempt)
            where exists (
                select from event
                where event.operation = asked.operation and event.step = asked.step
                    and event.attempt = asked.attempt and event.worker is not null
            )
            "#,
        )
        .bind(operations)
        .bind(steps)
        .bind(numbers)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(named).collect())
    }

    /// The attempts of some operations that workers hold.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn holders(&self, operations: &[Uuid]) -> Result<Vec<HeldBy>, StoreError> {
        let rows: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as("select id, open from operation where id = any ($1)")
                .bind(operations)
                .fetch_all(&self.read)
                .await?;
        let mut held = Vec::new();
        for (operation, open) in rows {
            for (step, open) in unpack_open(operation, &open)?.0 {
                let Some(worker) = open.holder else { continue };
                held.push((AttemptKey { operation, step, attempt: open.attempt }, worker));
            }
        }
        let workers: Vec<Incarnation> = held.iter().map(|(_, worker)| *worker).collect();
        let names: Vec<(Incarnation, String)> =
            sqlx::query_as("select id, name from worker where id = any ($1)")
                .bind(workers)
                .fetch_all(&self.read)
                .await?;
        let names: BTreeMap<Incarnation, String> = names.into_iter().collect();
        let named = |(attempt, worker)| {
            let name = names.get(&worker).cloned().unwrap_or_default();
            HeldBy { attempt, name }
        };
        Ok(held.into_iter().map(named).collect())
    }
}
