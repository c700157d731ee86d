//! Machines that people would write: walks until each of their rules was used, and single runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::super::tests::{WORKER, Walk, config, moves, operator_actions, start};
use super::super::{Cause, Ending, Selection, Steer, Verb};
use crate::domain::definition::{Definition, MachineDefinition, Retry, StepDefinition};
use crate::domain::profile::Profile;
use crate::domain::run::Run;
use crate::domain::testing::{
    canary, compile, definition, door, guarded, machine, repair, step, with_machine,
};
use crate::domain::{Action, Actor, Jobset, OperationState, StepState};

/// Steps with that machine, three others that they watch, and one that can be closed and reopened.
fn with(name: &str, machine: MachineDefinition) -> Definition {
    let retry = Retry { max_attempts: 2, ..Retry::default() };
    let timeout = Some(std::time::Duration::from_secs(1));
    let plain = |name: &str| StepDefinition { timeout, ..step(name, "") };
    let own = |name: &str, machine: &str, condition: &str| {
        let step = with_machine(name, machine, condition);
        StepDefinition { retry: retry.clone(), timeout, ..step }
    };
    let steps = vec![
        plain("key"),
        plain("probe"),
        plain("budget"),
        plain("spare"),
        own("x", name, ""),
        own("y", name, "key:Succeeded"),
    ];
    definition(steps, vec![(name, machine)])
}

/// `jobsets` differ only in how they begin.
fn used_up(name: &str, jobsets: &[Arc<Jobset>; 2]) {
    let jobset = &jobsets[0];
    let n = jobset.number("x").unwrap();
    let machine = jobset.machine(n);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(), rng);
    let mut missing: Vec<_> = machine.rules().iter().collect();
    let by_operator = machine.rules().iter().filter(|rule| rule.actor == Actor::Operator);
    let own = by_operator.map(|rule| rule.action).filter(|action| *action != Action::CANCEL);
    // Its own actions often, the default ones seldom, or nothing is left to be done.
    let own: Vec<Action> = own.collect();
    let actions = [own.repeat(4), operator_actions()].concat();
    for jobset in jobsets.iter().cycle().take(10_000) {
        let drawn =
            prop::collection::vec(moves(actions.clone()), 60).new_tree(&mut runner).unwrap();
        let mut walk = Walk::new(jobset);
        for step in &drawn.current() {
            walk.take(step);
        }
        walk.finish();
        let is_own = |n: u32| !jobset.machine(n).name.is_empty();
        missing.retain(|rule| !walk.has_used(rule, is_own));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never used in {name}: {missing:?}");
}

#[test]
fn walks_use_every_rule_of_machines_of_ones_own() {
    for (name, machine) in [("door", door()), ("deploy", canary()), ("loop", repair())] {
        let auto = with(name, machine);
        let manual = Definition { manual_start: true, ..auto.clone() };
        used_up(name, &[auto, manual].map(|definition| compile(definition).unwrap()));
    }
}

/// A machine `m` of which step `x` is, beside a step `a`.
fn single(machine: MachineDefinition) -> Run {
    let steps = vec![step("a", ""), with_machine("x", "m", "")];
    let jobset = compile(definition(steps, vec![("m", machine)])).unwrap();
    Run::submit(Uuid::from_u128(1), jobset, start())
}

fn state(run: &Run, name: &str) -> String {
    let n = run.jobset().number(name).unwrap();
    run.jobset().state_name(n, run.steps()[n as usize]).to_owned()
}

/// Claims what can be claimed and settles it for the step of that name.
fn settle(run: &mut Run, name: &str, ending: Ending) {
    run.claim(10, WORKER, &Profile::default(), start());
    let n = run.jobset().number(name).unwrap();
    let attempt = run.open()[&n].attempt;
    run.settle(n, attempt, WORKER, ending, start()).unwrap();
}

fn take(run: &mut Run, name: &str, action: &str) {
    let steps = Some(vec![run.jobset().number(name).unwrap()]);
    let selection = Selection { steps, ..Selection::default() };
    let verb = Verb::Take(run.jobset().action(action).unwrap());
    let last_attempts = BTreeMap::new();
    let steer = Steer { verb, selection: &selection, last_attempts: &last_attempts };
    let steered = run.steer(&steer, start());
    assert_eq!(steered.moved.len(), 1, "{steered:?}");
}

#[test]
fn an_outcome_may_lead_to_the_same_work_again() {
    let mut run = single(machine(
        "A",
        &["A", "Work: succeed=done fail=again", "Done = succeeded"],
        &["A begin Work auto", "Work again Work", "Work done Done"],
    ));
    let failed = Ending::Failed(Cause::Exit(1));
    for _ in 0..3 {
        settle(&mut run, "x", failed);
        assert_eq!(state(&run, "x"), "Work");
    }
    settle(&mut run, "x", Ending::Succeeded);
    settle(&mut run, "a", Ending::Succeeded);
    assert_eq!(run.state(), OperationState::Succeeded);
}

#[test]
fn an_automatic_transition_leads_from_one_work_to_another() {
    let mut run = single(machine(
        "A",
        &[
            "A",
            "Work: succeed=done fail=done",
            "Repair: succeed=done fail=done",
            "Done = succeeded",
        ],
        &[
            "A begin Work auto",
            "Work alarm Repair auto if a:Failed",
            "Work done Done",
            "Repair done Done",
        ],
    ));
    run.claim(10, WORKER, &Profile::default(), start());
    settle(&mut run, "a", Ending::Failed(Cause::Exit(1)));
    assert_eq!(state(&run, "x"), "Repair");
    assert_eq!(run.kills().len(), 1, "the first work is ended");
    assert_eq!(run.claimable(), 0, "one process at a time");
    settle(&mut run, "x", Ending::Stopped);
    assert_eq!(state(&run, "x"), "Repair");
    settle(&mut run, "x", Ending::Succeeded);
    assert_eq!(state(&run, "x"), "Done");
}

#[test]
fn work_that_was_left_waiting_can_be_entered_again() {
    let mut run = single(machine(
        "A",
        &["A", "Work: succeed=done fail=done", "Off", "Done = succeeded"],
        &[
            "A begin Work",
            "Work stop Off",
            "Off go Work auto if a:Succeeded",
            "Off x Off",
            "Work done Done",
        ],
    ));
    take(&mut run, "x", "begin");
    take(&mut run, "x", "stop");
    settle(&mut run, "a", Ending::Succeeded);
    settle(&mut run, "x", Ending::Succeeded);
    assert_eq!(state(&run, "x"), "Done");
}

#[test]
fn guards_on_actions_of_a_declared_machine_are_asked() {
    let shut = guarded(with_machine("x", "door", ""), "leave", "probe:Succeeded");
    let steps = vec![step("key", ""), step("probe", ""), shut];
    let jobset = compile(definition(steps, vec![("door", door())])).unwrap();
    let mut run = Run::submit(Uuid::from_u128(1), jobset, start());
    settle(&mut run, "key", Ending::Succeeded);
    settle(&mut run, "x", Ending::Succeeded);
    let leave = run.jobset().action("leave").unwrap();
    let x = run.jobset().number("x").unwrap();
    assert!(run.allowed(x, leave).unwrap_err().contains("the guard of `leave` on `x`"));
    settle(&mut run, "probe", Ending::Succeeded);
    take(&mut run, "x", "leave");
    assert_eq!(run.state(), OperationState::Succeeded);
    let moved: BTreeSet<StepState> = run.steps().iter().map(|state| state.class()).collect();
    assert_eq!(moved, [StepState::SUCCEEDED].into());
}
