//! Random walks: whatever workers, leases and clients do in whatever order, the run stays consistent,
//! follows the table and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::causality::{Order, check_parts};
use super::ends::Ends;
use super::{Cause, Ending, Stopped};
use super::{Selection, Steer, Verb};
use crate::domain::analysis::reach::Reach;
use crate::domain::changes::Fact;
use crate::domain::definition::{
    ClauseDefinition, Definition, ForEnd, Need, OnCancel, OnFailure, Retry, StepDefinition,
};
use crate::domain::explain;
use crate::domain::machine::{Rule, Target, default_machine};
use crate::domain::profile::Profile;
use crate::domain::run::Run;
use crate::domain::testing::snapshot;
use crate::domain::{Action, Actor, Jobset, Limits, OperationState, Phase, StepState, Stop};

pub(super) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(super) fn name(n: usize) -> String {
    format!("s{n}")
}

fn step(n: usize) -> impl Strategy<Value = StepDefinition> {
    let states = prop::sample::subsequence(
        ["Succeeded", "Skipped", "Failed", "TimedOut", "Running", "Unreachable", "Waiting"]
            .to_vec(),
        1..4,
    );
    let term = (0..6_usize, states)
        .prop_map(|(n, states)| (name(n), states.into_iter().map(str::to_owned).collect()));
    let clause = (prop::collection::btree_map(0..6_usize, term, 1..3), any::<bool>()).prop_map(
        |(terms, any)| ClauseDefinition {
            at_least: any.then_some(1),
            terms: terms.into_values().collect(),
        },
    );
    let policy = prop::sample::select(vec![
        OnFailure::Fail,
        OnFailure::Hold,
        OnFailure::Continue,
        OnFailure::Skip,
    ]);
    let need = prop::sample::select(vec![Need::All, Need::Any, Need::All]);
    // Time passes by 400 seconds at once.
    let limit = || prop::option::weighted(0.2, (300..1_000_u64).prop_map(Duration::from_secs));
    let times = (limit(), limit());
    // What the step is for: most are regular.
    let role = (0..12_u8, 0..6_usize);
    (prop::collection::vec(clause, 0..3), policy, 1..3_u32, need, times, role).prop_map(
        move |(when, on_failure, max_attempts, need, (queue_timeout, total_timeout), role)| {
            let compensates = (role.0 == 2).then(|| name(role.1));
            StepDefinition {
                name: name(n),
                when: if compensates.is_some() { Vec::new() } else { when },
                on_failure,
                need,
                timeout: Some(Duration::from_secs(1)),
                queue_timeout,
                total_timeout,
                for_end: ForEnd { ensure: role.0 == 0, clean_up: role.0 == 1, compensates },
                retry: Retry { max_attempts, jitter: true, ..Retry::default() },
                ..StepDefinition::default()
            }
        },
    )
}

/// Valid jobsets of six steps; about half of what is drawn at random can never run and is drawn
/// again.
fn jobset() -> impl Strategy<Value = Arc<Jobset>> {
    let pair = (0..6_usize, 0..6_usize)
        .prop_filter("forward", |(a, b)| a < b)
        .prop_map(|(a, b)| (name(a), name(b)));
    let pairs = || prop::collection::btree_set(pair.clone(), 0..4);
    let steps = (0..6).map(step).collect::<Vec<_>>();
    let on_cancel =
        prop::sample::select(vec![OnCancel::Nothing, OnCancel::CleanUp, OnCancel::Compensate]);
    (steps, pairs(), pairs(), prop::option::of(1..4_u32), on_cancel).prop_filter_map(
        "can never run",
        |(steps, success, failure, max_concurrency, on_cancel)| {
            let definition = Definition {
                name: "walk".into(),
                steps,
                success_pairs: success.into_iter().collect(),
                failure_pairs: failure.into_iter().collect(),
                max_concurrency,
                on_cancel,
                cancellable: true,
                ..Definition::default()
            };
            Jobset::compile(definition, &Limits::default()).ok().map(Arc::new)
        },
    )
}

