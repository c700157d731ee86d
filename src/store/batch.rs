//! The batch: all that a set of decisions changed, stored by one statement.
//!
//! One statement is one transaction in one round trip, whatever number of operations took part. It
//! compares and sets the version of each operation; when a single one was changed by another writer
//! in between, the statement fails as a whole with [`StoreError::Conflict`] and nothing is stored.

use std::sync::Arc;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::apply;
use super::clock::{is_due, pack_clock};
use super::columns::{
    Admissions, Attempts, Chunks, Data, Events, Jobsets, Kept, Moments, Operations, Orders,
    Resources, Standings,
};
use super::error::StoreError;
use super::idempotency::{KnownKey, NewKeys, SubmissionKey};
use super::packed::{CHUNK, pack_open, pack_steps};
use super::record::{
    AttemptRecord, GATED, HAS_RESOURCES, HAS_TERMS, NewJobset, NewOperation, OperationData, PAUSED,
};
use crate::domain::{Event, Fact, Incarnation, Kill, KillHow, OperationState, Run, Stop};

/// The columns of an operation that never change.
#[derive(Default)]
struct NewRow {
    jobset: Option<Uuid>,
    labels: Option<Json<Value>>,
    alias: Option<String>,
}

/// All that a set of decisions changed.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Operations,
    chunks: Chunks,
    events: Events,
    attempts: Attempts,
    jobsets: Jobsets,
    data: Data,
    ended: Vec<Uuid>,
    ready: Moments,
    not_ready: Vec<Uuid>,
    timers: Moments,
    orders: Orders,
    kept: Kept,
    resources: Resources,
    keys: NewKeys,
    vouched: Standings,
    watched: Standings,
    admissions: Admissions,
    /// The process that gives attempts to workers.
    served_by: Arc<str>,
}

/// Step and attempt numbers are far below 2^31 by the limits on jobsets.
pub(super) fn int(number: u32) -> i32 {
    i32::try_from(number).expect("step and attempt numbers are limited far below 2^31")
}

