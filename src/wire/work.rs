//! What remote workers report of attempts, tell, and ask for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Detail;
use super::people::given;
use super::worker::{AttemptRef, Bytes, StampBytes};
use crate::domain::decide::{Cause, Ending};

/// How attempts ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Each has an answer of its own.
    pub reports: Vec<ReportDocument>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportDocument {
    /// Which one.
    pub of: AttemptRef,
    /// How it ended.
    pub ending: EndingDocument,
    /// What those knew whose messages and replies it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<StampBytes>,
    /// What is kept of it. Absent for work that leaves nothing to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordDocument>,
}

/// How an attempt ended, as its worker saw it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndingDocument {
    /// It did its work.
    Succeeded,
    /// It exited with this code, other than 0.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ran out of time and was ended.
    Timeout,
    /// It could not be started, its result could not be read, or it was a function that failed.
    Exception,
    /// It was ended because it was ordered to be.
    Stopped,
    /// It is given back undone.
    Released,
}

impl From<Ending> for EndingDocument {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Succeeded => Self::Succeeded,
            Ending::Failed(Cause::Exit(code)) => Self::Exit(code),
            Ending::Failed(Cause::Signal(signal)) => Self::Signal(signal),
            Ending::Failed(Cause::Timeout) => Self::Timeout,
            Ending::Failed(Cause::Exception) => Self::Exception,
            Ending::Stopped => Self::Stopped,
            Ending::Released => Self::Released,
        }
    }
}

impl From<EndingDocument> for Ending {
    fn from(ending: EndingDocument) -> Self {
        match ending {
            EndingDocument::Succeeded => Self::Succeeded,
            EndingDocument::Exit(code) => Self::Failed(Cause::Exit(code)),
            EndingDocument::Signal(signal) => Self::Failed(Cause::Signal(signal)),
            EndingDocument::Timeout => Self::Failed(Cause::Timeout),
            EndingDocument::Exception => Self::Failed(Cause::Exception),
            EndingDocument::Stopped => Self::Stopped,
            EndingDocument::Released => Self::Released,
        }
    }
}

/// What is kept of an attempt.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RecordDocument {
    /// What the process exited with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What signal ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it failed: `type` and `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Value>,
    /// The JSON that it made.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
}

/// What became of reports, in their order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettleAnswer {
    /// One for each report.
    pub value: Vec<SettledReport>,
}

/// What became of a report.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettledReport {
    /// Why it changed nothing: `StaleAttempt` when the attempt is not this worker's any more. Absent
    /// if it is durable now, or was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Detail>,
}

/// What steps wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputRequest {
    /// In the order of reading.
    pub pieces: Vec<PieceDocument>,
}

/// A piece of what a step wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PieceDocument {
    /// Who wrote it.
    pub of: AttemptRef,
    /// The order in which pieces were read, over both streams, from 1.
    pub seq: u32,
    /// When it was read.
    pub at: DateTime<Utc>,
    /// 1 stdout, 2 stderr, 0 a remark of the worker.
    pub stream: i16,
    /// How many bytes are before it: of all, of stdout with remarks, of stderr with remarks.
    pub start: [u64; 3],
    /// The bytes.
    pub data: Bytes,
}

/// What steps told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesRequest {
    /// In the order of reading.
    pub messages: Vec<StepMessageDocument>,
}

/// What a step told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepMessageDocument {
    /// Who tells it.
    pub from: AttemptRef,
    /// Its number within the attempt, from 1.
    pub seq: u32,
    /// Any JSON.
    #[serde(deserialize_with = "Value::deserialize")]
    pub body: Value,
    /// What the attempt knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampBytes>,
}

/// A question that a step puts to people.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskRequest {
    /// Who asks.
    pub of: AttemptRef,
    /// The number of the question within the attempt, from 1.
    pub seq: u32,
    /// Whether the step itself is done by people; otherwise a running program asks.
    pub is_instruction: bool,
    /// What the program calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_id: Option<String>,
    /// What is asked or to be done.
    pub text: String,
    /// Who is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// A JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// What the attempt knew when it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampBytes>,
}

/// What was replied to questions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Replies {
    /// In the order of the questions.
    pub value: Vec<ReplyDocument>,
}

/// What was replied to a question.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplyDocument {
    /// Who asked.
    pub of: AttemptRef,
    /// The number of the question within the attempt.
    pub seq: u32,
    /// What the program calls the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_id: Option<String>,
    /// `status`, and `value` and `comment` if they were sent.
    pub reply: Value,
    /// What who replied knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampBytes>,
}

/// A worker asks for what it has to pass on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailRequest {
    /// The attempts that take messages.
    pub listening: Vec<AttemptRef>,
}

/// What a worker has to pass on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MailAnswer {
    /// Replies to all questions of its attempts.
    pub replies: Vec<ReplyDocument>,
    /// The next messages to the attempts that take some.
    pub messages: Vec<DueMessageDocument>,
}

/// A message to an attempt.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DueMessageDocument {
    /// To whom.
    pub to: AttemptRef,
    /// Its number within the attempt.
    pub seq: u32,
    /// Any JSON.
    #[serde(deserialize_with = "Value::deserialize")]
    pub body: Value,
    /// What the sender knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampBytes>,
}

/// Mail that was passed on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PassedOn {
    /// To whom.
    pub to: AttemptRef,
    /// The number of the message, those before it included, or of the question.
    pub seq: u32,
    /// Whether it was a reply.
    pub is_reply: bool,
}

/// What an attempt needs of its operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataRequest {
    /// Of which operation.
    pub operation: Uuid,
    /// Whether its context is wanted.
    #[serde(default)]
    pub context: bool,
    /// Whether it is wanted what clients edited.
    #[serde(default)]
    pub edits: bool,
    /// The numbers of the steps whose results are wanted.
    #[serde(default)]
    pub results: Vec<u32>,
}

/// What an attempt needs of its operation, as far as it was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DataAnswer {
    /// The context: an object.
    pub context: Value,
    /// What clients edited, by step number.
    pub edits: Value,
    /// Results with the numbers of their steps.
    pub results: Vec<(u32, Value)>,
}

/// A worker asks which operations have ended, to clean up after them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndedRequest {
    /// Of these.
    pub operations: Vec<Uuid>,
    /// For longer than that.
    pub age_seconds: f64,
}

/// The operations that have ended, or that nobody knows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EndedAnswer {
    /// Their ids.
    pub value: Vec<Uuid>,
}

/// A definition as it is stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StoredJobset {
    /// Its canonical text.
    pub document: String,
}
