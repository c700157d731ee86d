//! What is said of runs in many situations, and what holds for any run.

mod own;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Around, Because, CAUSES_MAX, GuardOf, Kind, Workers, operation, step};
use crate::domain::action::{Action, Actor};
use crate::domain::decide::{Cause, Ending, Selection, Steer, Verb};
use crate::domain::definition::{ClauseDefinition, Definition, OnFailure, Retry, StepDefinition};
use crate::domain::{Jobset, Limits, OperationState, Run, StepState, Stop};

const WORKER: i64 = 7;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn around(now: DateTime<Utc>) -> Around {
    Around { now, deadline: None, workers: Workers { live: 1, slots: 4 }, gate: None }
}

/// What must hold of what is said about any run; the random walks ask it after every command.
pub(in crate::domain) fn check(run: &Run, now: DateTime<Utc>) {
    let own = (0..run.jobset().own_actions().len()).filter_map(Action::own);
    let all: Vec<Action> = Action::BUILT_IN.into_iter().chain(own).collect();
    for n in 0..run.jobset().len() {
        let explained = step(run, n, &around(now));
        for action in &all {
            let is_said = explained.actions.contains(action);
            assert_eq!(is_said, run.allowed(n, *action).is_ok(), "{action:?} on {n}: {run:?}");
            let mut moves = explained.moves.iter();
            let is_move = moves
                .any(|m| m.action == *action && m.actor == Actor::Operator && m.refused.is_none());
            assert_eq!(is_said, is_move, "{action:?} on {n}");
        }
        assert!(!explained.because.is_empty(), "nothing is said of {n}: {run:?}");
        for because in &explained.because {
            assert_eq!(because.via.first(), Some(&n));
            assert!(!because.message.is_empty() && !because.message.contains("``"));
        }
        for explained in &explained.moves {
            assert!(explained.guards.iter().all(|guard| !guard.holds));
        }
    }
    let explained = operation(run, &around(now));
    assert!(run.state().is_final() || !explained.because.is_empty(), "nothing is said: {run:?}");
    for because in &explained.because {
        assert!(!because.message.contains("about to be moved"), "{}: {run:?}", because.message);
    }
    let has_failed = run.state() == OperationState::Failed;
    assert!(!has_failed || !explained.failed.is_empty());
}

fn named(name: &str) -> StepDefinition {
    StepDefinition { name: name.into(), ..StepDefinition::default() }
}

fn in_state(name: &str, state: &str) -> StepDefinition {
    StepDefinition { initial_state: Some(state.into()), ..named(name) }
}

