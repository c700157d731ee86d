//! A jobset that was found valid: numbered steps in topological order and compiled guards.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::analysis;
use super::declared::{Declared, Machines};
use super::definition::{Definition, OnCancel, OnFailure, Retry, StepDefinition, Work};
use super::guard::{Counters, Guard, Guards};
use super::limits::Limits;
use super::machine::{Machine, On};
use super::needs::Needs;
use super::order::{renumber, topological};
use super::problem::{PROBLEMS_MAX, Problem, hint};
use super::scheduling::Scheduling;
use super::state::StepState;
use super::validate;

/// A step of a valid jobset. Its number is its position in [`Jobset::steps`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The definition it was made from.
    pub definition: StepDefinition,
    /// The steps whose success handles a failure of this one.
    pub handlers: Vec<u32>,
    /// Its states and the rules between them.
    pub machine: Arc<Machine>,
    /// The state it begins in.
    pub initial: StepState,
    /// What it is for.
    pub role: Role,
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The work of the operation.
    Regular,
    /// It runs however the operation ends.
    Ensure,
    /// It runs when the operation is cancelled.
    CleanUp,
    /// It undoes the step of that number when the operation is cancelled.
    Compensates(u32),
}

impl Step {
    /// What an attempt does in `state`.
    #[must_use]
    pub fn work(&self, state: StepState) -> &Work {
        let own = self.machine.state(state).and_then(|state| state.work.as_ref());
        own.unwrap_or(&self.definition.work)
    }

    /// When a failed attempt is followed by another.
    #[must_use]
    pub const fn retry(&self) -> &Retry {
        &self.definition.retry
    }

    /// Whether how long it may wait for a worker is limited.
    #[must_use]
    pub const fn has_timer(&self) -> bool {
        self.definition.queue_timeout.is_some() || self.definition.total_timeout.is_some()
    }

    /// What becomes of the step when its last attempt failed.
    #[must_use]
    pub const fn on_failure(&self) -> OnFailure {
        self.definition.on_failure
    }
}

/// A valid jobset. Immutable and shared by all the operations that run it.
#[derive(Clone, Debug)]
pub struct Jobset {
    /// A name for people.
    pub name: String,
    /// How long an operation may take from its creation.
    pub deadline: Option<Duration>,
    /// How many steps of one operation may run at once.
    pub max_concurrency: Option<u32>,
    /// Whether the steps wait for a `start` by a client.
    pub manual_start: bool,
    /// Whether DELETE stops an operation.
    pub cancellable: bool,
    /// What follows when it does.
    pub on_cancel: OnCancel,
    /// When its operations get their turn among others.
    pub scheduling: Scheduling,
    /// What the steps require of workers.
    pub needs: Arc<Needs>,
    /// The steps in topological order.
    pub steps: Vec<Step>,
    /// The guards: those with the number of a step are entry guards, the pairs and `when` of that
    /// step; those after them stand in `extras`.
    pub guards: Guards,
    /// The counters of a run in which no step has moved yet.
    pub fresh: Counters,
    /// The names of the secrets of all steps.
    pub secrets: Vec<String>,
    /// What its author may not have meant, each with its place in the document.
    pub warnings: Vec<Problem>,
    /// What the guards after the entry guards are put on: the number of the step, and on what.
    extras: Vec<(u32, On)>,
    /// The same by step, with the number of the guard.
    extras_of: HashMap<u32, Vec<(On, u32)>>,
    /// The steps that are for the end of an operation.
    for_end: Vec<u32>,
    has_machines: bool,
    /// The names of the actions that its machines name themselves.
    actions: Vec<String>,
    by_name: HashMap<String, u32>,
}

impl Jobset {
    /// Checks a definition and compiles it.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to [`PROBLEMS_MAX`], each with its place in the
    /// document.
    pub fn compile(definition: Definition, limits: &Limits) -> Result<Self, Vec<Problem>> {
        let machines = Machines::compile(&definition)?;
        let mut problems = validate::problems(&definition, limits, &machines);
        if !problems.is_empty() {
            problems.truncate(PROBLEMS_MAX);
            return Err(problems);
        }
        let declared = Declared::of(&definition, limits, &machines)?;
        let order = topological(&declared.for_order());
        let mut findings = analysis::of_machines(&definition);
        let mut jobset = Self::assemble(definition, &declared, &order, machines);
        analysis::of_jobset(&jobset, &order, &mut findings);
        if !findings.errors.is_empty() {
            return Err(findings.errors);
        }
        jobset.warnings = findings.warnings;
        Ok(jobset)
    }

