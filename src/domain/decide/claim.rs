//! Giving attempts to a worker.

use chrono::{DateTime, Utc};

use crate::domain::machine::Action;
use crate::domain::run::{Incarnation, OpenAttempt, Run};

/// An attempt that was given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
}

impl Run {
    /// Gives up to `limit` attempts to `worker`, lowest step number first.
    pub fn claim(&mut self, limit: usize, worker: Incarnation, now: DateTime<Utc>) -> Vec<Claim> {
        self.advance(now);
        let chosen: Vec<u32> =
            self.runnable.iter().copied().take(limit.min(self.claimable())).collect();
        let mut claims = Vec::with_capacity(chosen.len());
        for step in chosen {
            let waited = self.open.get(&step).copied();
            let open = OpenAttempt {
                attempt: waited.map_or(1, |open| open.attempt),
                failures: waited.map_or(0, |open| open.failures),
                losses: waited.map_or(0, |open| open.losses),
                holder: Some(worker),
                since: now,
            };
            self.open.insert(step, open);
            self.act(step, Action::Run, open.named(), now);
            self.begin(now);
            claims.push(Claim { step, attempt: open.attempt });
        }
        if !claims.is_empty() {
            self.conclude(now);
        }
        claims
    }
}
