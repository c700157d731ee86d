//! Moving a step of a run, and what follows by itself.
//!
//! What follows is found by [`Run::consider`], for the step that moved and those whose guards name
//! it, and carried out by [`Run::unfold`].

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::action::{Action, Actor};
use super::changes::{Cut, Fact, Kill, KillHow};
use super::jobset::{Jobset, Role};
use super::machine::{Condition, Rule, Target};
use super::run::{Incarnation, OpenAttempt, Run};
use super::state::{Phase, StepState};

/// What the engine does next with a step.
enum Next {
    /// Gives an attempt of it to a worker.
    Claim,
    /// Takes an action.
    Act(Action),
    /// Nothing.
    Wait,
}

impl Run {
    /// Whether the guards that the jobset puts on a rule hold; its condition is not asked.
    pub(super) fn guards_hold(&self, jobset: &Jobset, n: u32, rule: &Rule) -> bool {
        let mut extras = jobset.extras_of(n).iter().filter(|(on, _)| on.is_on(rule));
        extras.all(|(_, guard)| jobset.guards.holds(&self.counters, *guard))
    }

    /// Whether all guards of a rule hold, those of its condition too.
    pub(super) fn holds(&self, n: u32, rule: &Rule) -> bool {
        let jobset = &*self.jobset;
        let is_entered =
            rule.condition != Condition::Entry || jobset.guards.holds(&self.counters, n);
        is_entered && self.guards_hold(jobset, n, rule)
    }

    /// Whether no automatic rule can ever take step `n` out of `state`.
    pub(super) fn is_dead(&self, jobset: &Jobset, n: u32, state: StepState) -> bool {
        jobset.machine(n).automatic(state).all(|rule| {
            let is_shut =
                rule.condition == Condition::Entry && jobset.guards.is_dead(&self.counters, n);
            let mut extras = jobset.extras_of(n).iter().filter(|(on, _)| on.is_on(rule));
            is_shut || extras.any(|(_, guard)| jobset.guards.is_dead(&self.counters, *guard))
        })
    }

    /// The state that [`Target::Before`] stands for.
    pub(super) fn before(&self, n: u32) -> StepState {
        let remembered = self.notes.get(&n).and_then(|note| note.before.last()).copied();
        remembered.unwrap_or(self.jobset.machine(n).initial)
    }

    /// Where a rule leads step `n`.
    pub(super) fn target(&self, n: u32, rule: &Rule) -> StepState {
        match rule.to {
            Target::State(state) => state,
            Target::Before => self.before(n),
        }
    }

    /// The rule by which `action` moves step `n` now; among several the first one whose guards hold.
    pub(super) fn rule(&self, n: u32, action: Action) -> Option<Rule> {
        let jobset = &self.jobset;
        let rules = jobset.machine(n).rules_from(self.steps[n as usize]).iter();
        let mut rules = rules.filter(|rule| rule.action == action);
        rules.find(|rule| self.guards_hold(jobset, n, rule)).copied()
    }

    /// Takes `action` on step `n`, which a rule must allow. The open attempt of the step must be
    /// filed before, as it is to be afterwards.
    pub(super) fn act(
        &mut self,
        n: u32,
        action: Action,
        named: (u32, Option<Incarnation>),
        now: DateTime<Utc>,
    ) {
        let rule = self
            .rule(n, action)
            .expect("a decision takes only actions that a rule allows in the step's state");
        self.follow(n, &rule, named, now);
    }