#[derive(Clone, Debug)]
pub(super) enum Move {
    Claim(usize),
    Settle(usize, Ending),
    Lose,
    Recover,
    Rescue,
    Stop(Stop),
    Steer(Verb, Vec<u32>),
    Pause(bool),
    Context,
    Later,
    Expire,
}

/// What operators may do; and one thing that they may not.
pub(super) fn operator_actions() -> Vec<Action> {
    let rules = default_machine().rules().iter();
    let by_operator = rules.filter(|rule| rule.actor == Actor::Operator);
    let actions: BTreeSet<Action> = by_operator.map(|rule| rule.action).collect();
    let steps = actions.into_iter().filter(|action| *action != Action::CANCEL);
    steps.chain([Action::SUCCEED]).collect()
}

fn steer(actions: Vec<Action>) -> impl Strategy<Value = Move> {
    let verb = prop_oneof![
        12 => prop::sample::select(actions).prop_map(Verb::Take),
        1 => (1..3_u32).prop_map(Verb::Next),
        2 => any::<bool>().prop_map(|cascade| Verb::Rerun { cascade }),
    ];
    (verb, prop::collection::vec(0..6_u32, 1..3)).prop_map(|(verb, steps)| Move::Steer(verb, steps))
}

pub(super) fn moves(actions: Vec<Action>) -> impl Strategy<Value = Move> {
    let ending = prop::sample::select(vec![
        Ending::Succeeded,
        Ending::Succeeded,
        Ending::Failed(Cause::Exit(1)),
        Ending::Failed(Cause::Timeout),
        Ending::Stopped,
        Ending::Released,
    ]);
    prop_oneof![
        6 => (1..4_usize).prop_map(Move::Claim),
        10 => (0..4_usize, ending).prop_map(|(which, ending)| Move::Settle(which, ending)),
        1 => Just(Move::Lose),
        1 => Just(Move::Recover),
        1 => Just(Move::Rescue),
        8 => steer(actions),
        1 => any::<bool>().prop_map(Move::Pause),
        1 => Just(Move::Context),
        3 => Just(Move::Later),
        2 => Just(Move::Expire),
        1 => prop::sample::select(vec![Stop::Cancel, Stop::Deadline, Stop::Abort])
            .prop_map(Move::Stop),
    ]
}

pub(super) const WORKER: i64 = 7;

pub(super) struct Walk {
    pub(super) run: Run,
    now: DateTime<Utc>,
    version: i32,
    /// Step, the state it left, by which action, the state it entered.
    pub(super) used: BTreeSet<(u32, StepState, Action, StepState)>,
    /// The last attempt of each step, by the history.
    last: BTreeMap<u32, u32>,
    /// The number of the event by which each step last moved.
    moved: Vec<i32>,
    /// What the analysis says that can be reached.
    reach: Reach,
    /// The attempts that were run.
    run_once: BTreeSet<(u32, u32)>,
    order: Order,
    ends: Ends,
}

impl Walk {
    pub(super) fn new(jobset: &Arc<Jobset>) -> Self {
        let now = start();
        let run = Run::submit(Uuid::from_u128(1), Arc::clone(jobset), now);
        let mut walk = Self {
            run,
            now,
            version: 0,
            used: BTreeSet::new(),
            last: BTreeMap::new(),
            moved: vec![0; jobset.steps.len()],
            reach: Reach::of(jobset),
            run_once: BTreeSet::new(),
            order: Order::default(),
            ends: Ends::default(),
        };
        walk.check(false);
        walk
    }

    /// Whether one of those steps was moved by that rule.
    pub(super) fn has_used(&self, rule: &Rule, is_meant: impl Fn(u32) -> bool) -> bool {
        self.used.iter().any(|(n, from, action, to)| {
            let leads = matches!(rule.to, Target::Before) || rule.to == Target::State(*to);
            is_meant(*n) && (*from, *action) == (rule.from, rule.action) && leads
        })
    }

