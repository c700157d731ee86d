//! Explanations for people: root causes first, then what can be done.

use std::io;

use super::output::Output;
use crate::wire::{
    ExplainedGuard, ExplainedMove, ExplainedStep, ExplainedTerm, OperationExplanation, RootCause,
    StepExplanation,
};

/// How many terms of one guard are printed.
const TERMS_MAX: usize = 10;

/// Prints why a step does not move.
pub(super) fn print_step(explanation: &StepExplanation, output: Output) -> io::Result<()> {
    if output.is_json() {
        return output.json(explanation);
    }
    output.line(&step(explanation, output).join("\n"))
}

/// Prints why an operation has not ended, or ended as it did.
pub(super) fn print_operation(
    explanation: &OperationExplanation,
    output: Output,
) -> io::Result<()> {
    if output.is_json() {
        return output.json(explanation);
    }
    output.line(&operation(explanation, output).join("\n"))
}

fn step(explanation: &StepExplanation, output: Output) -> Vec<String> {
    let StepExplanation { name, state, because, more, actions, moves, elsewhere, .. } = explanation;
    let mut lines = vec![format!("{} is {}", output.bold(name), output.state(state))];
    lines.extend(causes(because, *more, output));
    if !actions.is_empty() {
        lines.extend([String::new(), format!("you may now: {}", actions.join(", "))]);
    }
    let shut: Vec<&ExplainedMove> = moves.iter().filter(|m| !m.guards.is_empty()).collect();
    if !shut.is_empty() {
        lines.extend([String::new(), "guards that do not hold:".to_owned()]);
    }
    for explained in shut {
        lines.push(format!("  {} -> {}", explained.action, explained.to));
        lines.extend(explained.guards.iter().flat_map(|one| guard(one, output)));
    }
    if !elsewhere.is_empty() {
        lines.extend([String::new(), "from other states only:".to_owned()]);
    }
    for action in elsewhere {
        let from = action.from.join(", ");
        lines.push(output.faint(&format!("  {}: from {from}", action.action)));
    }
    lines
}

fn operation(explanation: &OperationExplanation, output: Output) -> Vec<String> {
    let OperationExplanation { id, state, paused, because, more, .. } = explanation;
    let held = if *paused { ", paused" } else { "" };
    let mut lines = vec![format!("{} is {}{held}", output.bold(id), output.state(state))];
    lines.extend(causes(because, *more, output));
    let (failed, never) = (&explanation.failed, &explanation.never);
    lines.extend(said("made it fail:", failed, explanation.failed_more, output));
    lines.extend(said(
        "ended without having done their work:",
        never,
        explanation.never_more,
        output,
    ));
    lines
}

fn causes(because: &[RootCause], more: usize, output: Output) -> Vec<String> {
    let cause = |cause: &RootCause| {
        let steps = match cause.steps {
            None | Some(0) => String::new(),
            Some(1) => output.faint(" (1 step)"),
            Some(steps) => output.faint(&format!(" ({steps} steps)")),
        };
        format!("  {}: {}{steps}", cause.kind, cause.message)
    };
    because.iter().map(cause).chain(rest(more)).collect()
}

fn said(title: &str, steps: &[ExplainedStep], more: usize, output: Output) -> Vec<String> {
    if steps.is_empty() {
        return Vec::new();
    }
    let said = |step: &ExplainedStep| format!("  {} {}", output.state(&step.state), step.message);
    let head = [String::new(), title.to_owned()];
    head.into_iter().chain(steps.iter().map(said)).chain(rest(more)).collect()
}

fn rest(more: usize) -> Option<String> {
    (more > 0).then(|| format!("  ... and {more} more"))
}

fn guard(guard: &ExplainedGuard, output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, clause) in guard.clauses.iter().enumerate() {
        if index > 0 {
            lines.push("    or".to_owned());
        }
        for group in &clause.groups {
            if group.need < group.of {
                lines.push(format!("    at least {} of these {}:", group.need, group.of));
            }
            let shown = group.terms.iter().take(TERMS_MAX);
            lines.extend(shown.map(|one| format!("    {}", term(one, output))));
            let hidden = (group.of as usize).saturating_sub(group.terms.len().min(TERMS_MAX));
            if hidden > 0 {
                lines.push(format!("    ... and {hidden} more"));
            }
        }
    }
    lines.extend(rest(guard.more));
    lines
}

