//! One run of a jobset in memory: the state of every step and what may happen next.
//!
//! A run changes only through the commands in [`super::decide`], which record what they did as
//! [`Event`]s and as the list of steps that moved. Storing those is the caller's affair; a run whose
//! changes could not be stored must be dropped and loaded afresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::changes::{Changes, Event, Fact, Kill};
use super::guard::Counters;
use super::jobset::Jobset;
use super::needs::Labels;
use super::operation::{OperationState, Stop};
use super::profile::Profile;
use super::queue::Queue;
use super::stamps::Stamps;
use super::state::{Phase, StepState};
use crate::itc::{self, Stamp};

/// A worker process from its start to its end. Never used again.
pub type Incarnation = i64;

/// The attempt that a worker runs, or the next one of a step that has had some or was admitted to
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How many attempts of the step failed before it.
    pub failures: u32,
    /// How many attempts of the step were lost with their worker before it.
    pub losses: u32,
    /// Who runs it; `None` while it waits.
    pub holder: Option<Incarnation>,
    /// When it began to run or, while it waits, from when on it may run.
    pub since: DateTime<Utc>,
    /// Whether the guards were passed: it runs as soon as its time has come. Otherwise they are
    /// asked as for a first attempt.
    pub admitted: bool,
    /// Whether the step has left the state that it was run for. Its process is being ended, and the
    /// step gets no other attempt before it is gone.
    pub leaving: bool,
    /// Whether it waits for a worker since `since` although it was not admitted: it gives up when it
    /// has waited too long.
    pub queued: bool,
}

impl OpenAttempt {
    /// The attempt number `attempt`, which has to ask the guards.
    pub(super) const fn fresh(attempt: u32, now: DateTime<Utc>) -> Self {
        let (holder, since) = (None, now);
        let (admitted, leaving, queued) = (false, false, false);
        Self { attempt, failures: 0, losses: 0, holder, since, admitted, leaving, queued }
    }

    /// Its number and who runs it, as events tell them.
    pub(super) const fn named(&self) -> (u32, Option<Incarnation>) {
        (self.attempt, self.holder)
    }
}

/// What is remembered of a step beside its state; most have nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The states it goes back to, the next one last.
    pub before: Vec<StepState>,
    /// Whether it is held when it fails, if an operator said so.
    pub hold: Option<bool>,
    /// When its first attempt began, of a step whose attempts may take only so long together.
    pub first: Option<DateTime<Utc>>,
}

impl Note {
    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.hold.is_none() && self.first.is_none()
    }
}

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the operation.
    pub state: OperationState,
    /// Why it is being stopped, if it is.
    pub stop: Option<Stop>,
    /// The number of its last event.
    pub version: i32,
    /// When it entered `state`.
    pub entered: DateTime<Utc>,
    /// When its last event happened.
    pub last: DateTime<Utc>,
    /// The state of each step.
    pub steps: Vec<StepState>,
    /// The number of the event by which each step last moved, 0 for none; empty where that is not
    /// kept.
    pub moved: Vec<i32>,
    /// The open attempts by step number.
    pub open: BTreeMap<u32, OpenAttempt>,
    /// What is remembered of steps, by number.
    pub notes: BTreeMap<u32, Note>,
    /// Whether nothing new is started.
    pub paused: bool,
    /// Whether it has not been admitted yet: nothing at all is started.
    pub gated: bool,
    /// What the stamps of further events are made from; `None` if there was no event yet.
    pub stamps: Option<Stamps>,
}

impl Snapshot {
    /// A run whose steps are in these states and to which nothing has happened yet.
    pub(super) fn fresh(steps: Vec<StepState>, now: DateTime<Utc>) -> Self {
        Self {
            state: OperationState::NotStarted,
            stop: None,
            version: 0,
            entered: now,
            last: now,
            moved: vec![0; steps.len()],
            steps,
            open: BTreeMap::new(),
            notes: BTreeMap::new(),
            paused: false,
            gated: false,
            stamps: None,
        }
    }
}

/// One run of a jobset in memory.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) id: Uuid,
    pub(super) jobset: Arc<Jobset>,
    pub(super) state: OperationState,
    pub(super) stop: Option<Stop>,
    pub(super) version: i32,
    pub(super) entered: DateTime<Utc>,
    pub(super) last: DateTime<Utc>,
    pub(super) steps: Vec<StepState>,
    pub(super) moved: Vec<i32>,
    pub(super) open: BTreeMap<u32, OpenAttempt>,
    pub(super) notes: BTreeMap<u32, Note>,
    pub(super) paused: bool,
    pub(super) gated: bool,
    pub(super) stamps: Stamps,
    /// How many attempts workers have.
    pub(super) in_hands: u32,
    /// How many steps are in each class of states.
    pub(super) counts: [u32; StepState::DEFAULT.len()],
    pub(super) counters: Counters,
    /// The steps that wait for a worker.
    pub(super) queue: Queue,
    /// When time is up next, as it is stored.
    pub(super) timer: Option<DateTime<Utc>>,
    /// Steps that may have to be moved on by the engine.
    pub(super) agenda: Vec<u32>,
    pub(super) changes: Changes,
}

