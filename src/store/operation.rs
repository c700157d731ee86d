//! Operations as the engine needs them: whole, to decide on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use super::clock::{events_since, unpack_clock};
use super::error::StoreError;
use super::packed::{unpack_moved, unpack_open, unpack_steps};
use super::record::{GATED, PAUSED};
use crate::domain::{Incarnation, OperationState, Snapshot, Stamps, Stop};

/// An operation as it is stored.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// The operation's id.
    pub id: Uuid,
    /// What it runs.
    pub jobset: Uuid,
    /// See [`super::HAS_DATA`].
    pub flags: i16,
    /// Its state and that of its steps.
    pub snapshot: Snapshot,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    jobset: Uuid,
    state: i16,
    stop: Option<i16>,
    flags: i16,
    version: i32,
    entered: DateTime<Utc>,
    last: DateTime<Utc>,
    steps: Vec<u8>,
    open: Vec<u8>,
    clock: Option<Vec<u8>>,
}

impl Row {
    fn into_run(
        self,
        chunks: &mut HashMap<Uuid, Chunks>,
        stamps: &mut HashMap<Uuid, Stamps>,
    ) -> Result<StoredRun, StoreError> {
        let id = self.id;
        let chunked = chunks.remove(&id);
        let moved = chunked.as_ref().and_then(|chunks| chunks.moved.as_deref());
        let moved = moved.map(|bytes| unpack_moved(id, bytes)).transpose()?;
        let bytes = chunked.map_or(self.steps, |chunks| chunks.steps);
        let (open, notes) = unpack_open(id, &self.open)?;
        Ok(StoredRun {
            id,
            jobset: self.jobset,
            flags: self.flags,
            snapshot: Snapshot {
                state: state(id, self.state)?,
                stop: stop(id, self.stop)?,
                version: self.version,
                entered: self.entered,
                last: self.last,
                steps: unpack_steps(id, &bytes)?,
                moved: moved.unwrap_or_default(),
                open,
                notes,
                paused: self.flags & PAUSED != 0,
                gated: self.flags & GATED != 0,
                stamps: stamps.remove(&id),
            },
        })
    }
}

pub(super) fn state(id: Uuid, code: i16) -> Result<OperationState, StoreError> {
    OperationState::from_code(code)
        .ok_or_else(|| StoreError::corrupt("operation", "state", &id, &code))
}

pub(super) fn stop(id: Uuid, code: Option<i16>) -> Result<Option<Stop>, StoreError> {
    code.map(|code| {
        Stop::from_code(code).ok_or_else(|| StoreError::corrupt("operation", "stop", &id, &code))
    })
    .transpose()
}

/// What all chunks of an operation hold.
#[derive(FromRow)]
struct Chunks {
    operation: Uuid,
    steps: Vec<u8>,
    /// `None` for an operation from before that was kept.
    moved: Option<Vec<u8>>,
}

/// The chunks of those operations that have them.
async fn chunks(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Chunks>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Chunks> = sqlx::query_as(
        r#"
        -- operation/chunks
        select operation, string_agg(steps, ''::bytea order by chunk) as steps,
            string_agg(moved, ''::bytea order by chunk) as moved
        from step_chunk
        where operation = any ($1)
        group by operation
        "#,
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.operation, row)).collect())
}

/// What the stamps of those that have not ended are made from.
async fn stamps(
    connection: &mut PgConnection,
    rows: &[Row],
) -> Result<HashMap<Uuid, Stamps>, StoreError> {
    let mut stored: HashMap<Uuid, Option<Stamps>> = HashMap::new();
    for row in rows {
        if !state(row.id, row.state)?.is_final() {
            let clock = row.clock.as_deref().unwrap_or_default();
            stored.insert(row.id, unpack_clock(&row.id, clock)?);
        }
    }
    let since = |stamps: &Option<Stamps>| stamps.as_ref().map_or(0, |stamps| stamps.stored);
    let asked: Vec<(Uuid, i32)> = stored.iter().map(|(id, old)| (*id, since(old))).collect();
    let mut events = events_since(connection, &asked).await?;
    let rebuilt = stored
        .into_iter()
        .map(|(id, old)| (id, Stamps::rebuild(old, events.remove(&id).unwrap_or_default())));
    Ok(rebuilt.collect())
}

impl Store {
    /// The operations of these ids; unknown ones are left out.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn load(
        &self,
        connection: &mut PgConnection,
        ids: &[Uuid],
    ) -> Result<Vec<StoredRun>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- operation/load
            select o.id, o.jobset, o.state, o.stop, o.flags, o.version, o.entered, o.steps, o.open,
                o.clock,
                coalesce(
                    (select e.at from event e where e.operation = o.id and e.seq = o.version),
                    o.entered) as last
            from operation o
            where o.id = any ($1)
            "#,
        )
        .bind(ids)
        .fetch_all(&mut *connection)
        .await?;
        let chunked: Vec<Uuid> =
            rows.iter().filter(|row| row.steps.is_empty()).map(|row| row.id).collect();
        let mut chunks = chunks(&mut *connection, &chunked).await?;
        let mut stamps = stamps(connection, &rows).await?;
        rows.into_iter().map(|row| row.into_run(&mut chunks, &mut stamps)).collect()
    }

    /// Waits until no transaction that has changed one of these operations is under way.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn await_writers(
        &self,
        connection: &mut PgConnection,
        operations: &[Uuid],
    ) -> Result<(), StoreError> {
        sqlx::query("select from operation where id = any ($1) order by id for share")
            .bind(operations)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// The live operations with an attempt that `worker` holds.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn held_by(&self, worker: Incarnation) -> Result<Vec<Uuid>, StoreError> {
        // The bytes may be found by accident; the decision looks at the unpacked attempts.
        Ok(sqlx::query_scalar(
            r#"
            -- operation/held_by
            select o.id
            from live l
            join operation o on o.id = l.operation
            where position(int8send($1) in o.open) > 0
            "#,
        )
        .bind(worker)
        .fetch_all(&self.read)
        .await?)
    }

    /// Up to `limit` operations for which time is up.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn overdue(&self, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            "select operation from deadline where due <= clock_timestamp() order by due limit $1",
        )
        .bind(limit)
        .fetch_all(&self.read)
        .await?)
    }

    /// Forgets the times of operations for which no time is left to be up.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_deadlines(&self, operations: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query("delete from deadline where operation = any ($1)")
            .bind(operations)
            .execute(&self.read)
            .await?;
        Ok(())
    }
}
