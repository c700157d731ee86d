//! Whether steps can come to wait for each other.
//!
//! That takes a cycle of guards, and most jobsets have none: steps are numbered in topological
//! order, so one look at each term tells. For each cycle the steps in it and all that they depend on,
//! however far, are run in the small (see [`super::model`]) through every combination of outcomes,
//! those with the fewest failures first, until a situation is found in which they wait for each other
//! or the budget is spent. Then nothing is said: a warning needs an example.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Findings;
use super::model::{Budget, Model, Stuck};
use crate::domain::jobset::Jobset;
use crate::domain::machine::On;

/// Steps of a cycle with all that it depends on, from which on it is not run in the small.
const STEPS_MAX: usize = 500;

/// How many cycles are told.
const CYCLES_MAX: usize = 10;

/// How many names a message has at the most.
const NAMES_MAX: usize = 6;

/// Adds a warning for each cycle of steps that can come to wait for each other.
pub(super) fn examine(jobset: &Jobset, order: &[u32], findings: &mut Findings) {
    let budget = Budget::full();
    for cycle in cycles(jobset).into_iter().take(CYCLES_MAX) {
        let Some(cone) = cone(jobset, &cycle) else { continue };
        let Some(stuck) = Model::new(jobset, cone, &budget).search(&cycle) else { continue };
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
    let mut search = Search::default();
    for n in (0..jobset.len()).filter(leads_back) {
        search.from(jobset, n);
    }
    search.found.sort_by_key(|cycle| cycle.first().copied());
    search.found
}

/// Tarjan's search for strongly connected components, without recursion: jobsets are deep.
#[derive(Default)]
struct Search {
    /// By step: when it was met, and the earliest step that it leads back to.
    met: HashMap<u32, (usize, usize)>,
    /// The steps whose component is not known yet.
    open: Vec<u32>,
    is_open: HashSet<u32>,
    found: Vec<BTreeSet<u32>>,
}

impl Search {
    fn from(&mut self, jobset: &Jobset, root: u32) {
        let mut way: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut next = Some(root).filter(|n| !self.met.contains_key(n));
        loop {
            if let Some(n) = next.take() {
                let at = self.met.len();
                self.met.insert(n, (at, at));
                self.open.push(n);
                self.is_open.insert(n);
                way.push((n, sources(jobset, n).collect()));
            }
            let Some((n, left)) = way.last_mut() else { return };
            let n = *n;
            if let Some(source) = left.pop() {
                match self.met.get(&source).copied() {
                    None => next = Some(source),
                    Some((at, _)) if self.is_open.contains(&source) => self.leads_to(n, at),
                    Some(_) => {}
                }
                continue;
            }
            way.pop();
            let (at, low) = self.met[&n];
            if let Some((before, _)) = way.last() {
                self.leads_to(*before, low);
            }
            if at == low {
                self.close(jobset, n);
            }
        }
    }

    fn leads_to(&mut self, n: u32, at: usize) {
        if let Some((_, low)) = self.met.get_mut(&n) {
            *low = (*low).min(at);
        }
    }

    /// The component that was met with step `n` first.
    fn close(&mut self, jobset: &Jobset, n: u32) {
        let mut component = BTreeSet::new();
        while let Some(step) = self.open.pop() {
            self.is_open.remove(&step);
            component.insert(step);
            if step == n {
                break;
            }
        }
        if component.len() > 1 || sources(jobset, n).any(|source| source == n) {
            self.found.push(component);
        }
    }
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