impl Run {
    pub(super) fn fresh(id: Uuid, jobset: Arc<Jobset>, now: DateTime<Utc>) -> Self {
        let steps = jobset.steps.iter().map(|step| step.initial).collect();
        let counters = jobset.fresh.clone();
        let snapshot = Snapshot::fresh(steps, now);
        Self::build(id, jobset, snapshot, counters)
    }

    /// The run that was stored as `snapshot`. The snapshot must fit the jobset: as many steps, and
    /// open attempts of these steps only.
    #[must_use]
    pub fn restore(id: Uuid, jobset: Arc<Jobset>, snapshot: Snapshot) -> Self {
        let counters = jobset.guards.count(&snapshot.steps);
        Self::build(id, jobset, snapshot, counters)
    }

    fn build(id: Uuid, jobset: Arc<Jobset>, snapshot: Snapshot, counters: Counters) -> Self {
        let mut counts = [0; StepState::DEFAULT.len()];
        for state in &snapshot.steps {
            counts[usize::from(state.class().code())] += 1;
        }
        let stamps = snapshot.stamps.unwrap_or_else(|| Stamps::fresh(Stamp::seed()));
        let in_hands = snapshot.open.values().filter(|open| open.holder.is_some()).count();
        let queue = Queue::new(Arc::clone(&jobset.needs));
        let mut run = Self {
            id,
            jobset,
            state: snapshot.state,
            stop: snapshot.stop,
            version: snapshot.version,
            entered: snapshot.entered,
            last: snapshot.last,
            steps: snapshot.steps,
            moved: snapshot.moved,
            open: snapshot.open,
            notes: snapshot.notes,
            paused: snapshot.paused,
            gated: snapshot.gated,
            stamps,
            in_hands: u32::try_from(in_hands).unwrap_or(u32::MAX),
            counts,
            counters,
            queue,
            timer: None,
            agenda: Vec::new(),
            changes: Changes::default(),
        };
        if !run.state.is_final() {
            run.complete_stamps();
        }
        if !run.state.is_final() && run.count_phase(Phase::Ended) < run.jobset.len() {
            let jobset = Arc::clone(&run.jobset);
            for n in 0..jobset.len() {
                run.consider(&jobset, n);
            }
        }
        if run.version > 0 {
            run.timer = run.next_timer();
        }
        run
    }

    /// The operation's id.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// What is run.
    #[must_use]
    pub const fn jobset(&self) -> &Arc<Jobset> {
        &self.jobset
    }

    /// The state of the operation.
    #[must_use]
    pub const fn state(&self) -> OperationState {
        self.state
    }

    /// Why it is being stopped, if it is.
    #[must_use]
    pub const fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The number of its last event; every change of the run raises it.
    #[must_use]
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// When it entered its state.
    #[must_use]
    pub const fn entered(&self) -> DateTime<Utc> {
        self.entered
    }

    /// The state of each step.
    #[must_use]
    pub fn steps(&self) -> &[StepState] {
        &self.steps
    }

    /// The number of the event by which each step last moved, 0 for none; empty where that is not
    /// kept.
    #[must_use]
    pub fn moved(&self) -> &[i32] {
        &self.moved
    }

    /// The open attempts by step number.
    #[must_use]
    pub const fn open(&self) -> &BTreeMap<u32, OpenAttempt> {
        &self.open
    }

    /// What is remembered of steps, by number.
    #[must_use]
    pub const fn notes(&self) -> &BTreeMap<u32, Note> {
        &self.notes
    }

    /// Whether nothing new is started.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether it has not been admitted yet.
    #[must_use]
    pub const fn is_gated(&self) -> bool {
        self.gated
    }

    /// How many attempts workers have.
    #[must_use]
    pub const fn in_hands(&self) -> u32 {
        self.in_hands
    }

    /// When a worker was last given an attempt of it, as far as the run knows; otherwise when it
    /// entered its state.
    #[must_use]
    pub fn last_given(&self) -> DateTime<Utc> {
        let held = self.open.values().filter(|open| open.holder.is_some());
        held.map(|open| open.since).max().unwrap_or(self.entered)
    }

    /// What was done since it was last taken.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The attempts whose processes must be ended, of the changes not yet taken.
    #[must_use]
    pub fn kills(&self) -> &[Kill] {
        &self.changes.kills
    }

    /// How many steps are in a state of that class.
    #[must_use]
    pub const fn count(&self, class: StepState) -> u32 {
        self.counts[class.class().code() as usize]
    }

    /// How many steps are in a state of that phase.
    #[must_use]
    pub fn count_phase(&self, phase: Phase) -> u32 {
        StepState::DEFAULT.into_iter().filter(|s| s.phase() == phase).map(|s| self.count(s)).sum()
    }

