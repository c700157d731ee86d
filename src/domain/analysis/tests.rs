use expect_test::{Expect, expect};

use crate::domain::Definition;
use crate::domain::definition::StepDefinition;
use crate::domain::problem::PROBLEMS_MAX;
use crate::domain::testing::{
    canary, compile, definition, door, found, guarded, machine, repair, step, with_machine,
};

fn check(definition: Definition, expected: &Expect) {
    expected.assert_eq(&found(definition));
}

fn of_machine(states: &[&str], transitions: &[&str]) -> Definition {
    let machine = machine("A", states, transitions);
    definition(vec![with_machine("x", "m", "")], vec![("m", machine)])
}

#[test]
fn a_machine_must_lead_to_an_end() {
    check(
        of_machine(&["A", "B: succeed=a fail=a"], &["A go B auto", "B a A"]),
        &expect![[r#"
            error: machines.m.states: no state is final: a step with this machine would never end
        "#]],
    );
    check(
        of_machine(&["A", "B", "Z = succeeded"], &["A go B", "B go A"]),
        &expect![[r#"
            error: machines.m.initial: no way leads from `A` to a final state
            error: machines.m.states.B: no way leads from `B` to a final state (A -> B)
        "#]],
    );
    check(
        of_machine(
            &["A", "B", "C", "D", "Z = succeeded"],
            &["A end Z", "A go B", "B go C", "B again B", "C turn D", "D turn C"],
        ),
        &expect![[r#"
            error: machines.m.states.B: no way leads from `B` to a final state (A -> B)
            error: machines.m.states.C: no way leads from `C` to a final state (A -> B -> C)
            error: machines.m.states.D: no way leads from `D` to a final state (A -> B -> C -> D)
        "#]],
    );
    check(
        of_machine(&["A", "B", "Z = succeeded"], &["A end Z", "A go B", "B stay B"]),
        &expect![[r#"
            error: machines.m.states.B: no transition leads out of `B`, and it is not final (A -> B)
        "#]],
    );
}

#[test]
fn what_a_machine_says_for_nothing_is_told() {
    let states = ["A", "Lost", "Z = succeeded", "Y = failed"];
    let transitions = ["A end Z auto", "A fail Y auto if x:Lost", "Lost find A"];
    let spare = ("spare", machine("A", &["A", "Z = failed"], &["A end Z"]));
    let mut of = of_machine(&states, &transitions);
    of.machines.insert(spare.0.into(), spare.1);
    check(
        of.clone(),
        &expect![[r#"
            warning: machines.m.states.Lost: no transition ever leads to `Lost`
            warning: machines.m.transitions[1]: is never taken: transitions[0] is automatic too, leads out of `A` and has no `when`
            warning: machines.spare: no step has this machine
            warning: machines.m.transitions[1].when: the transition can never be taken: its guard waits for itself (x after x)
        "#]],
    );
    of.steps[0].initial_state = Some("lost".into());
    check(
        of,
        &expect![[r#"
            warning: machines.m.transitions[1]: is never taken: transitions[0] is automatic too, leads out of `A` and has no `when`
            warning: machines.spare: no step has this machine
        "#]],
    );
}

#[test]
fn guards_that_never_hold_are_told_where_they_stand() {
    let plain = |when| definition(vec![step("a", when), step("b", "")], vec![]);
    check(
        plain("b:TimedOut"),
        &expect![[r#"
        error: steps[0]: `a` can never run: `b` never becomes TimedOut
    "#]],
    );
    check(
        plain("b:Unreachable"),
        &expect![[r#"
        error: steps[0]: `a` can never run: `b` never becomes Unreachable
    "#]],
    );
    check(
        plain("b:Succeeded a:Succeeded"),
        &expect![[r#"
        error: steps[0]: `a` can never run: its guard waits for itself (a after a)
    "#]],
    );
    check(plain("b:Error"), &expect![""]);
    let paused =
        |when| definition(vec![guarded(step("a", ""), "pause", when), step("b", "")], vec![]);
    check(
        paused("b:Ready"),
        &expect![[r#"
        warning: steps[0].guards.pause: `pause` of `a` can never be taken: `b` never becomes Ready
    "#]],
    );
    check(paused("b:Running"), &expect![""]);
    check(
        paused("a:Paused"),
        &expect![[r#"
        warning: steps[0].guards.pause: `pause` of `a` can never be taken: its guard waits for itself (a after a)
    "#]],
    );
}

fn doors(key: StepDefinition, condition: &str) -> Definition {
    definition(vec![with_machine("x", "door", condition), key], vec![("door", door())])
}

#[test]
fn reachability_is_that_of_each_machine() {
    check(doors(step("key", ""), ""), &expect![""]);
    check(
        doors(step("key", "x:Open"), ""),
        &expect![[r#"
        error: steps[0]: `x` can never end: its guard waits for itself (x after key after x)
        error: steps[1]: `key` can never run: its guard waits for itself (key after x after key)
    "#]],
    );
    check(
        doors(step("key", "x:Held"), ""),
        &expect![[r#"
        error: steps[0]: `x` can never end: its guard waits for itself (x after key after x)
        error: steps[1]: `key` can never run: its guard waits for itself (key after x after key)
    "#]],
    );
    check(
        doors(step("key", ""), "key:TimedOut"),
        &expect![[r#"
        error: steps[0]: `x` can never run: `key` never becomes TimedOut
    "#]],
    );
    check(doors(step("key", ""), "key:Failed"), &expect![""]);
    let hand = machine("A", &["A", "Z = succeeded"], &["A end Z"]);
    let hand = |steps| definition(steps, vec![("hand", hand.clone())]);
    check(
        hand(vec![with_machine("x", "hand", "b:Succeeded"), step("b", "")]),
        &expect![[r#"
        warning: steps[0]: the pairs and the `when` of `x` are never asked: no automatic transition leads out of `A`
    "#]],
    );
    let deploy = vec![with_machine("x", "deploy", ""), step("probe", "x:Watching")];
    check(definition(deploy, vec![("deploy", canary())]), &expect![""]);
    let loops = vec![with_machine("x", "repair", ""), step("budget", "")];
    check(definition(loops, vec![("repair", repair())]), &expect![""]);
    let only = machine("A", &["A", "Z = succeeded"], &["A end Z auto if b:TimedOut"]);
    let steps = vec![with_machine("x", "only", ""), step("b", "")];
    check(
        definition(steps, vec![("only", only)]),
        &expect![[r#"
        error: steps[0]: `x` can never end: `b` never becomes TimedOut
    "#]],
    );
}

#[test]
fn steps_that_can_come_to_wait_for_each_other_are_told_with_the_shortest_way() {
    let of = |steps| definition(steps, vec![]);
    let pair = |others: Vec<StepDefinition>, c: &str, d: &str| {
        of(others.into_iter().chain([step("c", c), step("d", d)]).collect())
    };
    let both = || vec![step("a", ""), step("b", "")];
    let (c, d) = ("a:Succeeded | d:Succeeded", "b:Succeeded | c:Succeeded");
    check(
        pair(both(), c, d),
        &expect![[r#"
        warning: steps[2]: after `a` Failed and `b` Failed, `c` and `d` wait for each other, and will be closed as Unreachable
    "#]],
    );
    let (c, d) = ("a:Failed | d:Succeeded", "b:Succeeded | c:Succeeded");
    check(
        pair(both(), c, d),
        &expect![[r#"
        warning: steps[2]: after `a` Succeeded and `b` Failed, `c` and `d` wait for each other, and will be closed as Unreachable
    "#]],
    );
    let (c, d) = ("a:Failed | d:Succeeded", "b:Failed | c:Succeeded");
    check(
        pair(both(), c, d),
        &expect![[r#"
        warning: steps[2]: after `a` Succeeded and `b` Succeeded, `c` and `d` wait for each other, and will be closed as Unreachable
    "#]],
    );
    let (c, d) = ("a:Succeeded,Failed | d:Succeeded", "c:Succeeded");
    check(pair(both(), c, d), &expect![""]);
    check(
        pair(vec![step("a", "")], "d:Waiting a:Succeeded", "c:Waiting a:Failed | c:Running"),
        &expect![""],
    );
    check(
        of(vec![step("a", ""), step("b", "a:Failed | b:Succeeded")]),
        &expect![[r#"
        warning: steps[1]: after `a` Succeeded, `b` waits for itself, and will be closed as Unreachable
    "#]],
    );
    let gate = machine("A", &["A", "Go = succeeded", "No = failed"], &["A yes Go", "A no No"]);
    let steps = vec![
        with_machine("gate", "gate", ""),
        step("c", "gate:Go | d:Succeeded"),
        step("d", "gate:Go | c:Succeeded"),
    ];
    check(
        definition(steps, vec![("gate", gate)]),
        &expect![[r#"
        warning: steps[1]: after `gate` No, `c` and `d` wait for each other, and will be closed as Unreachable
    "#]],
    );
}

/// Every step of a knot may wait for every other: far more situations than are looked at.
#[test]
fn what_is_too_large_to_be_searched_is_let_through() {
    let crossed = |n: usize| {
        let (a, b) = ((n * 7 + 3) % 60, (n * 11 + 5) % 60);
        let running = if n.is_multiple_of(2) { "Running" } else { "Waiting" };
        let condition = format!("s{a}:{running} s{b}:Failed | s{b}:Waiting | r:Failed");
        step(&format!("s{n}"), &condition)
    };
    let steps = (0..60).map(crossed).chain([step("r", "")]).collect();
    check(definition(steps, vec![]), &expect![""]);
}

#[test]
fn warnings_however_many_hide_no_error() {
    let spare = || machine("A", &["A", "Z = failed"], &["A end Z"]);
    let names: Vec<String> = (0..PROBLEMS_MAX).map(|n| format!("m{n:03}")).collect();
    let machines = names.iter().map(|name| (name.as_str(), spare())).collect();
    let steps = vec![step("a", "b:TimedOut"), step("b", "")];
    check(
        definition(steps, machines),
        &expect![[r#"
        error: steps[0]: `a` can never run: `b` never becomes TimedOut
    "#]],
    );
    let paused = |n: usize| guarded(step(&format!("s{n}"), ""), "pause", "b:Ready");
    let mut steps: Vec<StepDefinition> = (0..=PROBLEMS_MAX).map(paused).collect();
    steps.push(step("b", ""));
    assert_eq!(found(definition(steps.clone(), vec![])).lines().count(), PROBLEMS_MAX);
    steps.push(step("a", "b:TimedOut"));
    check(
        definition(steps, vec![]),
        &expect![[r#"
        error: steps[102]: `a` can never run: `b` never becomes TimedOut
    "#]],
    );
}

/// Where operators may do much at any time, each situation leads to thousands: the search must end
/// before they fill the memory, which would be gigabytes here.
#[test]
fn situations_that_lead_to_many_others_are_not_all_kept() {
    let cells = 490;
    let moves = (0..190).map(|n| format!("A o{n} B{}", n % 14));
    let moves: Vec<String> = moves.chain((0..14).map(|n| format!("B{n} end Z"))).collect();
    let states: Vec<String> = (0..14).map(|n| format!("B{n}")).collect();
    let states = states.iter().map(String::as_str).chain(["A", "Z = succeeded"]);
    let moves: Vec<&str> = moves.iter().map(String::as_str).collect();
    let cell = machine("A", &states.collect::<Vec<_>>(), &moves);
    let all: Vec<String> = (0..cells).map(|n| format!("x{n}:Z")).collect();
    let all = all.join(" ");
    let last = machine("P", &["P", "Q = succeeded"], &[&format!("P go Q if {all}")]);
    let cells = (0..cells).map(|n| with_machine(&format!("x{n}"), "cell", ""));
    let knot = [
        with_machine("last", "last", ""),
        step("c", "last:Q d:Succeeded | x0:Z"),
        step("d", "c:Succeeded | x1:Z"),
    ];
    let jobset =
        compile(definition(cells.chain(knot).collect(), vec![("cell", cell), ("last", last)]));
    assert!(jobset.is_ok_and(|jobset| jobset.warnings.is_empty()));
}
