use expect_test::{Expect, expect};

use crate::domain::definition::{Definition, StepDefinition};
use crate::domain::testing::{
    canary, compile, definition, door, found, guarded, machine, repair, step, with_machine,
};

const STATES: [&str; 3] = ["A", "Work: succeed=done fail=done", "Z = succeeded"];

fn check(states: &[&str], transitions: &[&str], expected: &Expect) {
    let machine = machine("A", states, transitions);
    let of = definition(vec![with_machine("x", "m", "")], vec![("m", machine)]);
    expected.assert_eq(&found(of));
}

#[test]
fn names_that_are_unknown_are_told_with_the_nearest() {
    check(
        &STATES,
        &["A begin Wrok auto", "Work done Y", "a done Z", "Work done Z"],
        &expect![[r#"
        error: machines.m.transitions[0].to: no state is called `Wrok`; did you mean `Work`?
        error: machines.m.transitions[1].to: no state is called `Y`; did you mean `A`?
        error: machines.m.transitions[2].from: no state is called `a`; did you mean `A`?
        error: machines.m.transitions[3]: is never taken: one before it has the same `from` and `action` and no `when`
    "#]],
    );
    for (initial, words) in [("", "no state is called"), ("Work", "cannot begin with work")] {
        let machine = machine(initial, &STATES, &["A begin Work auto", "Work done Z"]);
        let of = definition(vec![with_machine("x", "m", "")], vec![("m", machine)]);
        let found = found(of);
        assert!(
            found.starts_with("error: machines.m.initial: ") && found.contains(words),
            "{found}"
        );
    }
    check(
        &["A", "a", "Z = failed"],
        &["A b a", "a c Z"],
        &expect![[r#"
        error: machines.m.states.a: differs from `A` in nothing but case
    "#]],
    );
}

#[test]
fn steps_say_of_their_machine_only_what_it_has() {
    let of = |x| definition(vec![step("key", ""), x, step_of("y")], vec![("door", door())]);
    expect![[r#"
        error: steps[1].machine: no machine is called `dor`; did you mean `door`?
    "#]]
    .assert_eq(&found(of(with_machine("x", "dor", ""))));
    let guarded = |action| of(guarded(step_of("x"), action, "y:Done"));
    expect![[r#"
        error: steps[1].guards.opne: its machine has no action `opne`; did you mean `open`?
    "#]]
    .assert_eq(&found(guarded("opne")));
    expect![[r#"
        error: steps[1].guards.jam: `jam` cannot be guarded: guard the steps that follow
    "#]]
    .assert_eq(&found(guarded("jam")));
    expect![[r#"
        error: steps[1].guards.cancel: `cancel` cannot be guarded: guard the steps that follow
    "#]]
    .assert_eq(&found(guarded("cancel")));
    let begins =
        |state: &str| of(StepDefinition { initial_state: Some(state.into()), ..step_of("x") });
    expect![[r#"
        error: steps[1].initialState: no state is called `Opne`; did you mean `Open`?
    "#]]
    .assert_eq(&found(begins("Opne")));
    expect![[r#"
        error: steps[1].initialState: a step cannot begin in `Open`: no worker has an attempt of it yet
    "#]].assert_eq(&found(begins("Open")));
}

fn step_of(name: &str) -> StepDefinition {
    with_machine(name, "door", "")
}

#[test]
fn work_must_lead_on_whatever_its_outcome() {
    check(
        &["A", "Work: fail=done timout=done", "Z = succeeded"],
        &["A begin Work auto", "Work done Z"],
        &expect![[r#"
            error: machines.m.states.Work.outcomes: says nothing for `succeed`
            error: machines.m.states.Work.outcomes.timout: no outcome is called so; did you mean `timeout`?
        "#]],
    );
    check(
        &STATES,
        &["A begin Work auto", "Work done Z if x:A"],
        &expect![[r#"
        error: machines.m.states.Work.outcomes.fail: needs a transition from `Work` by `done` without `when`: an outcome cannot be refused
        error: machines.m.states.Work.outcomes.succeed: needs a transition from `Work` by `done` without `when`: an outcome cannot be refused
    "#]],
    );
    check(
        &STATES,
        &["A begin Work auto", "Work done Z auto"],
        &expect![[r#"
        error: machines.m.transitions[1].automatic: follows from an outcome of the work; it cannot be automatic as well
    "#]],
    );
    check(
        &STATES,
        &["A begin Work auto", "Work done Z", "Work done A if x:A"],
        &expect![[r#"
        error: machines.m.transitions[2]: is never taken: one before it has the same `from` and `action` and no `when`
    "#]],
    );
}

#[test]
fn final_states_are_final() {
    check(
        &STATES,
        &["A begin Work auto", "Work done Z", "Z again A"],
        &expect![[r#"
        error: machines.m.states.Z.final: no transition may lead out of a final state
    "#]],
    );
}

#[test]
fn names_of_the_service_are_its_own() {
    check(
        &["A", "ready", "Cancelled", "Unreachable", "Z = succeeded"],
        &["A run Z", "A close Z", "A next Z", "A a/b Z", "A pause Z"],
        &expect![[r#"
            error: machines.m.states.Cancelled: every machine has a state `Cancelled`; choose another name
            error: machines.m.states.Unreachable: every machine has a state `Unreachable`; choose another name
            error: machines.m.states.ready: every machine has a state `ready`; choose another name
            error: machines.m.transitions[0].action: `run` belongs to the service; choose another name
            error: machines.m.transitions[1].action: `close` belongs to the service; choose another name
            error: machines.m.transitions[2].action: must be a word of letters, digits, `-` and `_`, at most 64, not `next`
            error: machines.m.transitions[3].action: must be a word of letters, digits, `-` and `_`, at most 64, not `next`
        "#]],
    );
}

#[test]
fn a_byte_has_room_for_so_many_states() {
    let names: Vec<String> = (0..16).map(|n| format!("E{n} = failed")).collect();
    let states: Vec<&str> = ["A"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let names: Vec<String> = (0..16).map(|n| format!("A go{n} E{n}")).collect();
    let transitions: Vec<&str> = names.iter().map(String::as_str).collect();
    check(
        &states,
        &transitions,
        &expect![[r#"
        error: machines.m.states.E9: a machine may have at most 15 states of this kind
        error: machines.m.transitions[9].to: no state is called `E9`; did you mean `E0`?
    "#]],
    );
    check(&states[..16], &transitions[..15], &expect![""]);
}

#[test]
fn large_machines_have_limits() {
    let names: Vec<String> =
        (0..1_001).map(|n| format!("A go{} Z if key:Failed", n % 100)).collect();
    let mut transitions: Vec<&str> = names.iter().map(String::as_str).collect();
    check(
        &["A", "Z = failed"],
        &transitions,
        &expect![[r#"
        error: machines.m.transitions: a machine may have at most 1000 transitions
    "#]],
    );
    transitions.pop();
    let m = machine("A", &["A", "Z = failed"], &transitions);
    let steps = (0..1_001).map(|n| with_machine(&format!("x{n}"), "m", "")).collect::<Vec<_>>();
    let steps = [vec![step("key", "")], steps].concat();
    expect![[r#"
        error: steps: the guards have 1001000 terms in all, more than the limit of 1000000; join steps by a milestone (a step without `run`)
    "#]].assert_eq(&found(definition(steps, vec![("m", m)])));
}

#[test]
fn what_turns_for_ever_in_no_time_is_refused() {
    let spins = ["A on B auto if x:A", "B off A auto if x:B", "A end Z"];
    check(
        &["A", "B", "Z = succeeded"],
        &spins,
        &expect![[r#"
        error: machines.m.transitions: automatic transitions without work between them form a cycle: A -> B -> A
    "#]],
    );
    check(
        &["A", "B: succeed=end fail=end", "C: succeed=end fail=end", "Z = succeeded"],
        &["A on B auto", "B c C auto if x:B", "C b B auto if x:C", "B end Z", "C end Z"],
        &expect![[r#"
            error: machines.m.transitions: automatic transitions without work between them form a cycle: B -> C -> B
        "#]],
    );
    check(
        &["A", "B: succeed=end fail=back", "Z = succeeded"],
        &["A on B auto", "B end Z", "B back A"],
        &expect![""],
    );
}

#[test]
fn what_people_would_write_is_taken() {
    let plain = ["key", "probe", "budget"].map(|name| step(name, "")).to_vec();
    for (name, machine) in [("door", door()), ("deploy", canary()), ("loop", repair())] {
        let steps = [plain.clone(), vec![with_machine("x", name, "key:Succeeded")]].concat();
        let of = definition(steps, vec![(name, machine)]);
        let manual = Definition { manual_start: true, ..of.clone() };
        for of in [of, manual] {
            assert_eq!(compile(of).unwrap().warnings, []);
        }
    }
}
