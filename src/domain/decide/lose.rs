//! Attempts whose worker lost its lease.
//!
//! Two decisions, with some time between them: that they are Unresponsive, which clients see, and
//! that others may have them. In between the worker may be heard of again.

use chrono::{DateTime, Utc};

use crate::domain::action::Action;
use crate::domain::changes::GivenUp;
use crate::domain::operation::OperationState;
use crate::domain::run::{Incarnation, OpenAttempt, Run};
use crate::domain::state::StepState;

impl Run {
    pub(super) fn held_by(&self, worker: Incarnation) -> Vec<(u32, OpenAttempt)> {
        let held = self.open.iter().filter(|(_, open)| open.holder == Some(worker));
        held.map(|(step, open)| (*step, *open)).collect()
    }

    /// Takes note that `worker` lost its lease: what it ran is Unresponsive. Answers how many attempts
    /// it holds.
    pub fn lose(&mut self, worker: Incarnation, now: DateTime<Utc>) -> usize {
        let held = self.held_by(worker);
        for (step, open) in &held {
            if !open.leaving {
                self.note_loss(*step, *open, now);
            }
        }
        if !held.is_empty() {
            self.conclude(now);
        }
        held.len()
    }

    /// Takes note that `worker` renewed its lease before others could have what it runs: all of it
    /// goes on. Answers how many attempts it holds.
    pub fn recover(&mut self, worker: Incarnation, now: DateTime<Utc>) -> usize {
        let held = self.held_by(worker);
        for (step, open) in &held {
            self.note_recovery(*step, *open, now);
        }
        if !held.is_empty() {
            self.conclude(now);
        }
        held.len()
    }

    /// Takes all its attempts from `worker`, whose incarnation is over. Each is given to another worker as
    /// a new attempt, unless `budget` attempts of the step were lost before, or the operation is being
    /// stopped. Answers how many attempts it held.
    pub fn rescue(&mut self, worker: Incarnation, budget: u32, now: DateTime<Utc>) -> usize {
        let held = self.held_by(worker);
        for (step, open) in &held {
            let losses = open.losses + 1;
            if open.leaving {
                self.release(*step, *open, now);
            } else if self.goes_on(*step) && losses <= budget {
                self.requeue(*step, *open, losses, now);
            } else {
                self.give_up(*step, *open, now);
            }
        }
        if !held.is_empty() {
            self.conclude(now);
        }
        held.len()
    }

    /// Whether the worker that has an attempt of `step` lost its lease.
    #[must_use]
    pub fn is_lost(&self, step: u32) -> bool {
        self.steps[step as usize].class() == StepState::UNRESPONSIVE
    }

    /// The operation is a zombie while nothing is left that could move it on but attempts that are
    /// Unresponsive, and runs again as soon as anything else is.
    pub(super) fn feel_pulse(&mut self, now: DateTime<Utc>) {
        let is_live = matches!(self.state, OperationState::Running | OperationState::Zombie);
        if self.stop.is_some() || !is_live || self.changes.events.is_empty() {
            return;
        }
        let lost = self.count(StepState::UNRESPONSIVE);
        let is_zombie = lost > 0 && lost == self.in_hands && self.queue.runnable().is_empty();
        let state = if is_zombie { OperationState::Zombie } else { OperationState::Running };
        self.enter(state, now);
    }

    fn note_loss(&mut self, step: u32, open: OpenAttempt, now: DateTime<Utc>) {
        if !self.is_lost(step) {
            self.act(step, Action::LOSE, open.named(), now);
        }
    }

    pub(super) fn note_recovery(&mut self, step: u32, open: OpenAttempt, now: DateTime<Utc>) {
        if self.is_lost(step) {
            self.act(step, Action::RECOVER, open.named(), now);
        }
    }

    fn give_up(&mut self, step: u32, open: OpenAttempt, now: DateTime<Utc>) {
        let next = OpenAttempt::fresh(open.attempt + 1, now);
        self.set_open(step, Some(next));
        self.note_loss(step, open, now);
        if self.goes_on(step) {
            let OpenAttempt { attempt, since, .. } = open;
            self.changes.given_up.extend(open.holder.map(|worker| GivenUp {
                step,
                attempt,
                worker,
                since,
            }));
            self.act(step, Action::GIVE_UP, open.named(), now);
        } else {
            self.act(step, Action::CANCEL, open.named(), now);
        }
        // A machine of one's own is back in the state that it was run for, with a failure.
        if self.stop.is_none() && self.steps[step as usize].class() == StepState::RUNNING {
            let fail = self.outcomes(step).fail;
            self.end(step, fail, open, now);
        }
        if self.steps[step as usize].is_ended() {
            self.set_open(step, None);
        }
    }

    pub(super) fn requeue(
        &mut self,
        step: u32,
        open: OpenAttempt,
        losses: u32,
        now: DateTime<Utc>,
    ) {
        let next = OpenAttempt {
            failures: open.failures,
            losses,
            admitted: true,
            ..OpenAttempt::fresh(open.attempt + 1, now)
        };
        self.set_open(step, Some(next));
        self.note_loss(step, open, now);
        self.act(step, Action::REQUEUE, open.named(), now);
        self.advance(now);
    }
}
