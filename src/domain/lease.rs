//! How long a worker may act without being heard of, and who kills what before others act.

use std::time::Duration;

/// The share of the whole time that is kept for ending the processes.
const MARGIN_SHARE: u32 = 6;

/// The terms on which an incarnation holds its lease. They are set when it registers, kept beside its
/// lease and told to it, so that both sides count with the same numbers.
///
/// ```text
/// sent         stored          Unresponsive                 over
///  |------------|---- lease ----|------ requeue_after ------|------>  the database
///  |------------- fence_after --------------|--- margin ---|          the worker's host
///               claims nothing after sent + lease           others may begin
/// ```
///
/// - The *database* counts from when it stored a heartbeat. After `lease` it calls the attempts
///   Unresponsive, after `requeue_after` more the incarnation is over and others may have them.
/// - The *worker* counts from before it sent the last heartbeat that was answered: that is never
///   later. After `lease` it claims nothing, after [`fence_after`](Self::fence_after) nothing that it
///   started may run.
///
/// Each side measures durations on its own clock and no time is ever compared with that of another
/// host, so it does not matter what time a clock shows. It must pass at the same rate on both: what
/// one side is wrong by over the whole time must be below the margin. Nor may the clock of the
/// database be set forward by more than that while leases are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long the incarnation may act after a heartbeat.
    pub lease: Duration,
    /// How long its attempts are Unresponsive before others get them.
    pub requeue_after: Duration,
}

impl LeaseTerms {
    /// The time between the last heartbeat and the earliest moment at which others may begin what the
    /// worker has.
    #[must_use]
    pub const fn whole(&self) -> Duration {
        self.lease.saturating_add(self.requeue_after)
    }

    /// The time for ending the processes: a sixth of the whole. A tree is killed in milliseconds; the
    /// rest is for a host that is too busy to begin at once.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.whole() / MARGIN_SHARE
    }

    /// When the processes are ended, counted from before the last heartbeat was sent.
    #[must_use]
    pub fn fence_after(&self) -> Duration {
        self.whole().saturating_sub(self.margin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(lease: u64, requeue_after: u64) -> LeaseTerms {
        let [lease, requeue_after] = [lease, requeue_after].map(Duration::from_millis);
        LeaseTerms { lease, requeue_after }
    }

    #[test]
    fn the_processes_have_ended_before_others_may_begin() {
        for lease in [1, 300, 2_000, 6_000, 3_600_000] {
            for requeue_after in [0, 1, 500, 2_000, 60_000] {
                let terms = terms(lease, requeue_after);
                assert_eq!(terms.fence_after() + terms.margin(), terms.whole());
                assert!(terms.margin() > Duration::ZERO, "{terms:?}");
            }
        }
    }

    #[test]
    fn by_default_a_worker_can_come_back_after_its_lease() {
        let terms = terms(6_000, 2_000);
        assert!(terms.fence_after() > terms.lease, "{:?}", terms.fence_after());
        assert!(terms.margin() > Duration::from_secs(1));
    }

    #[test]
    fn terms_that_no_clock_can_count_do_not_overflow() {
        let terms = LeaseTerms { lease: Duration::MAX, requeue_after: Duration::MAX };
        assert!(terms.fence_after() < terms.whole());
    }
}
