//! One turn of a lane: the decisions of a batch, what has to be stored for them, and what follows
//! once it is stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Shared;
use super::command::{
    Ask, Command, ContextPatch, Expire, Held, Report, StopAnswer, StopAsked, Submit,
};
use super::deal::{Found, LeftOver, rank};
use super::ends::{cancellation, given_up, never_begun, stopped};
use super::error::EngineError;
use super::idempotency::{Accepted, Keys};
use super::lane::Cached;
use super::live::{Span, Spans};
use super::place::{Place, assignment};
use super::seat::Assignment;
use super::submit::Begun;
use crate::domain::decide::{Stale, Stopped};
use crate::domain::{Incarnation, Stop};
use crate::store::{
    AttemptRecord, Batch, HAS_DATA, HAS_RESULT, Known, NewOperation, OperationData, Standing,
    StoreError,
};

/// What changes beside the row of an operation.
#[derive(Default)]
pub(super) struct Data {
    pub(super) stored: OperationData,
    /// The version of the context.
    version: i32,
}

/// The decisions of one batch.
pub(super) struct Turn {
    pub(super) shared: Arc<Shared>,
    pub(super) lane: usize,
    pub(super) now: DateTime<Utc>,
    pub(super) batch: Batch,
    /// The runs that were changed.
    pub(super) touched: BTreeSet<Uuid>,
    /// The events that they got.
    spans: Spans,
    /// What clients called the submissions of this turn.
    keys: Keys,
    /// Runs made in this turn, with what is stored beside them.
    new: HashMap<Uuid, NewOperation>,
    pub(super) data: HashMap<Uuid, Data>,
    /// Operations that were claimable but were not changed; their place in the queue is set anew.
    pub(super) looked_at: Vec<Uuid>,
    /// The seats, with what this turn claimed for each.
    pub(super) places: Vec<Place>,
    compiled: Vec<Arc<super::jobsets::Compiled>>,
    /// How workers stand, as far as it was asked.
    pub(super) standings: HashMap<Incarnation, Standing>,
    /// The workers that are ordered to end attempts.
    ordered: Vec<Incarnation>,
    /// The earliest time at which something can be claimed that cannot be now.
    next_due: Option<DateTime<Utc>>,
    left_over: LeftOver,
    /// What was found in the queue, if it was looked at.
    pub(super) found: Option<Found>,
}

impl Turn {
    pub(super) fn new(shared: &Arc<Shared>, lane: usize, keys: Keys) -> Self {
        Self {
            shared: Arc::clone(shared),
            lane,
            now: shared.clock.now(),
            batch: Batch::default(),
            touched: BTreeSet::new(),
            spans: Spans::new(),
            keys,
            new: HashMap::new(),
            data: HashMap::new(),
            looked_at: Vec::new(),
            places: shared.seats.all().into_iter().map(Place::new).collect(),
            compiled: Vec::new(),
            standings: HashMap::new(),
            ordered: Vec::new(),
            next_due: None,
            left_over: LeftOver::default(),
            found: None,
        }
    }

