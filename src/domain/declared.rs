//! What a definition declares, with numbers in place of names: its machines, its guards, and the order
//! of its steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::action::Action;
use super::definition::{ClauseDefinition, Definition, Need, StepDefinition};
use super::guard::{Clause, Group, Guard, Term};
use super::limits::Limits;
use super::machine::{self, Machine, On, default_machine};
use super::problem::{PROBLEMS_MAX, Problem};
use super::state::StepState;

/// The machines of a jobset, compiled.
pub(super) struct Machines {
    by_name: BTreeMap<String, Arc<Machine>>,
    actions: Vec<String>,
}

impl Machines {
    pub(super) fn compile(definition: &Definition) -> Result<Self, Vec<Problem>> {
        let mut compiled = Self { by_name: BTreeMap::new(), actions: Vec::new() };
        let mut problems = Vec::new();
        for (name, machine) in &definition.machines {
            match machine::compile(name, machine, &mut compiled.actions) {
                Ok(machine) => _ = compiled.by_name.insert(name.clone(), Arc::new(machine)),
                Err(found) => problems.extend(found),
            }
        }
        problems.truncate(PROBLEMS_MAX);
        if problems.is_empty() { Ok(compiled) } else { Err(problems) }
    }

    /// The machine of that name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Machine>> {
        self.by_name.get(name)
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The machine of a step; the default one where the name is unknown.
    pub(super) fn of(&self, step: &StepDefinition) -> &Arc<Machine> {
        let own = step.machine.as_ref().and_then(|name| self.by_name.get(name));
        own.unwrap_or_else(|| default_machine())
    }

    /// How many guard terms the machine of a step has.
    fn terms(&self, step: &StepDefinition) -> usize {
        self.of(step).whens().iter().flatten().map(|clause| clause.terms.len()).sum()
    }

    /// The built-in action of that name or one that a machine names.
    pub(super) fn action(&self, name: &str) -> Option<Action> {
        Action::parse(name).or_else(|| {
            let index = self.actions.iter().position(|action| action == name)?;
            Action::own(index)
        })
    }

    /// The name of an action.
    pub(super) fn action_name(&self, action: Action) -> &str {
        let own = action.own_index().and_then(|index| self.actions.get(index));
        own.map_or_else(|| action.name(), String::as_str)
    }

    /// The names of the actions that they name themselves.
    pub(super) fn into_actions(self) -> Vec<String> {
        self.actions
    }

    /// The state that a step begins in.
    pub(super) fn initial(&self, definition: &Definition, step: &StepDefinition) -> StepState {
        let machine = self.of(step);
        let of_all = definition.initial_state.as_ref().filter(|_| step.machine.is_none());
        let named = step.initial_state.as_ref().or(of_all);
        named.and_then(|name| machine.parse_state(name)).unwrap_or_else(|| {
            if definition.manual_start { StepState::READY } else { machine.initial }
        })
    }
}

/// The guards as declared, steps numbered by their position in the document.
pub(super) struct Declared {
    /// By step.
    pub(super) entry: Vec<Guard>,
    /// Step, what it is put on, guard.
    pub(super) extra: Vec<(u32, On, Guard)>,
}

