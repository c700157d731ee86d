//! The figures of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::kinds::Kind;
use crate::ledger::Ledger;
use crate::verdict::Verdict;

/// How soon the service is to run steps again after a fault. Reached or not, no test fails by it:
/// machines are as slow as they are.
const TARGET: Duration = Duration::from_secs(5);

/// The times from the end of each fault to the end of a step that was asked for after it.
#[derive(Default)]
pub(crate) struct Report(BTreeMap<Kind, Vec<Duration>>);

impl Report {
    pub(crate) fn add(&mut self, kind: Kind, took: Duration) {
        self.0.entry(kind).or_default().push(took);
    }

    /// The counts on lines, then the times as a table.
    pub(crate) fn print(&mut self, ledger: &Ledger, operations: usize, verdict: &Verdict) {
        let counts = &ledger.counts;
        let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        println!(
            "submitted {}, acknowledged {}, repeated {}, steered {} (refused {}), forked {}, ends \
             acknowledged {}, unanswered {}; {operations} operations",
            number(&counts.submitted),
            ledger.acknowledged.lock().expect("sound").len(),
            number(&counts.repeated),
            number(&counts.steered),
            number(&counts.refused),
            ledger.forks.lock().expect("sound").len(),
            ledger.cancelled.lock().expect("sound").len(),
            number(&counts.unanswered),
        );
        println!(
            "lost {}, double {}, lies {}, survivors {}",
            verdict.lost.len(),
            verdict.double.len(),
            verdict.lies.len(),
            verdict.survivors.len()
        );
        println!("{:<16}{:>8}{:>12}{:>12}   within {TARGET:?}", "fault", "rounds", "median", "max");
        for (kind, times) in &mut self.0 {
            times.sort_unstable();
            let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
            let reached = times.iter().filter(|time| **time <= TARGET).count();
            let (name, rounds) = (kind.name(), times.len());
            let (median, max) = (format!("{median:.2?}"), format!("{max:.2?}"));
            println!("{name:<16}{rounds:>8}{median:>12}{max:>12}   {reached} of {rounds}");
        }
    }
}
