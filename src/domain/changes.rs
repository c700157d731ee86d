//! What commands did to a run, as it has to be stored and carried out.

use chrono::{DateTime, Utc};

use super::action::Action;
use super::definition::StepDefinition;
use super::duration;
use super::operation::{OperationState, Stop};
use super::run::Incarnation;
use super::state::StepState;

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number within the run, from 1 without gaps.
    pub seq: i32,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    pub fact: Fact,
    /// The state that the operation entered by it, if it entered one.
    pub state: Option<OperationState>,
    /// Its stamp, encoded. `None` if the stamps of the run cannot be continued: its causal order is
    /// lost then, and nothing else.
    pub stamp: Option<Vec<u8>>,
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It was made.
    Submitted,
    /// A step went from one state to another.
    Moved {
        /// The number of the step.
        step: u32,
        /// The attempt concerned; 0 where there is none.
        attempt: u32,
        /// Why it moved.
        action: Action,
        /// The state it left.
        from: StepState,
        /// The state it entered.
        to: StepState,
        /// The worker concerned.
        worker: Option<Incarnation>,
    },
    /// It is to end before its natural end.
    StopRequested(Stop),
    /// Its context was changed by a client.
    ContextChanged,
    /// A client wants nothing new to be started.
    Paused,
    /// A client takes that back.
    Resumed,
    /// What it asked before it may begin was granted.
    Admitted,
    /// The process of an attempt whose step had moved on is gone.
    AttemptEnded {
        /// The number of the step.
        step: u32,
        /// The attempt.
        attempt: u32,
        /// The worker that ran it.
        worker: Option<Incarnation>,
    },
}

/// An attempt whose process must be ended by its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who runs it.
    pub worker: Incarnation,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// How.
    pub how: KillHow,
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillHow {
    /// By SIGTERM and, after the grace time, by SIGKILL.
    Terminate,
    /// By SIGINT first, as by a person at a terminal.
    Interrupt,
    /// By SIGKILL at once.
    Force,
}

/// A step that an operation's stop found begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its attempt was ended, or it waited for a further one.
    Interrupted,
    /// Its worker was lost, so nobody knows how far it came.
    Unknown,
}

impl Cut {
    /// The name on the wire and in storage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }
}

/// A step whose time was up while it waited for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt that never began.
    pub attempt: u32,
    /// Since when it had waited.
    pub since: DateTime<Utc>,
    /// Which time.
    pub timeout: Timeout,
}

/// An attempt that nobody gets any more, because too many of its step were lost with their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker that was lost last.
    pub worker: Incarnation,
    /// When the attempt had begun.
    pub since: DateTime<Utc>,
}

/// The times that a step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// To be claimed by a worker (`queueTimeout`).
    Queue,
    /// For one attempt (`timeout`).
    Attempt,
    /// For all attempts (`totalTimeout`).
    Total,
}

impl Timeout {
    /// The type of the exception that tells of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "QueueTimeout",
            Self::Attempt => "Timeout",
            Self::Total => "TotalTimeout",
        }
    }

    /// What is said when it has passed.
    #[must_use]
    pub fn message(self, step: &StepDefinition) -> String {
        let (what, given) = match self {
            Self::Queue => ("no worker took the step within its queueTimeout", step.queue_timeout),
            Self::Attempt => ("the attempt did not end within its timeout", step.timeout),
            Self::Total => ("the attempts did not end within the totalTimeout", step.total_timeout),
        };
        format!("{what} of {}", given.map(duration::print).unwrap_or_default())
    }
}

/// What has to be stored after a command.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The steps that are in another state than before; may repeat.
    pub moved: Vec<u32>,
    /// The attempts whose processes must be ended.
    pub kills: Vec<Kill>,
    /// The steps that the stop of the operation found begun and not ended.
    pub cut: Vec<(u32, Cut)>,
    /// The steps whose time was up while they waited.
    pub expired: Vec<Expired>,
    /// The attempts that were lost once too often.
    pub given_up: Vec<GivenUp>,
}
