//! Commands: what lanes are asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::EngineError;
use super::idempotency::{Accepted, Identity};
use super::jobsets::Compiled;
use super::seat::Assignment;
use crate::domain::admission::Terms;
use crate::domain::decide::{Ending, Selection, Steered, Stopped, Verb};
use crate::domain::{Incarnation, Jobset, OperationState, Run, Stop};
use crate::store::{AttemptKey, AttemptReport, Known, Standing};

/// A question with the way back for its answer. The answer is sent only when what it tells is
/// durable; until then it is kept here, and thrown away when the decision has to be made again.
#[derive(Debug)]
pub(super) struct Ask<I, O> {
    pub(super) input: I,
    answer: Option<Result<O, EngineError>>,
    reply: oneshot::Sender<Result<O, EngineError>>,
}

impl<I, O> Ask<I, O> {
    pub(super) fn new(input: I) -> (Self, oneshot::Receiver<Result<O, EngineError>>) {
        let (reply, receiver) = oneshot::channel();
        (Self { input, answer: None, reply }, receiver)
    }

    /// Keeps the answer until the batch is durable.
    pub(super) fn answer(&mut self, answer: Result<O, EngineError>) {
        self.answer = Some(answer);
    }

    /// Sends the answer. Whoever asked may be gone; what was decided stays.
    fn publish(self) {
        let answer = self.answer.unwrap_or(Err(EngineError::NotFound));
        let _gone = self.reply.send(answer);
    }

    fn fail(self, error: EngineError) {
        let _gone = self.reply.send(Err(error));
    }
}

/// A new operation.
#[derive(Debug)]
pub(super) struct Submit {
    /// Its id.
    pub(super) id: Uuid,
    /// What it runs.
    pub(super) jobset: Arc<Compiled>,
    /// Free key-values.
    pub(super) labels: Option<Value>,
    /// Shared data of its steps.
    pub(super) context: Option<Value>,
    /// Where it begins, if it takes over what another operation got done.
    pub(super) fork: Option<Box<Fork>>,
    /// What it asks before it may begin.
    pub(super) terms: Option<Terms>,
    /// By what its repetition is recognised, if the client says so.
    pub(super) identity: Option<Identity>,
}

/// What a forked operation takes over.
#[derive(Debug)]
pub(super) struct Fork {
    /// The operation that it is forked from.
    pub(super) source: Uuid,
    /// The alias of that one.
    pub(super) source_alias: Option<String>,
    /// The new run.
    pub(super) run: Run,
    /// The steps that are run again.
    pub(super) again: BTreeSet<u32>,
    /// What was edited, as it is stored.
    pub(super) edits: Option<Value>,
    /// The flags of the source that say what it has.
    pub(super) flags: i16,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// Who ran it.
    pub worker: Incarnation,
    /// How it ended.
    pub ending: Ending,
    /// What those knew whose messages and replies it was given.
    pub heard: Option<Known>,
    /// What is kept of it; `None` for work that leaves nothing to keep.
    pub record: Option<AttemptReport>,
}

impl Report {
    /// Names the attempt.
    #[must_use]
    pub const fn key(&self) -> AttemptKey {
        AttemptKey { operation: self.operation, step: self.step, attempt: self.attempt }
    }
}

/// What a worker holds of an operation is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The operation.
    pub(super) operation: Uuid,
    /// The worker.
    pub(super) worker: Incarnation,
}

/// An operation is to end before its natural end.
#[derive(Clone, Debug)]
pub struct StopAsked {
    /// The operation.
    pub operation: Uuid,
    /// Why.
    pub reason: Stop,
    /// The version that the client saw, if it says so.
    pub expected: Option<i32>,
    /// Who asked, when and why, for the record.
    pub cancellation: Option<Value>,
}

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAnswer {
    /// What it did to the run.
    pub stopped: Stopped,
    /// The state of the operation after it.
    pub state: OperationState,
}

/// A change of the context.
#[derive(Clone, Debug)]
pub struct ContextPatch {
    /// The operation.
    pub operation: Uuid,
    /// An RFC 7396 merge patch.
    pub patch: Value,
    /// The version of the context that the client saw, if it says so.
    pub expected: Option<i32>,
}

/// Something is to be done to the steps of an operation.
#[derive(Clone, Debug)]
pub struct SteerAsked {
    /// The operation.
    pub operation: Uuid,
    /// What.
    pub order: SteerOrder,
    /// To which steps.
    pub selection: Selection,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
    /// The version on which the choice of the steps was made, if it was made by the client.
    pub expected: Option<i32>,
    /// What is changed for the attempts that a rerun leads to.
    pub edit: Edit,
}

/// What is done to steps, or to the operation as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteerOrder {
    /// A verb on steps.
    Steps(Verb),
    /// Nothing new is started from now on, or again.
    Pause(bool),
}

