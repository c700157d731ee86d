//! What clients ask: steps, history, context, definitions.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::clock::unpack_stamp;
use super::error::StoreError;
use super::packed::{CHUNK, unpack_moved};
use crate::domain::{Action, OperationState, StepState};
use crate::itc::Stamp;

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
    /// For the steps with numbers in `steps` of an operation with `all` steps: when each last moved,
    /// and in which attempt.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn last_moves(
        &self,
        operation: Uuid,
        steps: Range<i32>,
        all: usize,
    ) -> Result<Vec<LastMove>, StoreError> {
        if all > CHUNK
            && let Some(events) = self.last_events(operation, steps.clone()).await?
        {
            return Ok(sqlx::query_as(
                r#"
                -- read/moves
                select step, at, attempt
                from event
                where operation = $1 and seq = any ($2)
                order by step
                "#,
            )
            .bind(operation)
            .bind(events)
            .fetch_all(&self.read)
            .await?);
        }
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

    /// The numbers of the events by which the steps with numbers in `steps` last moved, of an operation
    /// whose steps stand in chunks; `None` for one from before they were kept. The history is large and
    /// is kept by number, so that to look for them there would be to read all of it.
    async fn last_events(
        &self,
        operation: Uuid,
        steps: Range<i32>,
    ) -> Result<Option<Vec<i32>>, StoreError> {
        let size = i32::try_from(CHUNK).unwrap_or(i32::MAX);
        let chunks: Vec<(i32, Option<Vec<u8>>)> = sqlx::query_as(
            r#"
            -- read/last_events
            select chunk, moved
            from step_chunk
            where operation = $1 and chunk between $2 and $3
            "#,
        )
        .bind(operation)
        .bind(steps.start / size)
        .bind((steps.end - 1) / size)
        .fetch_all(&self.read)
        .await?;
        let mut events = Vec::with_capacity(steps.len());
        for (chunk, moved) in chunks {
            let Some(moved) = moved else { return Ok(None) };
            let numbered = (chunk * size..).zip(unpack_moved(operation, &moved)?);
            let asked = numbered.filter(|(step, event)| steps.contains(step) && *event > 0);
            events.extend(asked.map(|(_, event)| event));
        }
        Ok(Some(events))
    }

    /// For the steps with numbers in `steps`: the last attempt that ended.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn last_attempts(
        &self,
        operation: Uuid,
        steps: Range<i32>,
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