    fn assemble(
        mut definition: Definition,
        declared: &Declared,
        order: &[u32],
        machines: Machines,
    ) -> Self {
        let mut number = vec![0_u32; order.len()];
        for (n, index) in (0_u32..).zip(order) {
            number[*index as usize] = n;
        }
        let by_name: HashMap<String, u32> =
            definition.steps.iter().zip(&number).map(|(step, n)| (step.name.clone(), *n)).collect();
        let mut handlers = vec![Vec::new(); order.len()];
        for (source, handler) in &definition.failure_pairs {
            handlers[by_name[source] as usize].push(by_name[handler]);
        }
        let entry = order.iter().map(|index| &declared.entry[*index as usize]);
        let extra = declared.extra.iter().map(|(_, _, guard)| guard);
        let guards: Vec<Guard> = entry.chain(extra).map(|guard| renumber(guard, &number)).collect();
        let guards = Guards::new(&guards, order.len());
        let extras: Vec<(u32, On)> =
            declared.extra.iter().map(|(index, on, _)| (number[*index as usize], *on)).collect();
        let mut extras_of: HashMap<u32, Vec<(On, u32)>> = HashMap::new();
        for (guard, (n, on)) in (count(order.len())..).zip(&extras) {
            extras_of.entry(*n).or_default().push((*on, guard));
        }
        let mut steps = steps(&mut definition, order, handlers, &machines);
        for step in &mut steps {
            step.role = role(&step.definition, &by_name);
        }
        let is_for_end = |n: &u32| steps[*n as usize].role != Role::Regular;
        let for_end = (0..count(steps.len())).filter(is_for_end).collect();
        let states: Vec<StepState> = steps.iter().map(|step| step.initial).collect();
        Self {
            fresh: guards.count(&states),
            warnings: Vec::new(),
            name: definition.name,
            deadline: definition.deadline,
            max_concurrency: definition.max_concurrency,
            manual_start: definition.manual_start,
            cancellable: definition.cancellable,
            secrets: secrets_of(&steps),
            on_cancel: definition.on_cancel,
            scheduling: definition.scheduling,
            needs: Arc::new(Needs::of_steps(&steps)),
            for_end,
            has_machines: steps.iter().any(|step| !step.machine.name.is_empty()),
            steps,
            guards,
            extras,
            extras_of,
            actions: machines.into_actions(),
            by_name,
        }
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        count(self.steps.len())
    }

    /// Never true: a jobset has at least one step.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The number of the step of that name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The step of that number.
    #[must_use]
    pub fn step(&self, n: u32) -> &Step {
        &self.steps[n as usize]
    }

    /// The machine of step `n`.
    #[must_use]
    pub fn machine(&self, n: u32) -> &Machine {
        &self.step(n).machine
    }

    /// The step that guard number `guard` belongs to.
    #[must_use]
    pub fn owner(&self, guard: u32) -> u32 {
        match guard.checked_sub(self.len()) {
            None => guard,
            Some(extra) => self.extras[extra as usize].0,
        }
    }

    /// The guards of step `n` beside its entry guard, each with what it is put on.
    #[must_use]
    pub fn extras_of(&self, n: u32) -> &[(On, u32)] {
        if self.extras.is_empty() {
            return &[];
        }
        self.extras_of.get(&n).map_or(&[], Vec::as_slice)
    }

    /// The steps that are for the end of an operation.
    #[must_use]
    pub fn for_end(&self) -> &[u32] {
        &self.for_end
    }

    /// Whether step `n` is for the end of an operation.
    #[must_use]
    pub fn is_for_end(&self, n: u32) -> bool {
        self.step(n).role != Role::Regular
    }

    /// Whether step `n` is not admitted by its guard, but when its turn comes at the end.
    #[must_use]
    pub fn waits_for_end(&self, n: u32) -> bool {
        match self.step(n).role {
            Role::Regular => false,
            Role::Ensure => self.guards.is_open(n),
            Role::CleanUp | Role::Compensates(_) => true,
        }
    }

    /// Whether some step has a machine of the jobset's own.
    #[must_use]
    pub const fn has_machines(&self) -> bool {
        self.has_machines
    }

    /// The name of a state of step `n`.
    #[must_use]
    pub fn state_name(&self, n: u32, state: StepState) -> &str {
        self.machine(n).state_name(state)
    }

    /// The names that the states of its steps have, in no order.
    #[must_use]
    pub fn state_names(&self) -> BTreeSet<&str> {
        let mut machines: Vec<&Arc<Machine>> = self.steps.iter().map(|s| &s.machine).collect();
        machines.dedup_by(|a, b| Arc::ptr_eq(a, b));
        machines.into_iter().flat_map(|m| m.states()).map(|state| state.name.as_str()).collect()
    }

    /// The name of an action.
    #[must_use]
    pub fn action_name(&self, action: Action) -> &str {
        let own = action.own_index().and_then(|index| self.actions.get(index));
        own.map_or_else(|| action.name(), String::as_str)
    }

    /// The action of that name, of one of its machines or built in.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<Action> {
        let own = self.actions.iter().position(|action| action == name).and_then(Action::own);
        own.or_else(|| Action::parse(name))
    }

    /// The names of the actions that its machines name themselves.
    #[must_use]
    pub fn own_actions(&self) -> &[String] {
        &self.actions
    }
}

fn role(step: &StepDefinition, by_name: &HashMap<String, u32>) -> Role {
    let undone = step.for_end.compensates.as_ref().and_then(|name| by_name.get(name));
    match undone {
        Some(undone) => Role::Compensates(*undone),
        None if step.for_end.ensure => Role::Ensure,
        None if step.for_end.clean_up => Role::CleanUp,
        None => Role::Regular,
    }
}

/// The names of all secrets, each once.
fn secrets_of(steps: &[Step]) -> Vec<String> {
    let names: BTreeSet<&String> = steps.iter().flat_map(|step| &step.definition.secrets).collect();
    names.into_iter().cloned().collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("the limit on steps is below 2^32")
}

fn steps(
    definition: &mut Definition,
    order: &[u32],
    handlers: Vec<Vec<u32>>,
    machines: &Machines,
) -> Vec<Step> {
    let listed = std::mem::take(&mut definition.steps);
    let mut listed: Vec<Option<StepDefinition>> = listed.into_iter().map(Some).collect();
    let make = |(index, handlers): (&u32, Vec<u32>)| {
        let step = listed[*index as usize].take().expect("each index comes once");
        let machine = Arc::clone(machines.of(&step));
        let initial = machines.initial(definition, &step);
        Step { handlers, machine, initial, definition: step, role: Role::Regular }
    };
    order.iter().zip(handlers).map(make).collect()
}

/// "No step is called `name`", with the nearest name.
#[must_use]
pub(super) fn unknown_step<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("no step is called `{}`{}", name.escape_debug(), hint(name, known))
}
