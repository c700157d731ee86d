//! Machines that a jobset declares: from what was written to rules.
//!
//! Beside the transitions that were written, such a machine gets the rules that the service needs in
//! any machine: the claims, losses and retries of work, the closing of what can never move any more,
//! and cancellation.

use std::collections::{BTreeMap, HashSet};

use super::default::rule;
use super::{Condition, Machine, Outcomes, Rule, State, Target};
use crate::domain::action::{Action, Actor};
use crate::domain::definition::{End, MachineDefinition, StateDefinition, TransitionDefinition};
use crate::domain::problem::{Problem, hint};
use crate::domain::state::{Phase, StepState};

/// States that every machine has.
const SERVICE: [StepState; 4] =
    [StepState::READY, StepState::UNRESPONSIVE, StepState::UNREACHABLE, StepState::CANCELLED];

/// Actions that a machine may declare under their own name because they mean nothing beyond their
/// transition; the other built-in ones belong to the service.
const FREE: [Action; 15] = [
    Action::START,
    Action::SUCCEED,
    Action::FAIL,
    Action::ERROR,
    Action::TIMEOUT,
    Action::FORGIVE,
    Action::PAUSE,
    Action::INTERRUPT,
    Action::RESUME,
    Action::SKIP,
    Action::UNSKIP,
    Action::REACH,
    Action::RERUN,
    Action::BLOCK,
    Action::UNBLOCK,
];

/// How many transitions a machine may have.
const TRANSITIONS_MAX: usize = 1_000;

/// Compiles the machine `name`; `actions` are the names of the actions of all machines so far.
pub(in crate::domain) fn compile(
    name: &str,
    definition: &MachineDefinition,
    actions: &mut Vec<String>,
) -> Result<Machine, Vec<Problem>> {
    if definition.transitions.len() > TRANSITIONS_MAX {
        let message = format!("a machine may have at most {TRANSITIONS_MAX} transitions");
        return Err(vec![Problem::new(format!("machines.{name}.transitions"), message)]);
    }
    let mut builder = Builder {
        path: format!("machines.{name}"),
        definition,
        actions,
        codes: BTreeMap::new(),
        problems: Vec::new(),
    };
    builder.number_states();
    let initial = builder.code(&format!("machines.{name}.initial"), &definition.initial);
    if definition.states.get(&definition.initial).is_some_and(|state| state.work.is_some()) {
        let message = "a step cannot begin with work: its guards are asked on the way there; begin \
                       in a state without `run` that an automatic transition leads out of";
        builder.add(format!("machines.{name}.initial"), message);
    }
    let rules = builder.rules(initial);
    let states = builder.states();
    let problems = builder.problems;
    match initial {
        Some(initial) if problems.is_empty() => {
            let whens = definition.transitions.iter().map(|t| t.when.clone()).collect();
            Ok(Machine::new(name.to_owned(), initial, states, rules, whens))
        }
        _ => Err(problems),
    }
}

