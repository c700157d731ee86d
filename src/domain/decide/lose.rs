//! Attempts whose worker lost its lease.

use chrono::{DateTime, Utc};

use crate::domain::action::Action;
use crate::domain::run::{Incarnation, OpenAttempt, Run};
use crate::domain::state::StepState;

impl Run {
    /// Takes all its attempts from `worker`. Each is given to another worker as a new attempt,
    /// unless `budget` attempts of the step were lost before, or the operation is being stopped.
    /// Answers how many attempts it held.
    pub fn lose(&mut self, worker: Incarnation, budget: u32, now: DateTime<Utc>) -> usize {
        let held: Vec<(u32, OpenAttempt)> = self
            .open
            .iter()
            .filter(|(_, open)| open.holder == Some(worker))
            .map(|(step, open)| (*step, *open))
            .collect();
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

    fn give_up(&mut self, step: u32, open: OpenAttempt, now: DateTime<Utc>) {
        let next = OpenAttempt::fresh(open.attempt + 1, now);
        self.set_open(step, Some(next));
        self.act(step, Action::LOSE, open.named(), now);
        let last = if self.goes_on(step) { Action::GIVE_UP } else { Action::CANCEL };
        self.act(step, last, open.named(), now);
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
        self.act(step, Action::LOSE, open.named(), now);
        self.act(step, Action::REQUEUE, open.named(), now);
        self.advance(now);
    }
}
