//! Operations as clients see them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::operation::{state, stop};
use super::packed::{unpack_open, unpack_steps};
use super::pool::Pool;
use super::record::{GATED, HAS_DATA, HAS_RESULT, PAUSED};
use crate::domain::{Note, OpenAttempt, OperationState, StepState, Stop};

/// An operation as a client sees it, names of steps still missing.
#[derive(Clone, Debug)]
pub struct OperationView {
    /// Its id.
    pub id: Uuid,
    /// The id that its client chose.
    pub alias: Option<String>,
    /// What it runs.
    pub jobset: Uuid,
    /// Its state.
    pub state: OperationState,
    /// Of a tombstone: the state it ended in.
    pub ended_as: Option<OperationState>,
    /// Why it is being, or was, stopped.
    pub stop: Option<Stop>,
    /// The seq of its last event.
    pub version: i32,
    /// When it entered its state.
    pub entered: DateTime<Utc>,
    /// The state of each step.
    pub steps: Vec<StepState>,
    /// Free key-values.
    pub labels: Option<Value>,
    /// Who asked for a cancellation.
    pub cancellation: Option<Value>,
    /// What its stop found begun and not ended, by step number.
    pub stopped: Option<Value>,
    /// Results by step number as a JSON object, for an operation that succeeded.
    pub results: Option<Value>,
    /// Whether it is paused as a whole.
    pub paused: bool,
    /// Whether it has not been admitted yet.
    pub gated: bool,
    /// The open attempts by step number.
    pub open: BTreeMap<u32, OpenAttempt>,
    /// What is remembered of steps, by number.
    pub notes: BTreeMap<u32, Note>,
    /// The id, as it is shown, of the operation that it was forked from.
    pub forked_from: Option<String>,
}

impl OperationView {
    /// The id that clients are shown.
    #[must_use]
    pub fn shown_id(&self) -> String {
        shown_id(self.id, self.alias.as_deref())
    }

    /// Its state, or the one that it ended in.
    #[must_use]
    pub fn outcome(&self) -> OperationState {
        self.ended_as.unwrap_or(self.state)
    }
}

/// The id that clients are shown: the one that a client chose, if one did.
#[must_use]
pub fn shown_id(id: Uuid, alias: Option<&str>) -> String {
    alias.map_or_else(|| id.to_string(), str::to_owned)
}

/// The row of an operation itself.
#[derive(FromRow)]
pub(super) struct PlainRow {
    pub(super) id: Uuid,
    alias: Option<String>,
    jobset: Uuid,
    state: i16,
    ended_as: Option<i16>,
    stop: Option<i16>,
    version: i32,
    entered: DateTime<Utc>,
    pub(super) steps: Vec<u8>,
    labels: Option<Value>,
    flags: i16,
    open: Vec<u8>,
}

/// What else is shown of an operation.
#[derive(Default, FromRow)]
struct Details {
    forked_from: Option<String>,
    cancellation: Option<Value>,
    stopped: Option<Value>,
    results: Option<Value>,
}

#[derive(FromRow)]
pub(super) struct OperationRow {
    #[sqlx(flatten)]
    pub(super) plain: PlainRow,
    #[sqlx(flatten)]
    details: Details,
}

/// The columns of a [`PlainRow`], from `operation o`.
macro_rules! plain_columns {
    () => {
        "o.id, o.alias, o.jobset, o.state, o.ended_as, o.stop, o.version, o.entered, o.steps, \
         o.labels, o.flags, o.open"
    };
}

/// The columns of an [`OperationRow`], from `operation o`. At most 100 results are shown.
pub(super) const OPERATION_COLUMNS: &str = concat!(
    plain_columns!(),
    r#",
    case when o.flags & 1 <> 0 then
        (select coalesce(d.forked_from_alias, d.forked_from::text)
         from operation_data d where d.operation = o.id)
    end as forked_from,
    case when o.flags & 1 <> 0 then
        (select d.cancellation from operation_data d where d.operation = o.id)
    end as cancellation,
    case when o.flags & 1 <> 0 and o.stop is not null then
        (select d.stopped from operation_data d where d.operation = o.id)
    end as stopped,
    case when o.flags & 2 <> 0 and o.state = 6 then
        (select jsonb_object_agg(r.step, r.result)
         from (select distinct on (a.step) a.step, a.result
               from attempt a
               where a.operation = o.id and a.result is not null
               order by a.step, a.attempt desc
               limit 100) r)
    end as results
"#
);

