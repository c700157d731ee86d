//! Functions in processes of their own, well-behaved and not: each call has exactly one result, and
//! leaves nothing behind.
//!
//! The processes are this program, executed again, so it has a `main` of its own in place of that of
//! the test harness.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod containment;
mod handle;
mod misdeeds;
mod outcomes;
mod steps;
mod stock;
mod support;

use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Failed, Trial};
use sutbot::{Exception, exception_safe_call};

/// Held for writing by what harms everything else that runs.
static PEACE: RwLock<()> = RwLock::new(());

fn main() {
    let role = std::env::args().nth(1);
    if role.as_deref() == Some("forgetful") {
        return support::print_result("echo"); // Without the call that has to be the first.
    }
    sutbot::run_if_child(misdeeds::functions);
    match role.as_deref() {
        Some("printing") => support::print_result("print"),
        Some("holding") => containment::hold_for_ever(),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit(),
    }
}

/// A test that runs beside others.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        let _peace = PEACE.read().unwrap_or_else(PoisonError::into_inner);
        judged(test)
    })
}

/// A test that runs alone.
fn lonely_trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        let _alone = PEACE.write().unwrap_or_else(PoisonError::into_inner);
        judged(test)
    })
}

fn judged(test: fn()) -> Result<(), Failed> {
    exception_safe_call(|| {
        test();
        Ok::<_, Exception>(())
    })
    .map_err(Failed::from)
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(outcomes::trials());
    trials.extend(handle::trials());
    trials.extend(containment::trials());
    trials.extend(steps::trials());
    trials.extend(stock::trials());
    trials
}
