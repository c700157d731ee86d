//! The commands on a run: pure decisions, one file each.
//!
//! A command gets the run, what happened and the time, and changes the run in memory, recording
//! what it did as events. It reads no clock and draws no chance. Each ends with [`Run::conclude`],
//! which finds out whether the operation has ended.

mod claim;
mod lose;
mod settle;
mod stop;
mod submit;
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use settle::{Cause, Ending, Stale};
pub use stop::{Kill, Stopped};

use chrono::{DateTime, Utc};

use super::machine::Phase;
use super::operation::OperationState;
use super::rollup;
use super::run::Run;

impl Run {
    /// Closes what can never run any more and, if nothing can happen any more, ends the operation.
    fn conclude(&mut self, now: DateTime<Utc>) {
        if self.state.is_final() {
            return;
        }
        if let Some(stop) = self.stop {
            if self.count_phase(Phase::Active) == 0 {
                self.enter(stop.stopped(), now);
            }
            return;
        }
        self.close_dead(now);
        while self.is_stuck() {
            self.close_stuck(now);
            self.close_dead(now);
        }
        if self.count_phase(Phase::Ended) == self.jobset.len() {
            self.enter(rollup::end_state(self), now);
        }
    }

    /// The operation runs from the first claim on.
    fn begin(&mut self, now: DateTime<Utc>) {
        if self.state == OperationState::NotStarted {
            self.enter(OperationState::Running, now);
        }
    }
}