    pub(super) fn take(&mut self, step: &Move) {
        let was_final = self.run.state().is_final();
        match step {
            Move::Claim(limit) => {
                let claims = self.run.claim(*limit, WORKER, &Profile::default(), self.now);
                assert!(claims.len() <= *limit);
            }
            Move::Settle(which, ending) => {
                let open: Vec<_> =
                    self.run.open().iter().filter(|o| o.1.holder.is_some()).collect();
                let Some((n, attempt)) =
                    open.get(*which % open.len().max(1)).map(|(n, open)| (**n, open.attempt))
                else {
                    return;
                };
                // Whoever does not hold the attempt changes nothing.
                let before = self.run.version();
                for (attempt, worker) in [(attempt, WORKER + 1), (attempt + 1, WORKER)] {
                    let stale = self.run.settle(n, attempt, worker, *ending, self.now);
                    assert!(stale.is_err() && self.run.version() == before);
                }
                self.run.settle(n, attempt, WORKER, *ending, self.now).unwrap();
            }
            Move::Lose => drop(self.run.lose(WORKER, self.now)),
            Move::Recover => self.recover(),
            Move::Rescue => drop(self.run.rescue(WORKER, 1, self.now)),
            Move::Stop(reason) => {
                self.ends.before_stop(&self.run);
                let stopped = self.run.stop_for(*reason, self.now);
                assert_eq!(stopped == Stopped::AlreadyFinal, was_final);
            }
            Move::Pause(_) | Move::Context | Move::Steer(_, _) if was_final => return,
            Move::Context => self.run.change_context(self.now),
            Move::Pause(paused) => self.run.pause(*paused, self.now),
            Move::Steer(verb, steps) => self.steer(*verb, steps),
            Move::Expire => drop(self.run.expire(self.now)),
            Move::Later => {
                self.now += TimeDelta::seconds(400);
                self.run.advance(self.now);
            }
        }
        self.check(was_final);
    }

    /// Who is heard of again goes on with all it has.
    fn recover(&mut self) {
        let held = |run: &Run| -> Vec<_> {
            let held = run.open().iter().filter(|(_, open)| open.holder.is_some());
            held.map(|(n, open)| (*n, *open)).collect()
        };
        let before = held(&self.run);
        assert_eq!(self.run.recover(WORKER + 1, self.now), 0);
        assert_eq!(self.run.recover(WORKER, self.now), before.len());
        assert_eq!(held(&self.run), before, "the attempts are the same");
        assert_eq!(self.run.count(StepState::UNRESPONSIVE), 0);
    }

    /// An operator's verb does what a trial of it says, to the steps that allow it and to no other.
    fn steer(&mut self, verb: Verb, steps: &[u32]) {
        let selection = Selection { steps: Some(steps.to_vec()), ..Selection::default() };
        let last_attempts = self.last.clone();
        let steer = Steer { verb, selection: &selection, last_attempts: &last_attempts };
        let trial = self.run.clone().steer(&steer, self.now);
        let before = self.run.steps().to_vec();
        let steered = self.run.steer(&steer, self.now);
        assert_eq!(trial, steered);
        for moved in &steered.moved {
            assert_eq!(before[moved.step as usize], moved.from);
        }
        let told = steered.moved.len() + steered.refused.len();
        let named = steps.iter().collect::<BTreeSet<_>>().len();
        let leaves_out = matches!(verb, Verb::Next(_) | Verb::Rerun { .. });
        assert!(told == named || leaves_out, "{told} of {named} steps are told");
    }

