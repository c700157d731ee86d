//! Followers: those who are told what happens as it happens.
//!
//! Thousands may follow and idle, so a follower holds a channel and nothing of the database. When an
//! operation changes (by a commit of this process, or by news of another's) one task of the process,
//! the [feeder](feed()), reads what is new, once for all followers and for all operations that changed
//! meanwhile, and hands it to the channels.
//!
//! A channel is short. A follower knows the number of the event (or piece of output) that comes next;
//! when it sees another, or is told that it missed some, it reads on from the store by itself. So a
//! slow follower costs no memory, and news only has to be quick: order, and that nothing is lost or
//! told twice, come from the numbers.
//!
//! While other processes take part, everything that is followed is also looked at every second, by
//! one statement, because what another process tells may be lost. Without them there is nothing to be
//! missed and the database is left alone.
//!
//! What happens to *all* operations has no numbers. It is kept in the [ring], a bounded list in
//! memory with numbers of its own, which is fed only while somebody follows it and some minutes
//! after. Whoever comes back to a place that the ring does not know is told so.
//!
//! Rejected: taking the events out of the batch that was committed, which would save that reading.
//! What other processes commit has to be read in any case, and there should be one way only.

mod events;
mod feed;
mod output;
mod ring;
mod topic;

pub use events::{EventFollower, Followed};
pub use output::{AttemptForOutput, OutputFollower};
pub use ring::{Cursor, RingFollowed, RingFollower};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::jobsets::Compiled;
use super::{Shared, lock};
use crate::domain::{Action, Actor, Jobset, StepState};
use crate::store::{EventView, OutputPiece, OutputView, shown_id};
pub(super) use feed::feed;
use ring::Ring;
use topic::{Placed, Topics};

/// Followers that read from the store at once: they must leave connections for others.
const READERS_MAX: usize = 4;
/// The wait before something is read again from a database that is away.
const RETRY: Duration = Duration::from_secs(1);

/// The names of what an event names by number; only the jobset knows them.
#[derive(Debug, Default)]
pub struct EventNames {
    /// Of the step.
    pub step: Option<Box<str>>,
    /// Of the action.
    pub action: Option<Box<str>>,
    /// Of the state that the step left.
    pub from: Option<Box<str>>,
    /// Of the state that the step entered.
    pub to: Option<Box<str>>,
}

impl EventNames {
    /// The names in an event of an operation that runs `jobset`.
    #[must_use]
    pub fn of(view: &EventView, jobset: &Jobset) -> Self {
        let step = view.step.and_then(|n| u32::try_from(n).ok()).filter(|n| *n < jobset.len());
        let state = |state: Option<StepState>| Some(jobset.state_name(step?, state?).into());
        Self {
            step: step.map(|n| jobset.step(n).definition.name.as_str().into()),
            action: view.action.map(|action| jobset.action_name(action).into()),
            from: state(view.from),
            to: state(view.to),
        }
    }
}

/// An event as it is handed to all who follow it.
#[derive(Debug)]
pub struct LiveEvent {
    /// The operation.
    pub operation: Uuid,
    /// The id that its client chose.
    pub alias: Option<Box<str>>,
    /// The event.
    pub view: EventView,
    /// What it names: the jobset itself is not held by what is kept for a while.
    pub names: EventNames,
    /// Whether the process of the attempt that it names is gone.
    pub(super) ends_attempt: bool,
    shown: OnceLock<Box<str>>,
}

impl LiveEvent {
    fn new(operation: Uuid, alias: Option<&str>, compiled: &Compiled, view: EventView) -> Self {
        let names = EventNames::of(&view, &compiled.jobset);
        let ends_attempt = ends_attempt(&view, &compiled.jobset);
        let alias = alias.map(Into::into);
        Self { operation, alias, view, names, ends_attempt, shown: OnceLock::new() }
    }

    /// The id of the operation, as clients are shown it.
    #[must_use]
    pub fn operation_id(&self) -> String {
        shown_id(self.operation, self.alias.as_deref())
    }

    /// The event as it is shown; made by the first follower that asks, for all of them.
    pub fn shown(&self, make: impl FnOnce(&Self) -> String) -> &str {
        self.shown.get_or_init(|| make(self).into_boxed_str())
    }
}

/// Whether the process of the attempt in an event is gone. A step that a client or a machine takes
/// out of its state leaves a process behind, whose end is told by an event of its own.
pub(in crate::engine) fn ends_attempt(view: &EventView, jobset: &Jobset) -> bool {
    let (Some(n), Some(from), Some(action)) = (view.step, view.from, view.action) else {
        return view.kind == ATTEMPT_ENDED;
    };
    let Some(step) = usize::try_from(n).ok().and_then(|n| jobset.steps.get(n)) else {
        return false;
    };
    let mut rules = step.machine.rules_from(from).iter();
    rules.any(|rule| {
        let reports = matches!(rule.actor, Actor::Worker | Actor::Lease);
        rule.action == action && (reports || action == Action::CANCEL)
    })
}

