//! The default step machine: states, actions and the one table of rules.
//!
//! Everything that depends on the life of a step is derived from [`RULES`]: which action leads
//! where, who may take it and which actions a state offers. A state is one byte in storage
//! ([`StepState::code`]); codes never change once they have landed in a database.

/// The state of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StepState {
    /// Made, but the operation was not started yet (`"start": "manual"`).
    Ready = 0,
    /// Waits for its guard to hold, for its back-off to pass or for a worker.
    Waiting = 1,
    /// An attempt is in the hands of a worker.
    Running = 2,
    /// The worker of the attempt lost its lease; nobody knows whether it still runs.
    Unresponsive = 3,
    /// Held by an operator.
    Paused = 4,
    /// Stopped by an operator while it ran.
    Interrupted = 5,
    /// Failed with the policy `hold`: an operator decides how it goes on.
    Error = 6,
    /// Will be skipped when the execution reaches it.
    ToSkip = 7,
    /// Was skipped; satisfies a success pair.
    Skipped = 8,
    /// Taken out of the run by an operator; counts as ended.
    Blocked = 9,
    /// Its guard can never hold any more.
    Unreachable = 10,
    /// Ended well.
    Succeeded = 11,
    /// Ended badly, after all its attempts.
    Failed = 12,
    /// Its last attempt ran out of time.
    TimedOut = 13,
    /// Stopped, or never begun, because the operation was stopped.
    Cancelled = 14,
}

/// How far a step in some state is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An automatic transition may still move it.
    Pending,
    /// A worker holds an attempt of it.
    Active,
    /// Only a person moves it on; keeps the operation open.
    Held,
    /// Nothing automatic ever moves it again.
    Ended,
}

impl StepState {
    /// Every state, in the order of its code.
    pub const ALL: [Self; 15] = [
        Self::Ready,
        Self::Waiting,
        Self::Running,
        Self::Unresponsive,
        Self::Paused,
        Self::Interrupted,
        Self::Error,
        Self::ToSkip,
        Self::Skipped,
        Self::Blocked,
        Self::Unreachable,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The byte that stands for this state in storage.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state that a stored byte stands for, if any does.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Unresponsive => "Unresponsive",
            Self::Paused => "Paused",
            Self::Interrupted => "Interrupted",
            Self::Error => "Error",
            Self::ToSkip => "ToSkip",
            Self::Skipped => "Skipped",
            Self::Blocked => "Blocked",
            Self::Unreachable => "Unreachable",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
        }
    }

    /// The state of that name; case is ignored, as everywhere on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(name))
    }

    /// How far a step in this state is from its end.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Waiting => Phase::Pending,
            Self::Running | Self::Unresponsive => Phase::Active,
            Self::Ready | Self::Paused | Self::Interrupted | Self::Error | Self::ToSkip => {
                Phase::Held
            }
            Self::Skipped
            | Self::Blocked
            | Self::Unreachable
            | Self::Succeeded
            | Self::Failed
            | Self::TimedOut
            | Self::Cancelled => Phase::Ended,
        }
    }

    /// Whether a step in this state counts as ended.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self.phase(), Phase::Ended)
    }
}

/// What moves a step from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// Begin: the operation was started.
    Start = 0,
    /// A worker claims an attempt.
    Run = 1,
    /// The attempt ended well.
    Succeed = 2,
    /// The last attempt ended badly.
    Fail = 3,
    /// The last attempt ended badly and the step is held for an operator.
    Error = 4,
    /// The last attempt ran out of time.
    Timeout = 5,
    /// The attempt ended badly and another one follows after a back-off.
    Retry = 6,
    /// The last attempt ended badly and the policy of the step is to skip it.
    Forgive = 7,
    /// The lease of the attempt's worker ran out.
    Lose = 8,
    /// The lost attempt is given to another worker, as a new attempt.
    Requeue = 9,
    /// The budget for lost attempts is spent.
    GiveUp = 10,
    /// The guard can never hold any more.
    Close = 11,
    /// The operation was stopped.
    Cancel = 12,
}