struct Builder<'a> {
    path: String,
    definition: &'a MachineDefinition,
    actions: &'a mut Vec<String>,
    codes: BTreeMap<&'a str, StepState>,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }

    /// Gives each state a code: what it counts as, and its number among those that count alike.
    fn number_states(&mut self) {
        let mut used: BTreeMap<StepState, u8> = BTreeMap::new();
        for (name, state) in &self.definition.states {
            let path = format!("{}.states.{name}", self.path);
            if SERVICE.iter().any(|service| service.name().eq_ignore_ascii_case(name)) {
                self.add(&path, format!("every machine has a state `{name}`; choose another name"));
            }
            let is_same = |other: &&String| *other < name && other.eq_ignore_ascii_case(name);
            if let Some(other) = self.definition.states.keys().find(is_same) {
                self.add(&path, format!("differs from `{other}` in nothing but case"));
            }
            let class = self.class(&path, name, state);
            let index = used.entry(class).or_default();
            if *index == StepState::OWN_PER_CLASS {
                let most = StepState::OWN_PER_CLASS;
                self.add(&path, format!("a machine may have at most {most} states of this kind"));
                return;
            }
            *index += 1;
            self.codes.insert(name, StepState::own(class, *index));
        }
    }

    fn class(&mut self, path: &str, name: &str, state: &StateDefinition) -> StepState {
        let mut out = self.definition.transitions.iter().filter(|t| t.from == name);
        if let Some(end) = state.end {
            if state.work.is_some() {
                self.add(format!("{path}.run"), "a final state has no work");
            }
            if out.next().is_some() {
                self.add(format!("{path}.final"), "no transition may lead out of a final state");
            }
            return match end {
                End::Succeeded => StepState::SUCCEEDED,
                End::Failed => StepState::FAILED,
                End::Neutral => StepState::SKIPPED,
            };
        }
        if state.work.is_some() {
            StepState::RUNNING
        } else if out.any(|transition| !transition.automatic) {
            StepState::PAUSED
        } else {
            StepState::WAITING
        }
    }

    fn code(&mut self, path: &str, name: &str) -> Option<StepState> {
        let code = self.codes.get(name).copied();
        if code.is_none() {
            let near = hint(name, self.codes.keys().copied());
            self.add(path, format!("no state is called `{}`{near}", name.escape_debug()));
        }
        code
    }

    fn action(&mut self, path: &str, name: &str) -> Option<Action> {
        // `recover` came later than the first machines that declared an action of that name.
        if let Some(built_in) = Action::parse(name).filter(|action| *action != Action::RECOVER) {
            if FREE.contains(&built_in) {
                return Some(built_in);
            }
            self.add(path, format!("`{name}` belongs to the service; choose another name"));
            return None;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name == "next" || name.len() > 64 || !name.chars().all(is_word) {
            let message = "must be a word of letters, digits, `-` and `_`, at most 64, not `next`";
            self.add(path, message);
            return None;
        }
        let index = self.actions.iter().position(|known| known == name).unwrap_or_else(|| {
            self.actions.push(name.to_owned());
            self.actions.len() - 1
        });
        let action = Action::own(index);
        if action.is_none() {
            self.add(path, format!("a jobset may name at most {} actions", Action::OWN_MAX));
        }
        action
    }

    fn rules(&mut self, initial: Option<StepState>) -> Vec<Rule> {
        let mut rules = Vec::new();
        let mut settled: HashSet<(&str, &str)> = HashSet::new();
        for (index, transition) in self.definition.transitions.iter().enumerate() {
            let path = format!("{}.transitions[{index}]", self.path);
            if settled.contains(&(&transition.from, &transition.action)) {
                let message =
                    "is never taken: one before it has the same `from` and `action` and no `when`";
                self.add(&path, message);
            }
            if transition.when.is_empty() {
                settled.insert((&transition.from, &transition.action));
            }
            rules.extend(self.written(&path, index, transition, initial));
        }
        self.check_outcomes();
        if self.problems.is_empty() {
            self.refuse_spinning(&rules);
        }
        for state in self.codes.values().copied().collect::<Vec<_>>() {
            rules.extend(service(state));
        }
        let ready = StepState::READY;
        if let Some(initial) = initial {
            rules.push(rule(ready, Action::START, initial, Actor::Operator));
        }
        rules.push(rule(ready, Action::CANCEL, StepState::CANCELLED, Actor::Operator));
        let lost = StepState::UNRESPONSIVE;
        rules.push(rule(lost, Action::RECOVER, lost, Actor::Lease).back());
        rules.push(rule(lost, Action::REQUEUE, lost, Actor::Lease).back());
        rules.push(rule(lost, Action::GIVE_UP, lost, Actor::Lease).back());
        rules.push(rule(lost, Action::CANCEL, StepState::CANCELLED, Actor::Operator));
        let closed = StepState::UNREACHABLE;
        let reopen = rule(closed, Action::REOPEN, closed, Actor::Engine);
        rules.push(reopen.when(Condition::Alive).back());
        rules
    }

    fn written(
        &mut self,
        path: &str,
        index: usize,
        transition: &'a TransitionDefinition,
        initial: Option<StepState>,
    ) -> Option<Rule> {
        let from = self.code(&format!("{path}.from"), &transition.from);
        let to = self.code(&format!("{path}.to"), &transition.to);
        let action = self.action(&format!("{path}.action"), &transition.action);
        let outcomes = self.definition.states.get(&transition.from).map(|state| &state.outcomes);
        let is_outcome = outcomes.is_some_and(|o| o.values().any(|a| *a == transition.action));
        if is_outcome && transition.automatic {
            let message = "follows from an outcome of the work; it cannot be automatic as well";
            self.add(format!("{path}.automatic"), message);
        }
        let actor = match (is_outcome, transition.automatic) {
            (true, _) => Actor::Worker,
            (false, true) => Actor::Engine,
            (false, false) => Actor::Operator,
        };
        let (from, to, action) = (from?, to?, action?);
        let asks_entry = actor == Actor::Engine && Some(from) == initial;
        let condition = if asks_entry { Condition::Entry } else { Condition::Always };
        let when = (!transition.when.is_empty()).then(|| u16::try_from(index).ok()).flatten();
        Some(Rule { when, ..rule(from, action, to, actor).when(condition) })
    }

    /// Work must lead somewhere, whatever its outcome and whatever the other steps do.
    fn check_outcomes(&mut self) {
        for (name, state) in &self.definition.states {
            let path = format!("{}.states.{name}.outcomes", self.path);
            if state.work.is_none() {
                if !state.outcomes.is_empty() {
                    self.add(&path, "only a state with `run` has outcomes");
                }
                continue;
            }
            for needed in ["succeed", "fail"] {
                if !state.outcomes.contains_key(needed) {
                    self.add(&path, format!("says nothing for `{needed}`"));
                }
            }
            for (outcome, action) in &state.outcomes {
                let path = format!("{path}.{outcome}");
                if !["succeed", "fail", "timeout"].contains(&outcome.as_str()) {
                    let near = hint(outcome, ["succeed", "fail", "timeout"]);
                    self.add(&path, format!("no outcome is called so{near}"));
                }
                let mut followed =
                    self.definition.transitions.iter().filter(|transition| {
                        transition.from == *name && transition.action == *action
                    });
                if !followed.any(|transition| transition.when.is_empty()) {
                    let message = format!(
                        "needs a transition from `{name}` by `{action}` without `when`: \
                         an outcome cannot be refused"
                    );
                    self.add(&path, message);
                }
            }
        }
    }

    /// A cycle of automatic transitions without work, or from work to work, would turn for ever in no
    /// time: only a worker's claim takes its time.
    fn refuse_spinning(&mut self, rules: &[Rule]) {
        let next = |from: StepState| {
            rules.iter().filter(move |rule| rule.from == from).filter_map(move |rule| {
                match rule.to {
                    Target::State(to) => {
                        let is_claim = to.phase() == Phase::Active && from.phase() != Phase::Active;
                        let spins = rule.actor == Actor::Engine && !is_claim;
                        spins.then_some(to)
                    }
                    Target::Before => None,
                }
            })
        };
        for start in self.codes.values().copied().collect::<Vec<_>>() {
            let mut path = vec![start];
            if find_cycle(start, &next, &mut path, &mut HashSet::new()) {
                let names: Vec<&str> = path
                    .iter()
                    .filter_map(|state| self.codes.iter().find(|(_, code)| *code == state))
                    .map(|(name, _)| *name)
                    .collect();
                let message = format!(
                    "automatic transitions without work between them form a cycle: {}",
                    names.join(" -> ")
                );
                let path = format!("{}.transitions", self.path);
                return self.add(path, message);
            }
        }
    }

    fn states(&mut self) -> Vec<State> {
        let mut states = Vec::new();
        for (name, code) in self.codes.clone() {
            let definition = &self.definition.states[name];
            let mut follows = |outcome: &str| {
                let action = definition.outcomes.get(outcome)?;
                self.action("", action)
            };
            let (succeed, fail) = (follows("succeed"), follows("fail"));
            let fail = fail.unwrap_or(Action::FAIL);
            let timeout = follows("timeout").unwrap_or(fail);
            let succeed = succeed.unwrap_or(Action::SUCCEED);
            states.push(State {
                state: code,
                name: name.to_owned(),
                work: definition.work.clone(),
                outcomes: Outcomes { succeed, fail, timeout, hold: fail, forgive: fail },
            });
        }
        states.extend(SERVICE.map(|state| State {
            state,
            name: state.name().to_owned(),
            work: None,
            outcomes: super::default::OUTCOMES,
        }));
        states
    }
}

