//! The machine that every step has unless the jobset says otherwise.

use std::sync::{Arc, LazyLock};

use super::{Condition, Machine, Outcomes, Rule, State, Target};
use crate::domain::action::{Action as A, Actor};
use crate::domain::state::StepState as S;

pub(super) const fn rule(from: S, action: A, to: S, actor: Actor) -> Rule {
    let condition = Condition::Always;
    let to = Target::State(to);
    Rule { from, action, to, actor, condition, remembers: false, when: None }
}

impl Rule {
    pub(super) const fn when(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    pub(super) const fn remembering(self) -> Self {
        Self { remembers: true, ..self }
    }

    pub(super) const fn back(self) -> Self {
        Self { to: Target::Before, ..self }
    }
}

use Actor::{Engine, Lease, Operator, Worker};

/// The rules. `S::READY` as the target of a rule that leads back stands for nothing.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule(S::WAITING,      A::RUN,       S::RUNNING,      Engine).when(Condition::Entry),
    rule(S::TO_SKIP,      A::REACH,     S::SKIPPED,      Engine).when(Condition::Entry),
    rule(S::WAITING,      A::CLOSE,     S::UNREACHABLE,  Engine).when(Condition::Dead),
    rule(S::TO_SKIP,      A::CLOSE,     S::UNREACHABLE,  Engine).when(Condition::Dead).remembering(),
    rule(S::UNREACHABLE,  A::REOPEN,    S::READY,        Engine).when(Condition::Alive).back(),
    rule(S::WAITING,      A::TIMEOUT,   S::TIMED_OUT,    Engine).when(Condition::Overdue),
    rule(S::WAITING,      A::ERROR,     S::ERROR,        Engine).when(Condition::Overdue),
    rule(S::WAITING,      A::FORGIVE,   S::SKIPPED,      Engine).when(Condition::Overdue),

    rule(S::RUNNING,      A::SUCCEED,   S::SUCCEEDED,    Worker),
    rule(S::RUNNING,      A::FAIL,      S::FAILED,       Worker),
    rule(S::RUNNING,      A::ERROR,     S::ERROR,        Worker),
    rule(S::RUNNING,      A::TIMEOUT,   S::TIMED_OUT,    Worker),
    rule(S::RUNNING,      A::RETRY,     S::WAITING,      Worker),
    rule(S::RUNNING,      A::FORGIVE,   S::SKIPPED,      Worker),

    rule(S::RUNNING,      A::LOSE,      S::UNRESPONSIVE, Lease),
    rule(S::UNRESPONSIVE, A::RECOVER,   S::RUNNING,      Lease),
    rule(S::UNRESPONSIVE, A::REQUEUE,   S::WAITING,      Lease),
    rule(S::UNRESPONSIVE, A::GIVE_UP,   S::FAILED,       Lease),

    rule(S::READY,        A::START,     S::WAITING,      Operator),
    rule(S::READY,        A::PAUSE,     S::PAUSED,       Operator).remembering(),
    rule(S::WAITING,      A::PAUSE,     S::PAUSED,       Operator),
    rule(S::RUNNING,      A::INTERRUPT, S::INTERRUPTED,  Operator),
    rule(S::PAUSED,       A::RESUME,    S::READY,        Operator).back(),
    rule(S::INTERRUPTED,  A::RESUME,    S::WAITING,      Operator),
    rule(S::ERROR,        A::RESUME,    S::WAITING,      Operator),
    rule(S::READY,        A::SKIP,      S::TO_SKIP,      Operator).remembering(),
    rule(S::WAITING,      A::SKIP,      S::TO_SKIP,      Operator),
    rule(S::PAUSED,       A::SKIP,      S::TO_SKIP,      Operator).remembering(),
    rule(S::INTERRUPTED,  A::SKIP,      S::TO_SKIP,      Operator).remembering(),
    rule(S::ERROR,        A::SKIP,      S::TO_SKIP,      Operator).remembering(),
    rule(S::TO_SKIP,      A::UNSKIP,    S::READY,        Operator).back(),
    rule(S::ERROR,        A::RERUN,     S::WAITING,      Operator),
    rule(S::FAILED,       A::RERUN,     S::WAITING,      Operator),
    rule(S::TIMED_OUT,    A::RERUN,     S::WAITING,      Operator),
    rule(S::INTERRUPTED,  A::RERUN,     S::WAITING,      Operator),
    rule(S::SUCCEEDED,    A::RERUN,     S::WAITING,      Operator),
    rule(S::SKIPPED,      A::RERUN,     S::WAITING,      Operator),
    rule(S::READY,        A::BLOCK,     S::BLOCKED,      Operator),
    rule(S::WAITING,      A::BLOCK,     S::BLOCKED,      Operator),
    rule(S::PAUSED,       A::BLOCK,     S::BLOCKED,      Operator),
    rule(S::ERROR,        A::BLOCK,     S::BLOCKED,      Operator),
    rule(S::BLOCKED,      A::UNBLOCK,   S::WAITING,      Operator),

