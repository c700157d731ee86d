//! One run of a jobset in memory: the state of every step and what may happen next.
//!
//! A run changes only through the commands in [`super::decide`], which record what they did as
//! [`Event`]s and as the list of steps that moved. Storing those is the caller's affair; a run whose
//! changes could not be stored must be dropped and loaded afresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::guard::Counters;
use super::jobset::Jobset;
use super::machine::{self, Action, Phase, StepState};
use super::operation::{OperationState, Stop};

/// A worker process from its start to its end. Never used again.
pub type Incarnation = i64;

/// An attempt that runs, or that waits for its back-off to pass or for another worker.
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
}

impl OpenAttempt {
    /// Its number and who runs it, as events tell them.
    pub(super) const fn named(&self) -> (u32, Option<Incarnation>) {
        (self.attempt, self.holder)
    }
}

/// Something that happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number within the run, from 1 without gaps.
    pub seq: i32,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub fact: Fact,
    /// The state that the operation entered by it, if it entered one.
    pub state: Option<OperationState>,
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It was made.
    Submitted,
    /// A step went from one state to another.
    Moved {
        /// The number of the step.
        step: u32,
        /// The attempt concerned; 0 where there is none.
        attempt: u32,
        /// Why it moved.
        action: Action,
        /// The state it left.
        from: StepState,
        /// The state it entered.
        to: StepState,
        /// The worker concerned.
        worker: Option<Incarnation>,
    },
    /// It is to end before its natural end.
    StopRequested(Stop),
    /// Its context was changed by a client.
    ContextChanged,
}

/// What has to be stored after a command.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The steps that are in another state than before; may repeat.
    pub moved: Vec<u32>,
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
    /// The state of each step.
    pub steps: Vec<StepState>,
    /// The open attempts by step number.
    pub open: BTreeMap<u32, OpenAttempt>,
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
    pub(super) steps: Vec<StepState>,
    pub(super) open: BTreeMap<u32, OpenAttempt>,
    pub(super) counts: [u32; StepState::ALL.len()],
    counters: Counters,
    /// Steps that may be claimed now.
    pub(super) runnable: BTreeSet<u32>,
    /// Steps that may be claimed later, by the time.
    pub(super) backing_off: BTreeSet<(DateTime<Utc>, u32)>,
    /// Steps whose guard became dead and that were not looked at yet.
    closing: Vec<u32>,
    changes: Changes,
}

impl Run {
    pub(super) fn fresh(id: Uuid, jobset: Arc<Jobset>, now: DateTime<Utc>) -> Self {
        let steps = vec![jobset.initial_state(); jobset.steps.len()];
        let mut counts = [0; StepState::ALL.len()];
        counts[usize::from(jobset.initial_state().code())] = jobset.len();
        let counters = jobset.fresh.clone();
        Self::build(
            id,
            jobset,
            Snapshot {
                state: OperationState::NotStarted,
                stop: None,
                version: 0,
                entered: now,
                steps,
                open: BTreeMap::new(),
            },
            counts,
            counters,
        )
    }

    /// The run that was stored as `snapshot`. The snapshot must fit the jobset: as many steps, and
    /// open attempts of these steps only.
    #[must_use]
    pub fn restore(id: Uuid, jobset: Arc<Jobset>, snapshot: Snapshot) -> Self {
        let counters = jobset.guards.count(&snapshot.steps);
        let mut counts = [0; StepState::ALL.len()];
        for state in &snapshot.steps {
            counts[usize::from(state.code())] += 1;
        }
        Self::build(id, jobset, snapshot, counts, counters)
    }

