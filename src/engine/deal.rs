//! Who gets the free slots.
//!
//! Each slot goes to the operation of the lowest *rank*: the time at which it was last given a slot,
//! or was made, less the ageing time for each point of its priority. With a slot it goes behind its
//! equals, so these take turns, however many steps each of them has; among equals those go first that
//! have fewest attempts under way. As ranks are times, everything that waits gets to the front: what
//! is of higher priority gets there earlier, and nobody starves.
//!
//! The order is that of the queue in the database, so it holds over turns, processes and crashes.
//! What was changed in the same turn competes with what was found there. Lanes share the slots: each
//! tells the others the lowest rank that waits in it, its *front*, and leaves slots to a lane whose
//! front has waited longer: as many as that can take at once. Were more left to it, what a lane has in
//! hand would have to go through the queue although there are slots for all, and never get out of it.
//!
//! Rejected: giving slots to the operation whose attempt has just ended. It is the quickest way for a
//! large operation, and small ones never get their turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::lane::{BATCH_MAX, Cached, LaneHandle, TAKEN_MAX};
use super::lock;
use super::place::Place;
use super::turn::Turn;
use crate::domain::Run;
use crate::domain::profile::Profile;
use crate::store::{Claimable, Offer};

/// A lane leaves slots to another one only when that has waited so much longer. Otherwise lanes that
/// both have much to do would hand over for each slot.
const HANDOVER: TimeDelta = TimeDelta::milliseconds(20);

/// The lowest rank that waits in a lane for workers that offer the same, as far as the lane knows.
pub(super) type Fronts = BTreeMap<Profile, DateTime<Utc>>;

/// What a look at the queue found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// For whom it was looked.
    pub(super) offers: Vec<Offer>,
    /// For each of them as many as it can take.
    pub(super) claimable: Vec<Claimable>,
}

impl Found {
    /// Whether there may be more: whoever finds less than he could take has found all there was.
    pub(super) fn is_full(&self) -> bool {
        let least = self.offers.iter().map(|offer| offer.free).min();
        Some(self.claimable.len()) >= least
    }
}

/// The rank of an operation that was last given a slot, or was made, at `since`.
pub(super) fn rank(run: &Run, since: DateTime<Utc>, ageing: Duration) -> DateTime<Utc> {
    since.checked_sub_signed(head_start(run, ageing)).unwrap_or(since)
}

/// How much earlier its priority lets it be ranked.
fn head_start(run: &Run, ageing: Duration) -> TimeDelta {
    let ageing = TimeDelta::from_std(ageing).unwrap_or(TimeDelta::MAX);
    let priority = i32::from(run.jobset().scheduling.priority);
    ageing.checked_mul(priority).unwrap_or(TimeDelta::zero())
}

/// What stays claimable that a turn did not claim.
#[derive(Debug, Default)]
pub(super) struct LeftOver {
    /// Whether some worker could claim it, wherever it sits.
    pub(super) anywhere: bool,
    /// What those could claim that sit here.
    fronts: Fronts,
}

impl LeftOver {
    /// Takes note of what an operation leaves.
    pub(super) fn note(&mut self, run: &Run, rank: DateTime<Utc>, places: &[Place]) {
        if run.claimable() == 0 {
            return;
        }
        self.anywhere = true;
        for Place { seat, .. } in places {
            let is_lower = self.fronts.get(&seat.profile).is_none_or(|front| rank < *front);
            if is_lower && run.claimable_by(&seat.profile) > 0 {
                self.fronts.insert(seat.profile.clone(), rank);
            }
        }
    }

    /// Whether a worker that sits here could claim some of it.
    pub(super) fn is_here(&self) -> bool {
        !self.fronts.is_empty()
    }

    /// Brings the fronts of a lane up to date after a turn that looked at the queue and found this, or
    /// did not look.
    pub(super) fn tell(&self, lane: &LaneHandle, found: Option<&Found>) {
        let mut fronts = lock(&lane.fronts);
        for offer in found.iter().flat_map(|found| &found.offers) {
            fronts.remove(&offer.profile);
            // What was not found comes after what was.
            let last = found.and_then(|found| found.claimable.iter().map(|c| c.rank).max());
            if let Some(last) = last.filter(|_| found.is_some_and(Found::is_full)) {
                fronts.insert(offer.profile.clone(), last);
            }
        }
        for (profile, rank) in &self.fronts {
            let front = fronts.entry(profile.clone()).or_insert(*rank);
            *front = (*front).min(*rank);
        }
    }
}