fn clause(terms: &[(&str, &[&str])]) -> ClauseDefinition {
    let states = |states: &[&str]| states.iter().map(|state| (*state).to_owned()).collect();
    let terms = terms.iter().map(|(name, asked)| ((*name).to_owned(), states(asked)));
    ClauseDefinition { at_least: None, terms: terms.collect() }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn submit(definition: Definition) -> Run {
    let definition = Definition { cancellable: true, ..definition };
    let jobset = Jobset::compile(definition, &Limits::default()).unwrap();
    Run::submit(Uuid::from_u128(1), Arc::new(jobset), start())
}

fn of(steps: Vec<StepDefinition>, success: &[(&str, &str)], failure: &[(&str, &str)]) -> Run {
    submit(Definition {
        steps,
        success_pairs: pairs(success),
        failure_pairs: pairs(failure),
        ..Definition::default()
    })
}

/// Claims everything and settles it; steps named in `failing` fail.
fn round(run: &mut Run, failing: &[&str]) {
    for claim in run.claim(100, WORKER, start()) {
        let name = &run.jobset().step(claim.step).definition.name;
        let is_failing = failing.contains(&name.as_str());
        let ending = if is_failing { Ending::Failed(Cause::Exit(1)) } else { Ending::Succeeded };
        run.settle(claim.step, claim.attempt, WORKER, ending, start()).unwrap();
    }
}

fn because(run: &Run, name: &str) -> Because {
    let n = run.jobset().number(name).unwrap();
    check(run, start());
    let mut all = step(run, n, &around(start())).because;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[track_caller]
fn says(run: &Run, name: &str, kind: Kind, message: &str) {
    let because = because(run, name);
    assert_eq!((because.kind, because.message.as_str()), (kind, message));
}

#[test]
fn a_chain_of_steps_ends_at_one_that_a_person_holds() {
    let steps = vec![in_state("canary", "Paused"), named("check"), named("deploy")];
    let run = of(steps, &[("canary", "check"), ("check", "deploy")], &[]);
    says(
        &run,
        "deploy",
        Kind::Person,
        "`deploy` waits for `check` to be Skipped or Succeeded, `check` waits for `canary` to be \
         Skipped or Succeeded; `canary` is Paused: resume, skip or block it",
    );
    let found = because(&run, "deploy");
    assert_eq!((found.step, found.via), (Some(0), vec![2, 1, 0]));
    assert_eq!(found.verbs, [Action::RESUME, Action::SKIP, Action::BLOCK]);
    let explained = operation(&run, &around(start()));
    assert_eq!(explained.because.len(), 1);
    assert_eq!(explained.because[0].steps, Some(3));
    assert_eq!(explained.because[0].message, "`canary` is Paused: resume, skip or block it");
    let explained = step(&run, 2, &around(start()));
    let run_rule = explained.moves.iter().find(|m| m.action == Action::RUN).unwrap();
    let guard = &run_rule.guards[0];
    assert_eq!((guard.on, guard.holds, guard.is_dead), (GuardOf::Entry, false, false));
    let term = &guard.clauses[0].groups[0].terms[0];
    assert_eq!((term.step, term.state, term.is_dead), (1, StepState::WAITING, false));
    assert!(explained.elsewhere.iter().any(|e| e.action == Action::RESUME
        && e.from == [StepState::PAUSED, StepState::INTERRUPTED, StepState::ERROR]));
}

#[test]
fn a_long_chain_is_cut_in_the_middle() {
    let names: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
    let mut steps: Vec<_> = names.iter().map(|name| named(name)).collect();
    steps[0].initial_state = Some("Ready".into());
    let list: Vec<_> = names.windows(2).map(|p| (p[0].as_str(), p[1].as_str())).collect();
    let message = because(&of(steps, &list, &[]), "s8").message;
    assert!(message.contains(", ..., `s1` waits for `s0`"), "{message}");
    assert!(message.ends_with("`s0` is Ready and was not started: start, skip or block it"));
}

#[test]
fn what_could_never_run_names_the_dead_term() {
    let steps = || vec![named("unit"), named("report"), named("send"), named("diagnose")];
    let success = [("unit", "report"), ("report", "send")];
    let mut run = of(steps(), &success, &[("unit", "diagnose")]);
    round(&mut run, &["unit"]);
    says(
        &run,
        "report",
        Kind::Step,
        "`report` could never run: `unit` ended Failed and is never Skipped or Succeeded; \
         rerun `unit` to change that",
    );
    round(&mut run, &["diagnose"]);
    assert_eq!(run.state(), OperationState::Failed);
    let explained = operation(&run, &around(start()));
    let said: Vec<&str> = explained.never.iter().map(|said| said.message.as_str()).collect();
    let report = "`report` could never run: `unit` ended Failed and is never Skipped or Succeeded";
    let send = "`send` could never run: `report` ended Unreachable and is never Skipped or \
                Succeeded, because `unit` ended Failed and is never Skipped or Succeeded";
    assert_eq!(said, [report, send]);
    let found: Vec<_> = explained.because.iter().map(|b| (b.step, b.steps)).collect();
    assert_eq!(found, [(Some(0), Some(2))]);
    let failed: Vec<&str> = explained.failed.iter().map(|said| said.message.as_str()).collect();
    assert_eq!(
        failed,
        [
            "`unit` ended Failed, and no failure branch handled this: `diagnose` ended Failed",
            "`diagnose` ended Failed, and it has no failure branch that could handle this",
        ]
    );
    let mut run = of(steps(), &success, &[("unit", "diagnose")]);
    (0..4).for_each(|_| round(&mut run, &[]));
    let message = because(&run, "diagnose").message;
    assert_eq!(
        message,
        "`diagnose` could never run: `unit` ended Succeeded and is never Failed or TimedOut"
    );
    check(&run, start());
}

#[test]
fn at_least_so_many_of_a_group() {
    let when = ClauseDefinition {
        at_least: Some(2),
        ..clause(&[("a", &["Succeeded"]), ("b", &["Succeeded"]), ("c", &["Succeeded"])])
    };
    let steps = vec![
        named("a"),
        in_state("b", "Paused"),
        in_state("c", "Interrupted"),
        StepDefinition { when: vec![when], ..named("join") },
    ];
    let mut run = of(steps, &[], &[]);
    round(&mut run, &[]);
    let n = run.jobset().number("join").unwrap();
    let explained = step(&run, n, &around(start()));
    let messages: Vec<&str> = explained.because.iter().map(|b| b.message.as_str()).collect();
    assert_eq!(
        messages[0],
        "`join` waits for `b` to be Succeeded (2 of 3 such conditions are needed); \
         `b` is Paused: resume, skip or block it"
    );
    assert!(messages[1].ends_with("`c` is Interrupted: resume, skip or rerun it"), "{messages:?}");
    let run_rule = explained.moves.iter().find(|m| m.action == Action::RUN).unwrap();
    let group = &run_rule.guards[0].clauses[0].groups[0];
    assert_eq!((group.need, group.held, group.dead, group.of), (2, 1, 0, 3));
    check(&run, start());
}

#[test]
fn a_guard_on_pause_is_shown_with_the_refusal() {
    let guards = BTreeMap::from([("pause".to_owned(), vec![clause(&[("canary", &["Ready"])])])]);
    let deploy = StepDefinition { guards, ..named("deploy") };
    let run = of(vec![named("canary"), deploy], &[("canary", "deploy")], &[]);
    check(&run, start());
    let explained = step(&run, run.jobset().number("deploy").unwrap(), &around(start()));
    let pause = explained.moves.iter().find(|m| m.action == Action::PAUSE).unwrap();
    let refused = "the guard of `pause` on `deploy` does not hold: `canary` is Waiting, not Ready";
    assert_eq!(pause.refused.as_deref(), Some(refused));
    assert_eq!(pause.guards[0].on, GuardOf::Action);
    assert_eq!(pause.guards[0].clauses[0].groups[0].terms[0].asked, [StepState::READY]);
    assert!(!explained.actions.contains(&Action::PAUSE));
}

#[test]
fn a_held_step_that_nobody_may_move_waits_for_what_its_guards_ask() {
    let shut = |verb: &str| (verb.to_owned(), vec![clause(&[("key", &["Succeeded"])])]);
    let guards = BTreeMap::from(["resume", "skip", "block"].map(shut));
    let held = StepDefinition { guards, ..in_state("held", "Paused") };
    let run = of(vec![in_state("key", "Paused"), held], &[], &[]);
    let message = because(&run, "held").message;
    assert_eq!(
        message,
        "`held` waits for `key` to be Succeeded; `key` is Paused: resume, skip or block it"
    );
}

#[test]
fn timers_workers_and_limits() {
    let retry = Retry { max_attempts: 3, backoff: Duration::from_mins(5), ..Retry::default() };
    let flaky = StepDefinition { retry, timeout: Some(Duration::from_mins(1)), ..named("flaky") };
    let mut run = submit(Definition {
        steps: vec![flaky, named("other"), named("last")],
        success_pairs: pairs(&[("flaky", "last")]),
        max_concurrency: Some(1),
        ..Definition::default()
    });
    says(
        &run,
        "other",
        Kind::Worker,
        "`other` waits for a worker with a free slot (1 worker is registered, with 4 slots)",
    );
    let told = |live, slots| {
        let around = Around { workers: Workers { live, slots }, ..around(start()) };
        step(&run, 1, &around).because.remove(0).message
    };
    assert!(told(1, 1).ends_with(" (1 worker is registered, with 1 slot)"));
    assert!(told(2, 8).ends_with(" (2 workers are registered, with 8 slots in all)"));
    let nobody = Around { workers: Workers { live: 0, slots: 0 }, ..around(start()) };
    let all = operation(&run, &nobody).because;
    assert_eq!(
        all[0].message,
        "`flaky` and `other` wait for a worker with a free slot; no worker is registered: \
         start one by `mother worker`"
    );
    assert_eq!((all.len(), all[0].steps), (1, Some(3)));
    let claim = run.claim(10, WORKER, start()).remove(0);
    let at_most = "`other` waits: no more than 1 of the operation's steps run at once \
                   (maxConcurrency), and so many do";
    says(&run, "other", Kind::Worker, at_most);
    let found = because(&run, "last");
    assert!(found.message.ends_with(
        "`flaky` is Running: worker 7 has had attempt 1 of it since 2027-01-15T08:00:00.000Z, \
         which may take until 2027-01-15T08:01:00.000Z"
    ));
    assert_eq!(found.until, Some(start() + TimeDelta::minutes(1)));
    assert_eq!(found.verbs, [Action::INTERRUPT]);
    let failed = Ending::Failed(Cause::Exit(1));
    run.settle(claim.step, claim.attempt, WORKER, failed, start()).unwrap();
    let found = because(&run, "flaky");
    assert_eq!((found.kind, found.until), (Kind::Timer, Some(start() + TimeDelta::minutes(5))));
    assert_eq!(found.verbs, [Action::RUN_NOW]);
    let with_deadline = Around { deadline: Some(start() + TimeDelta::hours(1)), ..around(start()) };
    let all = operation(&run, &with_deadline).because;
    assert_eq!(all.last().map(|b| b.kind), Some(Kind::Timer));
    // Once the back-off has passed, only a worker is missing.
    let later = start() + TimeDelta::minutes(6);
    let all = step(&run, claim.step, &around(later)).because;
    assert_eq!((all.len(), all[0].kind), (1, Kind::Worker));
}

#[test]
fn the_operation_as_a_whole() {
    let mut run = of(vec![named("a"), named("b")], &[("a", "b")], &[]);
    run.pause(true, start());
    let found = because(&run, "b");
    assert_eq!(
        (found.kind, found.step, &found.verbs[..]),
        (Kind::Operation, None, &[Action::RESUME][..])
    );
    let all = operation(&run, &around(start())).because;
    assert_eq!((all[0].kind, all[0].steps), (Kind::Operation, Some(2)));
    run.pause(false, start());
    let claims = run.claim(10, WORKER, start());
    run.pause(true, start());
    let kinds: Vec<Kind> =
        operation(&run, &around(start())).because.iter().map(|b| b.kind).collect();
    assert_eq!(kinds, [Kind::Worker, Kind::Operation]);
    run.stop_for(Stop::Cancel, start());
    let kinds: Vec<Kind> =
        operation(&run, &around(start())).because.iter().map(|b| b.kind).collect();
    assert_eq!(kinds, [Kind::Worker, Kind::Operation]);
    check(&run, start());
    run.settle(claims[0].step, 1, WORKER, Ending::Stopped, start()).unwrap();
    let explained = operation(&run, &around(start()));
    assert_eq!(explained.because[0].message, "`a` and `b` were cancelled with the operation");
    assert_eq!(explained.never.len(), 2);
    check(&run, start());
}

#[test]
fn steps_that_wait_for_each_other() {
    let either =
        |other: &str| vec![clause(&[(other, &["Succeeded"])]), clause(&[("gate", &["Failed"])])];
    let steps = vec![
        named("gate"),
        in_state("held", "Paused"),
        StepDefinition { when: either("y"), ..named("x") },
        StepDefinition { when: either("x"), ..named("y") },
    ];
    let mut run = of(steps, &[], &[]);
    let message = because(&run, "x").message;
    assert!(message.starts_with("`x` waits for `gate` to be Failed; `gate` waits for a worker"));
    round(&mut run, &[]);
    says(
        &run,
        "x",
        Kind::Step,
        "`x` and `y` wait for each other and are closed when nothing else is left",
    );
    let found: Vec<_> = operation(&run, &around(start())).because;
    let found: Vec<_> = found.iter().map(|b| (b.kind, b.steps)).collect();
    assert_eq!(found, [(Kind::Step, Some(2)), (Kind::Person, Some(1))]);
    let selection = Selection { steps: Some(vec![1]), ..Selection::default() };
    let last_attempts = BTreeMap::new();
    let verb = Verb::Take(Action::BLOCK);
    let held = run.jobset().number("held").unwrap();
    let selection = Selection { steps: Some(vec![held]), ..selection };
    run.steer(&Steer { verb, selection: &selection, last_attempts: &last_attempts }, start());
    assert!(run.state().is_final());
    let explained = operation(&run, &around(start()));
    let x = explained.never.iter().find(|said| said.message.contains("`x`")).unwrap();
    assert!(x.message.contains("follow each other") || x.message.contains("gate"), "{}", x.message);
    check(&run, start());
}

#[test]
fn a_failure_that_is_held_asks_a_person() {
    let step = StepDefinition { on_failure: OnFailure::Hold, ..named("test") };
    let mut run = of(vec![step], &[], &[]);
    round(&mut run, &["test"]);
    let message = "`test` failed and is held in Error: resume, skip, rerun or block it";
    says(&run, "test", Kind::Person, message);
}

#[test]
fn many_steps_are_explained_in_few_words() {
    let layers: usize = 200;
    let name = |layer: usize, n: usize| format!("s{layer}-{n}");
    let mut steps = Vec::new();
    let mut success = Vec::new();
    for layer in 0..layers {
        for n in 0..100 {
            let state = if layer == 0 { "Paused" } else { "Waiting" };
            steps.push(in_state(&name(layer, n), state));
            for other in (0..5).filter(|_| layer > 0) {
                success.push((name(layer - 1, (n + other) % 100), name(layer, n)));
            }
        }
    }
    let run = submit(Definition { steps, success_pairs: success, ..Definition::default() });
    let explained = operation(&run, &around(start()));
    let last = step(&run, run.jobset().len() - 1, &around(start()));
    assert_eq!((explained.because.len(), explained.more), (CAUSES_MAX, 100 - CAUSES_MAX));
    assert_eq!((last.because.len(), last.more), (CAUSES_MAX, 100 - CAUSES_MAX));
    assert!(explained.because.iter().all(|b| b.steps.is_some_and(|steps| steps > 15_000)));
    assert!(last.because.iter().all(|b| b.message.len() < 1_000 && b.via.len() <= 50));
}
