//! The rules again, as simply as they can be told: names for everything, every guard evaluated from
//! scratch each time, no order of what happens by itself.

use std::collections::BTreeSet;

use crate::domain::definition::{
    ClauseDefinition, Definition, MachineDefinition, Need, StepDefinition, TransitionDefinition,
};

/// The attempt of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attempt {
    /// It may have one, once its guards hold.
    None,
    /// The next one waits for a worker and asks no guard.
    Admitted,
    /// A worker has it; `true`: the step has moved on without it.
    Held(bool),
}

/// A situation: the state of each step by name, its attempt and how often that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Situation {
    pub(super) states: Vec<String>,
    pub(super) attempts: Vec<Attempt>,
    failures: Vec<u32>,
}

/// A jobset, read naively.
pub(super) struct Naive {
    pub(super) definition: Definition,
}

const ENDED: [&str; 7] =
    ["Skipped", "Blocked", "Unreachable", "Succeeded", "Failed", "TimedOut", "Cancelled"];

/// Nobody but the service moves a step on from here.
const LOST: &str = "Unresponsive";

impl Naive {
    pub(super) fn first(&self) -> Situation {
        let steps = &self.definition.steps;
        let state = |step: &StepDefinition| {
            self.machine(step).map_or("Waiting", |machine| machine.initial.as_str()).to_owned()
        };
        Situation {
            states: steps.iter().map(state).collect(),
            attempts: vec![Attempt::None; steps.len()],
            failures: vec![0; steps.len()],
        }
    }

    fn machine(&self, step: &StepDefinition) -> Option<&MachineDefinition> {
        step.machine.as_ref().map(|name| &self.definition.machines[name])
    }

    fn of(&self, n: usize) -> Option<&MachineDefinition> {
        self.machine(&self.definition.steps[n])
    }

    pub(super) fn is_ended(&self, n: usize, state: &str) -> bool {
        if state == LOST {
            return false;
        }
        match self.of(n) {
            None => ENDED.contains(&state),
            Some(machine) => {
                machine.states.get(state).is_none_or(|definition| definition.end.is_some())
            }
        }
    }

    fn is_work(&self, n: usize, state: &str) -> bool {
        match self.of(n) {
            None => state == "Running",
            Some(machine) => machine.states.get(state).is_some_and(|s| s.work.is_some()),
        }
    }

    fn is_held(&self, n: usize, state: &str) -> bool {
        if state == LOST {
            return true;
        }
        let Some(machine) = self.of(n) else { return state == "Paused" };
        let by_hand = |t: &TransitionDefinition| t.from == state && !t.automatic;
        !self.is_work(n, state) && machine.transitions.iter().any(by_hand)
    }

    fn number(&self, name: &str) -> usize {
        self.definition.steps.iter().position(|step| step.name == name).unwrap()
    }

    /// Whether a condition holds, where `meets` says so of single terms.
    fn any(clauses: &[ClauseDefinition], meets: &dyn Fn(&str, &[String]) -> bool) -> bool {
        clauses.is_empty()
            || clauses.iter().any(|clause| {
                let met = clause.terms.iter().filter(|(step, states)| meets(step, states)).count();
                met >= clause.at_least.map_or(clause.terms.len(), |number| number as usize)
            })
    }

    /// The pairs that point to a step, as terms.
    fn pairs(&self, n: usize) -> ClauseDefinition {
        let name = &self.definition.steps[n].name;
        let mut clause = ClauseDefinition::default();
        for (pairs, is_good) in
            [(&self.definition.success_pairs, true), (&self.definition.failure_pairs, false)]
        {
            for (from, _) in pairs.iter().filter(|(_, to)| to == name) {
                let states: Vec<&str> = match (self.of(self.number(from)).is_some(), is_good) {
                    (true, true) => vec!["Good"],
                    (true, false) => vec!["Bad"],
                    (false, true) => vec!["Succeeded", "Skipped"],
                    (false, false) => vec!["Failed", "TimedOut"],
                };
                clause.terms.push((from.clone(), states.into_iter().map(str::to_owned).collect()));
            }
        }
        clause.at_least = match self.definition.steps[n].need {
            Need::All => None,
            Need::Any => Some(1),
            Need::AtLeast(number) => Some(number),
        };
        clause
    }

    fn asks(
        &self,
        n: usize,
        rule: &TransitionDefinition,
        meets: &dyn Fn(&str, &[String]) -> bool,
    ) -> bool {
        let step = &self.definition.steps[n];
        let initial = self.of(n).map_or("Waiting", |machine| machine.initial.as_str());
        let is_entry = rule.automatic && rule.from == initial;
        let pairs = self.pairs(n);
        let is_paired = pairs.terms.is_empty() || Self::any(&[pairs], meets);
        (!is_entry || is_paired && Self::any(&step.when, meets))
            && Self::any(&rule.when, meets)
            && step.guards.get(&rule.action).is_none_or(|guard| Self::any(guard, meets))
    }

    fn holds(&self, now: &Situation, n: usize, rule: &TransitionDefinition) -> bool {
        self.asks(n, rule, &|step, states| states.contains(&now.states[self.number(step)]))
    }

