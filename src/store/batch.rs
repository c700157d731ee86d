//! The batch: all that a set of decisions changed, stored by one statement.
//!
//! One statement is one transaction in one round trip, whatever number of operations took part. It
//! compares and sets the version of each operation; when a single one was changed by another writer
//! in between, the statement fails as a whole with [`StoreError::Conflict`] and nothing is stored.

use std::sync::Arc;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::clock::{is_due, pack_clock};
use super::columns::{
    Admissions, Attempts, Changed, Chunks, Data, Events, Jobsets, Kept, Made, Moments, Orders,
    Ready, Resources, Standings,
};
use super::idempotency::{KnownKey, NewKeys, SubmissionKey};
use super::packed::{CHUNK, pack_moved, pack_open, pack_steps};
use super::ready::class;
use super::record::{
    AttemptRecord, GATED, HAS_RESOURCES, HAS_TERMS, NewJobset, NewOperation, OperationData, PAUSED,
};
use crate::domain::{Event, Fact, Incarnation, Kill, KillHow, OperationState, Run, Stop};

/// The columns of an operation that change with it.
struct Row {
    id: Uuid,
    state: i16,
    stop: Option<i16>,
    flags: i16,
    version: i32,
    entered: DateTime<Utc>,
    steps: Vec<u8>,
    open: Vec<u8>,
    clock: Option<Vec<u8>>,
}

/// All that a set of decisions changed.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) changed: Changed,
    pub(super) made: Made,
    /// Those of the new operations that have not ended.
    pub(super) born: Vec<Uuid>,
    pub(super) chunks: Chunks,
    pub(super) events: Events,
    pub(super) attempts: Attempts,
    pub(super) jobsets: Jobsets,
    pub(super) data: Data,
    pub(super) ended: Vec<Uuid>,
    pub(super) ready: Ready,
    pub(super) not_ready: Vec<Uuid>,
    /// The operations that may stand in the queue with something that is not waited for any more.
    pub(super) trimmed: Vec<Uuid>,
    pub(super) timers: Moments,
    pub(super) orders: Orders,
    pub(super) kept: Kept,
    pub(super) resources: Resources,
    pub(super) keys: NewKeys,
    pub(super) vouched: Standings,
    pub(super) watched: Standings,
    pub(super) admissions: Admissions,
    /// The process that gives attempts to workers.
    pub(super) served_by: Arc<str>,
}

/// Step and attempt numbers are far below 2^31 by the limits on jobsets.
pub(super) fn int(number: u32) -> i32 {
    i32::try_from(number).expect("step and attempt numbers are limited far below 2^31")
}

impl Batch {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.id.is_empty()
            && self.made.id.is_empty()
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

    /// Stores a new operation as its run stands now; `rank` is its place in the queue. Answers whether
    /// it stands there.
    pub fn add_new(
        &mut self,
        run: &mut Run,
        flags: i16,
        rank: DateTime<Utc>,
        new: NewOperation,
    ) -> bool {
        let row = self.row(run, true, flags);
        let NewOperation { jobset, alias, labels, resources, terms } = new;
        let Row { id, state, stop, flags, version, entered, steps, open, clock } = row;
        let labels = labels.map(Json);
        self.made.push(
            id, jobset, state, stop, flags, version, entered, steps, open, labels, clock, alias,
        );
        if run.state().is_final() {
            self.ended.push(run.id());
            return false;
        }
        self.born.push(id);
        for name in resources {
            self.resources.operation.push(run.id());
            self.resources.name.push(name);
        }
        if let Some(terms) = terms {
            self.admissions.ask(run, terms);
        }
        self.queue(run, rank, false)
    }

    /// Stores what changed in a run since version `expected`; `rank` is its place in the queue, where
    /// it may stand already (`was_queued`). Answers whether it stands there now.
    pub fn add_changed(
        &mut self,
        run: &mut Run,
        expected: i32,
        flags: i16,
        rank: DateTime<Utc>,
        was_queued: bool,
    ) -> bool {
        let row = self.row(run, false, flags);
        let Row { id, state, stop, version, entered, steps, open, clock, .. } = row;
        self.changed
            .push(id, expected, state, stop, row.flags, version, entered, steps, open, clock);
        if run.state().is_final() {
            self.ended.push(run.id());
            if flags & HAS_RESOURCES != 0 {
                self.resources.ended.push(run.id());
            }
            if flags & HAS_TERMS != 0 {
                self.admissions.ended.push(run.id());
            }
        } else if run.is_gated() {
            self.admissions.touched.push(run.id());
            self.admissions.paused.push(run.is_paused());
        }
        self.queue(run, rank, was_queued)
    }

    /// Notes when time is up next for an operation.
    pub fn add_timer(&mut self, operation: Uuid, at: DateTime<Utc>) {
        self.timers.set(operation, at);
    }

    /// Puts an operation in the queue if something can be claimed of it now or later, and takes it
    /// out otherwise, if it may stand there (`was_queued`). Lower ranks go first. Answers whether it
    /// stands there now.
    pub fn queue(&mut self, run: &Run, rank: DateTime<Utc>, was_queued: bool) -> bool {
        let demands = run.demands();
        if demands.is_empty() {
            if was_queued {
                self.not_ready.push(run.id());
            }
            return false;
        }
        let lane = run.jobset().scheduling.lane.as_deref();
        for (labels, due) in demands {
            self.ready.operation.push(run.id());
            self.ready.class.push(class(lane, labels));
            self.ready.rank.push(rank);
            self.ready.due.push(due);
        }
        if run.jobset().needs.count() > 1 {
            self.trimmed.push(run.id());
        }
        true
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

    /// The row of an operation as it stands now. What its changes are beside that, is added.
    fn row(&mut self, run: &mut Run, is_new: bool, flags: i16) -> Row {
        if let Some(timer) = run.take_timer() {
            self.add_timer(run.id(), timer);
        }
        let changes = run.take_changes();
        let is_chunked = run.steps().len() > CHUNK;
        if is_chunked {
            let touched: BTreeSet<usize> = if is_new {
                (0..run.steps().len().div_ceil(CHUNK)).collect()
            } else {
                changes.moved.iter().map(|step| *step as usize / CHUNK).collect()
            };
            self.add_chunks(run, touched);
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
        for event in changes.events {
            self.add_event(run.id(), event);
        }
        Row {
            id: run.id(),
            state: run.state().code(),
            stop: run.stop().map(Stop::code),
            flags,
            version: run.version(),
            entered: run.entered(),
            steps: if is_chunked { Vec::new() } else { pack_steps(run.steps()) },
            open: pack_open(run.open(), run.notes()),
            clock,
        }
    }

    /// Stores these chunks of an operation as they stand now.
    fn add_chunks(&mut self, run: &Run, chunks: impl IntoIterator<Item = usize>) {
        for chunk in chunks {
            let first = chunk * CHUNK;
            let steps = first..run.steps().len().min(first + CHUNK);
            self.chunks.operation.push(run.id());
            self.chunks.chunk.push(int(u32::try_from(chunk).unwrap_or(u32::MAX)));
            self.chunks.steps.push(pack_steps(&run.steps()[steps.clone()]));
            self.chunks.moved.push(run.moved().get(steps).map(pack_moved));
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
}