    /// Decides on one command.
    pub(super) async fn carry_out(
        &mut self,
        command: &mut Command,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> Result<(), EngineError> {
        match command {
            Command::Submit(ask) => self.submit(ask, runs),
            Command::Settle(ask) => return self.settle(ask, runs).await,
            Command::Stop(ask) => self.stop(ask, runs),
            Command::Lease(ask) => return self.lease(ask, runs).await,
            Command::Expire(ask) => self.expire(ask, runs),
            Command::Admit(ask) => self.admit(ask, runs),
            Command::Held(ask) => held(ask, runs),
            Command::Patch(ask) => return self.patch(ask, runs).await,
            Command::Steer(ask) => return self.steer(ask, runs).await,
        }
        Ok(())
    }

    fn submit(&mut self, ask: &mut Ask<Submit, Accepted>, runs: &mut HashMap<Uuid, Cached>) {
        if let Some(answer) = ask.input.identity.as_ref().and_then(|i| self.keys.answer(i)) {
            return ask.answer(answer);
        }
        ask.answer(Ok(Accepted { id: ask.input.id, at: self.now, is_repeated: false }));
        let Submit { id, jobset, fork, identity, .. } = &ask.input;
        if runs.contains_key(id) {
            return; // Stored by a try whose answer was lost.
        }
        if let Some(identity) = identity {
            self.keys.take(identity, *id, self.now, &mut self.batch);
        }
        if !jobset.is_stored() {
            self.batch.add_jobset(&jobset.record);
            self.compiled.push(Arc::clone(jobset));
        }
        if let Some(fork) = fork {
            let kept = (0..jobset.jobset.len()).filter(|n| !fork.again.contains(n));
            self.batch.add_kept(*id, fork.source, kept);
        }
        let Begun { cached, new, data } = ask.input.begin(self.shared.settings.stamps, self.now);
        if let Some(stored) = data {
            self.data.insert(*id, Data { stored, version: 1 });
        }
        self.new.insert(*id, new);
        runs.insert(*id, cached);
        self.touched.insert(*id);
    }

    async fn settle(
        &mut self,
        ask: &mut Ask<Report, ()>,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> Result<(), EngineError> {
        let report = &ask.input;
        let Some(cached) = runs.get_mut(&report.operation) else {
            ask.answer(Err(EngineError::NotFound));
            return Ok(());
        };
        if cached.run.is_lost(report.step) && !self.may_speak(report.worker).await? {
            let Report { step, attempt, worker, .. } = *report;
            ask.answer(Err(Stale { step, attempt, worker }.into()));
            return Ok(());
        }
        let started = cached.run.open().get(&report.step).map(|open| open.since);
        let Report { step, attempt, worker, ending, .. } = *report;
        let heard = report.heard.as_ref().map(Known::stamp);
        let settled =
            cached.run.settle_having_heard(step, attempt, worker, ending, heard, self.now);
        if let (Ok(()), Some(started)) = (settled, started) {
            self.touched.insert(report.operation);
            if let Some(record) = &report.record {
                cached.flags |= if record.result.is_some() { HAS_RESULT } else { 0 };
                self.batch.add_attempt(AttemptRecord {
                    operation: report.operation,
                    step,
                    attempt,
                    worker,
                    started,
                    ended: self.now,
                    report: record.clone(),
                });
            }
        }
        ask.answer(settled.map_err(EngineError::from));
        Ok(())
    }

    fn stop(&mut self, ask: &mut Ask<StopAsked, StopAnswer>, runs: &mut HashMap<Uuid, Cached>) {
        let asked = &ask.input;
        let Some(cached) = runs.get_mut(&asked.operation) else {
            return ask.answer(Err(EngineError::NotFound));
        };
        if asked.expected.is_some_and(|version| version != cached.run.version()) {
            let version = cached.run.version();
            return ask.answer(Err(EngineError::VersionMismatch(version)));
        }
        if asked.reason != Stop::Deadline && !cached.run.jobset().cancellable {
            return ask.answer(Err(EngineError::NotCancellable));
        }
        let answer = self.stop_run(asked, cached);
        ask.answer(Ok(answer));
    }

    /// Stops a run, and keeps who asked for it.
    pub(super) fn stop_run(&mut self, asked: &StopAsked, cached: &mut Cached) -> StopAnswer {
        let before = cached.run.stop();
        let stopped = cached.run.stop_for(asked.reason, self.now);
        if matches!(stopped, Stopped::Began(_)) {
            self.touched.insert(asked.operation);
            if asked.cancellation.is_some() {
                cached.flags |= HAS_DATA;
                let data = self.data.entry(asked.operation).or_default();
                data.stored.cancellation = cancellation(before, asked);
            }
        }
        StopAnswer { stopped, state: cached.run.state() }
    }

    fn expire(
        &mut self,
        ask: &mut Ask<Expire, Option<DateTime<Utc>>>,
        runs: &mut HashMap<Uuid, Cached>,
    ) {
        let operation = ask.input.operation;
        let Some(cached) = runs.get_mut(&operation) else {
            return ask.answer(Err(EngineError::NotFound));
        };
        if cached.run.expire(self.now) {
            self.touched.insert(operation);
        }
        // What is stored is due; whether it changed is not asked.
        let next = cached.run.next_timer();
        if let Some(next) = next {
            self.batch.add_timer(operation, next);
        }
        ask.answer(Ok(next));
    }

    async fn patch(
        &mut self,
        ask: &mut Ask<ContextPatch, (Value, i32)>,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> Result<(), EngineError> {
        let asked = &ask.input;
        let Some(cached) = runs.get_mut(&asked.operation) else {
            ask.answer(Err(EngineError::NotFound));
            return Ok(());
        };
        if cached.run.state().is_final() {
            ask.answer(Err(EngineError::Ended));
            return Ok(());
        }
        let (context, version) = self.context(asked.operation).await?;
        if asked.expected.is_some_and(|expected| expected != version) {
            ask.answer(Err(EngineError::VersionMismatch(version)));
            return Ok(());
        }
        let answer = self.change_context(cached, context, version, &asked.patch);
        ask.answer(Ok(answer));
        Ok(())
    }

    /// The context of an operation as this turn leaves it so far, and its version.
    pub(super) async fn context(&self, operation: Uuid) -> Result<(Value, i32), EngineError> {
        let pending = self.data.get(&operation);
        if let Some((context, version)) =
            pending.and_then(|data| Some((data.stored.context.clone()?, data.version)))
        {
            return Ok((context, version));
        }
        // Read beside the version of the run, not with it: had somebody changed it in between, the
        // version would not match and all this is decided again.
        let stored = self.shared.store.context(operation).await?;
        Ok(stored.map_or_else(|| (Value::Object(Map::new()), 0), |c| (c.context, c.version)))
    }

    /// Merges `patch` into the context of an operation; answers it and its version.
    pub(super) fn change_context(
        &mut self,
        cached: &mut Cached,
        mut context: Value,
        version: i32,
        patch: &Value,
    ) -> (Value, i32) {
        let operation = cached.run.id();
        merge(&mut context, patch);
        cached.run.change_context(self.now);
        cached.flags |= HAS_DATA;
        self.touched.insert(operation);
        let data = self.data.entry(operation).or_default();
        data.stored.context = Some(context.clone());
        data.version = version + 1;
        (context, version + 1)
    }

    /// Collects what has to be stored.
    pub(super) fn gather(&mut self, runs: &mut HashMap<Uuid, Cached>) {
        let ageing = self.shared.settings.ageing;
        for id in &self.touched {
            let Some(cached) = runs.get_mut(id) else { continue };
            self.ordered.extend(cached.run.kills().iter().map(|kill| kill.worker));
            for expired in &cached.run.changes().expired {
                self.batch.add_attempt(never_begun(&cached.run, expired, self.now));
            }
            for lost in &cached.run.changes().given_up {
                self.batch.add_attempt(given_up(&cached.run, lost, self.now));
            }
            if let Some(stopped) = stopped(&cached.run) {
                cached.flags |= HAS_DATA;
                self.data.entry(*id).or_default().stored.stopped = Some(stopped);
            }
            let (to, ended) = (cached.run.version(), cached.run.state().is_final());
            let span = Span { before: cached.version, to, ended };
            self.spans.insert(*id, span);
            let Cached { run, flags, version, since, queued, .. } = cached;
            let rank = rank(run, *since, ageing);
            *queued = match self.new.remove(id) {
                Some(new) => self.batch.add_new(run, *flags, rank, new),
                None => self.batch.add_changed(run, *version, *flags, rank, *queued),
            };
            self.left_over.note(run, rank, &self.places);
            self.next_due = [self.next_due, cached.run.next_due()].into_iter().flatten().min();
        }
        for place in self.places.iter().filter(|place| !place.assignments.is_empty()) {
            self.batch.require_lease(place.seat.incarnation, &self.shared.name);
        }
        for (id, data) in &mut self.data {
            self.batch.add_data(*id, std::mem::take(&mut data.stored));
        }
        for id in &self.looked_at {
            if let Some(cached) = runs.get_mut(id) {
                let rank = rank(&cached.run, cached.since, ageing);
                cached.queued = self.batch.queue(&cached.run, rank, true);
                self.left_over.note(&cached.run, rank, &self.places);
            }
        }
    }

    /// Stores everything, or nothing.
    pub(super) async fn store(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.batch.is_empty() { Ok(()) } else { self.batch.apply(connection).await }
    }

    /// Gives back what was taken for a batch that was not stored.
    pub(super) fn undo(&self) {
        for place in &self.places {
            place.seat.give(place.assignments.len());
        }
    }

    /// What follows from a batch that is durable.
    pub(super) fn publish(self, shared: &Arc<Shared>) {
        for compiled in &self.compiled {
            compiled.set_stored();
        }
        self.left_over.tell(&shared.lanes[self.lane], self.found.as_ref());
        self.hand_over();
        for place in self.places {
            place.seat.assign(place.assignments);
        }
        let has_foreign_orders = !self.ordered.is_empty() && {
            shared.seats.tell(|worker| self.ordered.contains(&worker));
            let seated = shared.seats.incarnations();
            self.ordered.iter().any(|worker| !seated.contains(worker))
        };
        shared.watches.tell(&self.spans);
        shared.live.changed(&self.spans);
        shared.news.tell(&self.spans, self.left_over.anywhere, has_foreign_orders);
        if self.batch.stirs_admission() {
            shared.admission.notify_one();
        }
        if self.left_over.is_here() {
            shared.lanes[self.lane].look();
        }
        if let Some(due) = self.next_due {
            shared.look_at(self.lane, due);
        }
    }
}

/// What a worker was given of an operation and has not settled.
fn held(ask: &mut Ask<Held, Vec<Assignment>>, runs: &HashMap<Uuid, Cached>) {
    let Held { operation, worker } = ask.input;
    let held = runs.get(&operation).map_or_else(Vec::new, |cached| {
        let claims = cached.run.held(worker);
        claims.iter().map(|claim| assignment(cached, claim, worker)).collect()
    });
    ask.answer(Ok(held));
}

/// RFC 7396: objects are merged, null takes away, anything else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}
