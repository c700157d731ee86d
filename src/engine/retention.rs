//! How long operations are kept: whole for a while after their end, then as a tombstone that has
//! their outline, then not at all.
//!
//! A day of operations is looked at when it is over for so long that all that ended in time can go.
//! Then those that ended long enough ago are buried, a bounded number by each statement; when all of
//! the day are, its partitions are dropped. Each step follows from what is found in the database, so a
//! process that is killed in the middle of it leaves nothing but work for the next round, and two that
//! do it at once come to the same.
//!
//! A tombstone is gone when its time is over and that of all others of its day, so that it may be
//! there for longer than was promised, never for less.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::Shared;
use super::duty::Duty;
use super::error::EngineError;
use crate::store::KeptDay;

/// What the duty is called in the database.
pub(super) const RETENTION: &str = "retention";

/// Operations looked at by one statement.
const LOOKED_AT_MAX: i64 = 2_000;
/// The pause between two, for the sake of everybody else.
const PAUSE: Duration = Duration::from_millis(20);

/// For how long operations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After their end, with everything that belongs to them.
    pub whole: Duration,
    /// After that, as tombstones.
    pub tombstones: Duration,
    /// How often it is looked what can go.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            whole: Duration::from_hours(30 * 24),
            tombstones: Duration::from_hours(30 * 24),
            every: Duration::from_mins(5),
        }
    }
}

impl Retention {
    /// The time before which what ended is not kept whole any more.
    fn whole_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        before(now, self.whole)
    }

    /// The time before which what was buried is not kept at all any more.
    fn buried_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        before(now, self.tombstones)
    }

    /// Whether nothing may be kept any more of an operation that was made at `made`.
    pub(super) fn is_past(&self, made: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        made < self.whole_since(self.buried_since(now))
    }
}

fn before(now: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    let duration = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(duration).unwrap_or(DateTime::UNIX_EPOCH)
}

/// Buries and forgets operations until the engine stops.
pub(super) async fn retain(shared: Arc<Shared>, duty: Arc<Duty>, retention: Retention) {
    let mut often = tokio::time::interval(retention.every);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = often.tick() => {}
            () = shared.stopped.cancelled() => return,
        }
        let round = Round { shared: &shared, duty: &duty, retention };
        if let Err(error) = round.run().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "engine.retention.failed");
        }
    }
}

struct Round<'a> {
    shared: &'a Shared,
    duty: &'a Duty,
    retention: Retention,
}

impl Round<'_> {
    fn goes_on(&self) -> bool {
        self.duty.is_held() && !self.shared.stopped.is_cancelled()
    }

    async fn run(&self) -> Result<(), EngineError> {
        let now = self.shared.clock.now();
        let whole_since = self.retention.whole_since(now);
        if !self.goes_on() {
            return Ok(());
        }
        for day in self.shared.store.days_before(whole_since.date_naive()).await? {
            let is_buried = !day.has_data || self.bury(day, whole_since).await?;
            if is_buried && self.goes_on() {
                self.forget(day, now).await?;
            }
        }
        if self.goes_on() {
            self.shared.forget_aliases().await?;
            let unused_since = self.retention.buried_since(whole_since) - TimeDelta::days(1);
            self.shared.store.forget_jobsets(unused_since).await?;
        }
        Ok(())
    }

    /// Buries those of a day that ended in time; answers whether none is left. Then their data goes.
    async fn bury(&self, day: KeptDay, whole_since: DateTime<Utc>) -> Result<bool, EngineError> {
        let store = &self.shared.store;
        let (mut last, mut buried, mut kept) = (Uuid::nil(), 0, 0);
        while self.goes_on() {
            let looked = store.bury(day.day, last, whole_since, LOOKED_AT_MAX).await?;
            buried += looked.buried;
            kept += looked.kept;
            match looked.last {
                Some(id) => last = id,
                None if kept == 0 => {
                    let is_dropped = store.drop_data_of(day.day).await?;
                    tracing::info!(day = %day.day, buried, is_dropped, "engine.retention.buried");
                    return Ok(is_dropped);
                }
                None => {
                    tracing::debug!(day = %day.day, buried, kept, "engine.retention.kept");
                    return Ok(false);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(false)
    }

    /// Drops the tombstones of a day whose time is over.
    async fn forget(&self, day: KeptDay, now: DateTime<Utc>) -> Result<(), EngineError> {
        let store = &self.shared.store;
        let buried_since = self.retention.buried_since(now);
        if day.end() < buried_since && store.is_forgettable(day.day, buried_since).await? {
            let is_dropped = store.drop_operations_of(day.day).await?;
            tracing::info!(day = %day.day, is_dropped, "engine.retention.forgotten");
        }
        Ok(())
    }
}