    /// How many steps could be claimed right now.
    #[must_use]
    pub fn claimable(&self) -> usize {
        if !self.gives_work() {
            return 0;
        }
        let runnable = self.queue.runnable().values().map(BTreeSet::len).sum();
        self.free().min(runnable)
    }

    /// How many steps a worker that offers this could claim right now.
    #[must_use]
    pub fn claimable_by(&self, profile: &Profile) -> usize {
        if !self.gives_work() || !profile.serves(self.jobset.scheduling.lane.as_deref()) {
            return 0;
        }
        let needs = &self.jobset.needs;
        let sets = self.queue.runnable().iter();
        let fit = sets.filter(|(set, _)| profile.has(needs.labels(**set)));
        self.free().min(fit.map(|(_, steps)| steps.len()).sum())
    }

    /// How many more steps may run at once.
    fn free(&self) -> usize {
        let most = self.jobset.max_concurrency;
        most.map_or(usize::MAX, |most| most.saturating_sub(self.in_hands) as usize)
    }

    /// What it waits for workers with: each set of labels that steps require which could be claimed
    /// right now (`None`), or from some time on.
    #[must_use]
    pub fn demands(&self) -> Vec<(&Labels, Option<DateTime<Utc>>)> {
        if !self.gives_work() {
            return Vec::new();
        }
        let later = self.queue.due_by_set().into_iter().map(|(set, due)| (set, Some(due)));
        let mut demands: BTreeMap<u32, Option<DateTime<Utc>>> = later.collect();
        if self.free() > 0 {
            demands.extend(self.queue.runnable().keys().map(|set| (*set, None)));
        }
        let labels = |set| self.jobset.needs.labels(set);
        demands.into_iter().map(|(set, due)| (labels(set), due)).collect()
    }

    /// Whether it gives attempts to workers. A pause holds nothing back that belongs to a stop.
    pub(super) fn gives_work(&self) -> bool {
        !self.state.is_final() && !self.gated && (!self.paused || self.stop.is_some())
    }

    /// When the next back-off passes.
    #[must_use]
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.queue.next_due().filter(|_| self.gives_work())
    }

    /// Takes note that its stamps are stored as they are now.
    pub const fn stamps_stored(&mut self) {
        self.stamps.stored = self.version;
    }

    /// What was done since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Lets steps whose back-off has passed be claimed.
    pub fn advance(&mut self, now: DateTime<Utc>) {
        self.queue.advance(now);
    }

    /// Records an event of the service itself.
    pub(super) fn record(&mut self, fact: Fact, now: DateTime<Utc>) {
        let stamp = self.stamps.of_service();
        self.record_stamped(fact, stamp, now);
    }

    pub(super) fn record_stamped(
        &mut self,
        fact: Fact,
        stamp: Result<Vec<u8>, itc::Error>,
        now: DateTime<Utc>,
    ) {
        self.version += 1;
        // Two servers may decide one after the other, and their clocks differ a little.
        self.last = self.last.max(now);
        let (seq, at, stamp) = (self.version, self.last, stamp.ok());
        if let Fact::Moved { step, .. } = fact
            && let Some(moved) = self.moved.get_mut(step as usize)
        {
            *moved = seq;
        }
        self.changes.events.push(Event { seq, at, fact, state: None, stamp });
    }

    /// Enters a state of the operation; told by the last event recorded.
    pub(super) fn enter(&mut self, state: OperationState, now: DateTime<Utc>) {
        if self.state != state {
            self.state = state;
            self.entered = self.last.max(now);
            self.note_state(state);
        }
    }

    /// Tells a state with the last event although it is not new.
    pub(super) fn note_state(&mut self, state: OperationState) {
        if let Some(event) = self.changes.events.last_mut() {
            event.state = Some(state);
        }
    }

    /// Takes back what was filed, so that nothing is claimed any more.
    pub(super) fn unfile_all(&mut self) {
        self.queue.clear();
        self.agenda.clear();
    }

    /// Files an open attempt, or takes it away.
    pub(super) fn set_open(&mut self, n: u32, open: Option<OpenAttempt>) {
        let is_held = open.is_some_and(|open| open.holder.is_some());
        let before = match open {
            Some(open) => self.open.insert(n, open),
            None => self.open.remove(&n),
        };
        let was_held = before.is_some_and(|open| open.holder.is_some());
        self.in_hands = self.in_hands + u32::from(is_held) - u32::from(was_held);
    }

    /// The number of the step's latest attempt that began, as far as the run remembers.
    pub(super) fn latest(&self, n: u32) -> u32 {
        self.open
            .get(&n)
            .map_or(0, |open| if open.holder.is_some() { open.attempt } else { open.attempt - 1 })
    }

    pub(super) fn note(&mut self, n: u32, change: impl FnOnce(&mut Note)) {
        let note = self.notes.entry(n).or_default();
        change(note);
        if note.is_empty() {
            self.notes.remove(&n);
        }
    }
}
