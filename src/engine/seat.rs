//! The seats of the workers that are given attempts by this process: how many each can take, and the
//! way to it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::lock;
use crate::domain::profile::Profile;
use crate::domain::{Incarnation, Jobset, StepState};
use crate::store::{AttemptKey, Known};

/// An attempt that a worker is to run. It was claimed and that is durable.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The operation.
    pub operation: Uuid,
    /// What it runs.
    pub jobset: Arc<Jobset>,
    /// The id of that.
    pub jobset_id: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The state that it is run for: says what work it is.
    pub state: StepState,
    /// Who claimed it.
    pub worker: Incarnation,
    /// What its claim knew of the operation. Work that tells nobody anything does not need it.
    pub knows: Option<Known>,
    /// Whether the operation has a context.
    pub has_context: bool,
    /// Whether the operation has results of steps.
    pub has_results: bool,
    /// Whether clients edited attempts of the operation.
    pub has_edits: bool,
    /// When the attempts of the step have taken as long as they may together.
    pub until: Option<DateTime<Utc>>,
}

impl Assignment {
    /// Names the attempt.
    #[must_use]
    pub const fn key(&self) -> AttemptKey {
        let Self { operation, step, attempt, .. } = *self;
        AttemptKey { operation, step, attempt }
    }
}

/// What the engine knows of a worker that it gives attempts to.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) incarnation: Incarnation,
    /// What it may be given.
    pub(super) profile: Profile,
    slots: usize,
    free: AtomicUsize,
    /// The attempts that gave their slot back before their end.
    resting: Mutex<HashSet<AttemptKey>>,
    closed: AtomicBool,
    /// When its lease runs out, at the latest; counted from before it was asked for.
    lease_until: Mutex<Instant>,
    sender: mpsc::UnboundedSender<Vec<Assignment>>,
    /// Told when orders to stop attempts were stored for it.
    pub(super) ordered: Notify,
}

impl Seat {
    pub(super) fn new(
        incarnation: Incarnation,
        profile: Profile,
        slots: usize,
        lease_until: Instant,
        sender: mpsc::UnboundedSender<Vec<Assignment>>,
    ) -> Self {
        Self {
            incarnation,
            profile,
            slots,
            free: AtomicUsize::new(slots),
            resting: Mutex::default(),
            closed: AtomicBool::new(false),
            lease_until: Mutex::new(lease_until),
            sender,
            ordered: Notify::new(),
        }
    }

    /// How many attempts it has in hand, those that rest too.
    pub(super) fn running(&self) -> usize {
        let resting = lock(&self.resting).len();
        (self.slots + resting).saturating_sub(self.free.load(Ordering::Relaxed))
    }

    /// How many attempts it could take now.
    pub(super) fn free(&self) -> usize {
        if self.may_claim() { self.free.load(Ordering::Relaxed) } else { 0 }
    }

    /// Takes up to `wanted` slots; answers how many were taken.
    pub(super) fn take(&self, wanted: usize) -> usize {
        if !self.may_claim() {
            return 0;
        }
        let before = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                Some(free - free.min(wanted))
            })
            .expect("the function always answers Some");
        before.min(wanted)
    }

    /// Gives slots back.
    pub(super) fn give(&self, slots: usize) {
        self.free.fetch_add(slots, Ordering::Relaxed);
    }

    /// So many slots are taken already.
    pub(super) fn hold(&self, slots: usize) {
        let free = self.free.load(Ordering::Relaxed);
        self.free.fetch_sub(slots.min(free), Ordering::Relaxed);
    }

    /// Gives the slot of an attempt back before its end; whether it had one still.
    pub(super) fn rest(&self, attempt: AttemptKey) -> bool {
        let had = lock(&self.resting).insert(attempt);
        self.give(usize::from(had));
        had
    }

    /// Gives the slots of attempts back that ended, but for those that did so before.
    pub(super) fn give_ended(&self, attempts: impl Iterator<Item = AttemptKey>) {
        let mut resting = lock(&self.resting);
        let slots = attempts.filter(|attempt| !resting.remove(attempt)).count();
        drop(resting);
        self.give(slots);
    }

    /// Whether attempts may be claimed for it. Its word may count for longer, but what it claims after
    /// its lease would be Unresponsive at once.
    fn may_claim(&self) -> bool {
        !self.closed.load(Ordering::Relaxed) && Instant::now() < *lock(&self.lease_until)
    }

    /// Notes that the lease was renewed.
    pub(super) fn renew(&self, lease_until: Instant) {
        *lock(&self.lease_until) = lease_until;
    }

    /// Takes no more: the worker is shutting down or lost its lease.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Hands over attempts that were claimed. A worker that is gone does not get them; its lease
    /// will run out.
    pub(super) fn assign(&self, assignments: Vec<Assignment>) {
        if !assignments.is_empty() && self.sender.send(assignments).is_err() {
            tracing::warn!(worker = self.incarnation, "assigned attempts to a worker that is gone");
        }
    }
}

/// The seats of this process.
#[derive(Debug, Default)]
pub(super) struct Seats(RwLock<Vec<Arc<Seat>>>);

impl Seats {
    /// All of them as they are now.
    pub(super) fn all(&self) -> Vec<Arc<Seat>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The workers that sit here.
    pub(super) fn incarnations(&self) -> Vec<Incarnation> {
        self.all().iter().map(|seat| seat.incarnation).collect()
    }

    pub(super) fn add(&self, seat: Arc<Seat>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(seat);
    }

    /// Closes the seats of workers that do not stay, and takes them out.
    pub(super) fn retain(&self, stays: impl Fn(&Seat) -> bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|seat| {
            let stays = stays(seat);
            if !stays {
                seat.close();
            }
            stays
        });
    }

    /// Tells the workers of `which` that there may be orders or mail for them.
    pub(super) fn tell(&self, which: impl Fn(Incarnation) -> bool) {
        for seat in self.all().iter().filter(|seat| which(seat.incarnation)) {
            seat.ordered.notify_one();
        }
    }
}