fn term(term: &ExplainedTerm, output: Output) -> String {
    let mark = match (term.holds, term.dead) {
        (true, _) => "holds",
        (false, true) => "never",
        (false, false) => "not yet",
    };
    let asked = term.states.join(" or ");
    format!("{mark:<8}{} to be {asked}; is {}", term.step, output.state(&term.state))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_is_explained_in_few_lines() {
        let explanation: StepExplanation = serde_json::from_value(json!({
            "name": "deploy", "n": 2, "state": "Waiting", "more": 1,
            "because": [{
                "kind": "person", "step": "canary", "verbs": ["resume", "skip", "block"],
                "message": "`deploy` waits for `canary` to be Succeeded; `canary` is Paused: \
                            resume, skip or block it",
                "via": ["deploy", "canary"],
            }],
            "actions": ["pause", "skip"],
            "moves": [
                {"action": "pause", "to": "Paused", "by": "operator", "possible": true},
                {"action": "run", "to": "Running", "by": "engine", "possible": false,
                 "message": "its guard does not hold", "guards": [{"on": "entry", "dead": false,
                    "clauses": [
                        {"dead": false, "groups": [{"need": 1, "of": 2, "held": 0, "dead": 1,
                            "terms": [
                                {"step": "canary", "states": ["Succeeded"], "state": "Paused",
                                 "holds": false, "dead": false},
                                {"step": "unit", "states": ["Succeeded", "Skipped"],
                                 "state": "Failed", "holds": false, "dead": true},
                            ]}]},
                        {"dead": false, "groups": [{"need": 14, "of": 14, "held": 13, "dead": 0,
                            "terms": [{"step": "a", "states": ["Failed"], "state": "Waiting",
                                       "holds": false, "dead": false}]}]},
                    ]}]},
            ],
            "elsewhere": [{"action": "resume", "from": ["Paused", "Interrupted"]}],
        }))
        .unwrap();
        expect![[r"
            deploy is Waiting
              person: `deploy` waits for `canary` to be Succeeded; `canary` is Paused: resume, skip or block it
              ... and 1 more

            you may now: pause, skip

            guards that do not hold:
              run -> Running
                at least 1 of these 2:
                not yet canary to be Succeeded; is Paused
                never   unit to be Succeeded or Skipped; is Failed
                or
                not yet a to be Failed; is Waiting
                ... and 13 more

            from other states only:
              resume: from Paused, Interrupted
        "]]
        .assert_eq(&(step(&explanation, Output::plain()).join("\n") + "\n"));
        print_step(&explanation, Output::plain()).unwrap();
    }

    #[test]
    fn an_operation_is_explained_in_few_lines() {
        let explanation: OperationExplanation = serde_json::from_value(json!({
            "id": "0190-1", "state": "Running", "paused": true,
            "because": [
                {"kind": "operation", "message": "the operation is paused", "steps": 7},
                {"kind": "timer", "message": "the deadline of 1h ends it"},
            ],
        }))
        .unwrap();
        expect![[r"
            0190-1 is Running, paused
              operation: the operation is paused (7 steps)
              timer: the deadline of 1h ends it
        "]]
        .assert_eq(&(operation(&explanation, Output::plain()).join("\n") + "\n"));
        let explanation: OperationExplanation = serde_json::from_value(json!({
            "id": "0190-2", "state": "Failed", "paused": false,
            "because": [{"kind": "step", "step": "unit", "message": "`unit` has ended Failed", "steps": 1}],
            "failed": [{"name": "unit", "n": 0, "state": "Failed", "message": "`unit` ended Failed"}],
            "never": [{"name": "report", "n": 1, "state": "Unreachable",
                       "message": "`report` could never run: `unit` ended Failed"}],
            "neverMore": 4,
        }))
        .unwrap();
        expect![[r"
            0190-2 is Failed
              step: `unit` has ended Failed (1 step)

            made it fail:
              Failed `unit` ended Failed

            ended without having done their work:
              Unreachable `report` could never run: `unit` ended Failed
              ... and 4 more
        "]]
        .assert_eq(&(operation(&explanation, Output::plain()).join("\n") + "\n"));
        print_operation(&explanation, Output::plain()).unwrap();
    }
}
