//! A new run that takes over what another one, which has ended, got done.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Selection;
use super::steer::went_wrong;
use crate::domain::action::Action;
use crate::domain::changes::Fact;
use crate::domain::jobset::Role;
use crate::domain::operation::OperationState;
use crate::domain::run::{Run, Snapshot};
use crate::domain::state::StepState;

impl Run {
    /// The steps that a rerun of this run, which has ended, would run again: those selected, what
    /// follows them and never ran, and with `cascade` what follows them and did run. If there are any,
    /// what is for the end as well, because the new run has an end of its own; and what was undone at
    /// the end of this one.
    #[must_use]
    pub fn to_run_again(&self, selection: &Selection, cascade: bool) -> Vec<u32> {
        let state = |n: u32| self.steps[n as usize];
        let mut chosen = self.select(selection);
        if selection.is_open() {
            // What was for the end and had no turn went as it should.
            let had_no_turn = |n| self.jobset.is_for_end(n) && state(n) == StepState::CANCELLED;
            chosen.retain(|n| went_wrong(state(*n)) && !had_no_turn(*n));
        }
        chosen.retain(|n| state(*n) != StepState::BLOCKED);
        if chosen.is_empty() {
            return chosen;
        }
        chosen.extend(self.jobset.for_end().iter().filter_map(|n| self.undone_by(*n)));
        let never_ran = |n| matches!(state(n), StepState::UNREACHABLE | StepState::CANCELLED);
        let mut again = self.with_followers(&chosen, |_, n| never_ran(n) || cascade);
        let for_end = self.jobset.for_end().iter().copied();
        again.extend(for_end.filter(|n| state(*n) != StepState::BLOCKED));
        again.sort_unstable();
        again.dedup();
        again
    }

    /// The step that step `n` has undone, or begun to undo.
    fn undone_by(&self, n: u32) -> Option<u32> {
        let Role::Compensates(undone) = self.jobset.step(n).role else { return None };
        let has_run = !matches!(
            self.steps[n as usize],
            StepState::UNREACHABLE | StepState::CANCELLED | StepState::SKIPPED | StepState::BLOCKED
        );
        has_run.then_some(undone)
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