impl Batch {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.id.is_empty()
            && self.timers.operation.is_empty()
            && self.ready.operation.is_empty()
            && self.not_ready.is_empty()
    }

    /// Stores a definition if it is not stored yet.
    pub fn add_jobset(&mut self, jobset: &NewJobset) {
        if !self.jobsets.id.contains(&jobset.id) {
            self.jobsets.id.push(jobset.id);
            self.jobsets.digest.push(jobset.digest.to_vec());
            self.jobsets.name.push(jobset.name.clone());
            self.jobsets.document.push(jobset.document.clone());
        }
    }

    /// Stores a new operation as its run stands now.
    pub fn add_new(&mut self, run: &mut Run, flags: i16, new: NewOperation) {
        let row =
            NewRow { jobset: Some(new.jobset), labels: new.labels.map(Json), alias: new.alias };
        self.add_run(run, 0, flags, row);
        if run.state().is_final() {
            self.ended.push(run.id());
            return;
        }
        self.queue(run);
        for name in new.resources {
            self.resources.operation.push(run.id());
            self.resources.name.push(name);
        }
        if let Some(terms) = new.terms {
            self.admissions.ask(run, terms);
        }
    }

    /// Stores what changed in a run since version `expected`.
    pub fn add_changed(&mut self, run: &mut Run, expected: i32, flags: i16) {
        self.add_run(run, expected, flags, NewRow::default());
        if run.state().is_final() {
            self.ended.push(run.id());
            self.not_ready.push(run.id());
            if flags & HAS_RESOURCES != 0 {
                self.resources.ended.push(run.id());
            }
            if flags & HAS_TERMS != 0 {
                self.admissions.ended.push(run.id());
            }
        } else {
            if run.is_gated() {
                self.admissions.touched.push(run.id());
                self.admissions.paused.push(run.is_paused());
            }
            self.queue(run);
        }
    }

    /// Notes when time is up next for an operation.
    pub fn add_timer(&mut self, operation: Uuid, at: DateTime<Utc>) {
        self.timers.set(operation, at);
    }

    /// Puts an operation in the queue if something can be claimed of it now or later, and takes it
    /// out otherwise.
    pub fn queue(&mut self, run: &Run) {
        let due = if run.claimable() > 0 { Some(run.entered()) } else { run.next_due() };
        match due {
            Some(due) => {
                self.ready.operation.push(run.id());
                self.ready.at.push(due);
            }
            None => self.not_ready.push(run.id()),
        }
    }

    /// Whether there is something to be admitted, or room for others.
    #[must_use]
    pub fn stirs_admission(&self) -> bool {
        self.admissions.has_any()
    }

    /// Stores what a client called the submission of a new operation.
    pub fn add_key(&mut self, key: &SubmissionKey, known: &KnownKey) {
        self.keys.push(key, known);
    }

    fn add_run(&mut self, run: &mut Run, expected: i32, flags: i16, new: NewRow) {
        if let Some(timer) = run.take_timer() {
            self.add_timer(run.id(), timer);
        }
        let changes = run.take_changes();
        let is_chunked = run.steps().len() > CHUNK;
        if is_chunked {
            let last = run.steps().len() / CHUNK;
            let touched: BTreeSet<usize> = if expected == 0 {
                (0..=last).collect()
            } else {
                changes.moved.iter().map(|step| *step as usize / CHUNK).collect()
            };
            for (chunk, steps) in run.steps().chunks(CHUNK).enumerate() {
                if touched.contains(&chunk) {
                    self.chunks.operation.push(run.id());
                    self.chunks.chunk.push(int(u32::try_from(chunk).unwrap_or(u32::MAX)));
                    self.chunks.steps.push(pack_steps(steps));
                }
            }
        }
        for kill in &changes.kills {
            self.add_order(run.id(), kill);
        }
        let paused = if run.is_paused() { PAUSED } else { 0 };
        let gated = if run.is_gated() { GATED } else { 0 };
        let flags = flags & !(PAUSED | GATED) | paused | gated;
        // One that has ended has no further events.
        let clock = if run.state().is_final() {
            Some(Vec::new()).filter(|_| run.stamps().stored > 0)
        } else if is_due(run) {
            run.stamps_stored();
            Some(pack_clock(run.stamps(), run.version()))
        } else {
            None
        };
        self.operations.push(
            run.id(),
            expected,
            run.state().code(),
            run.stop().map(Stop::code),
            flags,
            run.version(),
            run.entered(),
            if is_chunked { Vec::new() } else { pack_steps(run.steps()) },
            pack_open(run.open(), run.notes()),
            new.jobset,
            new.labels,
            clock,
            new.alias,
        );
        for event in changes.events {
            self.add_event(run.id(), event);
        }
    }

    fn add_event(&mut self, operation: Uuid, event: Event) {
        let Event { seq, at, fact, state, stamp } = event;
        let state = state.map(OperationState::code);
        let events = &mut self.events;
        let mut plain = |kind, stamp| {
            events.push(operation, seq, at, kind, None, None, None, None, None, state, None, stamp);
        };
        match fact {
            Fact::Submitted => plain(0, stamp),
            Fact::StopRequested(Stop::Cancel) => plain(2, stamp),
            Fact::StopRequested(Stop::Deadline) => plain(3, stamp),
            Fact::StopRequested(Stop::Abort) => plain(8, stamp),
            Fact::ContextChanged => plain(4, stamp),
            Fact::Paused => plain(5, stamp),
            Fact::Resumed => plain(6, stamp),
            Fact::Admitted => plain(9, stamp),
            Fact::AttemptEnded { step, attempt, worker } => {
                let (step, attempt) = (Some(int(step)), Some(int(attempt)));
                let (kind, none) = (7, None);
                self.events.push(
                    operation, seq, at, kind, step, attempt, none, none, none, state, worker, stamp,
                );
            }
            Fact::Moved { step, attempt, action, from, to, worker } => self.events.push(
                operation,
                seq,
                at,
                1,
                Some(int(step)),
                Some(int(attempt)),
                Some(action.code().into()),
                Some(from.code().into()),
                Some(to.code().into()),
                state,
                worker,
                stamp,
            ),
        }
    }

    /// Records how an attempt ended and takes back an order to stop it.
    pub fn add_attempt(&mut self, record: AttemptRecord) {
        let AttemptRecord { operation, step, attempt, worker, started, ended, report } = record;
        self.attempts.push(
            operation,
            int(step),
            int(attempt),
            worker,
            started,
            ended,
            report.exit_code,
            report.signal,
            report.exception.map(Json),
            report.result.map(Json),
            report.usage.map(Json),
        );
    }

    /// Orders a worker to end the processes of an attempt.
    fn add_order(&mut self, operation: Uuid, kill: &Kill) {
        self.orders.worker.push(kill.worker);
        self.orders.operation.push(operation);
        self.orders.step.push(int(kill.step));
        self.orders.attempt.push(int(kill.attempt));
        self.orders.interrupt.push(kill.how == KillHow::Interrupt);
        self.orders.force.push(kill.how == KillHow::Force);
    }

    /// Changes what an operation has beside its row; `None` leaves it as it is. At most once per
    /// operation and batch.
    pub fn add_data(&mut self, operation: Uuid, data: OperationData) {
        self.data.operation.push(operation);
        self.data.context.push(data.context.map(Json));
        self.data.cancellation.push(data.cancellation.map(Json));
        self.data.edits.push(data.edits.map(Json));
        self.data.forked_from.push(data.forked_from);
        self.data.forked_from_alias.push(data.forked_from_alias);
        self.data.stopped.push(data.stopped.map(Json));
    }

    /// Copies the last attempts of these steps from the operation `source`.
    pub fn add_kept(&mut self, operation: Uuid, source: Uuid, steps: impl Iterator<Item = u32>) {
        for step in steps {
            self.kept.operation.push(operation);
            self.kept.source.push(source);
            self.kept.step.push(int(step));
        }
    }

    /// Stores the batch only if that worker holds its lease and is given attempts by this process:
    /// some are claimed for it.
    pub fn require_lease(&mut self, worker: Incarnation, served_by: &Arc<str>) {
        self.vouched.add(worker, true);
        self.served_by = Arc::clone(served_by);
    }

    /// Stores the batch only if that worker may yet come back: what it says late counts.
    pub fn require_not_over(&mut self, worker: Incarnation) {
        self.vouched.add(worker, false);
    }

    /// Stores the batch only if the lease of that worker has run out, or only if it has not: so it is
    /// told.
    pub fn require_lost(&mut self, worker: Incarnation, is_lost: bool) {
        self.watched.add(worker, is_lost);
    }

    /// How many operations are not new.
    fn changed(&self) -> usize {
        self.operations.expected.iter().filter(|version| **version > 0).count()
    }

    /// The parts of the statement that have rows.
    fn statement(&self) -> String {
        let operations = self.operations.id.len();
        let checked: Vec<&str> =
            [(self.changed() > 0, "changed"), (!self.watched.worker.is_empty(), "watched")]
                .into_iter()
                .filter_map(|(is_needed, name)| is_needed.then_some(name))
                .collect();
        let vouches = !self.vouched.worker.is_empty();
        let has_new = self.changed() < operations;
        let has_attempts = !self.attempts.operation.is_empty();
        let parts = [
            (operations > 0, apply::OPERATIONS),
            (checked.contains(&"changed"), apply::CHANGED),
            (vouches, apply::VOUCHED),
            (checked.contains(&"watched"), apply::WATCHED),
            (has_new, apply::MADE),
            (!self.chunks.operation.is_empty(), apply::CHUNKED),
            (!self.events.operation.is_empty(), apply::HAPPENED),
            (has_attempts, apply::SETTLED),
            (has_attempts, apply::OBEYED),
            (!self.jobsets.id.is_empty(), apply::DEFINED),
            (!self.data.operation.is_empty(), apply::WIDENED),
            (has_new, apply::BORN),
            (!self.ended.is_empty(), apply::DIED),
            (!self.ready.operation.is_empty(), apply::QUEUED),
            (!self.not_ready.is_empty(), apply::UNQUEUED),
            (!self.timers.operation.is_empty(), apply::TIMED),
            (!self.orders.operation.is_empty(), apply::ORDERED),
            (!self.kept.operation.is_empty(), apply::KEPT),
            (!self.resources.operation.is_empty(), apply::TIED),
            (!self.resources.operation.is_empty(), apply::SHARED),
            (!self.resources.ended.is_empty(), apply::UNSHARED),
            (!self.keys.text.is_empty(), apply::KEYED),
            (!self.admissions.asked.operation.is_empty(), apply::ASKED),
            (!self.admissions.touched.is_empty(), apply::TOUCHED),
            (!self.admissions.ended.is_empty(), apply::LEFT),
        ];
        let parts: Vec<&str> =
            parts.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, part)| part).collect();
        apply::compose(&parts, &checked, vouches)
    }

    /// Stores it all, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an operation has another version than expected or a worker does
    /// not stand as it is told, [`StoreError::LeaseLost`] when the word of a worker does not count or
    /// it has no lease to claim by; otherwise as for any statement.
    #[expect(clippy::too_many_lines, reason = "one line per column")]
    pub async fn apply(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let checked = self.changed() + self.watched.worker.len();
        let (o, e, a) = (&self.operations, &self.events, &self.attempts);
        let t = &self.admissions.asked;
        sqlx::query(sqlx::AssertSqlSafe(self.statement()))
            .bind(&o.id)
            .bind(&o.expected)
            .bind(&o.state)
            .bind(&o.stop)
            .bind(&o.flags)
            .bind(&o.version)
            .bind(&o.entered)
            .bind(&o.steps)
            .bind(&o.open)
            .bind(&o.jobset)
            .bind(&o.labels)
            .bind(i64::try_from(checked).unwrap_or(i64::MAX))
            .bind(&self.chunks.operation)
            .bind(&self.chunks.chunk)
            .bind(&self.chunks.steps)
            .bind(&e.operation)
            .bind(&e.seq)
            .bind(&e.at)
            .bind(&e.kind)
            .bind(&e.step)
            .bind(&e.attempt)
            .bind(&e.action)
            .bind(&e.from_state)
            .bind(&e.to_state)
            .bind(&e.state)
            .bind(&e.worker)
            .bind(&a.operation)
            .bind(&a.step)
            .bind(&a.attempt)
            .bind(&a.worker)
            .bind(&a.started)
            .bind(&a.ended)
            .bind(&a.exit_code)
            .bind(&a.signal)
            .bind(&a.exception)
            .bind(&a.result)
            .bind(&a.usage)
            .bind(&self.jobsets.id)
            .bind(&self.jobsets.digest)
            .bind(&self.jobsets.name)
            .bind(&self.jobsets.document)
            .bind(&self.data.operation)
            .bind(&self.data.context)
            .bind(&self.data.cancellation)
            .bind(&self.ended)
            .bind(&self.ready.operation)
            .bind(&self.ready.at)
            .bind(&self.not_ready)
            .bind(&self.timers.operation)
            .bind(&self.timers.at)
            .bind(&self.orders.worker)
            .bind(&self.orders.operation)
            .bind(&self.orders.step)
            .bind(&self.orders.attempt)
            .bind(&self.orders.interrupt)
            .bind(&self.data.edits)
            .bind(&self.data.forked_from)
            .bind(&self.kept.operation)
            .bind(&self.kept.source)
            .bind(&self.kept.step)
            .bind(&o.clock)
            .bind(&e.stamp)
            .bind(&self.resources.operation)
            .bind(&self.resources.name)
            .bind(&self.resources.ended)
            .bind(&self.orders.force)
            .bind(&self.data.stopped)
            .bind(&o.alias)
            .bind(&self.data.forked_from_alias)
            .bind(&self.keys.kind)
            .bind(&self.keys.text)
            .bind(&self.keys.digest)
            .bind(&self.keys.operation)
            .bind(&self.keys.at)
            .bind(&self.vouched.worker)
            .bind(&self.vouched.is_asked)
            .bind(&self.watched.worker)
            .bind(&self.watched.is_asked)
            .bind(&*self.served_by)
            .bind(&t.operation)
            .bind(&t.key)
            .bind(&t.places)
            .bind(&t.on_conflict)
            .bind(&t.rate_key)
            .bind(&t.rate)
            .bind(&t.per)
            .bind(&t.priority)
            .bind(&t.cancellable)
            .bind(&self.admissions.touched)
            .bind(&self.admissions.paused)
            .bind(&self.admissions.ended)
            .execute(connection)
            .await?;
        Ok(())
    }
}
