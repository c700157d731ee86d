//! Which steps of a run may be claimed, when, and which of them run out of time before that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::needs::Needs;

/// The steps that wait for a worker. A step stands in it once at the most.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// What they require.
    needs: Arc<Needs>,
    /// Those that may be claimed now, by the set of labels that they require; no set is empty.
    runnable: BTreeMap<u32, BTreeSet<u32>>,
    /// Those that may be claimed later, by the time.
    backing_off: BTreeSet<(DateTime<Utc>, u32)>,
    /// The same by step.
    due: BTreeMap<u32, DateTime<Utc>>,
    /// Those that may not wait for ever, by the time at which they give up.
    timers: BTreeSet<(DateTime<Utc>, u32)>,
    /// The same by step.
    timer_of: BTreeMap<u32, DateTime<Utc>>,
}

impl Queue {
    /// Where nothing waits yet, for steps that require this.
    pub(super) fn new(needs: Arc<Needs>) -> Self {
        Self { needs, ..Self::default() }
    }

    /// The steps that may be claimed now by the set of labels that they require, lowest number first.
    pub(super) const fn runnable(&self) -> &BTreeMap<u32, BTreeSet<u32>> {
        &self.runnable
    }

    /// When the next step of each set may be claimed that cannot be now.
    pub(super) fn due_by_set(&self) -> BTreeMap<u32, DateTime<Utc>> {
        let mut first = BTreeMap::new();
        for (due, n) in &self.backing_off {
            first.entry(self.needs.of(*n)).or_insert(*due);
            if first.len() == self.needs.count() {
                break;
            }
        }
        first
    }

    /// From when on step `n` may be claimed, if it waits for a time.
    pub(super) fn due(&self, n: u32) -> Option<DateTime<Utc>> {
        self.due.get(&n).copied()
    }

    /// Whether step `n` waits for a worker, or for the time from which on it may be claimed.
    pub(super) fn has(&self, n: u32) -> bool {
        self.is_runnable(n) || self.due.contains_key(&n)
    }

    fn is_runnable(&self, n: u32) -> bool {
        self.runnable.get(&self.needs.of(n)).is_some_and(|steps| steps.contains(&n))
    }

    /// Whether no step waits.
    pub(super) fn is_empty(&self) -> bool {
        self.runnable.is_empty() && self.backing_off.is_empty()
    }

    /// When the next step may be claimed that cannot be now.
    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.backing_off.first().map(|(due, _)| *due)
    }

    /// When the next step gives up.
    pub(super) fn next_timer(&self) -> Option<DateTime<Utc>> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The steps that give up until `now`.
    pub(super) fn overdue(&self, now: DateTime<Utc>) -> Vec<u32> {
        self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, n)| *n).collect()
    }

    /// The steps that give up at some time.
    pub(super) fn timed(&self) -> Vec<u32> {
        self.timer_of.keys().copied().collect()
    }

    /// Lets steps whose time has come be claimed.
    pub(super) fn advance(&mut self, now: DateTime<Utc>) {
        while let Some((due, n)) = self.backing_off.first().copied()
            && due <= now
        {
            self.backing_off.pop_first();
            self.due.remove(&n);
            self.add(n);
        }
    }

    /// Step `n` may be claimed.
    pub(super) fn add(&mut self, n: u32) {
        self.runnable.entry(self.needs.of(n)).or_default().insert(n);
    }

    /// Step `n` may be claimed from `since` on. One that may be claimed already stays so.
    pub(super) fn add_at(&mut self, n: u32, since: DateTime<Utc>) {
        if self.due.get(&n) == Some(&since) || self.is_runnable(n) {
            return;
        }
        self.remove(n);
        self.due.insert(n, since);
        self.backing_off.insert((since, n));
    }

    /// Step `n` waits no longer than until `at`.
    pub(super) fn set_timer(&mut self, n: u32, at: Option<DateTime<Utc>>) {
        if let Some(before) = self.timer_of.remove(&n) {
            self.timers.remove(&(before, n));
        }
        if let Some(at) = at {
            self.timers.insert((at, n));
            self.timer_of.insert(n, at);
        }
    }

    /// Step `n` does not wait any more.
    pub(super) fn remove(&mut self, n: u32) {
        let set = self.needs.of(n);
        if let Some(steps) = self.runnable.get_mut(&set) {
            steps.remove(&n);
            if steps.is_empty() {
                self.runnable.remove(&set);
            }
        }
        if let Some(due) = self.due.remove(&n) {
            self.backing_off.remove(&(due, n));
        }
        self.set_timer(n, None);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(Arc::clone(&self.needs));
    }
}