/// Whether a way along `next` leads back to the start of `path`; `path` is the way then.
fn find_cycle<I: Iterator<Item = StepState>>(
    at: StepState,
    next: &impl Fn(StepState) -> I,
    path: &mut Vec<StepState>,
    seen: &mut HashSet<StepState>,
) -> bool {
    for to in next(at) {
        path.push(to);
        if to == path[0] || seen.insert(to) && find_cycle(to, next, path, seen) {
            return true;
        }
        path.pop();
    }
    false
}

/// The rules that the service needs in a state.
fn service(state: StepState) -> Vec<Rule> {
    let mut rules = Vec::new();
    match state.phase() {
        Phase::Ended => return rules,
        Phase::Active => {
            let run = rule(state, Action::RUN, state, Actor::Engine);
            rules.push(run.when(Condition::Admitted));
            rules.push(rule(state, Action::RETRY, state, Actor::Worker));
            let lost = StepState::UNRESPONSIVE;
            rules.push(rule(state, Action::LOSE, lost, Actor::Lease).remembering());
            let now = rule(state, Action::RUN_NOW, state, Actor::Operator);
            rules.push(now.when(Condition::BackingOff));
        }
        Phase::Pending => {
            let close = rule(state, Action::CLOSE, StepState::UNREACHABLE, Actor::Engine);
            rules.push(close.when(Condition::Dead).remembering());
        }
        Phase::Held => {}
    }
    rules.push(rule(state, Action::CANCEL, StepState::CANCELLED, Actor::Operator));
    rules
}
