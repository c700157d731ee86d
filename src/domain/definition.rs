//! A jobset as it was written: names instead of numbers, nothing checked beyond its types.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::scheduling::Scheduling;

/// What a client asks to be run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// A name for people; need not be unique.
    pub name: String,
    /// The steps, in the order of the document.
    pub steps: Vec<StepDefinition>,
    /// `(a, b)`: b runs after a succeeded.
    pub success_pairs: Vec<(String, String)>,
    /// `(a, b)`: b runs after a failed, and handles that failure by succeeding.
    pub failure_pairs: Vec<(String, String)>,
    /// How long the operation may take from its creation.
    pub deadline: Option<Duration>,
    /// How many steps of the operation may run at once.
    pub max_concurrency: Option<u32>,
    /// Whether the steps wait for a `start` by a client.
    pub manual_start: bool,
    /// Whether DELETE stops the operation; otherwise it is answered with 405.
    pub cancellable: bool,
    /// What follows when a client cancels the operation.
    pub on_cancel: OnCancel,
    /// The machines that steps may have in place of the default one, by name.
    pub machines: BTreeMap<String, MachineDefinition>,
    /// The state that steps with the default machine begin in; `None` for its own.
    pub initial_state: Option<String>,
    /// When its operations get their turn among others.
    pub scheduling: Scheduling,
}

/// One step as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepDefinition {
    /// The name; unique within the jobset.
    pub name: String,
    /// Free key-values.
    pub tags: BTreeMap<String, String>,
    /// What an attempt does.
    pub work: Work,
    /// The guard of `run`: one clause must hold. Empty: no condition beyond the pairs.
    pub when: Vec<ClauseDefinition>,
    /// How many of the pairs that point to this step must hold.
    pub need: Need,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How long the step may wait for a worker once its guard holds.
    pub queue_timeout: Option<Duration>,
    /// How long all its attempts may take together, from the start of the first one.
    pub total_timeout: Option<Duration>,
    /// The time between SIGTERM and SIGKILL; `None` for the default of the service.
    pub grace: Option<Duration>,
    /// When and how often a failed attempt is followed by another.
    pub retry: Retry,
    /// What becomes of the step when its last attempt failed.
    pub on_failure: OnFailure,
    /// Environment variables for the work; values are templates.
    pub env: BTreeMap<String, String>,
    /// The folder the work starts in; a template.
    pub cwd: Option<String>,
    /// Whether messages and replies come on the standard input of the work; otherwise it is empty.
    pub takes_messages: bool,
    /// The name of its machine; `None` for the default one.
    pub machine: Option<String>,
    /// The state that it begins in; `None` for that of its machine.
    pub initial_state: Option<String>,
    /// Conditions of further actions, by the name of the action.
    pub guards: BTreeMap<String, Vec<ClauseDefinition>>,
    /// Whether, and how, it is for the end of the operation.
    pub for_end: ForEnd,
    /// What the processes of an attempt may use.
    pub limits: ResourceLimits,
    /// Whether it is cut off from the network, from other processes and from all files but its own.
    pub sandbox: bool,
    /// The walls without which it must not run.
    pub containment: Vec<Wall>,
    /// The labels that a worker must have to run it.
    pub requires: BTreeMap<String, String>,
    /// The variables whose values the worker knows and nobody else gets to see.
    pub secrets: Vec<String>,
}

/// Whether, and how, a step is for the end of the operation; one of these at the most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForEnd {
    /// It runs however the operation ends: in its turn if that comes, at the end otherwise.
    pub ensure: bool,
    /// It runs only when the operation is cancelled, and that by [`OnCancel::CleanUp`].
    pub clean_up: bool,
    /// The step that it undoes, if that has succeeded, by [`OnCancel::Compensate`] and only then.
    pub compensates: Option<String>,
}

/// What follows when a client cancels an operation, before it is Cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCancel {
    /// Nothing but the steps that always run.
    #[default]
    Nothing,
    /// The clean-up steps run.
    CleanUp,
    /// What has succeeded is undone, the last first.
    Compensate,
}

/// What the processes of an attempt may use, all together unless said otherwise; `None`: as much as
/// the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory in bytes; of the address space of each where no control group counts.
    pub memory: Option<u64>,
    /// Processor time per time, in cores.
    pub cpu: Option<f64>,
    /// Descriptors that one process may have open.
    pub files: Option<u64>,
    /// Processes and threads; of the whole user where no control group counts.
    pub processes: Option<u64>,
    /// The size of a file that one of them writes, in bytes.
    pub file_size: Option<u64>,
}

