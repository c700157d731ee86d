//! A new run that takes over what another one, which has ended, got done.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Selection;
use super::steer::went_wrong;
use crate::domain::action::Action;
use crate::domain::changes::Fact;
use crate::domain::operation::OperationState;
use crate::domain::run::{Run, Snapshot};
use crate::domain::state::StepState;

impl Run {
    /// The steps that a rerun of this run, which has ended, would run again: those selected, what
    /// follows them and never ran, and with `cascade` what follows them and did run.
    #[must_use]
    pub fn to_run_again(&self, selection: &Selection, cascade: bool) -> Vec<u32> {
        let state = |n: u32| self.steps[n as usize];
        let mut chosen = self.select(selection);
        if selection.is_open() {
            chosen.retain(|n| went_wrong(state(*n)));
        }
        chosen.retain(|n| state(*n) != StepState::BLOCKED);
        let never_ran = |n| matches!(state(n), StepState::UNREACHABLE | StepState::CANCELLED);
        self.with_followers(&chosen, |_, n| never_ran(n) || cascade)
    }

    /// A new run of the same jobset in which the steps `again` begin afresh and the others are as
    /// they ended here. `last_attempts` tells how many attempts these had.
    #[must_use]
    pub fn fork(
        &self,
        id: Uuid,
        again: &[u32],
        last_attempts: &BTreeMap<u32, u32>,
        now: DateTime<Utc>,
    ) -> Self {
        let jobset = Arc::clone(&self.jobset);
        let mut steps = self.steps.clone();
        for n in again {
            let step = jobset.step(*n);
            let is_manual = step.initial == StepState::READY;
            steps[*n as usize] = if is_manual { step.machine.initial } else { step.initial };
        }
        let mut run = Self::restore(id, Arc::clone(&jobset), Snapshot::fresh(steps, now));
        run.record(Fact::Submitted, now);
        run.note_state(OperationState::NotStarted);
        for n in 0..jobset.len() {
            let (from, to) = (jobset.step(n).initial, run.steps[n as usize]);
            if from != to {
                let attempt = last_attempts.get(&n).copied().unwrap_or(0);
                let action = if to.is_ended() { Action::KEEP } else { Action::START };
                let stamp = run.stamp_own(n);
                let fact = Fact::Moved { step: n, attempt, action, from, to, worker: None };
                run.record_stamped(fact, stamp, now);
            }
        }
        run.conclude(now);
        run
    }
}
