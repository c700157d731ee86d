//! The clock of the database, read without asking it each time.
//!
//! The database's clock decides timestamps and due times, so that servers whose clocks differ agree.
//! Asking it for every decision would cost a round trip, so its distance from the local clock is
//! measured when a process starts and with every heartbeat. Leases do not rely on this estimate:
//! they are granted and checked by the database itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use chrono::{DateTime, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

use super::lock;

/// Two clocks drift apart by a part in so many at the most.
const DRIFT: i64 = 2_000;

/// An estimate of the database's clock in microseconds. It never runs backwards.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The database's time at `started`, in microseconds of the Unix epoch.
    origin: AtomicI64,
    /// How wrong `origin` may be, in microseconds, and when it was measured.
    error: Mutex<(i64, i64)>,
    last: AtomicI64,
    ids: Mutex<ContextV7>,
}

impl Clock {
    /// A clock that shows `database_now` at this moment.
    pub(super) fn new(database_now: DateTime<Utc>) -> Self {
        Self {
            started: Instant::now(),
            origin: AtomicI64::new(database_now.timestamp_micros()),
            error: Mutex::new((i64::MAX / 2, 0)),
            last: AtomicI64::new(0),
            ids: Mutex::new(ContextV7::new()),
        }
    }

    /// Sets the clock to what the database showed when it was asked, which was at some moment since
    /// `asked`. A slow answer says little and does not replace a better one before that has aged.
    pub(super) fn set(&self, database_now: DateTime<Utc>, asked: Instant) {
        let elapsed = self.elapsed();
        let error = i64::try_from(asked.elapsed().as_micros() / 2).unwrap_or(i64::MAX);
        let mut known = lock(&self.error);
        let (known_error, at) = *known;
        if error <= known_error.saturating_add((elapsed - at) / DRIFT) {
            *known = (error, elapsed);
            let origin = database_now.timestamp_micros() - elapsed + error;
            self.origin.store(origin, Ordering::Relaxed);
        }
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// The time, with the microseconds that PostgreSQL keeps.
    pub(super) fn now(&self) -> DateTime<Utc> {
        let estimate = self.origin.load(Ordering::Relaxed) + self.elapsed();
        let before = self.last.fetch_max(estimate, Ordering::Relaxed);
        DateTime::from_timestamp_micros(estimate.max(before)).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// The first of up to 2^31 new ids that follow each other; ids made later come after them.
    pub(super) fn new_ids(&self) -> Uuid {
        // The last 32 bits are random, and above them an id differs from all others of this clock.
        Uuid::from_u128(self.new_id().as_u128() & !(1 << 31))
    }

    /// A new id; ids made one after the other by this clock are in that order.
    pub(super) fn new_id(&self) -> Uuid {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        let context = lock(&self.ids);
        Uuid::new_v7(Timestamp::from_unix(&*context, seconds, now.timestamp_subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::operation::created_at;

    #[test]
    fn ids_are_ordered_and_know_their_time() {
        let start = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let clock = Clock::new(start);
        let ids: Vec<Uuid> = (0..1_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted());
        let made = created_at(ids[0]);
        assert!(made >= start - TimeDelta::milliseconds(1));
        assert!(made < start + TimeDelta::seconds(60));
    }

    #[test]
    fn many_ids_come_before_later_ones() {
        let clock = Clock::new(DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap());
        for _ in 0..1_000 {
            let (before, first, after) = (clock.new_id(), clock.new_ids(), clock.new_id());
            let last = Uuid::from_u128(first.as_u128() + (1 << 31) - 1);
            assert!(before < first && last < after);
            assert_eq!((first.get_version_num(), created_at(first)), (7, created_at(last)));
        }
    }

    #[test]
    fn setting_it_back_does_not_turn_time_back() {
        let start = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let clock = Clock::new(start);
        let before = clock.now();
        clock.set(start - TimeDelta::seconds(5), Instant::now());
        assert!(clock.now() >= before);
    }
}
