//! What follows from what can be reached: steps that can never run, actions that can never be taken.

use std::collections::HashSet;

use super::Findings;
use super::reach::Reach;
use crate::domain::guard::Term;
use crate::domain::jobset::Jobset;
use crate::domain::machine::{Condition, On};
use crate::domain::state::{Phase, StepState};

/// Adds what is found about the guards of each step.
pub(super) fn examine(jobset: &Jobset, order: &[u32], reach: &Reach, findings: &mut Findings) {
    let examine = Examine { jobset, reach };
    let mut transitions = HashSet::new();
    for n in 0..jobset.len() {
        if findings.is_full() {
            return;
        }
        let path = format!("steps[{}]", order[n as usize]);
        examine.entry(n, &path, findings);
        if !jobset.extras_of(n).is_empty() {
            examine.extras(n, &path, &mut transitions, findings);
        }
    }
}

struct Examine<'a> {
    jobset: &'a Jobset,
    reach: &'a Reach,
}

impl Examine<'_> {
    fn name(&self, n: u32) -> &str {
        &self.jobset.step(n).definition.name
    }

    /// The pairs and the `when` of a step.
    fn entry(&self, n: u32, path: &str, findings: &mut Findings) {
        let machine = self.jobset.machine(n);
        let name = self.name(n);
        if self.jobset.guards.is_open(n) {
            return;
        }
        if !machine.rules().iter().any(|rule| rule.condition == Condition::Entry) {
            let initial = machine.state_name(machine.initial);
            let message = format!(
                "the pairs and the `when` of `{name}` are never asked: \
                 no automatic transition leads out of `{initial}`"
            );
            return findings.warn(path, message);
        }
        if !self.reach.is_possible(n) {
            findings.error(path, format!("`{name}` can never run: {}", self.reason(n)));
        }
    }

    /// The guards on actions of a step and on transitions of its machine. Those of a transition name
    /// the same steps whichever step has the machine, so they are told once.
    fn extras(
        &self,
        n: u32,
        path: &str,
        told: &mut HashSet<(String, u16)>,
        findings: &mut Findings,
    ) {
        let shut = self.jobset.extras_of(n).iter().filter(|(_, g)| !self.reach.is_possible(*g));
        let Some((_, first)) = shut.clone().next() else { return };
        if self.reach.is_possible(n) && !self.can_end(n) {
            let reason = self.reason(*first);
            findings.error(path, format!("`{}` can never end: {reason}", self.name(n)));
        }
        let machine = &self.jobset.machine(n).name;
        for (on, guard) in shut {
            if findings.has_all_warnings() {
                return;
            }
            let (path, what) = match on {
                On::Action(action) => {
                    let action = self.jobset.action_name(*action);
                    let what = format!("`{action}` of `{}`", self.name(n));
                    (format!("{path}.guards.{action}"), what)
                }
                On::Transition(place) => {
                    if !told.insert((machine.clone(), *place)) {
                        continue;
                    }
                    let path = format!("machines.{machine}.transitions[{place}].when");
                    (path, "the transition".to_owned())
                }
            };
            let reason = self.reason(*guard);
            findings.warn(path, format!("{what} can never be taken: {reason}"));
        }
    }

    /// Whether a step can reach an end that its machine has, beside those that every machine has.
    fn can_end(&self, n: u32) -> bool {
        let served = [StepState::UNREACHABLE, StepState::CANCELLED, StepState::BLOCKED];
        let states = self.jobset.machine(n).states().iter().map(|state| state.state);
        let mut ends =
            states.filter(|state| state.phase() == Phase::Ended && !served.contains(state));
        ends.any(|state| self.reach.states(n).has(state))
    }

    fn reason(&self, guard: u32) -> String {
        if let Some(cycle) = self.cycle_through(guard) {
            return format!("its guard waits for itself ({cycle})");
        }
        let mut terms = self.jobset.guards.clauses(guard).flatten().flat_map(|(_, terms)| terms);
        match terms.find(|term| !self.reach.is_term_possible(**term)) {
            Some(term) => {
                let states: Vec<_> = term
                    .states
                    .iter()
                    .map(|state| self.jobset.state_name(term.step, state))
                    .collect();
                format!("`{}` never becomes {}", self.name(term.step), states.join(" or "))
            }
            None => "its guard asks one step for two states at once".to_owned(),
        }
    }

    /// Follows, from a guard, guards that can never hold until one comes again.
    fn cycle_through(&self, guard: u32) -> Option<String> {
        let mut path = vec![guard];
        let mut seen: HashSet<u32> = path.iter().copied().collect();
        loop {
            let last = *path.last()?;
            let mut terms = self.jobset.guards.clauses(last).flatten().flat_map(|(_, terms)| terms);
            let next = terms.find_map(|term| self.shut_behind(*term))?;
            if !seen.insert(next) {
                let start = path.iter().position(|guard| *guard == next)?;
                return Some(self.told(path[start..].iter().chain([&next])));
            }
            path.push(next);
        }
    }

    /// The guard that keeps a step from what a term asks for.
    fn shut_behind(&self, term: Term) -> Option<u32> {
        if self.reach.is_term_possible(term) {
            return None;
        }
        if !self.reach.is_possible(term.step) {
            return Some(term.step);
        }
        let mut extras = self.jobset.extras_of(term.step).iter().map(|(_, guard)| *guard);
        extras.find(|guard| !self.reach.is_possible(*guard))
    }

    fn told<'a>(&self, guards: impl Iterator<Item = &'a u32>) -> String {
        let mut names: Vec<_> = guards.map(|g| self.name(self.jobset.owner(*g))).collect();
        if names.len() > 10 {
            names.splice(5..names.len() - 3, ["..."]);
        }
        names.join(" after ")
    }
}
