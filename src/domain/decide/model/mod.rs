//! The engine against a naive reading of the same rules, on random jobsets with machines of their
//! own and in random walks: after each command both agree on the states and attempts of all steps, on
//! what a worker may take and on what an operator may do.
//!
//! Where two things follow by themselves at once, the naive reading tries both orders and the
//! engine's must be one of them.

mod naive;
mod walks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use self::naive::{Attempt, Naive, Situation};
use super::tests::{WORKER, config, name, start};
use super::{Cause, Ending, Selection, Steer, Verb};
use crate::domain::Jobset;
use crate::domain::definition::{
    ClauseDefinition, Definition, MachineDefinition, Need, Retry, StepDefinition,
};
use crate::domain::run::Run;
use crate::domain::testing::{compile, definition, machine};

const STEPS: usize = 5;
const STATES: [&str; 7] = ["S", "A", "B", "C", "Good", "Bad", "Meh"];
const DEFAULT: [&str; 6] = ["Waiting", "Running", "Succeeded", "Failed", "Paused", "Unreachable"];
const ACTIONS: [&str; 8] = ["go", "turn", "leave", "begin", "ok", "ko", "pause", "resume"];

/// A condition before it is known which states the steps have: steps with bits for states.
#[derive(Clone, Debug)]
struct Asked(Vec<(bool, BTreeMap<usize, u8>)>);

fn asked(clauses: std::ops::Range<usize>) -> impl Strategy<Value = Asked> {
    let terms = prop::collection::btree_map(0..STEPS, 1_u8..128, 1..3);
    prop::collection::vec((any::<bool>(), terms), clauses).prop_map(Asked)
}

impl Asked {
    fn resolved(&self, machines: &[Option<usize>]) -> Vec<ClauseDefinition> {
        let term = |(step, bits): (&usize, &u8)| {
            let known = if machines[*step].is_some() { &STATES[..] } else { &DEFAULT[..] };
            let chosen = known.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            let mut states: Vec<String> = chosen.map(|(_, state)| (*state).to_owned()).collect();
            if states.is_empty() {
                states.push("Unreachable".into());
            }
            (name(*step), states)
        };
        let clause = |(any, terms): &(bool, BTreeMap<usize, u8>)| ClauseDefinition {
            at_least: any.then_some(1),
            terms: terms.iter().map(term).collect(),
        };
        self.0.iter().map(clause).collect()
    }
}

/// A machine whose conditions are not resolved yet, with the places of those.
type Drawn = (MachineDefinition, Vec<(usize, Asked)>);

fn drawn_machine() -> impl Strategy<Value = Drawn> {
    let kinds = prop::collection::vec(0..5_u8, 3);
    let to = || prop::sample::select(STATES[1..].to_vec());
    let ways = prop::collection::vec((to(), to(), to(), to()), 4);
    let from = prop::sample::select(STATES[..4].to_vec());
    let action = prop::sample::select(vec!["go", "turn"]);
    let extra = (from, action, to(), any::<bool>(), asked(1..3));
    let guards = prop::collection::vec(asked(1..3), 8);
    (kinds, ways, prop::collection::vec(extra, 0..4), guards).prop_map(
        |(kinds, ways, extra, mut guards)| {
            let mut states = vec!["S".to_owned()];
            let mut rules = Vec::new();
            let mut asked = Vec::new();
            for (from, action, to, auto, condition) in extra {
                asked.push((rules.len(), condition));
                rules.push(format!("{from} {action} {to}{}", if auto { " auto" } else { "" }));
            }
            for ((state, kind), way) in STATES[1..4].iter().zip(kinds).zip(&ways) {
                let is_work = kind < 3;
                states
                    .push(format!("{state}{}", if is_work { ": succeed=ok fail=ko" } else { "" }));
                if is_work {
                    asked.extend(guards.pop().map(|guard| (rules.len(), guard)));
                    rules.push(format!("{state} ok {}", way.0));
                    rules.push(format!("{state} ok {}", way.1));
                    rules.push(format!("{state} ko {}", way.2));
                } else if kind == 3 {
                    rules.push(format!("{state} leave {}", way.3));
                } else {
                    asked.extend(guards.pop().map(|guard| (rules.len(), guard)));
                    rules.push(format!("{state} leave {} auto", way.3));
                }
            }
            rules.push(format!("S begin {} auto", ways[3].0));
            states.extend(["Good = succeeded", "Bad = failed", "Meh = neutral"].map(str::to_owned));
            let states: Vec<&str> = states.iter().map(String::as_str).collect();
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            (machine("S", &states, &rules), asked)
        },
    )
}

fn drawn_step(n: usize) -> impl Strategy<Value = (StepDefinition, Asked, Option<(bool, Asked)>)> {
    let need = prop::sample::select(vec![Need::All, Need::Any, Need::All]);
    let guard = prop::option::weighted(0.2, (any::<bool>(), asked(1..2)));
    (1..3_u32, need, asked(0..3), guard).prop_map(move |(max_attempts, need, when, guard)| {
        let retry = Retry { max_attempts, ..Retry::default() };
        (StepDefinition { name: name(n), need, retry, ..StepDefinition::default() }, when, guard)
    })
}

