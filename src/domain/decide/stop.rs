//! Ending an operation before its natural end.

use chrono::{DateTime, Utc};

use super::Moved;
use crate::domain::action::Action;
use crate::domain::changes::{Fact, Kill, KillHow};
use crate::domain::definition::OnCancel;
use crate::domain::jobset::Role;
use crate::domain::operation::{OperationState, Stop};
use crate::domain::run::{OpenAttempt, Run};
use crate::domain::state::StepState;

/// What asking for a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing: the operation had ended.
    AlreadyFinal,
    /// Nothing: it is being stopped already, and no less hard.
    AlreadyStopping,
    /// The operation is being stopped, or has ended at once because no attempt was under way. These
    /// steps are Cancelled already; those that run will be once their processes are gone.
    Began(Vec<Moved>),
}

impl Run {
    /// Stops the operation: nothing new starts but what is for its end, what waits is Cancelled, what
    /// runs must be ended. An operation of which nothing has begun has nothing to clean up.
    pub fn stop_for(&mut self, reason: Stop, now: DateTime<Utc>) -> Stopped {
        if self.state.is_final() {
            return Stopped::AlreadyFinal;
        }
        if self.stop.is_some_and(|stop| stop == Stop::Abort || reason != Stop::Abort) {
            return Stopped::AlreadyStopping;
        }
        let kept: Vec<u32> =
            self.jobset.for_end().iter().copied().filter(|n| self.is_kept(*n, reason)).collect();
        self.stop = Some(reason);
        self.record(Fact::StopRequested(reason), now);
        if self.in_hands > 0 || !kept.is_empty() {
            self.enter(reason.stopping(), now);
        }
        self.unfile_all();
        let mut moved = Vec::new();
        for step in 0..self.jobset.len() {
            let from = self.steps[step as usize];
            if kept.binary_search(&step).is_ok() {
                self.keep_for_end(step, now);
            } else {
                self.stop_step(step, reason, now);
            }
            let to = self.steps[step as usize];
            if from != to {
                moved.push(Moved { step, from, to });
            }
        }
        self.conclude(now);
        Stopped::Began(moved)
    }

    /// Whether step `n` is to run, or to go on, although the operation is stopped for `reason`.
    fn is_kept(&self, n: u32, reason: Stop) -> bool {
        let is_meant = match (self.jobset.step(n).role, reason) {
            (Role::Regular, _) | (_, Stop::Abort) => false,
            (Role::Ensure, _) => true,
            (Role::CleanUp, _) => {
                reason == Stop::Cancel && self.jobset.on_cancel == OnCancel::CleanUp
            }
            (Role::Compensates(_), _) => {
                reason == Stop::Cancel && self.jobset.on_cancel == OnCancel::Compensate
            }
        };
        let is_open = match self.steps[n as usize] {
            StepState::READY | StepState::WAITING | StepState::PAUSED => true,
            StepState::RUNNING => self.open.get(&n).is_some_and(|open| !open.leaving),
            _ => false,
        };
        is_meant && is_open && self.state != OperationState::NotStarted
    }

    /// Ends what a worker has of a step, or takes the step out of the run.
    fn stop_step(&mut self, step: u32, reason: Stop, now: DateTime<Utc>) {
        let open = self.open.get(&step).copied();
        let held = open.and_then(|open| Some((open, open.holder?)));
        let how = if reason == Stop::Abort { KillHow::Force } else { KillHow::Terminate };
        if let Some((OpenAttempt { attempt, leaving, .. }, worker)) = held
            && (!leaving || how == KillHow::Force)
        {
            self.changes.kills.push(Kill { worker, step, attempt, how });
        }
        // Whose process is being ended is Cancelled when that is gone.
        let waits_for_process = held.is_some_and(|(open, _)| !open.leaving);
        if !waits_for_process && !self.steps[step as usize].is_ended() {
            let named = (self.latest(step), None);
            self.set_open(step, open.filter(|_| held.is_some()));
            self.act(step, Action::CANCEL, named, now);
        }
    }

    /// Holds the operation back as a whole: what runs goes on, nothing new starts.
    pub fn pause(&mut self, paused: bool, now: DateTime<Utc>) {
        if self.paused != paused {
            self.paused = paused;
            self.record(if paused { Fact::Paused } else { Fact::Resumed }, now);
            if !paused {
                self.restart_timers(now);
            }
        }
    }
}
