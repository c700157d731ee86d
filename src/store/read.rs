//! What clients ask: operations, steps, history, context, definitions.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::clock::unpack_stamp;
use super::error::StoreError;
use super::operation::{chunked_steps, state, stop};
use super::packed::{unpack_open, unpack_steps};
use super::record::{GATED, PAUSED};
use crate::domain::{Action, Note, OpenAttempt, OperationState, StepState, Stop};
use crate::itc::Stamp;

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

#[derive(FromRow)]
pub(super) struct OperationRow {
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
    cancellation: Option<Value>,
    stopped: Option<Value>,
    results: Option<Value>,
    flags: i16,
    open: Vec<u8>,
    forked_from: Option<String>,
}

/// The columns of an [`OperationRow`], from `operation o`. At most 100 results are shown.
pub(super) const OPERATION_COLUMNS: &str = r#"
    o.id, o.alias, o.jobset, o.state, o.ended_as, o.stop, o.version, o.entered, o.steps, o.labels,
    o.flags, o.open,
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
"#;

impl OperationRow {
    pub(super) fn into_view(self, chunks: Option<Vec<u8>>) -> Result<OperationView, StoreError> {
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
            cancellation: self.cancellation,
            stopped: self.stopped,
            results: self.results,
            paused: self.flags & PAUSED != 0,
            gated: self.flags & GATED != 0,
            open,
            notes,
            forked_from: self.forked_from,
        })
    }
}

/// The last attempt of a step.
#[derive(Clone, Debug, FromRow)]
pub struct AttemptView {
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// When it was claimed.
    pub started: DateTime<Utc>,
    /// When its outcome was recorded.
    pub ended: DateTime<Utc>,
    /// What the process exited with.
    pub exit_code: Option<i32>,
    /// What signal ended the process.
    pub signal: Option<i32>,
    /// Why it failed.
    pub exception: Option<Value>,
    /// The JSON it wrote to `SUT_OUTPUT`.
    pub result: Option<Value>,
    /// What it used.
    pub usage: Option<Value>,
}

/// One event of the history.
#[derive(Clone, Debug)]
pub struct EventView {
    /// Its number.
    pub seq: i32,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// 0 submitted, 1 step moved, 2 cancel requested, 3 deadline passed, 4 context changed,
    /// 5 paused, 6 resumed, 7 attempt ended.
    pub kind: i16,
    /// The number of the step that moved.
    pub step: Option<i32>,
    /// The attempt concerned.
    pub attempt: Option<i32>,
    /// Why the step moved.
    pub action: Option<Action>,
    /// The state the step left.
    pub from: Option<StepState>,
    /// The state the step entered.
    pub to: Option<StepState>,
    /// The state the operation entered.
    pub state: Option<OperationState>,
    /// The worker concerned.
    pub worker: Option<i64>,
    /// Its interval tree clock stamp; events from before stamps have none.
    pub stamp: Option<Stamp>,
}

#[derive(FromRow)]
pub(super) struct EventRow {
    seq: i32,
    at: DateTime<Utc>,
    kind: i16,
    step: Option<i32>,
    attempt: Option<i32>,
    action: Option<i16>,
    from_state: Option<i16>,
    to_state: Option<i16>,
    state: Option<i16>,
    worker: Option<i64>,
    stamp: Option<Vec<u8>>,
}

impl EventRow {
    pub(super) fn into_view(self, operation: Uuid) -> Result<EventView, StoreError> {
        let row = format!("{operation}/{}", self.seq);
        let corrupt = |column, code: i16| StoreError::corrupt("event", column, &row, &code);
        let step_state = |column, code: Option<i16>| {
            code.map(|code| {
                let state = u8::try_from(code).ok().and_then(StepState::from_code);
                state.ok_or_else(|| corrupt(column, code))
            })
            .transpose()
        };
        let action = self
            .action
            .map(|code| {
                let action = u8::try_from(code).ok().and_then(Action::from_code);
                action.ok_or_else(|| corrupt("action", code))
            })
            .transpose()?;
        let state = self
            .state
            .map(|code| OperationState::from_code(code).ok_or_else(|| corrupt("state", code)))
            .transpose()?;
        Ok(EventView {
            seq: self.seq,
            at: self.at,
            kind: self.kind,
            step: self.step,
            attempt: self.attempt.filter(|attempt| *attempt > 0),
            action,
            from: step_state("from_state", self.from_state)?,
            to: step_state("to_state", self.to_state)?,
            state,
            worker: self.worker,
            stamp: self.stamp.map(|bytes| unpack_stamp("event", &row, &bytes)).transpose()?,
        })
    }
}

/// The context of an operation.
#[derive(Clone, Debug, FromRow)]
pub struct ContextView {
    /// A JSON object.
    pub context: Value,
    /// Raised by every change.
    pub version: i32,
}

/// A stored definition.
#[derive(Clone, Debug, FromRow)]
pub struct JobsetView {
    /// Its id.
    pub id: Uuid,
    /// SHA-256 of the document.
    pub digest: Vec<u8>,
    /// Canonical JSON.
    pub document: String,
}