    /// Moves step `n` by `rule` and looks at the steps that watch it.
    pub(super) fn follow(
        &mut self,
        n: u32,
        rule: &Rule,
        (attempt, worker): (u32, Option<Incarnation>),
        now: DateTime<Utc>,
    ) {
        let jobset = Arc::clone(&self.jobset);
        let (from, action, to) = (rule.from, rule.action, self.target(n, rule));
        let stamp = self.stamp_move(n, rule);
        if rule.remembers {
            self.note(n, |note| note.before.push(from));
        } else if rule.to == Target::Before {
            self.note(n, |note| _ = note.before.pop());
        }
        self.steps[n as usize] = to;
        self.changes.moved.push(n);
        self.counts[usize::from(from.class().code())] -= 1;
        self.counts[usize::from(to.class().code())] += 1;
        let fact = Fact::Moved { step: n, attempt, action, from, to, worker };
        self.record_stamped(fact, stamp, now);
        jobset.guards.moved(&mut self.counters, n, from, to);
        if self.stop.is_some() {
            if action == Action::CANCEL && attempt > 0 {
                let is_lost = from == StepState::UNRESPONSIVE;
                let cut = if is_lost { Cut::Unknown } else { Cut::Interrupted };
                self.changes.cut.push((n, cut));
            }
            return self.consider(&jobset, n);
        }
        if from != to {
            self.leave(n, rule);
        }
        // An outcome may lead to the same work once more.
        if from != to || rule.actor == Actor::Worker {
            self.enter_work(n, to, now);
        }
        self.consider(&jobset, n);
        let revives = from.is_ended() && !to.is_ended();
        for guard in jobset.guards.watchers(n) {
            let watcher = jobset.owner(guard);
            if revives && self.steps[watcher as usize] == StepState::UNREACHABLE {
                self.agenda.push(watcher);
            }
            self.consider(&jobset, watcher);
        }
    }

    /// A worker's attempt is ended when the step leaves the state that it was run for.
    fn leave(&mut self, n: u32, rule: &Rule) {
        let is_left = rule.from.class() == StepState::RUNNING
            && matches!(rule.actor, Actor::Engine | Actor::Operator);
        let Some(open) = self.open.get_mut(&n).filter(|open| is_left && !open.leaving) else {
            return;
        };
        if let Some(worker) = open.holder {
            open.leaving = true;
            let attempt = open.attempt;
            let how = KillHow::Interrupt;
            self.changes.kills.push(Kill { worker, step: n, attempt, how });
        }
    }

    /// Work that was not entered by a worker's claim waits for one.
    fn enter_work(&mut self, n: u32, to: StepState, now: DateTime<Utc>) {
        if to.class() != StepState::RUNNING {
            return;
        }
        let next = self.open.get(&n).copied().unwrap_or(OpenAttempt::fresh(1, now));
        if next.holder.is_none() {
            let since = if next.admitted { next.since } else { now };
            self.set_open(n, Some(OpenAttempt { admitted: true, since, ..next }));
        }
    }

    fn next(&self, jobset: &Jobset, n: u32) -> Next {
        let state = self.steps[n as usize];
        let machine = jobset.machine(n);
        let open = self.open.get(&n);
        let is_held = open.is_some_and(|open| open.holder.is_some());
        let is_admitted =
            !is_held && open.is_some_and(|open| open.admitted) && machine.takes_attempts(state);
        if !is_admitted && jobset.waits_for_end(n) {
            return Next::Wait;
        }
        // From one work to another the engine goes by itself, and ends the attempt of the first.
        let is_working = state.class() == StepState::RUNNING;
        for rule in machine.automatic(state) {
            let enters_work = !is_working && self.target(n, rule).class() == StepState::RUNNING;
            // The guard admits a step to its first attempt. A further attempt continues what was
            // begun: its failure must not be hidden by calling it unreachable.
            if enters_work && is_admitted || !self.holds(n, rule) {
                continue;
            }
            return match (enters_work, is_held) {
                (true, true) => Next::Wait,
                (true, false) => Next::Claim,
                (false, _) => Next::Act(rule.action),
            };
        }
        if is_admitted {
            Next::Claim
        } else if state.phase() == Phase::Pending
            && jobset.step(n).role != Role::Ensure
            && self.is_dead(jobset, n, state)
        {
            Next::Act(Action::CLOSE)
        } else {
            Next::Wait
        }
    }

