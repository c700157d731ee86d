//! What runs at the end of an operation: compensations, clean-up steps, and what always runs.
//!
//! A step that is for the end is admitted when its turn comes, as if its guards had let it through;
//! from then on it is a step like any other, with its attempts and outcomes. So nothing of this has
//! to be remembered but the admission, which is stored with the open attempt.
//!
//! An operation that is being stopped goes through three stages, each begun when the one before it
//! is over: compensations one at a time, those of later steps first; clean-up steps, as their guards
//! say; what always runs. The natural end has the third one only.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::action::Action;
use crate::domain::jobset::Role;
use crate::domain::operation::Stop;
use crate::domain::run::{OpenAttempt, Run};
use crate::domain::state::{Phase, StepState};

impl Run {
    /// Goes on with what is to be done before a stopped operation has ended. Nothing of it begins
    /// before the processes of the regular steps are gone.
    pub(super) fn unwind(&mut self, now: DateTime<Utc>) {
        let jobset = Arc::clone(&self.jobset);
        let is_regular = |n: &u32| !jobset.is_for_end(*n);
        if self.open.iter().any(|(n, open)| open.holder.is_some() && is_regular(n)) {
            return;
        }
        if !self.compensate(now) && !self.clean_up(now) {
            self.admit_ensured(now);
        }
    }

    /// The steps for the end of that role that wait for their turn.
    fn waiting(&self, is_meant: impl Fn(Role) -> bool) -> Vec<u32> {
        let jobset = &self.jobset;
        let waits = |n: &u32| {
            is_meant(jobset.step(*n).role)
                && self.steps[*n as usize].phase() == Phase::Pending
                && !self.is_under_way(*n)
        };
        jobset.for_end().iter().copied().filter(waits).collect()
    }

    /// Whether step `n` has begun, or may as soon as a worker is free.
    fn is_under_way(&self, n: u32) -> bool {
        self.queue.has(n) || self.open.get(&n).is_some_and(|open| open.holder.is_some())
    }

    fn is_any_under_way(&self, is_meant: impl Fn(Role) -> bool) -> bool {
        let mut steps = self.jobset.for_end().iter().copied();
        steps.any(|n| is_meant(self.jobset.step(n).role) && self.is_under_way(n))
    }

    /// Undoes what has succeeded, the last in the order of the steps first; whether that is under
    /// way.
    fn compensate(&mut self, now: DateTime<Utc>) -> bool {
        let is_meant = |role| matches!(role, Role::Compensates(_));
        if self.is_any_under_way(is_meant) {
            return true;
        }
        let undone = |run: &Self, n: u32| match run.jobset.step(n).role {
            Role::Compensates(undone) => undone,
            Role::Regular | Role::Ensure | Role::CleanUp => n,
        };
        let mut waiting = self.waiting(is_meant);
        waiting.sort_unstable_by_key(|n| std::cmp::Reverse((undone(self, *n), *n)));
        for n in waiting {
            if self.steps[undone(self, n) as usize] == StepState::SUCCEEDED {
                self.admit(n, now);
                return true;
            }
            self.act(n, Action::CANCEL, (self.latest(n), None), now);
        }
        false
    }

    /// Runs the clean-up steps whose guards hold; whether that is under way. When it is not, the
    /// guards of the others will never hold.
    fn clean_up(&mut self, now: DateTime<Utc>) -> bool {
        let is_meant = |role| role == Role::CleanUp;
        let waiting = self.waiting(is_meant);
        for n in &waiting {
            if self.jobset.guards.holds(&self.counters, *n) {
                self.admit(*n, now);
            }
        }
        let is_under_way = self.is_any_under_way(is_meant);
        if !is_under_way {
            for n in waiting {
                self.act(n, Action::CANCEL, (self.latest(n), None), now);
            }
        }
        is_under_way
    }

    /// Admits what always runs, whatever its guards say, but for the order among such steps; whether
    /// there was any.
    pub(super) fn admit_ensured(&mut self, now: DateTime<Utc>) -> bool {
        let waiting = self.waiting(|role| role == Role::Ensure);
        let follows = |n: u32| {
            let mut terms =
                self.jobset.guards.clauses(n).flatten().flat_map(|(_, terms)| terms.iter());
            terms.any(|term| {
                let is_ensured = self.jobset.step(term.step).role == Role::Ensure;
                term.step != n && is_ensured && !self.steps[term.step as usize].is_ended()
            })
        };
        let mut chosen: Vec<u32> = waiting.iter().copied().filter(|n| !follows(*n)).collect();
        let is_any_under_way = self.is_any_under_way(|role| role == Role::Ensure);
        if chosen.is_empty() && !is_any_under_way {
            chosen.extend(waiting.first());
        }
        for n in &chosen {
            if self.steps[*n as usize] == StepState::TO_SKIP {
                self.act(*n, Action::REACH, (self.latest(*n), None), now);
            } else {
                self.admit(*n, now);
            }
        }
        !chosen.is_empty()
    }

    /// Lets step `n` run, whatever its guards say.
    fn admit(&mut self, n: u32, now: DateTime<Utc>) {
        let open = self.open.get(&n).copied().unwrap_or(OpenAttempt::fresh(1, now));
        self.set_open(n, Some(OpenAttempt { admitted: true, since: now, ..open }));
        let jobset = Arc::clone(&self.jobset);
        self.consider(&jobset, n);
        self.advance(now);
    }

    /// Lets a step that is to run although the operation is stopped wait for its turn. One that a
    /// person held back is let go: nobody is asked any more.
    pub(super) fn keep_for_end(&mut self, n: u32, now: DateTime<Utc>) {
        for (held, action) in
            [(StepState::PAUSED, Action::RESUME), (StepState::READY, Action::START)]
        {
            if self.steps[n as usize] == held {
                // A guard of the jobset on that very action may forbid it.
                let is_free = self.rule(n, action).is_some();
                let action = if is_free { action } else { Action::CANCEL };
                self.act(n, action, (self.latest(n), None), now);
            }
        }
        let jobset = Arc::clone(&self.jobset);
        self.consider(&jobset, n);
        self.advance(now);
    }

    /// Whether step `n` has further attempts: of an operation that is being stopped only what is for
    /// its end has.
    pub(super) fn goes_on(&self, n: u32) -> bool {
        match self.stop {
            None => true,
            Some(Stop::Abort) => false,
            Some(_) => self.jobset.is_for_end(n),
        }
    }
}