impl Action {
    /// Every action, in the order of its code.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Run,
        Self::Succeed,
        Self::Fail,
        Self::Error,
        Self::Timeout,
        Self::Retry,
        Self::Forgive,
        Self::Lose,
        Self::Requeue,
        Self::GiveUp,
        Self::Close,
        Self::Cancel,
    ];

    /// The number that stands for this action in storage.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The action that a stored number stands for, if any does.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Run => "run",
            Self::Succeed => "succeed",
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Retry => "retry",
            Self::Forgive => "forgive",
            Self::Lose => "lose",
            Self::Requeue => "requeue",
            Self::GiveUp => "give-up",
            Self::Close => "close",
            Self::Cancel => "cancel",
        }
    }
}

/// Who takes an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The engine, by itself, when the rule's condition holds.
    Engine,
    /// The worker that holds the attempt, by reporting its outcome.
    Worker,
    /// The engine, because a lease ran out.
    Lease,
    /// A client.
    Operator,
}

/// One rule: in `from`, `actor` may take `action`, which leads to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The state the step must be in.
    pub from: StepState,
    /// What is done.
    pub action: Action,
    /// The state it leads to.
    pub to: StepState,
    /// Who does it.
    pub actor: Actor,
}

const fn rule(from: StepState, action: Action, to: StepState, actor: Actor) -> Rule {
    Rule { from, action, to, actor }
}

/// The default step machine.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule(StepState::Ready,        Action::Start,   StepState::Waiting,      Actor::Operator),
    rule(StepState::Waiting,      Action::Run,     StepState::Running,      Actor::Engine),
    rule(StepState::Waiting,      Action::Close,   StepState::Unreachable,  Actor::Engine),
    rule(StepState::Running,      Action::Succeed, StepState::Succeeded,    Actor::Worker),
    rule(StepState::Running,      Action::Fail,    StepState::Failed,       Actor::Worker),
    rule(StepState::Running,      Action::Error,   StepState::Error,        Actor::Worker),
    rule(StepState::Running,      Action::Timeout, StepState::TimedOut,     Actor::Worker),
    rule(StepState::Running,      Action::Retry,   StepState::Waiting,      Actor::Worker),
    rule(StepState::Running,      Action::Forgive, StepState::Skipped,      Actor::Worker),
    rule(StepState::Running,      Action::Lose,    StepState::Unresponsive, Actor::Lease),
    rule(StepState::Unresponsive, Action::Requeue, StepState::Waiting,      Actor::Lease),
    rule(StepState::Unresponsive, Action::GiveUp,  StepState::Failed,       Actor::Lease),
    rule(StepState::Ready,        Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Waiting,      Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Running,      Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Unresponsive, Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Paused,       Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Interrupted,  Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::Error,        Action::Cancel,  StepState::Cancelled,    Actor::Operator),
    rule(StepState::ToSkip,       Action::Cancel,  StepState::Cancelled,    Actor::Operator),
];

/// Where `action` leads from `from`; `None` where no rule allows it.
#[must_use]
pub fn target(from: StepState, action: Action) -> Option<StepState> {
    RULES.iter().find(|rule| rule.from == from && rule.action == action).map(|rule| rule.to)
}

/// The actions that a client may take on a step in `state`.
pub fn operator_actions(state: StepState) -> impl Iterator<Item = Action> {
    RULES
        .iter()
        .filter(move |rule| rule.from == state && rule.actor == Actor::Operator)
        .map(|rule| rule.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        for (index, state) in StepState::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.code()), index);
            assert_eq!(StepState::from_code(state.code()), Some(state));
            assert_eq!(StepState::parse(&state.name().to_lowercase()), Some(state));
        }
        for (index, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(action.code()), index);
            assert_eq!(Action::from_code(action.code()), Some(action));
        }
        assert_eq!(StepState::from_code(15), None);
    }

    #[test]
    fn the_table_is_a_function_and_ended_states_are_left_by_no_rule() {
        for (index, rule) in RULES.iter().enumerate() {
            let again = RULES[index + 1..]
                .iter()
                .any(|other| other.from == rule.from && other.action == rule.action);
            assert!(!again, "{rule:?} stands twice");
            assert!(!rule.from.is_ended(), "{rule:?} leaves an ended state");
        }
    }

    #[test]
    fn every_state_that_is_not_ended_can_be_cancelled() {
        for state in StepState::ALL {
            let cancelled = target(state, Action::Cancel);
            assert_eq!(cancelled, (!state.is_ended()).then_some(StepState::Cancelled));
        }
    }
}
