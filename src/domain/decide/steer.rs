//! What operators do to single steps of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::action::{Action, Actor};
use crate::domain::definition::OnFailure;
use crate::domain::jobset::Jobset;
use crate::domain::machine::{Condition, Rule};
use crate::domain::run::{OpenAttempt, Run};
use crate::domain::state::StepState;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// An action, on every selected step that allows it.
    Take(Action),
    /// The same as `resume`, on the first so many paused steps that could run.
    Next(u32),
    /// A further attempt; `cascade`: of the steps that follow and already ran, too.
    Rerun {
        /// Whether followers that already ran are run again.
        cascade: bool,
    },
}

/// Which steps are meant. All conditions must hold; without any, every step is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These, by number. They are *named*: one that is not moved is told with the reason.
    pub steps: Option<Vec<u32>>,
    /// Those with at least these tags.
    pub tags: BTreeMap<String, String>,
    /// Those in one of these states, by name; case is ignored.
    pub states: Option<Vec<String>>,
    /// Also those that can be reached only through a selected one.
    pub branch: bool,
}

/// A verb with all that it needs.
#[derive(Clone, Debug)]
pub struct Steer<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// To which steps.
    pub selection: &'a Selection,
    /// The numbers of the last attempts of steps that have ended; others need not stand here.
    pub last_attempts: &'a BTreeMap<u32, u32>,
}

/// A step that was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its number.
    pub step: u32,
    /// The state it was in.
    pub from: StepState,
    /// The state that the verb led to.
    pub to: StepState,
}

/// A step that was named and not moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number.
    pub step: u32,
    /// The state it is in.
    pub state: StepState,
    /// Why, for people.
    pub reason: String,
}

/// What a verb did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steered {
    /// The steps that were moved, in topological order.
    pub moved: Vec<Moved>,
    /// The steps that were named and not moved.
    pub refused: Vec<Refused>,
}

/// So many terms of a guard are told.
const UNMET_MAX: usize = 3;

impl Selection {
    /// Whether it leaves the choice of the steps to the verb.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.steps.is_none() && self.tags.is_empty() && self.states.is_none()
    }
}

impl Run {
    /// Does to the selected steps what the verb says, where it is allowed.
    pub fn steer(&mut self, asked: &Steer<'_>, now: DateTime<Utc>) -> Steered {
        let mut steered = Steered::default();
        let action = match asked.verb {
            Verb::Take(action) => action,
            Verb::Next(_) => Action::RESUME,
            Verb::Rerun { .. } => Action::RERUN,
        };
        let mut chosen = self.select(asked.selection);
        if let (Verb::Rerun { .. }, true) = (asked.verb, asked.selection.is_open()) {
            chosen.retain(|n| went_wrong(self.steps[*n as usize]));
        }
        let mut left = u32::MAX;
        if let Verb::Next(count) = asked.verb {
            chosen.retain(|n| self.could_run(*n));
            left = count;
        }
        if asked.verb == (Verb::Rerun { cascade: true }) {
            chosen = self.with_followers(&chosen, |run, n| run.allowed(n, action).is_ok());
        }
        let named: BTreeSet<u32> = asked.selection.steps.iter().flatten().copied().collect();
        for n in chosen {
            if left == 0 {
                break;
            }
            match self.allowed(n, action) {
                Ok(rule) => {
                    left -= 1;
                    let (from, to) = (rule.from, self.target(n, &rule));
                    self.perform(n, &rule, asked.last_attempts, now);
                    steered.moved.push(Moved { step: n, from, to });
                }
                Err(reason) if named.contains(&n) => {
                    let state = self.steps[n as usize];
                    steered.refused.push(Refused { step: n, state, reason });
                }
                Err(_) => {}
            }
        }
        self.advance(now);
        self.conclude(now);
        steered
    }

