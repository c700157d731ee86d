//! Why a step does not move, and why an operation has not ended or ended as it did.
//!
//! A step that waits, waits for other steps by the guards that do not hold; those may wait in turn.
//! The ways along what is waited for end at *root causes*: a step that a person holds, an attempt in
//! the hands of a worker, a timer, the operation as a whole, or steps that wait for each other.
//! `web` walks these ways once, each step looked at one time, so the cost is linear in the guards
//! that were walked; `words` says in sentences what was found, and only what is told is worded.
//!
//! Steps that ended without having run are explained by the same walk along the terms that are dead.
//!
//! Considered and rejected: a tree of causes below each term. It repeats shared causes as often as
//! there are ways to them, which is exponential in a ladder of guards; the flat list has each once.

mod guards;
mod moves;
mod terms;
#[cfg(test)]
pub(super) mod tests;
mod web;
mod words;

use chrono::{DateTime, Utc};

pub use guards::{ClauseView, GroupView, GuardOf, GuardView, TermView};
pub use moves::{Elsewhere, Move};

use super::action::Action;
use super::admission::Rate;
use super::rollup;
use super::run::Run;
use super::state::{Phase, StepState};
use web::{Grouped, Reason, Web};

/// How many root causes are told of one step or operation.
pub const CAUSES_MAX: usize = 20;
/// How many steps that never ran, or made the operation fail, are told of one operation.
pub const STEPS_MAX: usize = 100;

/// What has to be known beside the run.
#[derive(Clone, Debug)]
pub struct Around {
    /// The time.
    pub now: DateTime<Utc>,
    /// When the deadline of the operation passes, if it has one.
    pub deadline: Option<DateTime<Utc>>,
    /// The workers that could take attempts.
    pub workers: Workers,
    /// What the operation waits for, if it has not been admitted yet.
    pub gate: Option<Gate>,
}

/// What an operation that has not been admitted yet waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A place under its concurrency key.
    Place {
        /// The key.
        key: String,
        /// How many may have places.
        limit: u32,
        /// How many have them.
        held: u32,
        /// The ids of some of those.
        holders: Vec<String>,
        /// How many stand before it in line.
        ahead: u32,
    },
    /// Its turn under its rate limit.
    Turn {
        /// The key.
        key: String,
        /// How many may begin in which time.
        rate: Rate,
        /// When it is its turn, unless those before it go first or drop out.
        at: DateTime<Utc>,
        /// How many stand before it in line.
        ahead: u32,
    },
}

/// The workers that hold a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many there are.
    pub live: u32,
    /// How many attempts they run at once, all together.
    pub slots: u32,
}

/// Who or what could bring a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Another step.
    Step,
    /// A worker.
    Worker,
    /// A person.
    Person,
    /// The time.
    Timer,
    /// The operation as a whole.
    Operation,
}

/// A root cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// Who or what could bring a change.
    pub kind: Kind,
    /// The step at the root; `None` where it is about many or about none.
    pub step: Option<u32>,
    /// The whole of it for people.
    pub message: String,
    /// What an operator can do about it.
    pub verbs: Vec<Action>,
    /// When it passes or is ended by itself.
    pub until: Option<DateTime<Utc>>,
    /// The steps on the way to the root, from the one that is explained; empty for an operation.
    pub via: Vec<u32>,
    /// For an operation: how many steps it keeps, or kept, from going on, directly or not.
    pub steps: Option<u32>,
}

/// Why a step is where it is.
#[derive(Clone, Debug)]
pub struct StepExplained {
    /// Its number.
    pub step: u32,
    /// Its state.
    pub state: StepState,
    /// What an operator may do with it now.
    pub actions: Vec<Action>,
    /// The rules of its machine from this state: those that can be followed now, and why the others
    /// cannot.
    pub moves: Vec<Move>,
    /// What an operator may do only from other states.
    pub elsewhere: Vec<Elsewhere>,
    /// The root causes, the nearest first.
    pub because: Vec<Because>,
    /// How many root causes are not told.
    pub more: usize,
}

