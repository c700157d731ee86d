//! The commands on a run: pure decisions, one file each.
//!
//! A command gets the run, what happened and the time, and changes the run in memory, recording
//! what it did as events. It reads no clock and draws no chance. Each ends with `Run::conclude`,
//! which finds out whether the operation has ended.

#[cfg(test)]
mod causality;
mod claim;
#[cfg(test)]
mod ends;
mod expire;
mod fork;
mod gate;
mod lose;
#[cfg(test)]
mod model;
mod settle;
mod steer;
mod stop;
mod submit;
#[cfg(test)]
mod tests;
mod unwind;

pub use claim::Claim;
pub use settle::{Cause, Ending, Stale};
pub use steer::{Moved, Refused, Selection, Steer, Steered, Verb};
pub use stop::Stopped;

use chrono::{DateTime, Utc};

use super::operation::{OperationState, Stop};
use super::rollup;
use super::run::Run;
use super::state::Phase;

impl Run {
    /// Ends a command: carries out what follows by itself and, if nothing can happen any more and no
    /// process is left, ends the operation.
    fn conclude(&mut self, now: DateTime<Utc>) {
        self.wind_up(now);
        self.feel_pulse(now);
        self.close_gathered();
    }

    fn wind_up(&mut self, now: DateTime<Utc>) {
        if self.state.is_final() {
            return;
        }
        if let Some(stop) = self.stop {
            if stop != Stop::Abort {
                self.unwind(now);
            }
            if self.in_hands == 0 && self.queue.is_empty() {
                self.finish(stop.stopped(), now);
            }
            return;
        }
        self.unfold(now);
        while self.is_stuck() {
            if !self.admit_ensured(now) {
                self.close_stuck(now);
            }
            self.unfold(now);
        }
        if self.count_phase(Phase::Ended) == self.jobset.len() && self.in_hands == 0 {
            self.finish(rollup::end_state(self), now);
        }
    }

    fn finish(&mut self, state: OperationState, now: DateTime<Utc>) {
        self.open.clear();
        self.notes.clear();
        self.gated = false;
        self.close_stamps();
        self.enter(state, now);
    }

    /// The operation runs from the first claim on.
    fn begin(&mut self, now: DateTime<Utc>) {
        if self.state == OperationState::NotStarted {
            self.enter(OperationState::Running, now);
        }
    }
}
