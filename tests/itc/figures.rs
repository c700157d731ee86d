//! How large the stamps of whole runs get. `SUTBOT_ITC_CASES=1 cargo test --test itc figures --
//! --nocapture` prints the figures of large ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sutbot::domain::decide::{Cause, Ending};
use sutbot::domain::definition::{Definition, Retry, StepDefinition};
use sutbot::domain::profile::Profile;
use sutbot::domain::{Jobset, Limits, Run};
use uuid::Uuid;

use crate::support::Random;

const WORKER: i64 = 1;

fn name(step: usize) -> String {
    format!("s{step}")
}

/// So many steps, the second of each pair after the first.
fn jobset(steps: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Arc<Jobset> {
    let retry = || Retry { max_attempts: 2, ..Retry::default() };
    let step = |n| StepDefinition { name: name(n), retry: retry(), ..StepDefinition::default() };
    let definition = Definition {
        steps: (0..steps).map(step).collect(),
        success_pairs: pairs.into_iter().map(|(a, b)| (name(a), name(b))).collect(),
        ..Definition::default()
    };
    Jobset::compile(definition, &Limits::default()).map(Arc::new).expect("a valid jobset")
}

/// Each step after up to three others.
fn random_graph(random: &mut Random, steps: usize) -> Arc<Jobset> {
    let mut pairs = BTreeSet::new();
    for step in 1..steps {
        let count = random.below(4);
        pairs.extend((0..count).map(|_| (random.below(step), step)));
    }
    jobset(steps, pairs)
}

/// Runs it, 16 steps at once, every third one twice if they are `flaky`; answers the sizes of the
/// stamps in bytes.
fn run(jobset: &Arc<Jobset>, flaky: bool) -> Vec<usize> {
    let mut now = DateTime::<Utc>::UNIX_EPOCH;
    let mut run = Run::submit(Uuid::from_u128(1), Arc::clone(jobset), now);
    let mut sizes = Vec::new();
    while !run.state().is_final() {
        now += TimeDelta::hours(1);
        for claim in run.claim(16, WORKER, &Profile::default(), now) {
            let fails = flaky && claim.attempt == 1 && claim.step % 3 == 0;
            let ending = if fails { Ending::Failed(Cause::Exit(1)) } else { Ending::Succeeded };
            run.settle(claim.step, claim.attempt, WORKER, ending, now).expect("its own claim");
        }
        let events = run.take_changes().events;
        sizes.extend(events.iter().map(|event| event.stamp.as_ref().expect("a stamp").len()));
    }
    sizes
}

/// Prints how large the stamps of runs are; answers the largest.
fn largest(kind: &str, jobsets: &[Arc<Jobset>]) -> usize {
    let of = |flaky| {
        let mut sizes: Vec<usize> = jobsets.iter().flat_map(|jobset| run(jobset, flaky)).collect();
        sizes.sort_unstable();
        let (count, median, most) = (sizes.len(), sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
        let flaky = if flaky { ", every third step tried twice" } else { "" };
        println!("{kind}{flaky}: {count} stamps, median {median} B, max {most} B");
        most
    };
    of(false).max(of(true))
}

/// A chain stays small however long it is; otherwise the live width bounds a stamp.
#[test]
fn stamps_are_as_large_as_what_is_live() {
    let is_long = std::env::var_os("SUTBOT_ITC_CASES").is_some();
    let (width, graphs, steps) = if is_long { (10_000, 200, 500) } else { (1_000, 20, 60) };
    let out = (1..=width).map(|n| (0, n));
    let fan = jobset(width + 2, out.chain((1..=width).map(|n| (n, width + 1))));
    assert!(largest(&format!("fan-out and fan-in of {width}"), &[fan]) <= 4 * width);
    let chain = jobset(1_000, (1..1_000).map(|n| (n - 1, n)));
    assert!(largest("chain of 1,000", &[chain]) <= 64);
    let layers = (0..100).flat_map(|a| (100..200).map(move |b| (a, b)));
    assert!(largest("two layers of 100, each after all", &[jobset(200, layers)]) <= 400);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let kind = format!("{graphs} random graphs of {steps}");
    let graphs: Vec<_> = (0..graphs).map(|_| random_graph(&mut random, steps)).collect();
    assert!(largest(&kind, &graphs) <= 4 * steps);
}