/// A step with a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSaid {
    /// Its number.
    pub step: u32,
    /// What is to be said.
    pub message: String,
}

/// Why an operation has not ended, or ended as it did.
#[derive(Clone, Debug)]
pub struct OperationExplained {
    /// The root causes, those that keep most steps first.
    pub because: Vec<Because>,
    /// How many root causes are not told.
    pub more: usize,
    /// Once it ended: the steps that ended without having done their work.
    pub never: Vec<StepSaid>,
    /// How many of those are not told.
    pub never_more: usize,
    /// Once it failed: the steps that made it fail.
    pub failed: Vec<StepSaid>,
    /// How many of those are not told.
    pub failed_more: usize,
}

/// Explains step `n`.
#[must_use]
pub fn step(run: &Run, n: u32, around: &Around) -> StepExplained {
    let web = Web::spin(run, around.now, [n]);
    let groups = web.groups();
    let because = groups.iter().take(CAUSES_MAX).map(|g| words::of_step(&web, g, around));
    let because = because.collect();
    let actions = run.actions(n);
    StepExplained {
        step: n,
        state: run.steps[n as usize],
        moves: moves::moves(run, n, around.now),
        elsewhere: moves::elsewhere(run, n),
        actions,
        because,
        more: groups.len().saturating_sub(CAUSES_MAX),
    }
}

/// Explains the operation.
#[must_use]
pub fn operation(run: &Run, around: &Around) -> OperationExplained {
    let is_final = run.state.is_final();
    let starts: Vec<u32> = (0..run.jobset.len())
        .filter(|n| if is_final { never_ran(run.steps[*n as usize]) } else { is_open(run, *n) })
        .collect();
    let web = Web::spin(run, around.now, starts.iter().copied());
    let mut groups = web.groups();
    let is_live = !is_final && run.stop.is_none();
    for (is_so, reason) in [(run.gated, Reason::Gated), (run.paused && is_live, Reason::Paused)] {
        if is_so && !groups.iter().any(|group| group.reason == reason) {
            groups.push(Grouped { reason, places: Vec::new() });
        }
    }
    let counted = web.count(groups, starts.len());
    let more = counted.len().saturating_sub(CAUSES_MAX);
    let told = counted.iter().take(CAUSES_MAX);
    let mut because: Vec<Because> = told
        .map(|(group, steps)| {
            let words = words::of_operation(&web, group, around);
            Because { steps: Some(*steps), ..words }
        })
        .collect();
    if is_live {
        because.extend(around.deadline.map(|deadline| words::deadline(run, deadline)));
    }
    let (mut never, mut failed) = (Vec::new(), Vec::new());
    let (mut never_more, mut failed_more) = (0, 0);
    if is_final {
        never_more = starts.len().saturating_sub(STEPS_MAX);
        let said = |n: u32| StepSaid { step: n, message: words::never(&web, n) };
        never = starts.iter().take(STEPS_MAX).map(|n| said(*n)).collect();
        let unhandled: Vec<u32> = rollup::unhandled(run).collect();
        failed_more = unhandled.len().saturating_sub(STEPS_MAX);
        let said = |n: u32| StepSaid { step: n, message: words::unhandled(run, n) };
        failed = unhandled.iter().take(STEPS_MAX).map(|n| said(*n)).collect();
    }
    OperationExplained { because, more, never, never_more, failed, failed_more }
}

/// Whether the operation cannot end before something happens to the step.
fn is_open(run: &Run, n: u32) -> bool {
    let is_held = || run.open.get(&n).is_some_and(|open| open.holder.is_some());
    run.steps[n as usize].phase() != Phase::Ended || is_held()
}

/// Whether a step that ended in `state` was kept from its work.
fn never_ran(state: StepState) -> bool {
    let class = state.class();
    matches!(class, StepState::UNREACHABLE | StepState::CANCELLED | StepState::BLOCKED)
}
