//! What happens to all operations: a bounded list in memory, with numbers of its own.
//!
//! A place in it is named `<epoch>-<number>`. The epoch changes whenever the list is begun anew, so
//! the name of a place of another process, or of one that is forgotten, is recognised.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::{LiveEvent, Span, lock};
use crate::engine::{Engine, created_at};

/// Entries kept for those who are slow or come back.
const ENTRIES_MAX: usize = 16_384;
/// Operations whose last event is remembered, to tell none twice.
const OPERATIONS_MAX: usize = 65_536;
/// How long the list is fed for those who come back.
const LINGER: Duration = Duration::from_mins(5);
/// Entries told at once.
const PAGE: usize = 256;

/// A place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    epoch: Arc<str>,
    number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

#[derive(Debug)]
enum Entry {
    Event(Arc<LiveEvent>),
    /// Operations may have changed that nobody told of.
    Gap,
}

/// The list.
#[derive(Debug)]
pub(super) struct Ring {
    /// Whether it is fed; the same as an epoch, without the lock.
    fed: AtomicBool,
    inner: Mutex<Inner>,
    /// The number of the last entry.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` while it is not fed.
    epoch: Option<Arc<str>>,
    /// When it began to be fed.
    since: DateTime<Utc>,
    /// How many entries were dropped: the number of the one before the first.
    dropped: u64,
    entries: VecDeque<Entry>,
    /// The last event of each operation that is in the list or was lately.
    seen: HashMap<Uuid, i32>,
    /// The same operations, the oldest first.
    order: VecDeque<Uuid>,
    followers: usize,
    /// When the last follower left.
    left: Option<Instant>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { fed: AtomicBool::new(false), inner: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Inner {
    fn last(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
    }

    fn remember(&mut self, operation: Uuid, seq: i32) {
        if self.seen.insert(operation, seq).is_none() {
            self.order.push_back(operation);
            if self.order.len() > OPERATIONS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
        }
    }
}

impl Ring {
    pub(super) fn is_fed(&self) -> bool {
        self.fed.load(Ordering::Acquire)
    }

    /// After which event an operation that changed has to be read; `None` if all is known.
    pub(super) fn after(&self, operation: &Uuid, span: Span) -> Option<i32> {
        let inner = lock(&self.inner);
        inner.epoch.as_ref()?;
        // News may come in another order than what it tells of. What is known of an operation that
        // is younger than the list is all of it; of an older one, what came before may be missed.
        let is_young = created_at(*operation) > inner.since;
        let first = if is_young { 0 } else { span.before };
        let after = inner.seen.get(operation).copied().unwrap_or(first);
        (after < span.to).then_some(after)
    }

    /// Takes the events after number `after` of an operation, in order.
    pub(super) fn tell(&self, operation: Uuid, after: i32, events: &[Arc<LiveEvent>]) {
        let mut inner = lock(&self.inner);
        if inner.epoch.is_none() {
            return;
        }
        let mut seen = inner.seen.get(&operation).copied().unwrap_or(after);
        for event in events.iter().filter(|event| event.view.seq > after) {
            if event.view.seq > seen {
                seen = event.view.seq;
                inner.push(Entry::Event(Arc::clone(event)));
            }
        }
        inner.remember(operation, seen);
        self.last.send_replace(inner.last());
    }

    /// Operations may have changed that nobody told of.
    pub(super) fn gap(&self) {
        let mut inner = lock(&self.inner);
        if inner.epoch.is_some() {
            inner.push(Entry::Gap);
            self.last.send_replace(inner.last());
        }
    }

    /// Forgets everything if nobody has followed for long.
    pub(super) fn expire(&self) {
        let mut inner = lock(&self.inner);
        if inner.left.is_some_and(|left| left.elapsed() > LINGER) {
            self.fed.store(false, Ordering::Release);
            let dropped = inner.last();
            *inner = Inner { dropped, ..Inner::default() };
        }
    }

    /// Follows from a place on, or from now on; the place is `None` if it is not known here.
    fn join(
        self: &Arc<Self>,
        place: Option<&str>,
        epoch: impl FnOnce() -> Arc<str>,
        now: DateTime<Utc>,
    ) -> RingFollower {
        let mut inner = lock(&self.inner);
        inner.followers += 1;
        inner.left = None;
        if inner.epoch.is_none() {
            inner.since = now;
        }
        let epoch = Arc::clone(inner.epoch.get_or_insert_with(epoch));
        self.fed.store(true, Ordering::Release);
        let known = |place: &str| {
            let number: u64 = place.strip_prefix(&*epoch)?.strip_prefix('-')?.parse().ok()?;
            (inner.dropped..=inner.last()).contains(&number).then_some(number)
        };
        let resumed = place.map(known);
        RingFollower {
            ring: Arc::clone(self),
            last: self.last.subscribe(),
            cursor: Cursor { number: resumed.flatten().unwrap_or(inner.last()), epoch },
            is_lost: resumed == Some(None),
        }
    }
}

/// Tells the events of all operations.
#[derive(Debug)]
pub struct RingFollower {
    ring: Arc<Ring>,
    last: watch::Receiver<u64>,
    cursor: Cursor,
    is_lost: bool,
}

/// What a follower of all operations is told.
#[derive(Debug)]
pub enum RingFollowed {
    /// These events, each with its place.
    Events(Vec<(Cursor, Arc<LiveEvent>)>),
    /// Events may be missing before this place.
    Lost(Cursor),
}

impl Engine {
    /// Follows all operations: from a place on that was told before, or from now on.
    #[must_use]
    pub fn follow_all(&self, place: Option<&str>) -> RingFollower {
        let epoch = || {
            let id = self.shared.clock.new_id().simple().to_string();
            // The milliseconds and what is random.
            format!("{}{}", &id[4..12], &id[24..]).into()
        };
        self.shared.live.ring.join(place, epoch, self.now())
    }
}

impl RingFollower {
    /// The place of what was told last.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What comes next. May be dropped while it waits, without loss.
    pub async fn next(&mut self) -> RingFollowed {
        loop {
            if let Some(followed) = self.next_now() {
                return followed;
            }
            // The sender lives as long as the ring.
            let _alive = self.last.changed().await;
        }
    }

    fn next_now(&mut self) -> Option<RingFollowed> {
        self.last.mark_unchanged();
        if std::mem::take(&mut self.is_lost) {
            return Some(RingFollowed::Lost(self.cursor.clone()));
        }
        let ring = Arc::clone(&self.ring);
        let inner = lock(&ring.inner);
        let Some(skip) = self.cursor.number.checked_sub(inner.dropped) else {
            self.cursor.number = inner.last();
            return Some(RingFollowed::Lost(self.cursor.clone()));
        };
        let mut events = Vec::new();
        for entry in inner.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            match entry {
                Entry::Event(event) if events.len() < PAGE => {
                    self.cursor.number += 1;
                    events.push((self.cursor.clone(), Arc::clone(event)));
                }
                Entry::Gap if events.is_empty() => {
                    self.cursor.number += 1;
                    return Some(RingFollowed::Lost(self.cursor.clone()));
                }
                Entry::Event(_) | Entry::Gap => break,
            }
        }
        (!events.is_empty()).then_some(RingFollowed::Events(events))
    }
}

impl Drop for RingFollower {
    fn drop(&mut self) {
        let mut inner = lock(&self.ring.inner);
        inner.followers -= 1;
        if inner.followers == 0 {
            inner.left = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::store::EventView;

    fn event(operation: Uuid, seq: i32) -> Arc<LiveEvent> {
        let view = EventView {
            seq,
            at: DateTime::UNIX_EPOCH,
            kind: 4,
            step: None,
            attempt: None,
            action: None,
            from: None,
            to: None,
            state: None,
            worker: None,
            stamp: None,
        };
        Arc::new(LiveEvent {
            operation,
            alias: None,
            view,
            names: crate::engine::EventNames::default(),
            ends_attempt: false,
            shown: std::sync::OnceLock::new(),
        })
    }

    fn follow(ring: &Arc<Ring>, place: Option<&str>) -> RingFollower {
        ring.join(place, || "epoch".into(), DateTime::<Utc>::MAX_UTC)
    }

    fn span(before: i32, to: i32) -> Span {
        Span { before, to, ended: false }
    }

    /// The numbers of what is told now; 0 where something was lost.
    fn told(follower: &mut RingFollower) -> Vec<i32> {
        let mut told = Vec::new();
        while let Some(followed) = follower.next_now() {
            match followed {
                RingFollowed::Events(events) => {
                    told.extend(events.iter().map(|(_, event)| event.view.seq));
                }
                RingFollowed::Lost(_) => told.push(0),
            }
        }
        told
    }

    #[test]
    fn each_event_is_told_once_and_in_order() {
        let (ring, a, b) = (Arc::<Ring>::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(ring.after(&a, span(2, 4)), None, "nobody follows");
        let mut follower = follow(&ring, None);
        // What was there before is not told.
        assert_eq!(ring.after(&a, span(2, 4)), Some(2));
        ring.tell(a, 2, &[2, 3, 4].map(|seq| event(a, seq)));
        // News of the same, and of something later that comes first.
        assert_eq!(ring.after(&a, span(2, 4)), None);
        assert_eq!(ring.after(&a, span(6, 7)), Some(4));
        ring.tell(a, 4, &[4, 5, 6, 7].map(|seq| event(a, seq)));
        ring.tell(b, 0, &[event(b, 1)]);
        assert_eq!(told(&mut follower), [3, 4, 5, 6, 7, 1]);
    }

    #[test]
    fn news_of_a_young_operation_may_come_in_any_order() {
        let ring = Arc::<Ring>::default();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let young = crate::engine::clock::Clock::new(now).new_id();
        let _follower = ring.join(None, || "epoch".into(), DateTime::UNIX_EPOCH);
        assert_eq!(ring.after(&young, span(1, 4)), Some(0));
    }

    #[test]
    fn a_place_is_taken_up_while_it_is_known() {
        let (ring, a) = (Arc::<Ring>::default(), Uuid::from_u128(1));
        let mut first = follow(&ring, None);
        assert_eq!(first.cursor().to_string(), "epoch-0");
        ring.tell(a, 0, &[1, 2, 3].map(|seq| event(a, seq)));
        let Some(RingFollowed::Events(events)) = first.next_now() else { panic!("events") };
        let place = events[0].0.to_string();
        drop(first);
        assert!(ring.is_fed(), "whoever comes back finds everything");
        assert_eq!(told(&mut follow(&ring, Some(&place))), [2, 3]);
        assert!(told(&mut follow(&ring, None)).is_empty());
        for unknown in ["epoch-4", "other-1", "epoch-", "epoch-x", "1"] {
            assert_eq!(told(&mut follow(&ring, Some(unknown))), [0], "{unknown}");
        }
        ring.gap();
        ring.tell(a, 3, &[event(a, 4)]);
        assert_eq!(told(&mut follow(&ring, Some(&place))), [2, 3, 0, 4]);
    }

    #[test]
    fn who_is_too_slow_is_told_so() {
        let (ring, a) = (Arc::<Ring>::default(), Uuid::from_u128(1));
        let mut slow = follow(&ring, None);
        let many = i32::try_from(ENTRIES_MAX).unwrap() + 1;
        ring.tell(a, 0, &(1..=many).map(|seq| event(a, seq)).collect::<Vec<_>>());
        assert_eq!(told(&mut slow), [0]);
        ring.tell(a, many, &[event(a, many + 1)]);
        assert_eq!(told(&mut slow), [many + 1]);
    }
}