    fn build(
        id: Uuid,
        jobset: Arc<Jobset>,
        snapshot: Snapshot,
        counts: [u32; StepState::ALL.len()],
        counters: Counters,
    ) -> Self {
        let mut run = Self {
            id,
            jobset,
            state: snapshot.state,
            stop: snapshot.stop,
            version: snapshot.version,
            entered: snapshot.entered,
            steps: snapshot.steps,
            open: snapshot.open,
            counts,
            counters,
            runnable: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            closing: Vec::new(),
            changes: Changes::default(),
        };
        if !run.state.is_final() && run.count(StepState::Waiting) > 0 {
            for n in 0..run.jobset.len() {
                run.consider(n);
            }
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

    /// The open attempts by step number.
    #[must_use]
    pub const fn open(&self) -> &BTreeMap<u32, OpenAttempt> {
        &self.open
    }

    /// How many steps are in `state`.
    #[must_use]
    pub const fn count(&self, state: StepState) -> u32 {
        self.counts[state.code() as usize]
    }

    /// How many steps are in a state of that phase.
    #[must_use]
    pub fn count_phase(&self, phase: Phase) -> u32 {
        StepState::ALL.into_iter().filter(|s| s.phase() == phase).map(|s| self.count(s)).sum()
    }

    /// How many steps could be claimed right now.
    #[must_use]
    pub fn claimable(&self) -> usize {
        if self.state.is_final() || self.stop.is_some() {
            return 0;
        }
        let free = self.jobset.max_concurrency.map_or(usize::MAX, |most| {
            most.saturating_sub(self.count_phase(Phase::Active)) as usize
        });
        self.runnable.len().min(free)
    }

    /// When the next back-off passes.
    #[must_use]
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        if self.state.is_final() || self.stop.is_some() {
            return None;
        }
        self.backing_off.first().map(|(due, _)| *due)
    }

    /// What was done since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Lets steps whose back-off has passed be claimed.
    pub fn advance(&mut self, now: DateTime<Utc>) {
        while let Some((due, n)) = self.backing_off.first().copied()
            && due <= now
        {
            self.backing_off.pop_first();
            self.runnable.insert(n);
        }
    }

    pub(super) fn record(&mut self, fact: Fact, now: DateTime<Utc>) {
        self.version += 1;
        self.changes.events.push(Event { seq: self.version, at: now, fact, state: None });
    }

    /// Enters a state of the operation; told by the last event recorded.
    pub(super) fn enter(&mut self, state: OperationState, now: DateTime<Utc>) {
        if self.state != state {
            self.state = state;
            self.entered = now;
            self.note_state(state);
        }
    }

    /// Tells a state with the last event although it is not new.
    pub(super) fn note_state(&mut self, state: OperationState) {
        if let Some(event) = self.changes.events.last_mut() {
            event.state = Some(state);
        }
    }

    /// Takes `action` on step `n`, which a rule must allow, and looks at the steps that watch it.
    /// The open attempt of the step must be filed before, as it is to be afterwards.
    pub(super) fn act(
        &mut self,
        n: u32,
        action: Action,
        (attempt, worker): (u32, Option<Incarnation>),
        now: DateTime<Utc>,
    ) {
        let from = self.steps[n as usize];
        let to = machine::target(from, action)
            .expect("a decision takes only actions that a rule allows in the step's state");
        self.steps[n as usize] = to;
        self.counts[usize::from(from.code())] -= 1;
        self.counts[usize::from(to.code())] += 1;
        self.changes.moved.push(n);
        self.record(Fact::Moved { step: n, attempt, action, from, to, worker }, now);
        let jobset = Arc::clone(&self.jobset);
        jobset.guards.moved(&mut self.counters, n, from, to);
        if self.stop.is_some() {
            return;
        }
        if from == StepState::Waiting {
            self.runnable.remove(&n);
        }
        for watcher in jobset.guards.watchers(n) {
            self.consider(watcher);
        }
    }

    /// Files step `n` by what its guard and its open attempt say.
    pub(super) fn consider(&mut self, n: u32) {
        if self.steps[n as usize] != StepState::Waiting {
            return;
        }
        // The guard admits a step to its first attempt. A further attempt continues what was
        // begun: its failure must not be hidden by calling it unreachable.
        if let Some(open) = self.open.get(&n) {
            // Once its time has come it stays claimable, whatever its neighbours do.
            if !self.runnable.contains(&n) {
                self.backing_off.insert((open.since, n));
            }
        } else if self.jobset.guards.holds(&self.counters, n) {
            self.runnable.insert(n);
        } else {
            self.runnable.remove(&n);
            if self.jobset.guards.is_dead(&self.counters, n) {
                self.closing.push(n);
            }
        }
    }

    /// Closes every step whose guard can never hold any more, and what follows from that.
    pub(super) fn close_dead(&mut self, now: DateTime<Utc>) {
        while let Some(n) = self.closing.pop() {
            let waits = self.steps[n as usize] == StepState::Waiting && !self.open.contains_key(&n);
            if waits && self.jobset.guards.is_dead(&self.counters, n) {
                self.act(n, Action::Close, (0, None), now);
            }
        }
    }

    /// Whether nothing automatic is left: no attempt is open, no step can be claimed, no person is
    /// asked. Steps that still wait then wait for each other.
    pub(super) fn is_stuck(&self) -> bool {
        self.count_phase(Phase::Active) == 0
            && self.count_phase(Phase::Held) == 0
            && self.runnable.is_empty()
            && self.backing_off.is_empty()
            && self.closing.is_empty()
            && self.count(StepState::Waiting) > 0
    }

    /// Closes the steps that wait for each other. One that watches for `Unreachable` may yet be
    /// opened by this, so it is left for a later round unless nothing else is left.
    pub(super) fn close_stuck(&mut self, now: DateTime<Utc>) {
        let waiting = |run: &Self, n: &u32| run.steps[*n as usize] == StepState::Waiting;
        let watches_unreachable =
            |run: &Self, n: u32| {
                run.jobset.guards.clauses(n).flatten().any(|(_, terms)| {
                    terms.iter().any(|term| term.states.has(StepState::Unreachable))
                })
            };
        let all: Vec<u32> = (0..self.jobset.len()).filter(|n| waiting(self, n)).collect();
        let mut chosen: Vec<u32> =
            all.iter().copied().filter(|n| !watches_unreachable(self, *n)).collect();
        if chosen.is_empty() {
            chosen.extend(all.first());
        }
        for n in chosen {
            if waiting(self, &n) && !self.runnable.contains(&n) {
                self.act(n, Action::Close, (0, None), now);
            }
        }
    }
}