/// What stands between a step and the rest of its host, beside the sweep that always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wall {
    /// A control group of its own.
    Cgroup,
    /// Namespaces of its own.
    Namespaces,
    /// Access rules of the kernel's Landlock module.
    Landlock,
}

impl Wall {
    /// The name on the wire and in the record of an attempt.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
        }
    }
}

/// A machine as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineDefinition {
    /// The state that steps begin in.
    pub initial: String,
    /// Its states by name.
    pub states: BTreeMap<String, StateDefinition>,
    /// What leads from one to another. Among those of one action the first one that may be taken is.
    pub transitions: Vec<TransitionDefinition>,
}

/// A state of a machine as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDefinition {
    /// What is done in it.
    pub work: Option<Work>,
    /// The actions that follow from the outcomes of the work: by `succeed`, `fail`, `timeout`.
    pub outcomes: BTreeMap<String, String>,
    /// What it means for the operation that a step ended in it; `None`: it does not end there.
    pub end: Option<End>,
}

/// What it means for the operation that a step ended in some state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The step did what it was for.
    Succeeded,
    /// It failed.
    Failed,
    /// Neither.
    Neutral,
}

/// A transition of a machine as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransitionDefinition {
    /// The state it leads from.
    pub from: String,
    /// What is done.
    pub action: String,
    /// The state it leads to.
    pub to: String,
    /// Whether it happens by itself as soon as its condition holds.
    pub automatic: bool,
    /// One clause must hold. Empty: no condition.
    pub when: Vec<ClauseDefinition>,
}

/// What an attempt does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the step is a milestone that succeeds as soon as its guard holds.
    #[default]
    Milestone,
    /// Starts a program; each part is a template.
    Command(Vec<String>),
    /// Runs a text by `/bin/sh -c`; a template.
    Shell(String),
    /// Is done by people, who are told what to do and reply.
    Instruction(Instruction),
    /// Calls a function of the worker's program in a process of its own.
    Function(Function),
}

impl Work {
    /// Whether it starts a program.
    #[must_use]
    pub const fn is_program(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Shell(_))
    }
}

/// A call of a function that the worker's program registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// The name it was registered by.
    pub name: String,
    /// What it is given; texts in it are templates.
    pub arguments: Value,
}

/// What people are asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// What is to be done; a template.
    pub text: String,
    /// Who is meant; only told.
    pub who: Option<String>,
    /// A JSON Schema that the value of the reply must fit.
    pub schema: Option<Map<String, Value>>,
}

/// Steps that must be in one of some states; all of them, or at least so many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClauseDefinition {
    /// How many of the terms must hold; `None` for all.
    pub at_least: Option<u32>,
    /// Step name and state names.
    pub terms: Vec<(String, Vec<String>)>,
}

/// How many of the pairs that point to a step must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// All of each kind.
    #[default]
    All,
    /// Any one of them.
    Any,
    /// At least so many of them.
    AtLeast(u32),
}

/// What becomes of a step when its last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is Failed, and so is the operation unless a failure branch handles it.
    #[default]
    Fail,
    /// It is held in Error for an operator.
    Hold,
    /// It is Failed, but the operation may still succeed.
    Continue,
    /// It is Skipped.
    Skip,
}

/// When and how often a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many attempts there are at the most, the first one counted.
    pub max_attempts: u32,
    /// The wait before the second attempt.
    pub backoff: Duration,
    /// By what the wait grows with each further attempt.
    pub factor: f64,
    /// The longest wait.
    pub max_backoff: Duration,
    /// Whether the wait is drawn evenly from its upper half, so that many do not retry in step.
    pub jitter: bool,
    /// Which failures are retried; empty for all.
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: Duration::from_secs(1),
            factor: 2.0,
            max_backoff: Duration::from_mins(5),
            jitter: false,
            on: Vec::new(),
        }
    }
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// `exit:N`.
    Exit(i32),
    /// `signal:N`.
    Signal(i32),
    /// `timeout`.
    Timeout,
    /// `exception`: the work could not be started, or a function did not return a value.
    Exception,
}
