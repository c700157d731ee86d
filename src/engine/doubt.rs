//! Claims of which it is not known whether they are stored.
//!
//! When the connection breaks while a batch is being stored, its claims may be durable without anybody
//! here having heard of it: their worker would hold attempts that it never begins, for as long as it
//! lives. So they stay in doubt, and keep their slots, until their operations have been read anew. What
//! was stored is handed out then, as if the answer had come; the slots of the rest are given back.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::lane::Cached;
use super::place::Place;
use super::seat::{Assignment, Seat};

/// The claims of a lane that are in doubt.
#[derive(Default)]
pub(super) struct Doubts(Vec<(Arc<Seat>, Vec<Assignment>)>);

impl Doubts {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the claims of a turn that was stored or was not.
    pub(super) fn add(&mut self, places: Vec<Place>) {
        let claimed = places.into_iter().filter(|place| !place.assignments.is_empty());
        self.0.extend(claimed.map(|place| (place.seat, place.assignments)));
    }

    /// The operations that have to be read anew.
    pub(super) fn operations(&self) -> Vec<Uuid> {
        let assignments = self.0.iter().flat_map(|(_, assignments)| assignments);
        assignments.map(|assignment| assignment.operation).collect()
    }

    /// Hands out what was stored, now that the operations have been read anew.
    pub(super) fn settle(&mut self, runs: &HashMap<Uuid, Cached>) {
        for (seat, assignments) in self.0.drain(..) {
            let is_stored = |assignment: &Assignment| {
                let run = runs.get(&assignment.operation).map(|cached| &cached.run);
                let open = run.and_then(|run| run.open().get(&assignment.step));
                open.is_some_and(|open| {
                    open.attempt == assignment.attempt && open.holder == Some(seat.incarnation)
                })
            };
            let (stored, lost): (Vec<_>, Vec<_>) = assignments.into_iter().partition(is_stored);
            seat.give(lost.len());
            seat.assign(stored);
        }
    }
}