impl Declared {
    /// Resolves the names and joins pairs and conditions.
    pub(super) fn of(
        definition: &Definition,
        limits: &Limits,
        machines: &Machines,
    ) -> Result<Self, Vec<Problem>> {
        let index: HashMap<&str, u32> =
            (0_u32..).zip(&definition.steps).map(|(n, step)| (step.name.as_str(), n)).collect();
        let resolve = Resolve { definition, machines, index };
        // Each step has those of its machine: few words ask for more than there is memory.
        let of_machines = definition.steps.iter().map(|step| machines.terms(step)).sum();
        if let Some(problem) = too_many(of_machines, limits) {
            return Err(vec![problem]);
        }
        let mut pairs: Vec<[Vec<Term>; 2]> = vec![[Vec::new(), Vec::new()]; definition.steps.len()];
        for (kind, list) in
            [&definition.success_pairs, &definition.failure_pairs].into_iter().enumerate()
        {
            for (from, to) in list {
                pairs[resolve.index[to.as_str()] as usize][kind]
                    .push(resolve.pair(from, kind == 0));
            }
        }
        let mut problems = Vec::new();
        let mut declared = Self { entry: Vec::new(), extra: Vec::new() };
        for ((position, step), pairs) in (0_u32..).zip(&definition.steps).zip(pairs) {
            let path = format!("steps[{position}].need");
            let paired = pair_groups(step.need, pairs, &path, &mut problems);
            let run = step.guards.get(Action::RUN.name()).unwrap_or(&step.when);
            declared.entry.push(combine(resolve.clauses(run), &paired));
            for (name, clauses) in &step.guards {
                if let Some(action) = machines.action(name).filter(|action| *action != Action::RUN)
                {
                    let guard = combine(resolve.clauses(clauses), &Vec::new());
                    declared.extra.push((position, On::Action(action), guard));
                }
            }
            for (when, clauses) in (0_u16..).zip(machines.of(step).whens()) {
                if !clauses.is_empty() {
                    let guard = combine(resolve.clauses(clauses), &Vec::new());
                    declared.extra.push((position, On::Transition(when), guard));
                }
            }
        }
        let all = declared.entry.iter().chain(declared.extra.iter().map(|(_, _, guard)| guard));
        let terms: usize = all.flatten().flatten().map(|group| group.terms.len()).sum();
        problems.extend(too_many(terms, limits));
        if problems.is_empty() { Ok(declared) } else { Err(problems) }
    }

    /// The guards of what happens by itself: they say what comes after what.
    pub(super) fn for_order(&self) -> Vec<Guard> {
        let mut guards = self.entry.clone();
        for (step, on, guard) in &self.extra {
            if matches!(on, On::Transition(_)) {
                guards[*step as usize].extend(guard.iter().cloned());
            }
        }
        guards
    }
}

fn too_many(terms: usize, limits: &Limits) -> Option<Problem> {
    let message = format!(
        "the guards have {terms} terms in all, more than the limit of {}; \
         join steps by a milestone (a step without `run`)",
        limits.guard_terms
    );
    (terms > limits.guard_terms).then(|| Problem::new("steps", message))
}

/// Names of steps and states to numbers.
struct Resolve<'a> {
    definition: &'a Definition,
    machines: &'a Machines,
    index: HashMap<&'a str, u32>,
}

impl Resolve<'_> {
    fn machine(&self, step: u32) -> &Machine {
        self.machines.of(&self.definition.steps[step as usize])
    }

    fn pair(&self, from: &str, is_success: bool) -> Term {
        let step = self.index[from];
        let machine = self.machine(step);
        let states =
            if is_success { machine.good_ends().collect() } else { machine.bad_ends().collect() };
        Term { step, states }
    }

    fn clauses(&self, clauses: &[ClauseDefinition]) -> Vec<Group> {
        let term = |(name, states): &(String, Vec<String>)| {
            let step = self.index[name.as_str()];
            let machine = self.machine(step);
            Term { step, states: states.iter().filter_map(|s| machine.parse_state(s)).collect() }
        };
        let clauses = clauses.iter();
        clauses.map(|c| group(c.at_least, c.terms.iter().map(term).collect())).collect()
    }
}

fn group(at_least: Option<u32>, terms: Vec<Term>) -> Group {
    let all = u32::try_from(terms.len()).unwrap_or(u32::MAX);
    Group { need: at_least.unwrap_or(all), terms }
}

/// What the pairs that point to a step ask for.
fn pair_groups(
    need: Need,
    [success, failure]: [Vec<Term>; 2],
    path: &str,
    problems: &mut Vec<Problem>,
) -> Clause {
    let terms: Vec<Term> = success.into_iter().chain(failure).collect();
    let at_least = match need {
        Need::All => None,
        Need::Any => Some(1),
        Need::AtLeast(number) => Some(number),
    };
    if at_least.is_some_and(|number| number as usize > terms.len()) {
        let message =
            format!("asks for more pairs than the {} that point to this step", terms.len());
        problems.push(Problem::new(path, message));
    }
    if terms.is_empty() { Vec::new() } else { vec![group(at_least, terms)] }
}

/// Every clause of `when` asks for the pairs as well.
fn combine(when: Vec<Group>, paired: &Clause) -> Guard {
    match (when.is_empty(), paired.is_empty()) {
        (true, true) => Vec::new(),
        (true, false) => vec![paired.clone()],
        (false, _) => when
            .into_iter()
            .map(|group| std::iter::once(group).chain(paired.iter().cloned()).collect())
            .collect(),
    }
}