    /// Whether a rule may yet be followed: what has ended stays as it is. Each condition is asked by
    /// itself, so this is the same as for the rule as a whole.
    fn may_hold(&self, now: &Situation, n: usize, rule: &TransitionDefinition) -> bool {
        self.asks(n, rule, &|step, states| {
            let source = self.number(step);
            let state = &now.states[source];
            states.contains(state) || !self.is_ended(source, state)
        })
    }

    /// The rules out of the state that a step is in.
    fn rules(&self, now: &Situation, n: usize) -> Vec<TransitionDefinition> {
        let state = &now.states[n];
        let Some(machine) = self.of(n) else {
            let rule = |from: &str, action: &str, to: &str, automatic| TransitionDefinition {
                from: from.into(),
                action: action.into(),
                to: to.into(),
                automatic,
                when: Vec::new(),
            };
            let all = [
                rule("Waiting", "run", "Running", true),
                rule("Running", "succeed", "Succeeded", false),
                rule("Running", "fail", "Failed", false),
                rule("Waiting", "pause", "Paused", false),
                rule("Paused", "resume", "Waiting", false),
            ];
            return all.into_iter().filter(|rule| rule.from == *state).collect();
        };
        machine.transitions.iter().filter(|rule| rule.from == *state).cloned().collect()
    }

    /// The first rule of an action that can be followed.
    fn rule(&self, now: &Situation, n: usize, action: &str) -> Option<TransitionDefinition> {
        let mut rules = self.rules(now, n).into_iter();
        rules.find(|rule| rule.action == action && self.holds(now, n, rule))
    }

    /// Where an operator may take a step by an action.
    pub(super) fn allowed(&self, now: &Situation, n: usize, action: &str) -> Option<String> {
        let outcomes = self.of(n).and_then(|machine| machine.states.get(&now.states[n]));
        let is_outcome = outcomes.is_some_and(|s| s.outcomes.values().any(|a| a == action));
        let mut rules = self.rules(now, n).into_iter().filter(|rule| !rule.automatic);
        let rule = rules.find(|rule| rule.action == action && self.holds(now, n, rule))?;
        (!is_outcome).then_some(rule.to)
    }

    /// Whether the next attempt of a step waits where a worker can take it.
    fn is_admitted(&self, now: &Situation, n: usize) -> bool {
        let takes = if self.of(n).is_none() { "Waiting" } else { now.states[n].as_str() };
        now.attempts[n] == Attempt::Admitted
            && takes == now.states[n]
            && (self.of(n).is_none() || self.is_work(n, takes))
    }

    /// The first rule that the engine can follow.
    fn automatic(&self, now: &Situation, n: usize) -> Option<TransitionDefinition> {
        let is_working = self.is_work(n, &now.states[n]);
        let is_admitted = self.is_admitted(now, n);
        let mut rules = self.rules(now, n).into_iter().filter(|rule| rule.automatic);
        rules.find(|rule| {
            let repeats = !is_working && is_admitted && self.is_work(n, &rule.to);
            !repeats && self.holds(now, n, rule)
        })
    }

    /// The rule by which a worker's claim would move a step; an admitted one stays where it is.
    fn is_claimed_by(&self, now: &Situation, n: usize) -> Option<TransitionDefinition> {
        let rule = self.automatic(now, n)?;
        let is_claim = !self.is_work(n, &now.states[n]) && self.is_work(n, &rule.to);
        is_claim.then_some(rule)
    }

    /// The steps that a worker may take now, in a situation that has settled.
    pub(super) fn claimable(&self, now: &Situation) -> BTreeSet<usize> {
        let may = |n: &usize| {
            let is_held = matches!(now.attempts[*n], Attempt::Held(_));
            let is_ended = self.is_ended(*n, &now.states[*n]);
            let is_open = self.is_admitted(now, *n) || self.is_claimed_by(now, *n).is_some();
            !is_held && !is_ended && is_open
        };
        (0..now.states.len()).filter(may).collect()
    }

    pub(super) fn claim(&self, now: &mut Situation, n: usize) {
        if self.is_admitted(now, n) {
            if self.of(n).is_none() {
                now.states[n] = "Running".into();
            }
        } else if let Some(rule) = self.is_claimed_by(now, n) {
            now.states[n] = rule.to;
        }
        now.attempts[n] = Attempt::Held(false);
    }

    /// Moves a step without its worker.
    pub(super) fn shift(&self, now: &mut Situation, n: usize, to: &str) {
        let from = std::mem::replace(&mut now.states[n], to.to_owned());
        if from == to {
            return;
        }
        if self.is_work(n, &from) && now.attempts[n] == Attempt::Held(false) {
            now.attempts[n] = Attempt::Held(true);
        }
        if self.is_work(n, to) && !matches!(now.attempts[n], Attempt::Held(_)) {
            now.attempts[n] = Attempt::Admitted;
        }
    }

    fn release(&self, now: &mut Situation, n: usize) {
        let is_work = self.is_work(n, &now.states[n]);
        now.attempts[n] = if is_work { Attempt::Admitted } else { Attempt::None };
        now.failures[n] = 0;
    }

