//! The clock of the database, as a worker elsewhere knows it.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// What the clock showed, and when.
#[derive(Debug)]
pub(super) struct Clock(Mutex<(DateTime<Utc>, Instant)>);

impl Clock {
    /// A clock that shows `now` at this moment.
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new((now, Instant::now())))
    }

    /// Sets it to what the database showed at some moment since `asked`. It never runs backwards.
    pub(super) fn set(&self, now: DateTime<Utc>, asked: Instant) {
        let now = now + asked.elapsed() / 2;
        let shown = self.now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (now.max(shown), Instant::now());
    }

    /// The time.
    pub(super) fn now(&self) -> DateTime<Utc> {
        let (at, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at + since.elapsed()
    }
}
