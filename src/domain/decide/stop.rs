//! Ending an operation before its natural end.

use chrono::{DateTime, Utc};

use crate::domain::machine::{Action, Phase};
use crate::domain::operation::Stop;
use crate::domain::run::{Fact, Incarnation, Run};

/// An attempt whose process must be ended by its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who runs it.
    pub worker: Incarnation,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
}

/// What asking for a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing: the operation had ended.
    AlreadyFinal,
    /// Nothing: it is being stopped already.
    AlreadyStopping,
    /// The operation is being stopped; these attempts must be ended. None: it has ended.
    Began(Vec<Kill>),
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
        if self.count_phase(Phase::Active) > 0 {
            self.enter(reason.stopping(), now);
        }
        self.runnable.clear();
        self.backing_off.clear();
        for step in 0..self.jobset.len() {
            match self.steps[step as usize].phase() {
                Phase::Pending | Phase::Held => {
                    let waited = self.open.remove(&step);
                    let named = waited.map_or((0, None), |open| open.named());
                    self.act(step, Action::Cancel, named, now);
                }
                Phase::Active | Phase::Ended => {}
            }
        }
        let kills = self
            .open
            .iter()
            .filter_map(|(step, open)| {
                open.holder.map(|worker| Kill { worker, step: *step, attempt: open.attempt })
            })
            .collect();
        self.conclude(now);
        Stopped::Began(kills)
    }
}