/// What a client changes for further attempts of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// Environment variables beside those of the step.
    pub env: BTreeMap<String, String>,
    /// A program in place of the step's.
    pub command: Option<Vec<String>>,
    /// A shell text in place of the step's work.
    pub shell: Option<String>,
    /// A merge patch of the operation's context.
    pub context: Option<Value>,
}

impl Edit {
    /// As it is stored for attempts from number `attempt` on; `None` if nothing is edited.
    pub(super) fn stored(&self, attempt: u32) -> Option<Value> {
        if self.env.is_empty() && self.command.is_none() && self.shell.is_none() {
            return None;
        }
        let mut stored = json!({"attempt": attempt, "env": self.env});
        if let Some(command) = &self.command {
            stored["command"] = json!(command);
        }
        if let Some(shell) = &self.shell {
            stored["shell"] = json!(shell);
        }
        Some(stored)
    }
}

/// What steering did.
#[derive(Clone, Debug)]
pub struct SteerAnswer {
    /// What the operation runs.
    pub jobset: Arc<Jobset>,
    /// What was done.
    pub steered: Steered,
    /// Whether the operation is paused as a whole.
    pub paused: bool,
}

/// A worker lost its lease, or was heard of again. The answer is how many attempts it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) operation: Uuid,
    pub(super) worker: Incarnation,
    pub(super) standing: Standing,
}

/// Time may be up for an operation or some of its steps. The answer is when it is up next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expire {
    pub(super) operation: Uuid,
}

/// Something was decided on the admission of an operation.
#[derive(Clone, Debug)]
pub(super) struct Admit {
    pub(super) operation: Uuid,
    pub(super) verdict: Verdict,
}

/// What was decided.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It may begin, since then.
    Admitted(DateTime<Utc>),
    /// It is cancelled, with this record.
    Cancelled(Value),
}

/// What a lane is asked.
#[derive(Debug)]
pub(super) enum Command {
    Submit(Ask<Submit, Accepted>),
    Settle(Ask<Report, ()>),
    Stop(Ask<StopAsked, StopAnswer>),
    Patch(Ask<ContextPatch, (Value, i32)>),
    Steer(Ask<SteerAsked, SteerAnswer>),
    Lease(Ask<Lease, usize>),
    Expire(Ask<Expire, Option<DateTime<Utc>>>),
    Admit(Ask<Admit, ()>),
    Held(Ask<Held, Vec<Assignment>>),
}

impl Command {
    /// The operation that it is about.
    pub(super) const fn operation(&self) -> Uuid {
        match self {
            Self::Submit(ask) => ask.input.id,
            Self::Settle(ask) => ask.input.operation,
            Self::Stop(ask) => ask.input.operation,
            Self::Patch(ask) => ask.input.operation,
            Self::Steer(ask) => ask.input.operation,
            Self::Lease(ask) => ask.input.operation,
            Self::Expire(ask) => ask.input.operation,
            Self::Admit(ask) => ask.input.operation,
            Self::Held(ask) => ask.input.operation,
        }
    }

    /// Whether it may find that there is nothing to do, or that it is not possible. What is submitted is
    /// new, and what a worker of this process reports this process has claimed.
    pub(super) const fn may_change_nothing(&self) -> bool {
        match self {
            Self::Submit(_) | Self::Settle(_) => false,
            Self::Stop(_)
            | Self::Patch(_)
            | Self::Steer(_)
            | Self::Lease(_)
            | Self::Expire(_)
            | Self::Admit(_)
            | Self::Held(_) => true,
        }
    }

    /// By what the repetition of a submission is recognised.
    pub(super) const fn identity(&self) -> Option<&Identity> {
        if let Self::Submit(ask) = self { ask.input.identity.as_ref() } else { None }
    }

    /// Sends the answer, now that it is durable.
    pub(super) fn publish(self) {
        match self {
            Self::Submit(ask) => ask.publish(),
            Self::Settle(ask) => ask.publish(),
            Self::Stop(ask) => ask.publish(),
            Self::Patch(ask) => ask.publish(),
            Self::Steer(ask) => ask.publish(),
            Self::Lease(ask) => ask.publish(),
            Self::Expire(ask) => ask.publish(),
            Self::Admit(ask) => ask.publish(),
            Self::Held(ask) => ask.publish(),
        }
    }

    /// Says that nothing was done.
    pub(super) fn fail(self, error: EngineError) {
        match self {
            Self::Submit(ask) => ask.fail(error),
            Self::Settle(ask) => ask.fail(error),
            Self::Stop(ask) => ask.fail(error),
            Self::Patch(ask) => ask.fail(error),
            Self::Steer(ask) => ask.fail(error),
            Self::Lease(ask) => ask.fail(error),
            Self::Expire(ask) => ask.fail(error),
            Self::Admit(ask) => ask.fail(error),
            Self::Held(ask) => ask.fail(error),
        }
    }
}