    /// Everything that must hold after every command.
    fn check(&mut self, was_final: bool) {
        let changes = self.run.take_changes();
        assert!(!was_final || changes.events.is_empty(), "a final operation changed");
        for event in &changes.events {
            self.version += 1;
            assert_eq!(event.seq, self.version, "the history has a gap");
            self.order.take(event, self.run.jobset());
            self.ends.take(event, &self.run);
            if let Fact::Moved { step, attempt, action, from, to, worker } = event.fact {
                let rules = self.run.jobset().machine(step).rules_from(from).iter();
                let mut rules = rules.filter(|rule| rule.action == action);
                let leads = |rule: &Target| match rule {
                    Target::State(state) => *state == to,
                    Target::Before => true,
                };
                assert!(rules.any(|rule| leads(&rule.to)), "no rule {from:?} {action:?} {to:?}");
                assert!(self.reach.states(step).has(to), "{to:?} of step {step} is out of reach");
                self.used.insert((step, from, action, to));
                self.last.insert(step, attempt);
                self.moved[step as usize] = event.seq;
                if worker.is_some() && to.class() == StepState::RUNNING && action != Action::HOLD {
                    // Its attempt is told with the claim; none is ever used again.
                    let is_claim = self
                        .run
                        .jobset()
                        .machine(step)
                        .rules_from(from)
                        .iter()
                        .any(|r| r.action == action && r.actor == Actor::Engine);
                    assert!(
                        !is_claim || self.run_once.insert((step, attempt)),
                        "attempt {attempt} of {step} ran twice"
                    );
                }
            }
        }
        assert_eq!(self.run.version(), self.version);
        assert_eq!(self.run.moved(), self.moved);
        self.ends.check(&self.run);
        self.check_loaded();
    }

    /// What another server would load is the same, and runs go on from it, some after each command.
    fn check_loaded(&mut self) {
        let is_final = self.run.state().is_final();
        if !is_final {
            check_parts(self.run.stamps());
        }
        let stamps = (!is_final).then(|| self.order.load(self.run.stamps()));
        let snapshot = snapshot(&self.run, stamps, self.now);
        let mut again = Run::restore(self.run.id(), Arc::clone(self.run.jobset()), snapshot);
        again.advance(self.now);
        let mut own = self.run.clone();
        own.advance(self.now);
        assert_eq!(again.counts, own.counts);
        assert_eq!(again.claimable(), own.claimable(), "memory and rows disagree");
        assert_eq!(again.next_due(), own.next_due());
        assert_eq!(again.next_timer(), own.next_timer());
        let in_hands = self.run.open().values().filter(|open| open.holder.is_some()).count();
        assert_eq!(self.run.in_hands() as usize, in_hands);
        if let Some(most) = self.run.jobset().max_concurrency {
            assert!(in_hands <= most as usize);
        }
        assert!(!self.run.state().is_final() || in_hands == 0, "a process outlives the operation");
        let running =
            (0_u32..).zip(self.run.steps()).filter(|(_, s)| s.class() == StepState::RUNNING);
        for (n, _) in running {
            assert!(self.run.open().contains_key(&n), "step {n} runs without an attempt");
        }
        let every = self.run.jobset().max_concurrency.map_or(i32::MAX, u32::cast_signed);
        if !is_final && self.version % every == 0 {
            self.run = again;
        }
    }

    /// From any state, workers that do their work bring the run to its end or to a person.
    pub(super) fn finish(&mut self) {
        for _ in 0..100 {
            if self.run.state().is_final() {
                let ended = self.run.count_phase(Phase::Ended);
                assert!(self.run.stop().is_some() || ended == self.run.jobset().len());
                return;
            }
            self.take(&Move::Pause(false));
            self.take(&Move::Rescue);
            self.take(&Move::Later);
            self.take(&Move::Claim(3));
            self.take(&Move::Settle(0, Ending::Succeeded));
        }
        assert!(self.run.count_phase(Phase::Held) > 0, "the run never ends: {:?}", self.run);
    }
}