    /// The attempt of a step ended.
    pub(super) fn settle(&self, now: &mut Situation, n: usize, is_good: bool) {
        if now.attempts[n] == Attempt::Held(true) {
            return self.release(now, n);
        }
        now.failures[n] += u32::from(!is_good);
        if !is_good && now.failures[n] < self.definition.steps[n].retry.max_attempts {
            return self.requeue(now, n);
        }
        self.end(now, n, is_good);
    }

    fn end(&self, now: &mut Situation, n: usize, is_good: bool) {
        let outcome = if is_good { "succeed" } else { "fail" };
        let action = match self.of(n) {
            None => outcome,
            Some(machine) => &machine.states[&now.states[n]].outcomes[outcome],
        };
        let rule = self.rule(now, n, action).unwrap();
        now.states[n] = rule.to;
        self.release(now, n);
    }

    fn requeue(&self, now: &mut Situation, n: usize) {
        now.attempts[n] = Attempt::Admitted;
        if self.of(n).is_none() {
            now.states[n] = "Waiting".into();
        }
    }

    /// The worker was not heard of for too long.
    pub(super) fn silence(now: &mut Situation) {
        for (state, attempt) in now.states.iter_mut().zip(&now.attempts) {
            if *attempt == Attempt::Held(false) {
                *state = LOST.into();
            }
        }
    }

    /// The worker was heard of again: what it runs is in the state that it was run for.
    pub(super) fn hear(now: &mut Situation, before: &[String]) {
        for (state, before) in now.states.iter_mut().zip(before).filter(|(state, _)| *state == LOST)
        {
            state.clone_from(before);
        }
    }

    /// The worker is lost with all its attempts; `again`: others may take them.
    pub(super) fn lose(&self, now: &mut Situation, n: usize, again: bool) {
        match now.attempts[n] {
            Attempt::Held(true) => self.release(now, n),
            Attempt::Held(false) if again => self.requeue(now, n),
            Attempt::Held(false) => self.end(now, n, false),
            Attempt::None | Attempt::Admitted => {}
        }
    }

    /// What may follow by itself: every next situation.
    fn next(&self, now: &Situation) -> Vec<Situation> {
        let mut found = Vec::new();
        for n in (0..now.states.len()).filter(|n| !self.is_ended(*n, &now.states[*n])) {
            let to = match self.automatic(now, n) {
                Some(_) if self.is_claimed_by(now, n).is_some() => continue,
                Some(rule) => rule.to,
                None if self.is_waiting(now, n)
                    && !self.is_admitted(now, n)
                    && self.is_dead(now, n) =>
                {
                    "Unreachable".to_owned()
                }
                None => continue,
            };
            let mut next = now.clone();
            self.shift(&mut next, n, &to);
            found.push(next);
        }
        found
    }

    fn is_waiting(&self, now: &Situation, n: usize) -> bool {
        let state = &now.states[n];
        !self.is_ended(n, state) && !self.is_held(n, state) && !self.is_work(n, state)
    }

    fn is_dead(&self, now: &Situation, n: usize) -> bool {
        let mut rules = self.rules(now, n).into_iter().filter(|rule| rule.automatic);
        !rules.any(|rule| self.may_hold(now, n, &rule))
    }

    /// Whether steps wait for each other and nothing else can happen.
    pub(super) fn is_stuck(&self, now: &Situation) -> bool {
        let all = 0..now.states.len();
        let is_held = |n: usize| self.is_held(n, &now.states[n]);
        self.next(now).is_empty()
            && self.claimable(now).is_empty()
            && !now.attempts.iter().any(|attempt| matches!(attempt, Attempt::Held(_)))
            && !all.clone().any(is_held)
            && all.clone().any(|n| self.is_waiting(now, n))
    }

    /// All situations in which what follows from `now` may end, in whatever order it happens, and
    /// whether steps were found waiting for each other on the way.
    pub(super) fn settled(&self, now: Situation) -> (BTreeSet<Situation>, bool) {
        let (mut seen, mut ends, mut was_stuck) = (BTreeSet::new(), BTreeSet::new(), false);
        let mut stack = vec![now];
        while let Some(now) = stack.pop() {
            if !seen.insert(now.clone()) {
                continue;
            }
            let next = self.next(&now);
            if self.is_stuck(&now) {
                was_stuck = true;
                // Some of them are closed at once; which ones is the engine's affair.
                let waiting = (0..now.states.len()).filter(|n| self.is_waiting(&now, *n));
                let waiting: Vec<usize> = waiting.collect();
                for subset in 1_u32..1 << waiting.len() {
                    let mut closed = now.clone();
                    for (bit, n) in waiting.iter().enumerate() {
                        if subset >> bit & 1 == 1 {
                            closed.states[*n] = "Unreachable".into();
                        }
                    }
                    stack.push(closed);
                }
            } else if next.is_empty() {
                ends.insert(now);
            }
            stack.extend(next);
        }
        (ends, was_stuck)
    }
}