    /// Files step `n` by what its machine, its guards and its open attempt say. Of an operation that
    /// is being stopped nothing goes on but what was admitted for its end.
    pub(super) fn consider(&mut self, jobset: &Jobset, n: u32) {
        let state = self.steps[n as usize];
        let is_over = self.stop.is_some() && !jobset.is_for_end(n);
        if is_over || state.is_ended() {
            return self.unfile(n);
        }
        match self.next(jobset, n) {
            Next::Claim => self.file(jobset, n),
            Next::Act(_) if self.stop.is_some() => self.unfile(n),
            Next::Act(_) => {
                self.unfile(n);
                self.agenda.push(n);
            }
            Next::Wait => self.unfile(n),
        }
    }

    /// Lets step `n` be claimed, at once or when its time has come.
    fn file(&mut self, jobset: &Jobset, n: u32) {
        let admitted = self.open.get(&n).filter(|open| open.admitted);
        match admitted.map(|open| open.since) {
            // Once its time has come it stays claimable, whatever its neighbours do.
            Some(since) => self.queue.add_at(n, since),
            None if self.stop.is_some() => return self.unfile(n),
            None => self.queue.add(n),
        }
        if jobset.step(n).has_timer() {
            self.set_timer(n);
        }
    }

    /// Step `n` does not wait for a worker any more.
    pub(super) fn unfile(&mut self, n: u32) {
        self.queue.remove(n);
        if let Some(open) = self.open.get_mut(&n) {
            open.queued = false;
        }
    }

    /// Whether step `n` waits for its back-off to pass.
    pub(super) fn is_backing_off(&self, n: u32) -> bool {
        self.queue.due(n).is_some()
    }

    /// Carries out what follows by itself: automatic transitions, the closing of what can never
    /// move any more, the reopening of what can again. Ends because no machine has a cycle of
    /// automatic transitions without work, and only clients revive what has ended.
    pub(super) fn unfold(&mut self, now: DateTime<Utc>) {
        let jobset = Arc::clone(&self.jobset);
        while let Some(n) = self.agenda.pop() {
            let state = self.steps[n as usize];
            let action = if state == StepState::UNREACHABLE {
                let is_alive = !self.is_dead(&jobset, n, self.before(n));
                is_alive.then_some(Action::REOPEN)
            } else if state.is_ended() {
                None
            } else {
                match self.next(&jobset, n) {
                    Next::Act(action) => Some(action),
                    Next::Claim | Next::Wait => None,
                }
            };
            if let Some(action) = action {
                self.act(n, action, (self.latest(n), None), now);
            }
        }
    }

    /// Whether nothing automatic is left: no attempt is open, no step can be claimed, no person is
    /// asked. Steps that still wait then wait for each other.
    pub(super) fn is_stuck(&self) -> bool {
        self.in_hands == 0
            && self.count_phase(Phase::Held) == 0
            && self.queue.is_empty()
            && self.agenda.is_empty()
            && self.count_phase(Phase::Pending) > 0
    }

    /// Closes the steps that wait for each other. One that watches for `Unreachable` may yet be
    /// opened by this, so it is left for a later round unless nothing else is left.
    pub(super) fn close_stuck(&mut self, now: DateTime<Utc>) {
        let waiting = |run: &Self, n: u32| run.steps[n as usize].phase() == Phase::Pending;
        let jobset = Arc::clone(&self.jobset);
        let watches_unreachable = |n: u32| {
            let guards = std::iter::once(n).chain(jobset.extras_of(n).iter().map(|(_, g)| *g));
            guards.into_iter().any(|guard| {
                let mut groups = jobset.guards.clauses(guard).flatten();
                groups.any(|(_, terms)| {
                    terms.iter().any(|term| term.states.has(StepState::UNREACHABLE))
                })
            })
        };
        let all: Vec<u32> = (0..jobset.len()).filter(|n| waiting(self, *n)).collect();
        let mut chosen: Vec<u32> =
            all.iter().copied().filter(|n| !watches_unreachable(*n)).collect();
        if chosen.is_empty() {
            chosen.extend(all.first());
        }
        for n in chosen {
            if waiting(self, n) && matches!(self.next(&jobset, n), Next::Wait) {
                self.act(n, Action::CLOSE, (self.latest(n), None), now);
            }
        }
    }
}