impl Turn {
    /// Gives free slots to what was found in the queue and to what this turn has changed.
    pub(super) fn claim(&mut self, found: Found, runs: &mut HashMap<Uuid, Cached>) {
        let ageing = self.shared.settings.ageing;
        for claimable in &found.claimable {
            if let Some(cached) = runs.get_mut(&claimable.id) {
                let since = claimable.rank.checked_add_signed(head_start(&cached.run, ageing));
                cached.since = since.unwrap_or(self.now).min(self.now);
            }
        }
        let queued: BTreeSet<Uuid> = found.claimable.iter().map(|c| c.id).collect();
        for ((id, place), slots) in self.deal(&queued, runs) {
            let Some(cached) = runs.get_mut(&id) else { continue };
            self.touched.insert(id);
            cached.since = self.now;
            self.places[place].claim(cached, slots, self.now);
        }
        self.looked_at = queued.difference(&self.touched).copied().collect();
        self.found = Some(found);
    }

    /// Deals the free slots one by one: how many of each place are taken for each operation. Not more
    /// than a later turn can settle, so that those that have ended do not pile up.
    fn deal(
        &self,
        queued: &BTreeSet<Uuid>,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> BTreeMap<(Uuid, usize), usize> {
        let ageing = self.shared.settings.ageing;
        let mut line = BinaryHeap::new();
        for id in self.touched.union(queued) {
            let Some(cached) = runs.get_mut(id) else { continue };
            cached.run.advance(self.now);
            if cached.run.claimable() > 0 {
                let rank = rank(&cached.run, cached.since, ageing);
                line.push(Reverse((rank, cached.run.in_hands(), *id, 0)));
            }
        }
        let fronts = self.other_fronts();
        let reserve = TAKEN_MAX * self.other_lanes().count();
        let mut dealt = BTreeMap::new();
        let mut left = BATCH_MAX;
        while left > 0
            && let Some(Reverse((at, in_hands, id, given))) = line.pop()
        {
            let run = &runs[&id].run;
            let fits = |profile: &Profile| {
                let goes_first = fronts.get(profile).is_none_or(|front| at - *front <= HANDOVER);
                (goes_first || self.free(profile) > reserve) && run.claimable_by(profile) > given
            };
            if let Some(place) = self.take_slot(fits) {
                left -= 1;
                *dealt.entry((id, place)).or_default() += 1;
                line.push(Reverse((rank(run, self.now, ageing), in_hands + 1, id, given + 1)));
            }
        }
        dealt
    }

    /// The lowest ranks that wait in other lanes.
    fn other_fronts(&self) -> Fronts {
        let mut lowest = Fronts::new();
        for lane in self.other_lanes() {
            for (profile, rank) in &*lock(&lane.fronts) {
                let front = lowest.entry(profile.clone()).or_insert(*rank);
                *front = (*front).min(*rank);
            }
        }
        lowest
    }

    /// How many slots of workers that offer this are free.
    fn free(&self, profile: &Profile) -> usize {
        let places = self.places.iter().filter(|place| place.seat.profile == *profile);
        places.map(|place| place.seat.free()).sum()
    }

    /// Takes a slot of the place with the most free ones among those that fit.
    fn take_slot(&self, fits: impl Fn(&Profile) -> bool) -> Option<usize> {
        let places = self.places.iter().enumerate();
        let free = places.filter(|(_, place)| place.seat.free() > 0 && fits(&place.seat.profile));
        let (index, place) =
            free.max_by_key(|(index, place)| (place.seat.free(), Reverse(*index)))?;
        // Another lane may have been faster.
        (place.seat.take(1) == 1).then_some(index)
    }

    /// Wakes the lanes in which something waits for slots that this turn leaves free.
    pub(super) fn hand_over(&self) {
        for lane in self.other_lanes() {
            if lock(&lane.fronts).keys().any(|profile| self.free(profile) > 0) {
                lane.look();
            }
        }
    }

    fn other_lanes(&self) -> impl Iterator<Item = &LaneHandle> {
        let lanes = self.shared.lanes.iter().enumerate();
        lanes.filter(|(index, _)| *index != self.lane).map(|(_, lane)| lane)
    }
}