    rule(S::READY,        A::HOLD,      S::READY,        Operator),
    rule(S::WAITING,      A::HOLD,      S::WAITING,      Operator),
    rule(S::RUNNING,      A::HOLD,      S::RUNNING,      Operator),
    rule(S::PAUSED,       A::HOLD,      S::PAUSED,       Operator),
    rule(S::INTERRUPTED,  A::HOLD,      S::INTERRUPTED,  Operator),
    rule(S::READY,        A::UNHOLD,    S::READY,        Operator),
    rule(S::WAITING,      A::UNHOLD,    S::WAITING,      Operator),
    rule(S::RUNNING,      A::UNHOLD,    S::RUNNING,      Operator),
    rule(S::PAUSED,       A::UNHOLD,    S::PAUSED,       Operator),
    rule(S::INTERRUPTED,  A::UNHOLD,    S::INTERRUPTED,  Operator),
    rule(S::WAITING,      A::RUN_NOW,   S::WAITING,      Operator).when(Condition::BackingOff),

    rule(S::READY,        A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::WAITING,      A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::RUNNING,      A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::UNRESPONSIVE, A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::PAUSED,       A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::INTERRUPTED,  A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::ERROR,        A::CANCEL,    S::CANCELLED,    Operator),
    rule(S::TO_SKIP,      A::CANCEL,    S::CANCELLED,    Operator),
];

/// What the outcomes of an attempt lead to.
pub(super) const OUTCOMES: Outcomes = Outcomes {
    succeed: A::SUCCEED,
    fail: A::FAIL,
    timeout: A::TIMEOUT,
    hold: A::ERROR,
    forgive: A::FORGIVE,
};

/// The default machine.
#[must_use]
pub fn default_machine() -> &'static Arc<Machine> {
    static MACHINE: LazyLock<Arc<Machine>> = LazyLock::new(|| {
        let states = S::DEFAULT
            .into_iter()
            .map(|state| State {
                state,
                name: state.name().to_owned(),
                work: None,
                outcomes: OUTCOMES,
            })
            .collect();
        Arc::new(Machine::new(String::new(), S::WAITING, states, RULES.to_vec(), Vec::new()))
    });
    &MACHINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_function_and_only_clients_and_reopening_leave_ended_states() {
        let machine = default_machine();
        for (index, rule) in machine.rules().iter().enumerate() {
            let again = machine.rules()[index + 1..]
                .iter()
                .any(|other| other.from == rule.from && other.action == rule.action);
            assert!(!again, "{rule:?} stands twice");
            let is_revival = matches!(rule.action, A::RERUN | A::UNBLOCK | A::REOPEN);
            assert!(!rule.from.is_ended() || is_revival, "{rule:?} leaves an ended state");
        }
    }

    #[test]
    fn every_state_that_is_not_ended_can_be_cancelled() {
        for state in S::DEFAULT {
            let rules = default_machine().rules_from(state);
            let is_cancellable = rules.iter().any(|rule| rule.action == A::CANCEL);
            assert_eq!(is_cancellable, !state.is_ended(), "{state:?}");
        }
    }
}
