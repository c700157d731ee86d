//! What one turn claims for one worker.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::lane::Cached;
use super::seat::{Assignment, Seat};
use crate::domain::decide::Claim;
use crate::domain::definition::Work;
use crate::domain::{Incarnation, Run};
use crate::store::{HAS_DATA, HAS_EDITS, HAS_RESULT, Known};

/// A seat, and what one turn claims for it.
pub(super) struct Place {
    pub(super) seat: Arc<Seat>,
    /// Each has one of the slots that were taken.
    pub(super) assignments: Vec<Assignment>,
}

impl Place {
    pub(super) const fn new(seat: Arc<Seat>) -> Self {
        Self { seat, assignments: Vec::new() }
    }

    /// Claims up to `slots` attempts of an operation with slots that were taken; answers how many.
    pub(super) fn claim(&mut self, cached: &mut Cached, slots: usize, now: DateTime<Utc>) -> usize {
        let worker = self.seat.incarnation;
        let claims = cached.run.claim(slots, worker, now);
        // One claim may take from another step what its guard asks for.
        self.seat.give(slots - claims.len());
        self.assignments.extend(claims.iter().map(|claim| assignment(cached, claim, worker)));
        claims.len()
    }
}

/// What a worker is told of a claim.
pub(super) fn assignment(cached: &Cached, claim: &Claim, worker: Incarnation) -> Assignment {
    Assignment {
        operation: cached.run.id(),
        jobset: Arc::clone(cached.run.jobset()),
        jobset_id: cached.jobset,
        step: claim.step,
        attempt: claim.attempt,
        state: claim.state,
        worker,
        knows: known_by(&cached.run, claim),
        has_context: cached.flags & HAS_DATA != 0,
        has_results: cached.flags & HAS_RESULT != 0,
        has_edits: cached.flags & HAS_EDITS != 0,
        until: claim.until,
    }
}

/// What a claim knew, for work that can tell somebody something. A milestone cannot, so nothing is
/// copied for it.
fn known_by(run: &Run, claim: &Claim) -> Option<Known> {
    match run.jobset().step(claim.step).work(claim.state) {
        Work::Milestone => None,
        Work::Command(_) | Work::Shell(_) | Work::Instruction(_) | Work::Function(_) => {
            run.stamps().branches.get(&claim.step).map(|branch| Known::of(&branch.stamp.stamp()))
        }
    }
}