    /// The selected steps in topological order.
    #[must_use]
    pub fn select(&self, selection: &Selection) -> Vec<u32> {
        let jobset = &*self.jobset;
        let named: Option<BTreeSet<u32>> =
            selection.steps.as_ref().map(|steps| steps.iter().copied().collect());
        let is_named = |n: &u32| named.as_ref().is_none_or(|named| named.contains(n));
        let is_tagged = |n: &u32| {
            let tags = &jobset.step(*n).definition.tags;
            selection.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
        };
        let is_in = |n: &u32| {
            selection.states.as_ref().is_none_or(|states| {
                let name = jobset.state_name(*n, self.steps[*n as usize]);
                states.iter().any(|state| state.eq_ignore_ascii_case(name))
            })
        };
        let all = 0..jobset.len();
        let chosen = all.filter(|n| is_named(n) && is_tagged(n) && is_in(n)).collect();
        if selection.branch { branch(jobset, chosen) } else { chosen }
    }

    /// The rule by which an operator may take `action` on step `n` now, or why there is none.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn allowed(&self, n: u32, action: Action) -> Result<Rule, String> {
        let jobset = &*self.jobset;
        let machine = jobset.machine(n);
        let state = self.steps[n as usize];
        let is_meant = |rule: &&Rule| rule.action == action && rule.actor == Actor::Operator;
        let (name, verb) = (&jobset.step(n).definition.name, jobset.action_name(action));
        let at = jobset.state_name(n, state);
        if self.state.is_final() || self.stop.is_some() {
            return Err(format!(
                "`{name}` is {at} and its operation has ended or is being stopped"
            ));
        }
        let mut rules = machine.rules_from(state).iter().filter(is_meant).peekable();
        if rules.peek().is_none() {
            let from: BTreeSet<&str> = machine
                .rules()
                .iter()
                .filter(is_meant)
                .map(|rule| machine.state_name(rule.from))
                .collect();
            let from: Vec<&str> = from.into_iter().collect();
            return Err(match from.as_slice() {
                [] => format!("the machine of `{name}` has no action `{verb}`"),
                from => {
                    format!("`{name}` is {at}; `{verb}` is possible from {}", from.join(", "))
                }
            });
        }
        let first = rules.peek().copied();
        let Some(rule) = rules.find(|rule| self.guards_hold(jobset, n, rule)) else {
            let unmet = first.map(|rule| self.unmet(n, rule)).unwrap_or_default();
            return Err(format!("the guard of `{verb}` on `{name}` does not hold{unmet}"));
        };
        if rule.condition == Condition::BackingOff && !self.is_backing_off(n) {
            return Err(format!("`{name}` is {at} and waits for no back-off to pass"));
        }
        let is_held = self.is_held_on_failure(n);
        if action == Action::HOLD && is_held || action == Action::UNHOLD && !is_held {
            let not = if is_held { "" } else { "not " };
            return Err(format!("`{name}` is {not}held on failure already"));
        }
        Ok(*rule)
    }

    /// What an operator may do with step `n` now.
    #[must_use]
    pub fn actions(&self, n: u32) -> Vec<Action> {
        let rules = self.jobset.machine(n).rules_from(self.steps[n as usize]);
        let mut seen = BTreeSet::new();
        let distinct = rules.iter().map(|rule| rule.action).filter(|action| seen.insert(*action));
        distinct.filter(|action| self.allowed(n, *action).is_ok()).collect()
    }

    /// What the guards on a rule ask for and do not find, for people; a few terms.
    fn unmet(&self, n: u32, rule: &Rule) -> String {
        let jobset = &*self.jobset;
        let mut words = Vec::new();
        for (_, guard) in jobset.extras_of(n).iter().filter(|(on, _)| on.is_on(rule)) {
            let terms = jobset.guards.clauses(*guard).flatten().flat_map(|(_, terms)| terms);
            let unmet = terms.filter(|term| !term.states.has(self.steps[term.step as usize]));
            words.extend(unmet.take(UNMET_MAX).map(|term| {
                let name = |state| jobset.state_name(term.step, state);
                let asked: Vec<&str> = term.states.iter().map(name).collect();
                let step = &jobset.step(term.step).definition.name;
                let state = name(self.steps[term.step as usize]);
                format!("`{step}` is {state}, not {}", asked.join(" or "))
            }));
        }
        words.truncate(UNMET_MAX);
        if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) }
    }

    /// Whether step `n` is held for an operator when it fails.
    #[must_use]
    pub fn is_held_on_failure(&self, n: u32) -> bool {
        let said = self.notes.get(&n).and_then(|note| note.hold);
        said.unwrap_or(self.jobset.step(n).on_failure() == OnFailure::Hold)
    }

    /// Whether `steer` with these would need to know the last attempts of some steps: which ones.
    #[must_use]
    pub fn revived_by(&self, verb: Verb) -> Vec<u32> {
        match verb {
            Verb::Rerun { .. } | Verb::Take(Action::UNBLOCK | Action::RERUN) => {
                let is_ended = |n: &u32| self.steps[*n as usize].is_ended();
                let is_unknown = |n: &u32| !self.open.contains_key(n);
                (0..self.jobset.len()).filter(|n| is_ended(n) && is_unknown(n)).collect()
            }
            Verb::Take(_) | Verb::Next(_) => Vec::new(),
        }
    }

    /// Whether a paused step would run at once, were it resumed.
    fn could_run(&self, n: u32) -> bool {
        self.steps[n as usize] == StepState::PAUSED && {
            let is_admitted = self.open.get(&n).is_some_and(|open| open.admitted);
            is_admitted || self.jobset.guards.holds(&self.counters, n)
        }
    }

    /// The steps with all that follow them, however far, and fit.
    pub(super) fn with_followers(
        &self,
        steps: &[u32],
        fits: impl Fn(&Self, u32) -> bool,
    ) -> Vec<u32> {
        let jobset = Arc::clone(&self.jobset);
        let mut seen = vec![false; jobset.steps.len()];
        let mut stack = steps.to_vec();
        let mut all: BTreeSet<u32> = steps.iter().copied().collect();
        while let Some(n) = stack.pop() {
            for guard in jobset.guards.watchers(n) {
                let follower = jobset.owner(guard);
                if !std::mem::replace(&mut seen[follower as usize], true) {
                    stack.push(follower);
                    if fits(self, follower) {
                        all.insert(follower);
                    }
                }
            }
        }
        all.into_iter().collect()
    }

    fn perform(
        &mut self,
        n: u32,
        rule: &Rule,
        last_attempts: &BTreeMap<u32, u32>,
        now: DateTime<Utc>,
    ) {
        let last = last_attempts.get(&n).copied().unwrap_or(0).max(self.latest(n));
        let open = self.open.get(&n).copied();
        match rule.action {
            Action::RERUN | Action::UNBLOCK => {
                let next = match open {
                    Some(open) if open.holder.is_some() => Some(open),
                    _ if last > 0 => Some(OpenAttempt::fresh(last + 1, now)),
                    _ => None,
                };
                self.set_open(n, next);
                self.note(n, |note| note.first = None);
            }
            Action::HOLD => self.note(n, |note| note.hold = Some(true)),
            Action::UNHOLD => self.note(n, |note| note.hold = Some(false)),
            Action::RUN_NOW => {
                self.unfile(n);
                self.set_open(n, open.map(|open| OpenAttempt { since: now, ..open }));
            }
            _ => {}
        }
        let holder = open.and_then(|open| open.holder);
        self.follow(n, rule, (last, holder), now);
    }
}

/// Whether a step is one that a rerun without a selection means.
pub(super) fn went_wrong(state: StepState) -> bool {
    matches!(
        state.class(),
        StepState::ERROR
            | StepState::FAILED
            | StepState::TIMED_OUT
            | StepState::INTERRUPTED
            | StepState::CANCELLED
    )
}

/// The steps with all that can be reached only through them: each step all of whose sources are in
/// the set is in it as well.
fn branch(jobset: &Jobset, chosen: Vec<u32>) -> Vec<u32> {
    let mut inside = vec![false; jobset.steps.len()];
    for n in chosen {
        inside[n as usize] = true;
    }
    let sources = |n: u32| jobset.guards.clauses(n).flatten().flat_map(|(_, terms)| terms);
    for n in 0..jobset.len() {
        let mut sources = sources(n).map(|term| term.step).peekable();
        if sources.peek().is_some() && sources.all(|source| inside[source as usize]) {
            inside[n as usize] = true;
        }
    }
    (0_u32..).zip(inside).filter(|(_, is_inside)| *is_inside).map(|(n, _)| n).collect()
}