/// The kind of the event that tells that an attempt ended whose step had moved on.
const ATTEMPT_ENDED: i16 = 7;

impl Placed for LiveEvent {
    type Place = i32;

    fn place(&self) -> i32 {
        self.view.seq
    }
}

/// A piece of output as it is handed to all who follow it.
#[derive(Debug)]
pub struct LiveOutput {
    /// The number of the attempt.
    pub attempt: i32,
    /// The piece.
    pub piece: OutputView,
}

impl Placed for LiveOutput {
    type Place = (i32, i32);

    fn place(&self) -> (i32, i32) {
        (self.attempt, self.piece.seq)
    }
}

/// What a commit did to an operation: the events after `before` up to `to` are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) before: i32,
    pub(super) to: i32,
    /// Whether nothing more happens to it.
    pub(super) ended: bool,
}

impl Span {
    /// Something that has no event changed.
    pub(super) const NOTHING: Self = Self { before: i32::MAX, to: 0, ended: false };

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            before: self.before.min(other.before),
            to: self.to.max(other.to),
            ended: self.ended || other.ended,
        }
    }
}

/// Operations that changed.
pub(super) type Spans = BTreeMap<Uuid, Span>;

/// The operation and the number of a step.
pub(super) type StepKey = (Uuid, i32);

/// What the feeder has to look at.
#[derive(Debug, Default)]
struct Pending {
    operations: HashMap<Uuid, Span>,
    outputs: BTreeSet<StepKey>,
    /// Everything that is followed.
    all: bool,
    /// Operations may have changed that nobody named.
    gap: bool,
}

/// All followers of this process.
#[derive(Debug)]
pub(super) struct Live {
    events: Arc<Topics<Uuid, LiveEvent>>,
    outputs: Arc<Topics<StepKey, LiveOutput>>,
    ring: Arc<Ring>,
    pending: Mutex<Pending>,
    wake: Notify,
    readers: Semaphore,
    had_peers: AtomicBool,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            events: Arc::default(),
            outputs: Arc::default(),
            ring: Arc::default(),
            pending: Mutex::default(),
            wake: Notify::new(),
            readers: Semaphore::new(READERS_MAX),
            had_peers: AtomicBool::new(false),
        }
    }
}

impl Live {
    /// Operations changed. Costs next to nothing while nobody follows.
    pub(super) fn changed(&self, spans: &Spans) {
        let for_all = self.ring.is_fed();
        if !for_all && self.events.is_empty() {
            return;
        }
        let mut pending = lock(&self.pending);
        for (id, span) in spans {
            if for_all || self.events.has(id) {
                let joined = pending.operations.get(id).map_or(*span, |known| known.join(*span));
                pending.operations.insert(*id, joined);
            }
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// This process stored output.
    pub(super) fn wrote(&self, pieces: &[OutputPiece]) {
        if self.outputs.is_empty() {
            return;
        }
        let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let key = |piece: &OutputPiece| (piece.operation, int(piece.step));
        for pieces in pieces.chunk_by(|left, right| key(left) == key(right)) {
            let Some(key) = pieces.first().map(key).filter(|key| self.outputs.has(key)) else {
                continue;
            };
            let live = pieces.iter().map(|piece| {
                let OutputPiece { at, stream, ref data, .. } = *piece;
                let piece_shown =
                    OutputView { seq: int(piece.seq), at, stream, data: data.clone() };
                Arc::new(LiveOutput { attempt: int(piece.attempt), piece: piece_shown })
            });
            self.outputs.tell(&key, live);
        }
    }

    /// Another process stored output of these steps.
    pub(super) fn wrote_elsewhere(&self, steps: impl Iterator<Item = StepKey>) {
        if self.outputs.is_empty() {
            return;
        }
        lock(&self.pending).outputs.extend(steps.filter(|key| self.outputs.has(key)));
        self.wake.notify_one();
    }

    /// Something may have changed that nobody told of.
    pub(super) fn look_everywhere(&self) {
        let mut pending = lock(&self.pending);
        pending.all = true;
        pending.gap = self.ring.is_fed();
        drop(pending);
        self.wake.notify_one();
    }

    /// Looks at everything that is followed if another process takes part, or just did.
    fn look_for_peers(&self, has_peers: bool) {
        if self.had_peers.swap(has_peers, Ordering::Relaxed) || has_peers {
            lock(&self.pending).all = true;
        }
    }
}

impl Shared {
    /// Reads from the store for a follower, for as long as it takes.
    async fn read_for_follower<T, F: Future<Output = Result<T, super::StoreError>>>(
        &self,
        read: impl Fn() -> F,
    ) -> Result<T, super::EngineError> {
        loop {
            let outcome = match self.live.readers.acquire().await {
                Ok(_permit) => read().await,
                Err(_) => return Err(super::EngineError::ShuttingDown),
            };
            match outcome.map_err(super::EngineError::from) {
                Err(error) if error.is_outage() => tokio::time::sleep(RETRY).await,
                outcome => return outcome,
            }
        }
    }
}