impl PlainRow {
    /// Whether [`Details`] may be found; those of [`OPERATION_COLUMNS`].
    const fn has_details(&self) -> bool {
        self.flags & HAS_DATA != 0
            || self.flags & HAS_RESULT != 0 && self.state == OperationState::Succeeded.code()
    }

    fn into_view(
        self,
        details: Details,
        chunks: Option<Vec<u8>>,
    ) -> Result<OperationView, StoreError> {
        let (open, notes) = unpack_open(self.id, &self.open)?;
        Ok(OperationView {
            id: self.id,
            alias: self.alias,
            jobset: self.jobset,
            state: state(self.id, self.state)?,
            ended_as: self.ended_as.map(|code| state(self.id, code)).transpose()?,
            stop: stop(self.id, self.stop)?,
            version: self.version,
            entered: self.entered,
            steps: unpack_steps(self.id, &chunks.unwrap_or(self.steps))?,
            labels: self.labels,
            cancellation: details.cancellation,
            stopped: details.stopped,
            results: details.results,
            paused: self.flags & PAUSED != 0,
            gated: self.flags & GATED != 0,
            open,
            notes,
            forked_from: details.forked_from,
        })
    }
}

impl OperationRow {
    pub(super) fn into_view(self, chunks: Option<Vec<u8>>) -> Result<OperationView, StoreError> {
        self.plain.into_view(self.details, chunks)
    }
}

/// The smallest and the largest. What is between them tells the partitions that have to be looked
/// at, which a list of ids does not.
fn bounds(ids: &[Uuid]) -> (Option<&Uuid>, Option<&Uuid>) {
    (ids.iter().min(), ids.iter().max())
}

impl Store {
    /// The operations of these ids, each as one look found it; unknown ones are left out.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn operations(&self, ids: &[Uuid]) -> Result<Vec<OperationView>, StoreError> {
        let (first, last) = bounds(ids);
        // Most operations have nothing but their row, and to get ready for more costs more than that.
        let plain: Vec<PlainRow> = sqlx::query_as(concat!(
            "-- view/plain\nselect ",
            plain_columns!(),
            " from operation o where o.id = any ($1) and o.id between $2 and $3"
        ))
        .bind(ids)
        .bind(first)
        .bind(last)
        .fetch_all(&self.read)
        .await?;
        let (detailed, plain): (Vec<_>, Vec<_>) =
            plain.into_iter().partition(PlainRow::has_details);
        let detailed: Vec<Uuid> = detailed.into_iter().map(|row| row.id).collect();
        let mut rows: Vec<OperationRow> =
            if detailed.is_empty() { Vec::new() } else { self.detailed(&detailed).await? };
        rows.extend(
            plain.into_iter().map(|plain| OperationRow { plain, details: Details::default() }),
        );
        with_chunks(&self.read, rows).await
    }

    async fn detailed(&self, ids: &[Uuid]) -> Result<Vec<OperationRow>, StoreError> {
        let (first, last) = bounds(ids);
        let query = format!(
            "-- view/detailed\nselect {OPERATION_COLUMNS} \
             from operation o where o.id = any ($1) and o.id between $2 and $3"
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(ids).bind(first).bind(last);
        Ok(rows.fetch_all(&self.read).await?)
    }

    /// How far the operations of these ids have come: each with its version and its state; unknown
    /// ones are left out.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn progress(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<(Uuid, i32, OperationState)>, StoreError> {
        let (first, last) = bounds(ids);
        let rows: Vec<(Uuid, i32, i16)> = sqlx::query_as(
            r#"
            -- view/progress
            select o.id, o.version, o.state
            from operation o
            where o.id = any ($1) and o.id between $2 and $3
            "#,
        )
        .bind(ids)
        .bind(first)
        .bind(last)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(|(id, version, code)| Ok((id, version, state(id, code)?))).collect()
    }
}

/// The step states of those operations that keep them in chunks.
async fn chunked_steps(pool: &Pool, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<u8>>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        r#"
        -- view/chunked_steps
        select operation, string_agg(steps, ''::bytea order by chunk)
        from step_chunk
        where operation = any ($1)
        group by operation
        "#,
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Adds the step states of those that keep them in chunks.
pub(super) async fn with_chunks(
    pool: &Pool,
    rows: Vec<OperationRow>,
) -> Result<Vec<OperationView>, StoreError> {
    let chunked = rows.iter().filter(|row| row.plain.steps.is_empty()).map(|row| row.plain.id);
    let mut chunks = chunked_steps(pool, &chunked.collect::<Vec<_>>()).await?;
    rows.into_iter()
        .map(|row| {
            let bytes = chunks.remove(&row.plain.id);
            row.into_view(bytes)
        })
        .collect()
}
