//! Whether steps can come to wait for each other.
//!
//! That takes a cycle of guards, and most jobsets have none: steps are numbered in topological
//! order, so one look at each term tells. For each cycle the steps in it and all that they depend on,
//! however far, are run in the small (see [`super::model`]) through every combination of outcomes,
//! those with the fewest failures first, until a situation is found in which they wait for each other
//! or the budget is spent. Then nothing is said: a warning needs an example.

use std::collections::{BTreeSet, HashMap};

use super::Findings;
use super::model::{Budget, Model, Stuck};
use crate::domain::jobset::{Jobset, On};

/// Steps of a cycle with all that it depends on, from which on it is not run in the small.
const STEPS_MAX: usize = 500;

/// How many cycles are told.
const CYCLES_MAX: usize = 10;

/// How many names a message has at the most.
const NAMES_MAX: usize = 6;

/// Adds a warning for each cycle of steps that can come to wait for each other.
pub(super) fn examine(jobset: &Jobset, order: &[u32], findings: &mut Findings) {
    let mut budget = Budget::full();
    for cycle in cycles(jobset).into_iter().take(CYCLES_MAX) {
        let Some(cone) = cone(jobset, &cycle) else { continue };
        let Some(stuck) = Model::new(jobset, cone).search(&cycle, &mut budget) else { continue };
        let first = stuck.waiting.iter().map(|n| order[*n as usize]).min().unwrap_or_default();
        findings.warn(format!("steps[{first}]"), told(jobset, &stuck));
    }
}

/// The steps that decide what happens to step `n`; may repeat.
pub(super) fn sources(jobset: &Jobset, n: u32) -> impl Iterator<Item = u32> {
    guards(jobset, n)
        .flat_map(|guard| jobset.guards.clauses(guard).flatten())
        .flat_map(|(_, terms)| terms.iter().map(|term| term.step))
}

/// The guards that decide what happens to step `n`: operators do not act on default machines here.
pub(super) fn guards(jobset: &Jobset, n: u32) -> impl Iterator<Item = u32> {
    let is_own = !jobset.machine(n).name.is_empty();
    let extras = jobset.extras_of(n).iter();
    let extras = extras.filter(move |(on, _)| is_own || matches!(on, On::Transition(_)));
    std::iter::once(n).chain(extras.map(|(_, guard)| *guard))
}

/// The steps of each cycle of guards: strongly connected components, in the order of their first
/// step.
fn cycles(jobset: &Jobset) -> Vec<BTreeSet<u32>> {
    let leads_back = |n: &u32| sources(jobset, *n).any(|source| source >= *n);
    let mut back = (0..jobset.len()).filter(leads_back).peekable();
    if back.peek().is_none() {
        return Vec::new();
    }
    let mut dependents: HashMap<u32, Vec<u32>> = HashMap::new();
    for n in 0..jobset.len() {
        for source in sources(jobset, n) {
            dependents.entry(source).or_default().push(n);
        }
    }
    let mut found: Vec<BTreeSet<u32>> = Vec::new();
    for n in back {
        // Each search may look at everything, so there are few of them.
        if found.len() == CYCLES_MAX {
            break;
        }
        if found.iter().any(|cycle| cycle.contains(&n)) {
            continue;
        }
        let before = closure(n, |step| sources(jobset, step).collect());
        let after = closure(n, |step| dependents.get(&step).cloned().unwrap_or_default());
        let cycle: BTreeSet<u32> = before.intersection(&after).copied().collect();
        if !cycle.is_empty() {
            found.push(cycle);
        }
    }
    found
}

/// What is reached from `n` by one arrow or more.
fn closure(n: u32, next: impl Fn(u32) -> Vec<u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut stack = next(n);
    while let Some(step) = stack.pop() {
        if found.insert(step) {
            stack.extend(next(step));
        }
    }
    found
}

/// The steps of a cycle with all that they depend on, unless these are too many.
fn cone(jobset: &Jobset, cycle: &BTreeSet<u32>) -> Option<Vec<u32>> {
    let mut found = cycle.clone();
    let mut stack: Vec<u32> = cycle.iter().copied().collect();
    while let Some(step) = stack.pop() {
        stack.extend(sources(jobset, step).filter(|source| found.insert(*source)));
        if found.len() > STEPS_MAX {
            return None;
        }
    }
    Some(found.into_iter().collect())
}

/// "After `a` Succeeded and `b` Failed, `c` and `d` wait for each other."
fn told(jobset: &Jobset, stuck: &Stuck) -> String {
    let name = |n: u32| jobset.step(n).definition.name.as_str();
    let causes = stuck.causes.iter();
    let causes =
        causes.map(|(n, state)| format!("`{}` {}", name(*n), jobset.state_name(*n, *state)));
    let waiting = stuck.waiting.iter().map(|n| format!("`{}`", name(*n)));
    let wait = match stuck.waiting.len() {
        1 => "waits for itself",
        _ => "wait for each other",
    };
    let what = format!("{} {wait}, and will be closed as Unreachable", listed(waiting));
    if stuck.causes.is_empty() { what } else { format!("after {}, {what}", listed(causes)) }
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<String> = texts.collect();
    if texts.len() > NAMES_MAX {
        let more = texts.len() - NAMES_MAX;
        texts.truncate(NAMES_MAX);
        texts.push(format!("{more} more"));
    }
    match texts.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
