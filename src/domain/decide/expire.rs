//! Time that is up: of the operation, and of steps that wait for a worker.
//!
//! A running attempt is ended by its worker, who knows its limits; everything else is decided here.
//! The next time at which something is up is stored beside the run, so that whoever maintains the
//! database finds it without a look at the runs.

use chrono::{DateTime, Utc};

use crate::domain::action::Action;
use crate::domain::changes::{Expired, Timeout};
use crate::domain::definition::OnFailure;
use crate::domain::operation::{Stop, created_at};
use crate::domain::run::{OpenAttempt, Run};

impl Run {
    /// When the operation must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        self.jobset.deadline.map(|deadline| created_at(self.id) + deadline)
    }

    /// When time is up next for the operation or a step that waits.
    #[must_use]
    pub fn next_timer(&self) -> Option<DateTime<Utc>> {
        if self.state.is_final() {
            return None;
        }
        let deadline = self.deadline().filter(|_| self.stop.is_none());
        let step = self.queue.next_timer().filter(|_| self.gives_work());
        [deadline, step].into_iter().flatten().min()
    }

    /// When time is up next, if that is to be stored because it has changed.
    pub fn take_timer(&mut self) -> Option<DateTime<Utc>> {
        let next = self.next_timer();
        let is_new = next != std::mem::replace(&mut self.timer, next);
        next.filter(|_| is_new)
    }

    /// Ends what has run out of time; whether there was anything.
    pub fn expire(&mut self, now: DateTime<Utc>) -> bool {
        if self.state.is_final() {
            return false;
        }
        if self.stop.is_none() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.stop_for(Stop::Deadline, now);
            return true;
        }
        self.advance(now);
        let has_expired = self.expire_waiting(now);
        if has_expired {
            self.conclude(now);
        }
        has_expired
    }

    /// Ends the wait of steps that have waited for too long; whether there were any.
    pub(super) fn expire_waiting(&mut self, now: DateTime<Utc>) -> bool {
        if !self.gives_work() {
            return false;
        }
        let overdue = self.queue.overdue(now);
        for n in &overdue {
            let open = self.open.get(n).copied().unwrap_or(OpenAttempt::fresh(1, now));
            let OpenAttempt { attempt, since, .. } = open;
            let is_total = self.total_due(*n).is_some_and(|due| due <= now);
            let timeout = if is_total { Timeout::Total } else { Timeout::Queue };
            let action = match self.policy(*n) {
                OnFailure::Hold if self.stop.is_none() => Action::ERROR,
                OnFailure::Skip => Action::FORGIVE,
                OnFailure::Fail | OnFailure::Continue | OnFailure::Hold => Action::TIMEOUT,
            };
            let next = OpenAttempt::fresh(attempt + 1, now);
            self.set_open(*n, (action == Action::ERROR).then_some(next));
            self.note(*n, |note| note.first = None);
            self.changes.expired.push(Expired { step: *n, attempt, since, timeout });
            self.act(*n, action, (attempt, None), now);
        }
        !overdue.is_empty()
    }

    /// When the attempts of step `n` have taken as long as they may together.
    pub(super) fn total_due(&self, n: u32) -> Option<DateTime<Utc>> {
        let total = self.jobset.step(n).definition.total_timeout?;
        Some(self.notes.get(&n)?.first? + total)
    }

    /// Notes when the first attempt of step `n` begins, if that limits the others.
    pub(super) fn start_total(&mut self, n: u32, now: DateTime<Utc>) {
        if self.jobset.step(n).definition.total_timeout.is_some() {
            self.note(n, |note| _ = note.first.get_or_insert(now));
        }
    }

    /// Files when step `n`, which waits for a worker, gives up. The wait of one that was not admitted
    /// before begins with the event that let it.
    pub(in crate::domain) fn set_timer(&mut self, n: u32) {
        let limit = self.jobset.step(n).definition.queue_timeout;
        let open = self.open.get(&n).copied();
        if limit.is_some() && open.is_none_or(|open| !open.admitted && !open.queued) {
            let open = open.unwrap_or(OpenAttempt::fresh(1, self.last));
            self.set_open(n, Some(OpenAttempt { queued: true, since: self.last, ..open }));
        }
        let since = self.open.get(&n).map(|open| open.since);
        let queue_due = limit.and_then(|limit| Some(since? + limit));
        self.queue.set_timer(n, [queue_due, self.total_due(n)].into_iter().flatten().min());
    }

    /// After a pause, during which nobody could claim anything, the waits begin anew.
    pub(super) fn restart_timers(&mut self, now: DateTime<Utc>) {
        self.advance(now);
        for n in self.queue.timed() {
            if let Some(open) = self.open.get_mut(&n) {
                open.since = open.since.max(now);
            }
            self.set_timer(n);
        }
    }
}
