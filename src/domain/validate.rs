//! Checks of a definition that need no compiled form: names, references, numbers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::action::{Action, Actor};
use super::declared::Machines;
use super::definition::{
    ClauseDefinition, Definition, Instruction, Need, OnFailure, ResourceLimits, Retry,
    StepDefinition, Work,
};
use super::jobset::unknown_step;
use super::limits::Limits;
use super::machine::{Condition, Machine};
use super::problem::{PROBLEMS_MAX, Problem, hint, refuse_nul};
use super::schema::Schema;
use super::size::SIZE_MAX;

/// Less than this and no program starts.
const MEMORY_MIN: u64 = 1 << 20;

/// Everything that is wrong with `definition`, up to a bit more than [`PROBLEMS_MAX`].
pub(super) fn problems(
    definition: &Definition,
    limits: &Limits,
    machines: &Machines,
) -> Vec<Problem> {
    let steps = &definition.steps;
    let mut check = Check { limits, machines, steps, names: HashMap::new(), found: Vec::new() };
    check.jobset(definition);
    check.found
}

struct Check<'a> {
    limits: &'a Limits,
    machines: &'a Machines,
    steps: &'a [StepDefinition],
    names: HashMap<&'a str, usize>,
    found: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn jobset(&mut self, definition: &'a Definition) {
        self.text("name", &definition.name, true);
        if definition.max_concurrency == Some(0) {
            self.add("maxConcurrency", "must be at least 1");
        }
        self.positive("deadline", definition.deadline);
        self.found.extend(definition.scheduling.problems(self.limits.name_bytes));
        if definition.steps.is_empty() {
            self.add("steps", "a jobset needs at least one step");
        }
        if definition.steps.len() > self.limits.steps {
            let message = format!(
                "{} steps are more than the limit of {}",
                definition.steps.len(),
                self.limits.steps
            );
            self.add("steps", message);
            return;
        }
        for (index, step) in definition.steps.iter().enumerate() {
            if let Some(first) = self.names.get(step.name.as_str()) {
                let message =
                    format!("`{}` is also the name of steps[{first}]", step.name.escape_debug());
                self.add(format!("steps[{index}].name"), message);
            } else {
                self.names.insert(&step.name, index);
            }
        }
        for (index, step) in definition.steps.iter().enumerate() {
            if self.found.len() >= PROBLEMS_MAX {
                return;
            }
            self.step(&format!("steps[{index}]"), step);
        }
        for (name, machine) in &definition.machines {
            self.name(&format!("machines.{name}"), name);
            for (state, definition) in &machine.states {
                let path = format!("machines.{name}.states.{state}");
                self.name(&path, state);
                self.work(&path, definition.work.as_ref().unwrap_or(&Work::Milestone));
            }
            for (index, transition) in machine.transitions.iter().enumerate() {
                let path = format!("machines.{name}.transitions[{index}].when");
                self.clauses(&path, &transition.when);
            }
        }
        if let Some(name) = &definition.initial_state {
            let machine = super::machine::default_machine();
            self.initial("initialState", name, machine);
        }
        self.pairs("successPairs", &definition.success_pairs);
        self.pairs("failurePairs", &definition.failure_pairs);
    }

    fn step(&mut self, path: &str, step: &'a StepDefinition) {
        self.name(&format!("{path}.name"), &step.name);
        self.work(path, &step.work);
        if step.takes_messages && !step.work.is_program() {
            let message = "only a step that runs a program can read messages from its stdin";
            self.add(format!("{path}.stdin"), message);
        }
        self.map(&format!("{path}.tags"), &step.tags);
        self.map(&format!("{path}.requires"), &step.requires);
        self.map(&format!("{path}.env"), &step.env);
        for name in step.env.keys().filter(|name| name.is_empty() || name.contains('=')) {
            let message = format!("`{}` cannot name a variable", name.escape_debug());
            self.add(format!("{path}.env"), message);
        }
        if let Some(cwd) = &step.cwd {
            self.text(&format!("{path}.cwd"), cwd, false);
        }
        self.positive(&format!("{path}.timeout"), step.timeout);
        self.positive(&format!("{path}.queueTimeout"), step.queue_timeout);
        self.positive(&format!("{path}.totalTimeout"), step.total_timeout);
        self.resources(&format!("{path}.limits"), &step.limits);
        self.secrets(path, step);
        self.ending(path, step);
        self.retry(&format!("{path}.retry"), &step.retry);
        if step.need == Need::AtLeast(0) {
            self.add(format!("{path}.need"), "must be `all`, `any` or a number of at least 1");
        }
        self.clauses(&format!("{path}.when"), &step.when);
        for (name, _) in step.when.iter().flat_map(|clause| &clause.terms) {
            self.follows(&format!("{path}.when"), name, &step.name);
        }
        self.machine(path, step);
    }

    fn resources(&mut self, path: &str, limits: &ResourceLimits) {
        let ResourceLimits { memory, cpu, files, processes, file_size: _ } = *limits;
        let mut within = |name: &str, given: Option<u64>, least: u64, most: u64| {
            if given.is_some_and(|given| !(least..=most).contains(&given)) {
                self.add(format!("{path}.{name}"), format!("must be between {least} and {most}"));
            }
        };
        within("memory", memory, MEMORY_MIN, SIZE_MAX);
        within("files", files, 8, 1 << 20);
        within("processes", processes, 1, 1 << 22);
        if cpu.is_some_and(|cores| !(0.01..=4096.0).contains(&cores)) {
            self.add(format!("{path}.cpu"), "must be between 0.01 and 4096 cores");
        }
    }

    fn secrets(&mut self, path: &str, step: &StepDefinition) {
        for (index, name) in step.secrets.iter().enumerate() {
            let path = format!("{path}.secrets[{index}]");
            let mut letters = name.chars();
            let is_name = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.len() <= self.limits.name_bytes;
            if !is_name {
                let message = "must be a name of letters, digits and `_` that begins with no digit";
                self.add(path, message);
            } else if step.env.contains_key(name) {
                self.add(path, format!("`{name}` stands in `env` as well"));
            }
        }
    }

    /// Steps that are for the end of an operation.
    fn ending(&mut self, path: &str, step: &'a StepDefinition) {
        let roles = [
            ("ensure", step.for_end.ensure),
            ("cleanUp", step.for_end.clean_up),
            ("compensates", step.for_end.compensates.is_some()),
        ];
        let mut named = roles.into_iter().filter(|(_, has)| *has).map(|(name, _)| name);
        let Some(role) = named.next() else { return };
        if let Some(other) = named.next() {
            self.add(format!("{path}.{other}"), format!("a step with `{role}` cannot have it"));
        }
        if step.machine.is_some() {
            let message = "a step with a machine of its own is run by its machine alone";
            self.add(format!("{path}.{role}"), message);
        }
        if let Some(name) = &step.for_end.compensates {
            let path = format!("{path}.compensates");
            self.known(&path, name);
            let undone = self.names.get(name.as_str()).map(|index| &self.steps[*index]);
            if undone.is_some_and(|s| {
                s.for_end.ensure || s.for_end.clean_up || s.for_end.compensates.is_some()
            }) {
                let message = "undoes a step that is for the end of the operation itself";
                self.add(&path, message);
            }
            if !step.when.is_empty() {
                self.add(path, "it runs when its turn comes: leave its `when` out");
            }
        }
    }

    /// Its machine, where it begins in it, and the guards on its actions.
    fn machine(&mut self, path: &str, step: &'a StepDefinition) {
        let machines = self.machines;
        if let Some(name) = &step.machine {
            if machines.named(name).is_none() {
                let near = hint(name, machines.names());
                let message = format!("no machine is called `{}`{near}", name.escape_debug());
                return self.add(format!("{path}.machine"), message);
            }
            if step.work != Work::Milestone {
                self.add(format!("{path}.run"), "its machine says what is run in which state");
            }
            let timeouts =
                [("queueTimeout", step.queue_timeout), ("totalTimeout", step.total_timeout)];
            for (name, _) in timeouts.into_iter().filter(|(_, given)| given.is_some()) {
                let message = "its machine says what follows from what: limit its attempts by \
                               `timeout`";
                self.add(format!("{path}.{name}"), message);
            }
            if matches!(step.on_failure, OnFailure::Hold | OnFailure::Skip) {
                self.add(format!("{path}.onFailure"), "its machine says what follows a failure");
            }
        }
        let machine = machines.of(step);
        if let Some(name) = &step.initial_state {
            self.initial(&format!("{path}.initialState"), name, machine);
        }
        for (name, clauses) in &step.guards {
            self.guard(&format!("{path}.guards.{name}"), name, machine);
            if name == Action::RUN.name() && !step.when.is_empty() {
                let message = "`when` is the guard of `run`: write it in one of the two places";
                self.add(format!("{path}.guards.run"), message);
            }
            self.clauses(&format!("{path}.guards.{name}"), clauses);
        }
    }

    /// Where a step may begin: wherever no worker is needed to have got there.
    fn initial(&mut self, path: &str, name: &str, machine: &Machine) {
        let refusal = match machine.parse_state(name) {
            None => {
                let near = hint(name, machine.states().iter().map(|state| state.name.as_str()));
                format!("no state is called `{}`{near}", name.escape_debug())
            }
            Some(state) if state.phase() == super::state::Phase::Active => {
                format!("a step cannot begin in `{name}`: no worker has an attempt of it yet")
            }
            Some(_) => return,
        };
        self.add(path, refusal);
    }

    /// What an outcome leads to and what the service does must not wait for anything.
    fn guard(&mut self, path: &str, name: &str, machine: &Machine) {
        let mut actions = self.machines.action(name).into_iter();
        let rules = |action| machine.rules().iter().filter(move |rule| rule.action == action);
        let Some(action) = actions.find(|action| rules(*action).next().is_some()) else {
            let known = machine.rules().iter().map(|rule| self.machines.action_name(rule.action));
            let message = format!("its machine has no action `{}`", name.escape_debug());
            return self.add(path, format!("{message}{}", hint(name, known)));
        };
        let is_free = rules(action).all(|rule| match rule.actor {
            Actor::Operator => action != Action::CANCEL,
            Actor::Engine => matches!(rule.condition, Condition::Entry | Condition::Always),
            Actor::Worker | Actor::Lease => false,
        });
        if !is_free {
            self.add(path, format!("`{name}` cannot be guarded: guard the steps that follow"));
        }
    }

    fn clauses(&mut self, path: &str, clauses: &'a [ClauseDefinition]) {
        for (index, clause) in clauses.iter().enumerate() {
            self.clause(&format!("{path}[{index}]"), clause);
        }
    }

    fn work(&mut self, path: &str, work: &Work) {
        match work {
            Work::Milestone => {}
            Work::Shell(text) => {
                if text.trim().is_empty() {
                    self.add(format!("{path}.run.shell"), "must not be empty");
                }
                self.no_nul(&format!("{path}.run.shell"), text);
            }
            Work::Command(parts) => {
                if parts.first().is_none_or(String::is_empty) {
                    let message = "needs the program as its first part";
                    self.add(format!("{path}.run.command"), message);
                }
                for (index, part) in parts.iter().enumerate() {
                    self.no_nul(&format!("{path}.run.command[{index}]"), part);
                }
            }
            Work::Instruction(instruction) => {
                self.instruction(&format!("{path}.run.instruction"), instruction);
            }
            Work::Function(function) => {
                let name = format!("{path}.run.function.name");
                if function.name.is_empty() {
                    self.add(&name, "must not be empty");
                }
                self.text(&name, &function.name, true);
                let path = format!("{path}.run.function.arguments");
                if let Err(problem) = refuse_nul(&function.arguments, &path) {
                    self.add(problem.path, problem.message);
                }
            }
        }
    }

    fn instruction(&mut self, path: &str, instruction: &Instruction) {
        if instruction.text.trim().is_empty() {
            self.add(format!("{path}.text"), "must not be empty");
        }
        self.no_nul(&format!("{path}.text"), &instruction.text);
        if let Some(who) = &instruction.who {
            self.text(&format!("{path}.who"), who, true);
        }
        let Some(schema) = &instruction.schema else { return };
        let path = format!("{path}.schema");
        // A NUL character in it would be found when the first person is asked, which is too late.
        let found = refuse_nul(&Value::Object(schema.clone()), "").and(Schema::compile(schema));
        if let Err(problem) = found {
            let joint = if problem.path.is_empty() { "" } else { "." };
            self.add(format!("{path}{joint}{}", problem.path), problem.message);
        }
    }

    fn retry(&mut self, path: &str, retry: &Retry) {
        if retry.max_attempts == 0 || retry.max_attempts > self.limits.attempts {
            let message = format!("must be between 1 and {}", self.limits.attempts);
            self.add(format!("{path}.maxAttempts"), message);
        }
        if !(1.0..=100.0).contains(&retry.factor) {
            self.add(format!("{path}.factor"), "must be between 1 and 100");
        }
    }

    fn clause(&mut self, path: &str, clause: &'a ClauseDefinition) {
        if clause.terms.is_empty() {
            self.add(path, "names no step; leave `when` out if there is no condition");
        }
        if let Some(number) = clause.at_least
            && (number == 0 || number as usize > clause.terms.len())
        {
            let message =
                format!("must be between 1 and the {} steps named beside it", clause.terms.len());
            self.add(format!("{path}.$atLeast"), message);
        }
        for (name, states) in &clause.terms {
            self.known(path, name);
            if states.is_empty() {
                self.add(format!("{path}.{name}"), "needs at least one state");
            }
            let Some(step) = self.names.get(name.as_str()) else { continue };
            let machine = self.machines.of(&self.steps[*step]);
            for state in states.iter().filter(|state| machine.parse_state(state).is_none()) {
                let near = hint(state, machine.states().iter().map(|state| state.name.as_str()));
                let message = format!("no state is called `{}`{near}", state.escape_debug());
                self.add(format!("{path}.{name}"), message);
            }
        }
    }

    fn pairs(&mut self, path: &str, pairs: &'a [(String, String)]) {
        let mut seen = HashMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            if self.found.len() >= PROBLEMS_MAX {
                return;
            }
            self.known(&format!("{path}[{index}][0]"), &pair.0);
            self.known(&format!("{path}[{index}][1]"), &pair.1);
            self.follows(&format!("{path}[{index}]"), &pair.0, &pair.1);
            if self.named(&pair.1).is_some_and(|step| step.for_end.compensates.is_some()) {
                let message = "a compensation runs when its turn comes: it follows no other step";
                self.add(format!("{path}[{index}][1]"), message);
            }
            if let Some(first) = seen.insert(pair, index) {
                self.add(format!("{path}[{index}]"), format!("is the same as {path}[{first}]"));
            }
        }
    }

    fn named(&self, name: &str) -> Option<&'a StepDefinition> {
        self.names.get(name).map(|index| &self.steps[*index])
    }

    /// What runs only when the operation is cancelled can be waited for by nothing else.
    fn follows(&mut self, path: &str, first: &str, then: &str) {
        let (Some(first), Some(then)) = (self.named(first), self.named(then)) else { return };
        let is_of_stop =
            |step: &StepDefinition| step.for_end.clean_up || step.for_end.compensates.is_some();
        if is_of_stop(first) && !is_of_stop(then) && !then.for_end.ensure {
            let message = format!(
                "`{}` runs only when the operation is cancelled, and `{}` does not run then",
                first.name.escape_debug(),
                then.name.escape_debug()
            );
            self.add(path, message);
        }
    }

    fn known(&mut self, path: &str, name: &str) {
        if !self.names.contains_key(name) {
            let message = unknown_step(name, self.names.keys().copied().take(1_000));
            self.add(path, message);
        }
    }

    /// Step names stand in URLs and in front of output lines.
    fn name(&mut self, path: &str, name: &str) {
        if name.is_empty() {
            self.add(path, "must not be empty");
        }
        self.text(path, name, true);
        if matches!(name, "." | "..") {
            self.add(path, "would be taken for a folder in a URL");
        }
        if name.contains('/') || name.starts_with('$') || name.trim() != name {
            let message = "must not have a `/`, begin with `$`, or begin or end with a blank";
            self.add(path, message);
        }
    }

    fn text(&mut self, path: &str, text: &str, is_name: bool) {
        if is_name && text.len() > self.limits.name_bytes {
            let message = format!(
                "has {} bytes, more than the limit of {}",
                text.len(),
                self.limits.name_bytes
            );
            self.add(path, message);
        }
        if text.chars().any(char::is_control) {
            self.add(path, "must not have control characters");
        }
    }

    fn map(&mut self, path: &str, map: &BTreeMap<String, String>) {
        for (key, value) in map {
            self.no_nul(path, key);
            self.no_nul(&format!("{path}.{}", key.escape_debug()), value);
        }
    }

    fn no_nul(&mut self, path: &str, text: &str) {
        if text.contains('\0') {
            self.add(path, "must not have NUL characters");
        }
    }

    fn positive(&mut self, path: &str, duration: Option<Duration>) {
        if duration.is_some_and(|duration| duration.is_zero()) {
            self.add(path, "must be longer than zero");
        }
    }

    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Problem::new(path, message));
    }
}
