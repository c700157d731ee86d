//! Giving attempts to a worker.

use chrono::{DateTime, Utc};

use crate::domain::action::Action;
use crate::domain::machine::Rule;
use crate::domain::run::{Incarnation, OpenAttempt, Run};
use crate::domain::state::StepState;

/// An attempt that was given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The state that the attempt is run for: says what work it is.
    pub state: StepState,
    /// When the attempts of the step have taken as long as they may together.
    pub until: Option<DateTime<Utc>>,
}

impl Run {
    /// Gives up to `limit` attempts to `worker`, lowest step number first.
    pub fn claim(&mut self, limit: usize, worker: Incarnation, now: DateTime<Utc>) -> Vec<Claim> {
        self.advance(now);
        let has_expired = self.expire_waiting(now);
        let chosen: Vec<u32> =
            self.queue.runnable().iter().copied().take(limit.min(self.claimable())).collect();
        let mut claims = Vec::with_capacity(chosen.len());
        for step in chosen {
            let waited = self.open.get(&step).copied();
            let Some(rule) = self.claim_rule(step, waited) else { continue };
            let next = waited.unwrap_or(OpenAttempt::fresh(1, now));
            let open = OpenAttempt {
                holder: Some(worker),
                since: now,
                admitted: true,
                leaving: false,
                queued: false,
                ..next
            };
            self.set_open(step, Some(open));
            self.follow(step, &rule, open.named(), now);
            self.begin(now);
            self.start_total(step, now);
            let (state, until) = (self.steps[step as usize], self.total_due(step));
            claims.push(Claim { step, attempt: open.attempt, state, until });
        }
        if !claims.is_empty() || has_expired {
            self.conclude(now);
        }
        claims
    }

    /// What `worker` was given and still holds, as it was given it. Not what it is ordered to end: the
    /// step has left the state that this was run for.
    #[must_use]
    pub fn held(&self, worker: Incarnation) -> Vec<Claim> {
        let held = self.held_by(worker).into_iter();
        held.filter(|(step, open)| !open.leaving && !self.is_lost(*step))
            .map(|(step, open)| {
                let (state, until) = (self.steps[step as usize], self.total_due(step));
                Claim { step, attempt: open.attempt, state, until }
            })
            .collect()
    }

    /// By what a claim moves a step: what was admitted needs no guard any more.
    fn claim_rule(&self, step: u32, waited: Option<OpenAttempt>) -> Option<Rule> {
        let machine = self.jobset.machine(step);
        let state = self.steps[step as usize];
        // One that was admitted to work which it has left since has to enter it again.
        if waited.is_some_and(|open| open.admitted) && machine.takes_attempts(state) {
            let mut rules = machine.rules_from(state).iter();
            return rules.find(|rule| rule.action == Action::RUN).copied();
        }
        let enters_work = |rule: &&Rule| self.target(step, rule).class() == StepState::RUNNING;
        machine.automatic(state).filter(enters_work).find(|r| self.holds(step, r)).copied()
    }
}
