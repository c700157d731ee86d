//! Machines of one's own.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::terms::for_each_alive;
use super::{
    Action, Cause, Definition, Ending, GuardOf, Kind, Run, Selection, Steer, StepDefinition, Verb,
    WORKER, around, check, clause, in_state, named, operation, pairs, round, says, start, step,
    submit,
};
use crate::domain::definition::{
    ClauseDefinition, End, MachineDefinition, StateDefinition, TransitionDefinition, Work,
};
use crate::domain::profile::Profile;

fn to(
    from: &str,
    action: &str,
    to: &str,
    automatic: bool,
    when: Vec<ClauseDefinition>,
) -> TransitionDefinition {
    TransitionDefinition {
        from: from.into(),
        action: action.into(),
        to: to.into(),
        automatic,
        when,
    }
}

fn door() -> MachineDefinition {
    let state = |end| StateDefinition { end, ..StateDefinition::default() };
    let work = StateDefinition {
        work: Some(Work::Shell("true".into())),
        outcomes: [("succeed", "done"), ("fail", "broken")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        end: None,
    };
    let key = vec![clause(&[("key", &["Succeeded"])])];
    MachineDefinition {
        initial: "Shut".into(),
        states: BTreeMap::from([
            ("Shut".to_owned(), state(None)),
            ("Ajar".to_owned(), state(None)),
            ("Open".to_owned(), work),
            ("Done".to_owned(), state(Some(End::Succeeded))),
            ("Broken".to_owned(), state(Some(End::Failed))),
        ]),
        transitions: vec![
            to("Shut", "unlock", "Ajar", true, key),
            to("Ajar", "push", "Open", false, Vec::new()),
            to("Open", "done", "Done", false, Vec::new()),
            to("Open", "broken", "Broken", false, Vec::new()),
        ],
    }
}

#[test]
fn a_machine_of_ones_own_is_told_in_its_own_words() {
    let door_step = StepDefinition { machine: Some("door".into()), ..named("door") };
    let make = |key: StepDefinition| {
        submit(Definition {
            steps: vec![key, door_step.clone(), named("walk")],
            success_pairs: pairs(&[("door", "walk")]),
            machines: BTreeMap::from([("door".to_owned(), door())]),
            ..Definition::default()
        })
    };
    let run = make(in_state("key", "Paused"));
    says(
        &run,
        "walk",
        Kind::Person,
        "`walk` waits for `door` to be Done, `door` waits for `key` to be Succeeded; \
         `key` is Paused: resume, skip or block it",
    );
    let explained = step(&run, run.jobset().number("door").unwrap(), &around(start()));
    assert_eq!(explained.moves[0].guards[0].on, GuardOf::Transition);
    let mut run = make(named("key"));
    round(&mut run, &[]);
    says(&run, "door", Kind::Person, "`door` is Ajar: push it");
    let mut run = make(named("key"));
    round(&mut run, &["key"]);
    check(&run, start());
    let explained = operation(&run, &around(start()));
    assert_eq!(
        explained.never[0].message,
        "`door` could never go on: `key` ended Failed and is never Succeeded"
    );
}

/// What may happen: a claim, outcomes, verbs, a pause.
fn play(run: &mut Run, what: usize, which: usize) {
    let steps = run.jobset().len();
    let n = u32::try_from(which).unwrap() % steps;
    let held = run.open().iter().find(|(_, open)| open.holder == Some(WORKER));
    let held = held.map(|(step, open)| (*step, open.attempt));
    match (what, held) {
        (0, _) => drop(run.claim(1 + which % 2, WORKER, &Profile::default(), start())),
        (1, Some((step, attempt))) => {
            let ending = [
                Ending::Succeeded,
                Ending::Failed(Cause::Exit(1)),
                Ending::Failed(Cause::Timeout),
                Ending::Released,
            ][which % 4];
            run.settle(step, attempt, WORKER, ending, start()).unwrap();
        }
        (2, _) if !run.state().is_final() => run.pause(which.is_multiple_of(2), start()),
        (3, _) if which.is_multiple_of(5) => drop(run.rescue(WORKER, 1, start())),
        (_, _) if !run.state().is_final() => {
            let actions = step(run, n, &around(start())).actions;
            let actions: Vec<Action> =
                actions.into_iter().filter(|action| *action != Action::CANCEL).collect();
            let Some(action) = actions.get(which % actions.len().max(1)) else { return };
            let selection = Selection { steps: Some(vec![n]), ..Selection::default() };
            let (verb, last_attempts) = (Verb::Take(*action), &BTreeMap::from([(n, 9)]));
            let steered = run.steer(&Steer { verb, selection: &selection, last_attempts }, start());
            assert_eq!(steered.moved.len(), 1, "{action:?} was said to be allowed");
        }
        (_, _) => {}
    }
}

proptest! {
    #[test]
    fn walks_of_ones_own_machines_are_explained(
        moves in prop::collection::vec((0..6_usize, 0..40_usize), 1..40),
    ) {
        let own = |name: &str| StepDefinition { machine: Some("door".into()), ..named(name) };
        let mut run = submit(Definition {
            steps: vec![named("key"), own("door"), own("gate"), named("walk")],
            success_pairs: pairs(&[("door", "walk")]),
            failure_pairs: pairs(&[("gate", "walk")]),
            machines: BTreeMap::from([("door".to_owned(), door())]),
            max_concurrency: Some(1),
            ..Definition::default()
        });
        for (what, which) in moves {
            play(&mut run, what, which);
            check(&run, start());
        }
    }
}

/// Several rules ask for the entry guard, and it is as long as the jobset allows.
#[test]
fn a_guard_that_many_rules_ask_for_is_gone_through_once() {
    let done = StateDefinition { end: Some(End::Succeeded), ..StateDefinition::default() };
    let machine = MachineDefinition {
        initial: "Shut".into(),
        states: [("Shut".into(), StateDefinition::default()), ("Done".into(), done)].into(),
        transitions: vec![
            to("Shut", "leave", "Done", true, vec![clause(&[("other", &["Succeeded"])])]),
            to("Shut", "end", "Done", true, Vec::new()),
        ],
    };
    let door = StepDefinition { machine: Some("door".into()), ..named("door") };
    let waiting = submit(Definition {
        steps: vec![named("key"), named("other"), door],
        success_pairs: pairs(&[("key", "door")]),
        machines: BTreeMap::from([("door".to_owned(), machine)]),
        ..Definition::default()
    });
    let mut told = Vec::new();
    for_each_alive(&waiting, 2, false, |_, term| told.push(term.step));
    assert_eq!(told, [0, 1]);
}
