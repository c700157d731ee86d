//! Static analysis: guards that can never open.
//!
//! The optimistic question "could this step ever run?" is answered by the least fixed point of:
//! a step can run when its guard could hold in states that other steps can reach. What stays
//! outside of it waits for itself, or for a state that can never be reached.

use std::collections::VecDeque;

use super::definition::OnFailure;
use super::guard::{StateSet, Term};
use super::jobset::Jobset;
use super::problem::{PROBLEMS_MAX, Problem};
use super::state::StepState;

/// A problem for every step that can never run. `order` maps numbers to places in the document.
pub(super) fn problems(jobset: &Jobset, order: &[u32]) -> Vec<Problem> {
    let can_run = can_run(jobset);
    (0..jobset.len())
        .filter(|n| !can_run[*n as usize])
        .take(PROBLEMS_MAX)
        .map(|n| {
            let path = format!("steps[{}]", order[n as usize]);
            Problem::new(path, reason(jobset, n, &can_run))
        })
        .collect()
}

/// The states that a step can reach, given whether it can ever run.
fn reachable(jobset: &Jobset, n: u32, can_run: bool) -> StateSet {
    let step = jobset.step(n);
    let needs_run = |state: StepState| match state {
        StepState::RUNNING
        | StepState::UNRESPONSIVE
        | StepState::INTERRUPTED
        | StepState::SUCCEEDED
        | StepState::SKIPPED
        | StepState::FAILED => can_run,
        StepState::ERROR => can_run && step.on_failure() == OnFailure::Hold,
        StepState::TIMED_OUT => can_run && step.definition.timeout.is_some(),
        _ => true,
    };
    step.machine
        .states()
        .iter()
        .map(|state| state.state)
        .filter(|state| needs_run(*state))
        .collect()
}

/// How many guard terms are looked at per term of the jobset before the analysis gives up.
const EFFORT: usize = 32;

/// Which steps can ever run. Steps are asked in topological order, and again only when a step that
/// their guard names became able to run; without cyclic alternatives each is asked once. A jobset
/// built to defeat this order is let through: the run itself closes steps that wait in vain.
fn can_run(jobset: &Jobset) -> Vec<bool> {
    let mut can_run = vec![false; jobset.steps.len()];
    let mut queued = vec![true; jobset.steps.len()];
    let mut queue: VecDeque<u32> = (0..jobset.len()).collect();
    let mut effort = EFFORT * (jobset.guards.term_count() + jobset.steps.len());
    while let Some(n) = queue.pop_front() {
        queued[n as usize] = false;
        let cost =
            1 + jobset.guards.clauses(n).flatten().map(|(_, terms)| terms.len()).sum::<usize>();
        let Some(left) = effort.checked_sub(cost) else {
            return vec![true; jobset.steps.len()];
        };
        effort = left;
        if !could_hold(jobset, n, &can_run) {
            continue;
        }
        can_run[n as usize] = true;
        for guard in jobset.guards.watchers(n) {
            let watcher = jobset.owner(guard);
            if !can_run[watcher as usize] && !std::mem::replace(&mut queued[watcher as usize], true)
            {
                queue.push_back(watcher);
            }
        }
    }
    can_run
}

fn could_hold(jobset: &Jobset, n: u32, can_run: &[bool]) -> bool {
    if jobset.guards.is_open(n) {
        return true;
    }
    jobset.guards.clauses(n).any(|groups| {
        let mut conjunction: Vec<Term> = Vec::new();
        for (need, terms) in groups {
            let possible = terms.iter().filter(|term| is_possible(jobset, **term, can_run)).count();
            if possible < need as usize {
                return false;
            }
            if need as usize == terms.len() {
                conjunction.extend(terms);
            }
        }
        !contradicts_itself(&mut conjunction)
    })
}

fn is_possible(jobset: &Jobset, term: Term, can_run: &[bool]) -> bool {
    let reachable = reachable(jobset, term.step, can_run[term.step as usize]);
    !reachable.and(term.states).is_empty()
}

/// Whether one step is asked to be in two states at once.
fn contradicts_itself(conjunction: &mut [Term]) -> bool {
    conjunction.sort_unstable_by_key(|term| term.step);
    conjunction.chunk_by(|a, b| a.step == b.step).any(|terms| {
        let both = terms.iter().map(|term| term.states).reduce(StateSet::and);
        both.is_some_and(StateSet::is_empty)
    })
}

fn reason(jobset: &Jobset, n: u32, can_run: &[bool]) -> String {
    let name = &jobset.step(n).definition.name;
    if let Some(cycle) = cycle_through(jobset, n, can_run) {
        return format!("`{name}` can never run: its guard waits for itself ({cycle})");
    }
    let blocking = jobset
        .guards
        .clauses(n)
        .flatten()
        .flat_map(|(_, terms)| terms)
        .find(|term| !is_possible(jobset, **term, can_run));
    match blocking {
        Some(term) => {
            let source = &jobset.step(term.step).definition.name;
            let states: Vec<_> =
                term.states.iter().map(|state| jobset.state_name(term.step, state)).collect();
            format!("`{name}` can never run: `{source}` never becomes {}", states.join(" or "))
        }
        None => format!("`{name}` can never run: its guard asks one step for two states at once"),
    }
}

/// Follows, from step `n`, steps that can never run until one comes again.
fn cycle_through(jobset: &Jobset, n: u32, can_run: &[bool]) -> Option<String> {
    let mut path = vec![n];
    let mut seen = vec![false; jobset.steps.len()];
    seen[n as usize] = true;
    loop {
        let last = *path.last()?;
        let next = jobset
            .guards
            .clauses(last)
            .flatten()
            .flat_map(|(_, terms)| terms)
            .find(|term| !can_run[term.step as usize] && !is_possible(jobset, **term, can_run))?
            .step;
        if std::mem::replace(&mut seen[next as usize], true) {
            let start = path.iter().position(|step| *step == next)?;
            let mut names: Vec<_> = path[start..]
                .iter()
                .chain(std::iter::once(&next))
                .map(|step| jobset.step(*step).definition.name.as_str())
                .collect();
            if names.len() > 10 {
                names.splice(5..names.len() - 3, ["..."]);
            }
            return Some(names.join(" after "));
        }
        path.push(next);
    }
}
