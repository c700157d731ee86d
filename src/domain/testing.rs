//! Jobsets for tests, written shortly.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::definition::{
    ClauseDefinition, Definition, End, MachineDefinition, StateDefinition, StepDefinition,
    TransitionDefinition, Work,
};
use super::{Jobset, Limits, Problem, Run, Snapshot, Stamps};

/// `a:Succeeded b:Failed,TimedOut | c:Succeeded`; `2of` in front of terms asks for so many of them.
pub(super) fn when(text: &str) -> Vec<ClauseDefinition> {
    text.split('|').filter(|clause| !clause.trim().is_empty()).map(clause).collect()
}

fn clause(text: &str) -> ClauseDefinition {
    let mut clause = ClauseDefinition::default();
    for word in text.split_whitespace() {
        if let Some(number) = word.strip_suffix("of") {
            clause.at_least = number.parse().ok();
        } else {
            let (step, states) = word.split_once(':').unwrap();
            let states = states.split(',').map(str::to_owned).collect();
            clause.terms.push((step.to_owned(), states));
        }
    }
    clause
}

/// A step of that name with that `when`.
pub(super) fn step(name: &str, condition: &str) -> StepDefinition {
    StepDefinition { name: name.into(), when: when(condition), ..StepDefinition::default() }
}

/// A step with a machine of the jobset's own.
pub(super) fn with_machine(name: &str, machine: &str, condition: &str) -> StepDefinition {
    StepDefinition { machine: Some(machine.into()), ..step(name, condition) }
}

/// A step with a guard on an action.
pub(super) fn guarded(step: StepDefinition, action: &str, condition: &str) -> StepDefinition {
    let guards = [(action.to_owned(), when(condition))].into();
    StepDefinition { guards, ..step }
}

/// States as `Shut`, `Open: succeed=shut fail=jam` (with work) or `Done = succeeded`; transitions as
/// `Shut open Open`, with `auto` and a condition behind.
pub(super) fn machine(initial: &str, states: &[&str], transitions: &[&str]) -> MachineDefinition {
    MachineDefinition {
        initial: initial.into(),
        states: states.iter().map(|text| state(text)).collect(),
        transitions: transitions.iter().map(|text| transition(text)).collect(),
    }
}

fn state(text: &str) -> (String, StateDefinition) {
    if let Some((name, end)) = text.split_once(" = ") {
        let end = match end {
            "succeeded" => End::Succeeded,
            "failed" => End::Failed,
            _ => End::Neutral,
        };
        return (name.to_owned(), StateDefinition { end: Some(end), ..StateDefinition::default() });
    }
    let Some((name, outcomes)) = text.split_once(':') else {
        return (text.to_owned(), StateDefinition::default());
    };
    let outcomes = outcomes.split_whitespace().filter_map(|word| word.split_once('='));
    let outcomes = outcomes.map(|(outcome, action)| (outcome.to_owned(), action.to_owned()));
    let work = Some(Work::Shell("true".into()));
    (name.to_owned(), StateDefinition { work, outcomes: outcomes.collect(), end: None })
}

fn transition(text: &str) -> TransitionDefinition {
    let (rule, condition) = match text.split_once(" if ") {
        Some((rule, condition)) => (rule, condition),
        None => (text, ""),
    };
    let words: Vec<&str> = rule.split_whitespace().collect();
    TransitionDefinition {
        from: words[0].into(),
        action: words[1].into(),
        to: words[2].into(),
        automatic: words.get(3) == Some(&"auto"),
        when: when(condition),
    }
}

/// A definition of these steps and machines.
pub(super) fn definition(
    steps: Vec<StepDefinition>,
    machines: Vec<(&str, MachineDefinition)>,
) -> Definition {
    Definition {
        name: "test".into(),
        steps,
        machines: machines.into_iter().map(|(name, machine)| (name.to_owned(), machine)).collect(),
        cancellable: true,
        ..Definition::default()
    }
}

/// Its compiled form.
pub(super) fn compile(definition: Definition) -> Result<Arc<Jobset>, Vec<Problem>> {
    Jobset::compile(definition, &Limits::default()).map(Arc::new)
}

/// What is wrong with it or, if nothing is, what is remarkable: a line each.
pub(super) fn found(definition: Definition) -> String {
    let (kind, problems) = match compile(definition) {
        Ok(jobset) => ("warning", jobset.warnings.clone()),
        Err(problems) => ("error", problems),
    };
    let lines: Vec<String> = problems.iter().map(|p| format!("{kind}: {p}\n")).collect();
    lines.concat()
}

/// A door that is opened when `key` succeeded, and shut again until it was shut for good.
pub(super) fn door() -> MachineDefinition {
    machine(
        "Shut",
        &["Shut", "Open: succeed=shut fail=jam", "Held", "Done = succeeded", "Jammed = failed"],
        &[
            "Shut open Open auto if key:Succeeded",
            "Open shut Held",
            "Open jam Jammed",
            "Held open Open if key:Succeeded",
            "Held leave Done",
        ],
    )
}

/// A deployment that goes on by itself when its canary is well, and can be taken back.
pub(super) fn canary() -> MachineDefinition {
    machine(
        "Idle",
        &[
            "Idle",
            "Canary: succeed=watch fail=abort timeout=expire",
            "Watching",
            "Rollout: succeed=complete fail=abort",
            "Live = succeeded",
            "Rolling: succeed=restored fail=broken",
            "Restored = neutral",
            "Broken = failed",
            "Expired = failed",
        ],
        &[
            "Idle begin Canary auto",
            "Canary watch Watching",
            "Canary abort Rolling",
            "Canary expire Expired",
            "Watching promote Rollout auto if probe:Succeeded",
            "Watching abort Rolling auto if probe:Failed",
            "Watching revert Rolling",
            "Rollout complete Live",
            "Rollout abort Rolling",
            "Rolling restored Restored",
            "Rolling broken Broken",
        ],
    )
}

/// A test that is repaired and tried again while `budget` has not ended.
pub(super) fn repair() -> MachineDefinition {
    machine(
        "New",
        &[
            "New",
            "Testing: succeed=pass fail=repair",
            "Repairing: succeed=repaired fail=give-in",
            "Repaired",
            "Good = succeeded",
            "Bad = failed",
        ],
        &[
            "New test Testing auto",
            "Testing pass Good",
            "Testing repair Bad if budget:Failed",
            "Testing repair Repairing",
            "Repairing repaired Repaired",
            "Repairing give-in Bad",
            "Repaired test Testing auto if budget:Waiting,Running",
            "Repaired accept Good auto if budget:Succeeded",
            "Repaired refuse Bad auto if budget:Failed,Skipped,Unreachable",
        ],
    )
}

/// A run as it is stored.
pub(super) fn snapshot(run: &Run, stamps: Option<Stamps>, now: DateTime<Utc>) -> Snapshot {
    Snapshot {
        state: run.state(),
        stop: run.stop(),
        version: run.version(),
        entered: run.entered(),
        last: now,
        steps: run.steps().to_vec(),
        moved: run.moved().to_vec(),
        open: run.open().clone(),
        notes: run.notes().clone(),
        paused: run.is_paused(),
        gated: run.is_gated(),
        stamps,
    }
}