/// Many drawn jobsets are refused and drawn again.
pub(super) fn config() -> ProptestConfig {
    ProptestConfig { max_local_rejects: 1_000_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_walk_stays_consistent_and_ends(
        jobset in jobset(),
        moves in prop::collection::vec(moves(operator_actions()), 0..40),
    ) {
        let mut walk = Walk::new(&jobset);
        for step in &moves {
            walk.take(step);
            explain::tests::check(&walk.run, walk.now);
        }
        walk.finish();
        explain::tests::check(&walk.run, walk.now);
    }
}

#[test]
fn walks_use_every_rule_of_the_default_machine() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(), rng);
    // Steps begin in Ready only where the jobset says so.
    let rules = default_machine().rules().iter().filter(|rule| rule.from != StepState::READY);
    let mut missing: Vec<_> = rules.collect();
    for _ in 0..10_000 {
        let drawn = (jobset(), prop::collection::vec(moves(operator_actions()), 60))
            .new_tree(&mut runner)
            .unwrap();
        let (jobset, moves) = drawn.current();
        let mut walk = Walk::new(&jobset);
        for step in &moves {
            walk.take(step);
        }
        missing.retain(|rule| !walk.has_used(rule, |_| true));
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never used: {missing:?}");
}

fn of(text: &[(&str, &str)], steps: &[&str], failure: &[(&str, &str)]) -> Run {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    let definition = Definition {
        steps: steps
            .iter()
            .map(|name| StepDefinition { name: (*name).into(), ..StepDefinition::default() })
            .collect(),
        success_pairs: pairs(text),
        failure_pairs: pairs(failure),
        cancellable: true,
        ..Definition::default()
    };
    let jobset = Jobset::compile(definition, &Limits::default()).unwrap();
    Run::submit(Uuid::from_u128(1), Arc::new(jobset), start())
}

/// Runs to the end; steps named in `failing` fail.
fn outcome(mut run: Run, failing: &[&str]) -> (OperationState, Vec<(String, StepState)>) {
    while !run.state().is_final() {
        for claim in run.claim(10, WORKER, &Profile::default(), start()) {
            let name = &run.jobset().step(claim.step).definition.name;
            let ending = if failing.contains(&name.as_str()) {
                Ending::Failed(Cause::Exit(1))
            } else {
                Ending::Succeeded
            };
            run.settle(claim.step, claim.attempt, WORKER, ending, start()).unwrap();
        }
    }
    let names = run.jobset().steps.iter().map(|step| step.definition.name.clone());
    let states = names.zip(run.steps().iter().copied()).collect();
    (run.state(), states)
}

#[test]
fn a_failure_that_its_branch_handles_does_not_fail_the_operation() {
    let run = || of(&[("test", "report")], &["test", "report", "repair"], &[("test", "repair")]);
    let (state, steps) = outcome(run(), &["test"]);
    assert_eq!(state, OperationState::Succeeded);
    assert_eq!(steps[1], ("report".into(), StepState::UNREACHABLE));
    let (state, steps) = outcome(run(), &[]);
    assert_eq!(state, OperationState::Succeeded);
    assert_eq!(steps[2], ("repair".into(), StepState::UNREACHABLE));
    assert_eq!(outcome(run(), &["test", "repair"]).0, OperationState::Failed);
}

#[test]
fn a_failure_closes_all_that_depends_on_it() {
    let run = of(&[("a", "b"), ("b", "c"), ("c", "d")], &["a", "b", "c", "d"], &[]);
    let (state, steps) = outcome(run, &["a"]);
    assert_eq!(state, OperationState::Failed);
    assert!(steps[1..].iter().all(|(_, state)| *state == StepState::UNREACHABLE));
}

#[test]
fn a_name_that_no_url_can_hold_is_refused() {
    for name in [".", "..", "a/b", "$count", " a", ""] {
        let step = StepDefinition { name: name.into(), ..StepDefinition::default() };
        let definition = Definition { steps: vec![step], ..Definition::default() };
        let problems = Jobset::compile(definition, &Limits::default()).unwrap_err();
        assert_eq!(problems[0].path, "steps[0].name", "{name}");
    }
}
