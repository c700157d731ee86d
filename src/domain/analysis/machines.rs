//! The machines that a jobset declares: whether each leads from its beginning to an end.
//!
//! Looks at the transitions only, as if each could be taken; what guards say about that is asked
//! later, of each step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Findings;
use crate::domain::definition::{Definition, MachineDefinition, TransitionDefinition};

/// Adds what is found about each machine.
pub(super) fn examine(definition: &Definition, findings: &mut Findings) {
    if definition.machines.is_empty() {
        return;
    }
    let mut uses: BTreeMap<&str, Uses<'_>> = BTreeMap::new();
    for step in &definition.steps {
        let Some(machine) = &step.machine else { continue };
        let uses = uses.entry(machine).or_default();
        uses.begin.extend(step.initial_state.as_deref());
        uses.guarded.extend(step.guards.keys().map(String::as_str));
    }
    for (name, machine) in &definition.machines {
        if findings.is_full() {
            return;
        }
        let path = format!("machines.{name}");
        let uses = uses.remove(name.as_str());
        if uses.is_none() {
            findings.warn(&path, "no step has this machine");
        }
        Examine { path, machine, uses: uses.unwrap_or_default() }.all(findings);
    }
}

/// What the steps that have a machine say about it.
#[derive(Default)]
struct Uses<'a> {
    /// The states that they begin in, where it is not that of the machine.
    begin: BTreeSet<&'a str>,
    /// The actions that one of them puts a guard on.
    guarded: BTreeSet<&'a str>,
}

struct Examine<'a> {
    path: String,
    machine: &'a MachineDefinition,
    uses: Uses<'a>,
}

impl<'a> Examine<'a> {
    fn all(&self, findings: &mut Findings) {
        let machine = self.machine;
        let is_begun =
            |name: &&String| self.uses.begin.iter().any(|begin| begin.eq_ignore_ascii_case(name));
        let mut begin: Vec<&str> =
            machine.states.keys().filter(is_begun).map(String::as_str).collect();
        begin.push(&machine.initial);
        let reached = closure(begin, |state| self.leaving(state).map(|to| to.to.as_str()));
        let ends = machine.states.iter().filter(|(_, state)| state.end.is_some());
        let ends: Vec<&str> = ends.map(|(name, _)| name.as_str()).collect();
        let ending = closure(ends.clone(), |state| {
            let into = machine.transitions.iter().filter(move |t| t.to == state);
            into.map(|t| t.from.as_str())
        });
        for name in machine.states.keys().map(String::as_str) {
            if !reached.contains(name) {
                let message = format!("no transition ever leads to `{name}`");
                findings.warn(format!("{}.states.{name}", self.path), message);
            }
        }
        self.ways(&reached, &ends, &ending, findings);
        self.shadowed(findings);
    }

    /// The transitions that lead away from a state.
    fn leaving(&self, state: &str) -> impl Iterator<Item = &'a TransitionDefinition> {
        let transitions = self.machine.transitions.iter();
        transitions.filter(move |t| t.from == state && t.to != state)
    }

    /// Every state that can be reached must lead to an end.
    fn ways(
        &self,
        reached: &BTreeSet<&str>,
        ends: &[&str],
        ending: &BTreeSet<&str>,
        findings: &mut Findings,
    ) {
        let initial = self.machine.initial.as_str();
        if ends.is_empty() {
            let message = "no state is final: a step with this machine would never end";
            return findings.error(format!("{}.states", self.path), message);
        }
        if !ending.contains(initial) {
            let message = format!("no way leads from `{initial}` to a final state");
            findings.error(format!("{}.initial", self.path), message);
        }
        for state in reached.iter().filter(|state| !ending.contains(*state)) {
            let way = self.shortest_way(state);
            let message = if self.leaving(state).next().is_none() {
                format!("no transition leads out of `{state}`, and it is not final{way}")
            } else if *state == initial {
                continue;
            } else {
                format!("no way leads from `{state}` to a final state{way}")
            };
            findings.error(format!("{}.states.{state}", self.path), message);
        }
    }

    /// How a step gets from the initial state to that one: ` (A -> B -> C)`.
    fn shortest_way(&self, to: &str) -> String {
        let mut from: BTreeMap<&str, &str> = BTreeMap::new();
        let initial = self.machine.initial.as_str();
        let mut queue = VecDeque::from([initial]);
        while let Some(state) = queue.pop_front() {
            for next in self.leaving(state).map(|t| t.to.as_str()) {
                if next != initial && !from.contains_key(next) {
                    from.insert(next, state);
                    queue.push_back(next);
                }
            }
        }
        let back = std::iter::successors(Some(to), |state| from.get(state).copied());
        let mut way: Vec<&str> = back.collect();
        way.reverse();
        if way.len() < 2 { String::new() } else { format!(" ({})", way.join(" -> ")) }
    }

    /// Of the automatic transitions out of a state the first one is taken that can be.
    fn shadowed(&self, findings: &mut Findings) {
        // By state: the first that can always be taken.
        let mut sure: BTreeMap<&str, usize> = BTreeMap::new();
        let transitions = self.machine.transitions.iter().enumerate();
        for (index, transition) in transitions.filter(|(_, t)| t.automatic) {
            if findings.has_all_warnings() {
                return;
            }
            let from = transition.from.as_str();
            let has_work = self.machine.states.get(from).is_some_and(|s| s.work.is_some());
            if let Some(first) = sure.get(from)
                && !has_work
            {
                let message = format!(
                    "is never taken: transitions[{first}] is automatic too, leads out of `{from}` \
                     and has no `when`"
                );
                findings.warn(format!("{}.transitions[{index}]", self.path), message);
            }
            let is_guarded = self.uses.guarded.contains(transition.action.as_str());
            if transition.when.is_empty() && !is_guarded {
                sure.entry(from).or_insert(index);
            }
        }
    }
}

/// What is reached from `begin` by `next`.
fn closure<'a, I: Iterator<Item = &'a str>>(
    begin: Vec<&'a str>,
    next: impl Fn(&'a str) -> I,
) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = begin.iter().copied().collect();
    let mut stack = begin;
    while let Some(state) = stack.pop() {
        stack.extend(next(state).filter(|state| found.insert(state)));
    }
    found
}
