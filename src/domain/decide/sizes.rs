//! How large the stamps of whole runs get. `SUTBOT_ITC_CASES=1 cargo test --lib sizes -- --nocapture`
//! prints the figures of large runs.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::tests::{WORKER, config, name, start};
use super::{Cause, Ending};
use crate::domain::definition::{Definition, Retry, StepDefinition};
use crate::domain::{Jobset, Limits, Run};

fn jobset(steps: usize, pairs: Vec<(usize, usize)>) -> Arc<Jobset> {
    let step = |n| StepDefinition {
        name: name(n),
        retry: Retry { max_attempts: 2, jitter: false, ..Retry::default() },
        ..StepDefinition::default()
    };
    let definition = Definition {
        steps: (0..steps).map(step).collect(),
        success_pairs: pairs.into_iter().map(|(a, b)| (name(a), name(b))).collect(),
        ..Definition::default()
    };
    Jobset::compile(definition, &Limits::default()).map(Arc::new).unwrap()
}

/// Runs it, 16 at once, every `flaky`th step twice; answers the sizes of its stamps in bytes.
fn run(jobset: &Arc<Jobset>, flaky: u32) -> Vec<usize> {
    let mut now = start();
    let mut run = Run::submit(Uuid::from_u128(1), Arc::clone(jobset), now);
    let mut sizes = Vec::new();
    while !run.state().is_final() {
        now += chrono::TimeDelta::hours(1);
        for claim in run.claim(16, WORKER, now) {
            let fails = claim.attempt == 1 && flaky > 0 && claim.step % flaky == 0;
            let ending = if fails { Ending::Failed(Cause::Exit(1)) } else { Ending::Succeeded };
            run.settle(claim.step, claim.attempt, WORKER, ending, now).unwrap();
        }
        let events = run.take_changes().events;
        sizes.extend(events.iter().map(|event| event.stamp.as_ref().expect("a stamp").len()));
    }
    sizes
}

/// Prints how large they are; answers the largest.
fn largest(kind: &str, jobsets: &[Arc<Jobset>]) -> usize {
    let of = |flaky| {
        let mut sizes: Vec<usize> = jobsets.iter().flat_map(|jobset| run(jobset, flaky)).collect();
        sizes.sort_unstable();
        let (count, median, most) = (sizes.len(), sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
        let flaky =
            if flaky > 0 { format!(", every {flaky}rd step tried twice") } else { String::new() };
        println!("{kind}{flaky}: {count} stamps, median {median} B, max {most} B");
        most
    };
    of(0).max(of(3))
}

#[test]
fn stamps_are_as_large_as_what_is_live() {
    let is_long = std::env::var_os("SUTBOT_ITC_CASES").is_some();
    let (width, graphs, steps) = if is_long { (10_000, 200, 500) } else { (1_000, 20, 60) };
    let out = (1..=width).map(|n| (0, n));
    let fan = out.chain((1..=width).map(|n| (n, width + 1))).collect();
    let kind = format!("fan-out and fan-in of {width}");
    assert!(largest(&kind, &[jobset(width + 2, fan)]) <= 4 * width);
    let chain = (1..1_000).map(|n| (n - 1, n)).collect();
    assert!(largest("chain of 1,000", &[jobset(1_000, chain)]) <= 64);
    let pair = (0..steps, 0..steps).prop_filter("forward", |(a, b)| a < b);
    let pairs = prop::collection::btree_set(pair, steps..2 * steps);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(), rng);
    let mut drawn = || pairs.new_tree(&mut runner).unwrap().current().into_iter().collect();
    let graphs: Vec<_> = (0..graphs).map(|_| jobset(steps, drawn())).collect();
    let kind = format!("{} random graphs of {steps}", graphs.len());
    assert!(largest(&kind, &graphs) <= 8 * steps);
}
