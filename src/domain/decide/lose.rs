//! Attempts whose worker lost its lease.

use chrono::{DateTime, Utc};

use crate::domain::machine::Action;
use crate::domain::run::{Incarnation, OpenAttempt, Run};

impl Run {
    /// Takes all its attempts from `worker`. Each is given to another worker as a new attempt,
    /// unless `budget` attempts of the step were lost before, or the operation is being stopped.
    /// Answers how many attempts it held.
    pub fn lose(&mut self, worker: Incarnation, budget: u32, now: DateTime<Utc>) -> usize {
        let held: Vec<(u32, OpenAttempt)> = self
            .open
            .iter()
            .filter(|(_, open)| open.holder == Some(worker))
            .map(|(step, open)| (*step, *open))
            .collect();
        for (step, open) in &held {
            let losses = open.losses + 1;
            if self.stop.is_none() && losses <= budget {
                self.requeue(*step, *open, losses, now);
            } else {
                self.open.remove(step);
                self.act(*step, Action::Lose, open.named(), now);
                let last = if self.stop.is_some() { Action::Cancel } else { Action::GiveUp };
                self.act(*step, last, open.named(), now);
            }
        }
        if !held.is_empty() {
            self.conclude(now);
        }
        held.len()
    }

    pub(super) fn requeue(
        &mut self,
        step: u32,
        open: OpenAttempt,
        losses: u32,
        now: DateTime<Utc>,
    ) {
        let next = OpenAttempt {
            attempt: open.attempt + 1,
            failures: open.failures,
            losses,
            holder: None,
            since: now,
        };
        self.open.insert(step, next);
        self.act(step, Action::Lose, open.named(), now);
        self.act(step, Action::Requeue, open.named(), now);
        self.consider(step);
        self.advance(now);
    }
}
