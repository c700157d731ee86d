//! The rules of a step's machine: what can be done now, and why the rest cannot.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::guards::{self, GuardView};
use super::web::{Reason, waiting_for};
use crate::domain::action::{Action, Actor};
use crate::domain::machine::{Condition, Rule};
use crate::domain::run::Run;
use crate::domain::state::{Phase, StepState};

/// A rule from the state that a step is in.
#[derive(Clone, Debug)]
pub struct Move {
    /// What is done.
    pub action: Action,
    /// The state that it leads to.
    pub to: StepState,
    /// Who does it.
    pub actor: Actor,
    /// Why it cannot be done now; `None`: it can.
    pub refused: Option<String>,
    /// The guards that do not hold.
    pub guards: Vec<GuardView>,
}

/// An action that operators may take only from other states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// What is done.
    pub action: Action,
    /// The states from which it can be done.
    pub from: Vec<StepState>,
}

/// Every rule from the state of step `n`.
pub(super) fn moves(run: &Run, n: u32, now: DateTime<Utc>) -> Vec<Move> {
    let rules = run.jobset.machine(n).rules_from(run.steps[n as usize]);
    let explained = |rule: &Rule| {
        let refused = match rule.actor {
            Actor::Operator => by_operator(run, n, rule),
            Actor::Engine => by_engine(run, n, rule, now),
            Actor::Worker => by_worker(run, n),
            Actor::Lease => by_lease(run, n),
        };
        let is_asked = refused.is_some() && !(rule.action == Action::RUN && is_admitted(run, n));
        let asked = guards::asked(run, n, rule).filter(|_| is_asked);
        let unmet = asked.filter(|(_, guard)| !run.jobset.guards.holds(&run.counters, *guard));
        Move {
            action: rule.action,
            to: run.target(n, rule),
            actor: rule.actor,
            guards: unmet.map(|(on, guard)| guards::view(run, on, guard)).collect(),
            refused,
        }
    };
    rules.iter().map(explained).collect()
}

/// The verbs of the machine of step `n` that its state does not know.
pub(super) fn elsewhere(run: &Run, n: u32) -> Vec<Elsewhere> {
    let machine = run.jobset.machine(n);
    let by_operator = |rule: &&Rule| rule.actor == Actor::Operator;
    let here: BTreeSet<Action> = machine
        .rules_from(run.steps[n as usize])
        .iter()
        .filter(by_operator)
        .map(|rule| rule.action)
        .collect();
    let mut from: BTreeMap<Action, BTreeSet<StepState>> = BTreeMap::new();
    for rule in machine.rules().iter().filter(by_operator) {
        if !here.contains(&rule.action) {
            from.entry(rule.action).or_default().insert(rule.from);
        }
    }
    let listed = |(action, from): (Action, BTreeSet<StepState>)| Elsewhere {
        action,
        from: from.into_iter().collect(),
    };
    from.into_iter().map(listed).collect()
}

fn by_operator(run: &Run, n: u32, rule: &Rule) -> Option<String> {
    match run.allowed(n, rule.action) {
        Ok(taken) if taken == *rule => None,
        Ok(_) => Some("another transition of the same action comes first".to_owned()),
        Err(reason) => Some(reason),
    }
}

fn is_over(run: &Run) -> bool {
    run.state.is_final() || run.stop.is_some()
}

fn is_admitted(run: &Run, n: u32) -> bool {
    run.open.get(&n).is_some_and(|open| open.holder.is_none() && open.admitted)
}

fn by_worker(run: &Run, n: u32) -> Option<String> {
    let open = run.open.get(&n).filter(|open| open.holder.is_some() && !open.leaving);
    open.is_none().then(|| "no worker has an attempt of it".to_owned())
}

fn by_lease(run: &Run, n: u32) -> Option<String> {
    let is_lost = run.steps[n as usize].class() == StepState::UNRESPONSIVE;
    if is_lost { None } else { by_worker(run, n) }
}

fn by_engine(run: &Run, n: u32, rule: &Rule, now: DateTime<Utc>) -> Option<String> {
    let jobset = &*run.jobset;
    let state = run.steps[n as usize];
    if is_over(run) {
        return Some("the operation has ended or is being stopped".to_owned());
    }
    let said = match rule.condition {
        Condition::Dead => {
            let is_closed = state.phase() == Phase::Pending && run.is_dead(jobset, n, state);
            (!is_closed).then_some("something can still move it")
        }
        Condition::Alive => {
            let is_dead = run.is_dead(jobset, n, run.before(n));
            is_dead.then_some("nothing automatic can ever move it from where it was")
        }
        Condition::Overdue => Some("it has not waited for too long"),
        Condition::Entry | Condition::Always | Condition::Admitted | Condition::BackingOff => {
            return by_claim(run, n, rule, now);
        }
    };
    said.map(str::to_owned)
}

/// A rule that is followed as soon as its guards hold; one into work needs a worker as well.
fn by_claim(run: &Run, n: u32, rule: &Rule, now: DateTime<Utc>) -> Option<String> {
    let is_admitted = is_admitted(run, n) && rule.action == Action::RUN;
    if !is_admitted && !run.holds(n, rule) {
        return Some("its guard does not hold".to_owned());
    }
    if run.target(n, rule).class() != StepState::RUNNING {
        return None;
    }
    if run.open.get(&n).is_some_and(|open| open.holder.is_some()) {
        return Some("a worker still has an attempt of it".to_owned());
    }
    match waiting_for(run, n, now)?.as_slice() {
        [Reason::Timer(due), ..] => {
            Some(format!("its back-off lasts until {}", super::words::time(*due)))
        }
        [Reason::Paused, ..] => Some("the operation is paused as a whole".to_owned()),
        [Reason::AtMost(most), ..] => {
            Some(format!("maxConcurrency is {most}, and so many steps of the operation run"))
        }
        _ => None,
    }
}
