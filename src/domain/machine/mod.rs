//! Machines: which action leads where, who may take it, and what work belongs to a state.
//!
//! The machine that steps have by default ([`default_machine`]) and those that a jobset declares
//! (`own`) are the same data and go through the same code: nothing outside of this folder asks
//! which of the two it has.

mod default;
mod own;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use default::default_machine;
pub(super) use own::compile;

use super::action::{Action, Actor};
use super::definition::{ClauseDefinition, Work};
use super::state::{Phase, StepState};

/// One rule: in `from`, `actor` may take `action`, which leads to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The state the step must be in.
    pub from: StepState,
    /// What is done.
    pub action: Action,
    /// The state it leads to.
    pub to: Target,
    /// Who does it.
    pub actor: Actor,
    /// What must be, beside the guards that the jobset puts on the action.
    pub condition: Condition,
    /// Whether the step remembers the state that it leaves, for [`Target::Before`].
    pub remembers: bool,
    /// The condition that the machine itself puts on it: its place in `Machine::whens`.
    pub when: Option<u16>,
}

/// What a guard beside the entry guards is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum On {
    /// On a transition of the step's machine: its place among the machine's conditions.
    Transition(u16),
    /// On an action of this step, wherever it leads from.
    Action(Action),
}

impl On {
    /// Whether it is put on `rule`.
    pub(super) fn is_on(self, rule: &Rule) -> bool {
        match self {
            Self::Transition(when) => rule.when == Some(when),
            Self::Action(action) => rule.action == action,
        }
    }
}

/// Where a rule leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To that state.
    State(StepState),
    /// Back to the state that the step remembers, or to the one that it waits in.
    Before,
}

/// What must be for a rule, beside the guards that the jobset puts on its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The entry guard of the step holds: its pairs and its `when`.
    Entry,
    /// No automatic rule can ever take the step from here.
    Dead,
    /// Some automatic rule could take it from the state that it remembers.
    Alive,
    /// An attempt waits that was admitted before; its worker takes it.
    Admitted,
    /// The step waits for its back-off to pass.
    BackingOff,
    /// The step has waited for longer than it may.
    Overdue,
}

/// What the outcomes of an attempt lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// It ended well.
    pub succeed: Action,
    /// It ended badly.
    pub fail: Action,
    /// It ran out of time.
    pub timeout: Action,
    /// It ended badly, and the step is to be held.
    pub hold: Action,
    /// It ended badly, and the step is to be skipped.
    pub forgive: Action,
}

/// One state of a machine.
#[derive(Clone, Debug)]
pub struct State {
    /// Its code.
    pub state: StepState,
    /// Its name.
    pub name: String,
    /// What the attempts in this state do; `None`: the step's own work.
    pub work: Option<Work>,
    /// What follows from their outcomes.
    pub outcomes: Outcomes,
}

/// The states a step can be in and the rules between them.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name; empty for the default machine.
    pub name: String,
    /// Where a step begins.
    pub initial: StepState,
    /// Its states, by code.
    states: Vec<State>,
    /// By the code of `from`; within it those of the engine first, then in the order of the document.
    rules: Vec<Rule>,
    /// Where in `rules` those from each code stand.
    from: Vec<Range<u16>>,
    /// The conditions of its rules, as written.
    whens: Vec<Vec<ClauseDefinition>>,
}

impl Machine {
    /// A machine of these states and rules.
    fn new(
        name: String,
        initial: StepState,
        mut states: Vec<State>,
        mut rules: Vec<Rule>,
        whens: Vec<Vec<ClauseDefinition>>,
    ) -> Self {
        states.sort_by_key(|state| state.state);
        rules.sort_by_key(|rule| (rule.from, rule.actor != Actor::Engine));
        let position = |index: usize| u16::try_from(index).expect("limited far below 2^16");
        let from = (0..=u8::MAX)
            .map(|code| {
                let start = rules.partition_point(|rule| rule.from.code() < code);
                let end = rules.partition_point(|rule| rule.from.code() <= code);
                position(start)..position(end)
            })
            .collect();
        Self { name, initial, states, rules, from, whens }
    }

    /// All rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// All states, by code.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The rules that lead out of `state`, those of the engine first.
    #[must_use]
    pub fn rules_from(&self, state: StepState) -> &[Rule] {
        let range = &self.from[usize::from(state.code())];
        &self.rules[usize::from(range.start)..usize::from(range.end)]
    }

    /// The conditions of its rules, as written.
    pub(super) fn whens(&self) -> &[Vec<ClauseDefinition>] {
        &self.whens
    }

    /// The rules by which the engine moves a step on from `state` as soon as their guards hold.
    pub fn automatic(&self, state: StepState) -> impl Iterator<Item = &Rule> {
        let engine = self.rules_from(state).iter().take_while(|rule| rule.actor == Actor::Engine);
        engine.filter(|rule| matches!(rule.condition, Condition::Entry | Condition::Always))
    }

    /// Whether an attempt that was admitted before can be claimed in `state`.
    #[must_use]
    pub fn takes_attempts(&self, state: StepState) -> bool {
        self.rules_from(state).iter().any(|rule| rule.action == Action::RUN)
    }

    /// The state, with its name.
    #[must_use]
    pub fn state(&self, state: StepState) -> Option<&State> {
        self.states
            .binary_search_by_key(&state, |known| known.state)
            .ok()
            .map(|at| &self.states[at])
    }

    /// The name of a state.
    #[must_use]
    pub fn state_name(&self, state: StepState) -> &str {
        self.state(state).map_or(state.name(), |state| &state.name)
    }

    /// The state of that name; case is ignored.
    #[must_use]
    pub fn parse_state(&self, name: &str) -> Option<StepState> {
        let is_meant = |state: &&State| state.name.eq_ignore_ascii_case(name);
        self.states.iter().find(is_meant).map(|state| state.state)
    }

    /// The states that count as the end of a step that did what it was for.
    pub(super) fn good_ends(&self) -> impl Iterator<Item = StepState> {
        let is_good = |class| matches!(class, StepState::SUCCEEDED | StepState::SKIPPED);
        self.ends().filter(move |state| {
            if state.is_own() { state.class() == StepState::SUCCEEDED } else { is_good(*state) }
        })
    }

    /// The states that count as the end of a step that failed.
    pub(super) fn bad_ends(&self) -> impl Iterator<Item = StepState> {
        self.ends().filter(|s| matches!(s.class(), StepState::FAILED | StepState::TIMED_OUT))
    }

    fn ends(&self) -> impl Iterator<Item = StepState> {
        self.states.iter().map(|state| state.state).filter(|state| state.phase() == Phase::Ended)
    }
}