/// A definition that compiles, with its compiled form.
fn drawn() -> impl Strategy<Value = (Definition, Arc<Jobset>)> {
    let which = prop_oneof![
        3 => prop::collection::vec(prop::option::weighted(0.6, 0..2_usize), STEPS),
        1 => Just(vec![None; STEPS]),
    ];
    let steps = (0..STEPS).map(drawn_step).collect::<Vec<_>>();
    let pair = (0..STEPS, 0..STEPS).prop_filter("forward", |(a, b)| a < b);
    let pairs = || prop::collection::btree_set(pair.clone(), 0..3);
    let machines = prop::collection::vec(drawn_machine(), 2);
    (which, steps, machines, pairs(), pairs()).prop_filter_map(
        "refused",
        |(which, steps, machines, success, failure)| {
            let steps = steps.into_iter().zip(&which).map(|((step, when, guard), machine)| {
                let is_own = machine.is_some();
                let guards = guard.map(|(is_first, asked)| {
                    let action = match (is_own, is_first) {
                        (true, true) => "go",
                        (true, false) => "begin",
                        (false, true) => "pause",
                        (false, false) => "resume",
                    };
                    (action.to_owned(), asked.resolved(&which))
                });
                StepDefinition {
                    machine: machine.map(|index| format!("m{index}")),
                    when: when.resolved(&which),
                    guards: guards.into_iter().collect(),
                    ..step
                }
            });
            let mut made = definition(steps.collect(), vec![]);
            for (index, (mut machine, asked)) in machines.into_iter().enumerate() {
                for (place, asked) in asked {
                    machine.transitions[place].when = asked.resolved(&which);
                }
                made.machines.insert(format!("m{index}"), machine);
            }
            let named = |list: BTreeSet<(usize, usize)>| {
                list.into_iter().map(|(a, b)| (name(a), name(b))).collect()
            };
            made.success_pairs = named(success);
            made.failure_pairs = named(failure);
            compile(made.clone()).ok().map(|jobset| (made, jobset))
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Claim,
    Settle(usize, bool),
    Lose(Then),
    Act(usize, &'static str),
}

/// What becomes of the attempts of a worker that was lost.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It is heard of in time.
    Recover,
    /// Others may take them.
    Requeue,
    /// Too many were lost.
    GiveUp,
}

fn moves() -> impl Strategy<Value = Move> {
    let action = prop::sample::select(ACTIONS.to_vec());
    prop_oneof![
        6 => Just(Move::Claim),
        6 => (0..STEPS, prop::bool::weighted(0.6)).prop_map(|(which, good)| Move::Settle(which, good)),
        1 => prop::sample::select(vec![Then::Recover, Then::Requeue, Then::GiveUp]).prop_map(Move::Lose),
        5 => (0..STEPS, action).prop_map(|(step, action)| Move::Act(step, action)),
    ]
}

/// The two of them.
struct Both {
    run: Run,
    naive: Naive,
    now: DateTime<Utc>,
    situation: Situation,
    /// By the number of a step in the document: that in the jobset.
    numbers: Vec<u32>,
    /// Whether steps were found waiting for each other, and an operator had no part in it.
    was_stuck: bool,
    was_steered: bool,
}

impl Both {
    fn new(definition: Definition, jobset: &Arc<Jobset>) -> Self {
        let now = start();
        let numbers = (0..STEPS).map(|n| jobset.number(&name(n)).unwrap()).collect();
        let naive = Naive { definition };
        let mut both = Self {
            run: Run::submit(Uuid::from_u128(1), Arc::clone(jobset), now),
            situation: naive.first(),
            naive,
            now,
            numbers,
            was_stuck: false,
            was_steered: false,
        };
        both.agree("the submit");
        both
    }

    fn place(&self, number: u32) -> usize {
        self.numbers.iter().position(|known| *known == number).unwrap()
    }

    fn take(&mut self, step: Move) {
        // All back-offs have passed.
        self.now += TimeDelta::days(1);
        let naive = &self.naive;
        match step {
            Move::Claim => {
                let may = naive.claimable(&self.situation);
                let claims = self.run.claim(1, WORKER, self.now);
                let taken: Vec<usize> = claims.iter().map(|claim| self.place(claim.step)).collect();
                assert_eq!(taken.is_empty(), may.is_empty(), "{taken:?} of {may:?} is claimed");
                for n in taken {
                    assert!(may.contains(&n), "{n} of {may:?} is claimed");
                    naive.claim(&mut self.situation, n);
                }
            }
            Move::Settle(which, is_good) => {
                let held: Vec<(u32, u32)> = (self.run.open().iter())
                    .filter(|(_, open)| open.holder.is_some())
                    .map(|(n, open)| (*n, open.attempt))
                    .collect();
                let Some((n, attempt)) = held.get(which % held.len().max(1)) else { return };
                let ending =
                    if is_good { Ending::Succeeded } else { Ending::Failed(Cause::Exit(1)) };
                self.run.settle(*n, *attempt, WORKER, ending, self.now).unwrap();
                let place = self.place(*n);
                self.naive.settle(&mut self.situation, place, is_good);
            }
            Move::Lose(then) => return self.lose(then),
            Move::Act(n, action) => {
                let Some(action) = self.run.jobset().action(action) else { return };
                let to = naive.allowed(&self.situation, n, self.run.jobset().action_name(action));
                let steps = Some(vec![self.numbers[n]]);
                let selection = Selection { steps, ..Selection::default() };
                let verb = Verb::Take(action);
                let none = BTreeMap::new();
                let steer = Steer { verb, selection: &selection, last_attempts: &none };
                let steered = self.run.steer(&steer, self.now);
                assert_eq!(steered.moved.len(), usize::from(to.is_some()), "{steered:?}");
                if let Some(to) = to {
                    self.was_steered = true;
                    naive.shift(&mut self.situation, n, &to);
                }
            }
        }
        self.agree(&format!("{step:?}"));
    }

    /// The worker is lost.
    fn lose(&mut self, then: Then) {
        let before = self.situation.states.clone();
        self.run.lose(WORKER, self.now);
        Naive::silence(&mut self.situation);
        self.agree("the loss");
        let again = match then {
            Then::Recover => {
                self.run.recover(WORKER, self.now);
                Naive::hear(&mut self.situation, &before);
                return self.agree("the recovery");
            }
            Then::Requeue => true,
            Then::GiveUp => false,
        };
        self.run.rescue(WORKER, if again { 1_000 } else { 0 }, self.now);
        let mut places: Vec<usize> = (0..STEPS).collect();
        places.sort_by_key(|place| self.numbers[*place]);
        for n in places {
            if self.situation.states[n] == "Unresponsive" {
                self.situation.states[n].clone_from(&before[n]);
            }
            self.naive.lose(&mut self.situation, n, again);
        }
        self.agree("the rescue");
    }

    /// The run as the naive reading tells it, as far as it goes.
    fn told(&self) -> (Vec<String>, Vec<Attempt>) {
        let state =
            |n: &u32| self.run.jobset().state_name(*n, self.run.steps()[*n as usize]).to_owned();
        let attempt = |n: &u32| match self.run.open().get(n) {
            Some(open) if open.holder.is_some() => Attempt::Held(open.leaving),
            Some(open) if open.admitted && !self.run.steps()[*n as usize].is_ended() => {
                Attempt::Admitted
            }
            Some(_) | None => Attempt::None,
        };
        (self.numbers.iter().map(state).collect(), self.numbers.iter().map(attempt).collect())
    }

    fn agree(&mut self, after: &str) {
        let (ends, was_stuck) = self.naive.settled(self.situation.clone());
        self.was_stuck |= was_stuck;
        let told = self.told();
        let fits = |end: &Situation| {
            let attempt = |(n, attempt): (usize, &Attempt)| match attempt {
                Attempt::Admitted if self.naive.is_ended(n, &end.states[n]) => Attempt::None,
                other => other.clone(),
            };
            let attempts: Vec<_> = end.attempts.iter().enumerate().map(attempt).collect();
            (&end.states, &attempts) == (&told.0, &told.1)
        };
        let end = ends.iter().find(|end| fits(end));
        let end = end.unwrap_or_else(|| panic!("after {after}: {told:?} is none of {ends:?}"));
        self.situation = end.clone();
        let is_held = |attempt: &Attempt| matches!(attempt, Attempt::Held(_));
        let is_over = (0..STEPS).all(|n| self.naive.is_ended(n, &end.states[n]))
            && !end.attempts.iter().any(is_held);
        assert_eq!(self.run.state().is_final(), is_over, "after {after}: {told:?}");
        if is_over {
            return;
        }
        let mut later = self.run.clone();
        later.advance(self.now + TimeDelta::days(1));
        let claimable: BTreeSet<usize> =
            later.queue.runnable().iter().map(|n| self.place(*n)).collect();
        assert_eq!(claimable, self.naive.claimable(end), "after {after}: claimable in {told:?}");
        for (n, action) in (0..STEPS).flat_map(|n| ACTIONS.map(|action| (n, action))) {
            let Some(action) = self.run.jobset().action(action) else { continue };
            let verb = self.run.jobset().action_name(action);
            let allowed = self.naive.allowed(end, n, verb);
            let engine = self.run.allowed(self.numbers[n], action);
            assert_eq!(engine.is_ok(), allowed.is_some(), "{verb} of {n}: {engine:?}");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_does_what_the_rules_say(
        (definition, jobset) in drawn(),
        moves in prop::collection::vec(moves(), 0..40),
    ) {
        let mut both = Both::new(definition, &jobset);
        for step in moves {
            if both.run.state().is_final() {
                break;
            }
            both.take(step);
        }
        // What the analysis calls impossible does not happen.
        let is_plain = jobset.steps.iter().all(|step| step.machine.name.is_empty());
        if both.was_stuck && !both.was_steered && is_plain {
            let is_told = |text: &str| text.contains(" for each other") || text.contains(" for itself");
            prop_assert!(jobset.warnings.iter().any(|warning| is_told(&warning.message)));
        }
    }
}