/// When a step last moved: number, time, attempt.
pub type LastMove = (i32, DateTime<Utc>, i32);

impl Store {
    /// One operation.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn operation(&self, id: Uuid) -> Result<Option<OperationView>, StoreError> {
        let query = format!(
            "-- read/operation\nselect {OPERATION_COLUMNS} from operation o where o.id = $1"
        );
        let row: Option<OperationRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(id).fetch_optional(&self.read).await?;
        let Some(row) = row else { return Ok(None) };
        let chunked: &[Uuid] = if row.steps.is_empty() { &[id] } else { &[] };
        let chunks = chunked_steps(&self.read, chunked).await?.remove(&id);
        row.into_view(chunks).map(Some)
    }

    /// For the steps with numbers in `steps`: when each last moved, and in which attempt.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn last_moves(
        &self,
        operation: Uuid,
        steps: std::ops::Range<i32>,
    ) -> Result<Vec<LastMove>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- read/last_moves
            select distinct on (step) step, at, attempt
            from event
            where operation = $1 and kind = 1 and step >= $2 and step < $3
            order by step, seq desc
            "#,
        )
        .bind(operation)
        .bind(steps.start)
        .bind(steps.end)
        .fetch_all(&self.read)
        .await?)
    }

    /// For the steps with numbers in `steps`: the last attempt that ended.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn last_attempts(
        &self,
        operation: Uuid,
        steps: std::ops::Range<i32>,
    ) -> Result<Vec<AttemptView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- read/last_attempts
            select distinct on (step) step, attempt, started, ended, exit_code, signal, exception,
                result, usage
            from attempt
            where operation = $1 and step >= $2 and step < $3
            order by step, attempt desc
            "#,
        )
        .bind(operation)
        .bind(steps.start)
        .bind(steps.end)
        .fetch_all(&self.read)
        .await?)
    }

    /// The last attempts that ended of some steps: pairs of an operation and a step number.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn last_attempts_of(
        &self,
        operations: &[Uuid],
        steps: &[i32],
    ) -> Result<Vec<(Uuid, AttemptView)>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            operation: Uuid,
            #[sqlx(flatten)]
            attempt: AttemptView,
        }
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- read/last_attempts_of
            select distinct on (a.operation, a.step) a.operation, a.step, a.attempt, a.started,
                a.ended, a.exit_code, a.signal, a.exception, a.result, a.usage
            from unnest($1::uuid[], $2::int[]) as u (operation, step)
            join attempt a on a.operation = u.operation and a.step = u.step
            order by a.operation, a.step, a.attempt desc
            "#,
        )
        .bind(operations)
        .bind(steps)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| (row.operation, row.attempt)).collect())
    }

    /// All attempts of one step that ended, in order.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn attempts(
        &self,
        operation: Uuid,
        step: i32,
    ) -> Result<Vec<AttemptView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- read/attempts
            select step, attempt, started, ended, exit_code, signal, exception, result, usage
            from attempt
            where operation = $1 and step = $2
            order by attempt
            "#,
        )
        .bind(operation)
        .bind(step)
        .fetch_all(&self.read)
        .await?)
    }

    /// The results of some steps, by number.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn results(
        &self,
        operation: Uuid,
        steps: &[i32],
    ) -> Result<Vec<(i32, Value)>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- read/results
            select distinct on (step) step, result
            from attempt
            where operation = $1 and step = any ($2) and result is not null
            order by step, attempt desc
            "#,
        )
        .bind(operation)
        .bind(steps)
        .fetch_all(&self.read)
        .await?)
    }

    /// Up to `limit` events after number `after`.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn events(
        &self,
        operation: Uuid,
        after: i32,
        skip: i64,
        limit: i64,
    ) -> Result<Vec<EventView>, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            r#"
            -- read/events
            select seq, at, kind, step, attempt, action, from_state, to_state, state, worker,
                stamp
            from event
            where operation = $1 and seq > $2
            order by seq
            offset $3
            limit $4
            "#,
        )
        .bind(operation)
        .bind(after)
        .bind(skip)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(|row| row.into_view(operation)).collect()
    }

    /// The context of an operation; `None` if it never had one.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn context(&self, operation: Uuid) -> Result<Option<ContextView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- read/context
            select context, context_version as version
            from operation_data
            where operation = $1 and context is not null
            "#,
        )
        .bind(operation)
        .fetch_optional(&self.read)
        .await?)
    }

    /// What clients edited for attempts, by step number.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn edits(&self, operation: Uuid) -> Result<Option<Value>, StoreError> {
        let edits: Option<Option<Value>> =
            sqlx::query_scalar("select edits from operation_data where operation = $1")
                .bind(operation)
                .fetch_optional(&self.read)
                .await?;
        Ok(edits.flatten())
    }

    /// A stored definition.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn jobset(&self, id: Uuid) -> Result<Option<JobsetView>, StoreError> {
        Ok(sqlx::query_as("select id, digest, document from jobset where id = $1")
            .bind(id)
            .fetch_optional(&self.read)
            .await?)
    }
}
