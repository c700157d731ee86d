//! From the states of the steps to the state of the operation.

use super::definition::OnFailure;

use super::operation::OperationState;
use super::run::Run;
use super::state::{Phase, StepState};

/// How the operation ended, once all its steps have: Failed if some step ended badly, its policy
/// does not pardon that, and no target of a failure pair handled it by succeeding.
#[must_use]
pub fn end_state(run: &Run) -> OperationState {
    if unhandled(run).next().is_some() { OperationState::Failed } else { OperationState::Succeeded }
}

/// The steps that make the operation fail.
pub fn unhandled(run: &Run) -> impl Iterator<Item = u32> {
    unhandled_among(run.jobset(), run.steps())
}

/// The same, for states that were read from storage.
pub fn unhandled_among(
    jobset: &super::jobset::Jobset,
    states: &[StepState],
) -> impl Iterator<Item = u32> {
    let pardoned = |n: u32| match jobset.step(n).on_failure() {
        OnFailure::Continue | OnFailure::Skip => true,
        OnFailure::Fail | OnFailure::Hold => false,
    };
    let handled = |n: u32| {
        let handlers = &jobset.step(n).handlers;
        handlers.iter().any(|handler| states[*handler as usize].class() == StepState::SUCCEEDED)
    };
    (0_u32..)
        .zip(states)
        .filter(move |(n, state)| ended_badly(**state) && !pardoned(*n) && !handled(*n))
        .map(|(n, _)| n)
}

fn ended_badly(state: StepState) -> bool {
    matches!(state.class(), StepState::FAILED | StepState::TIMED_OUT | StepState::BLOCKED)
}

/// How far an operation is, 0 to 100: the share of steps that have ended, and 100 only for one that
/// succeeded.
#[must_use]
pub fn percent_complete(state: OperationState, counts: &[u32; StepState::DEFAULT.len()]) -> u8 {
    if state == OperationState::Succeeded {
        return 100;
    }
    let total: u64 = counts.iter().copied().map(u64::from).sum();
    let ended: u64 = StepState::DEFAULT
        .into_iter()
        .filter(|state| state.phase() == Phase::Ended)
        .map(|state| u64::from(counts[usize::from(state.code())]))
        .sum();
    u8::try_from((ended * 100 / total.max(1)).min(99)).expect("at most 99")
}
