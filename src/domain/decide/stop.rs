//! Ending an operation before its natural end.

use chrono::{DateTime, Utc};

use super::Moved;
use crate::domain::action::Action;
use crate::domain::operation::Stop;
use crate::domain::run::{Fact, Kill, OpenAttempt, Run};

/// What asking for a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing: the operation had ended.
    AlreadyFinal,
    /// Nothing: it is being stopped already.
    AlreadyStopping,
    /// The operation is being stopped, or has ended at once because no attempt was under way. These
    /// steps are Cancelled already; those that run will be once their processes are gone.
    Began(Vec<Moved>),
}

impl Run {
    /// Stops the operation: nothing new starts, what waits is Cancelled, what runs must be ended.
    pub fn stop_for(&mut self, reason: Stop, now: DateTime<Utc>) -> Stopped {
        if self.state.is_final() {
            return Stopped::AlreadyFinal;
        }
        if self.stop.is_some() {
            return Stopped::AlreadyStopping;
        }
        self.stop = Some(reason);
        self.record(Fact::StopRequested(reason), now);
        if self.in_hands > 0 {
            self.enter(reason.stopping(), now);
        }
        self.unfile_all();
        let mut moved = Vec::new();
        for step in 0..self.jobset.len() {
            let open = self.open.get(&step).copied();
            let held = open.and_then(|open| Some((open, open.holder?)));
            match held {
                Some((OpenAttempt { attempt, leaving: false, .. }, worker)) => {
                    let kill = Kill { worker, step, attempt, interrupt: false };
                    self.changes.kills.push(kill);
                }
                _ if self.steps[step as usize].is_ended() => {}
                // The process of an attempt that its step has left is being ended already.
                _ => {
                    let (named, from) = ((self.latest(step), None), self.steps[step as usize]);
                    self.set_open(step, open.filter(|_| held.is_some()));
                    self.act(step, Action::CANCEL, named, now);
                    moved.push(Moved { step, from, to: self.steps[step as usize] });
                }
            }
        }
        self.conclude(now);
        Stopped::Began(moved)
    }

    /// Holds the operation back as a whole: what runs goes on, nothing new starts.
    pub fn pause(&mut self, paused: bool, now: DateTime<Utc>) {
        if self.paused != paused {
            self.paused = paused;
            self.record(if paused { Fact::Paused } else { Fact::Resumed }, now);
        }
    }
}
