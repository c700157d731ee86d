//! Workers: as clients see them, and what remote ones and the server tell each other.
//!
//! Remote workers are of the same version as the server or close to it. Requests refuse unknown
//! fields, like all; answers may grow.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Detail;
use super::operation::timestamp;
use crate::domain::decide::{Cause, Ending};
use crate::itc::{NODES_MAX, Stamp};

/// The header with the secret of an incarnation, which its registration was answered with.
pub const WORKER_SECRET: &str = "worker-secret";

/// A worker, as clients see it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Its incarnation: a worker that comes back after it was lost has another id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    pub pid: i32,
    /// `live`, `draining` (it was told to take nothing new) or `lost`.
    pub state: String,
    /// How many attempts it runs at once.
    pub slots: i32,
    /// How many it ran at its last heartbeat.
    pub running: i32,
    /// What it has and is, for steps that require it.
    pub labels: BTreeMap<String, String>,
    /// The only lanes that it takes operations from. Absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<BTreeSet<String>>,
    /// The server that gives it work.
    pub server: String,
    /// When it registered.
    #[serde(serialize_with = "timestamp")]
    pub started_date_time: DateTime<Utc>,
    /// When it was heard of last.
    #[serde(serialize_with = "timestamp")]
    pub heartbeat_date_time: DateTime<Utc>,
}

/// All workers that are known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Workers {
    /// In the order in which they registered.
    pub value: Vec<Worker>,
}

/// A worker that wants to be given attempts: `POST /v1.0/workers`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerRegistration {
    /// What people call it.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    #[serde(default)]
    pub pid: u32,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// What it has and is, for steps that require it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The only lanes that it takes operations from. Absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<BTreeSet<String>>,
    /// How long it may act without a heartbeat. Absent for what the server takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<f64>,
    /// Whether it takes nothing yet: it was told to drain before it was lost.
    #[serde(default)]
    pub draining: bool,
}

/// What a registration is answered with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredWorker {
    /// The incarnation.
    pub id: String,
    /// Goes into the header `Worker-Secret` of everything that the incarnation asks.
    pub secret: String,
    /// How long it may act without a heartbeat.
    pub lease_seconds: f64,
    /// How often it should say that it lives.
    pub heartbeat_seconds: f64,
    /// The time by the clock of the database.
    pub now: DateTime<Utc>,
}

/// An attempt of a step.
#[derive(
    Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema,
)]
#[serde(deny_unknown_fields)]
pub struct AttemptRef {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
}

/// A worker asks for attempts and waits until there are some.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PollRequest {
    /// What it was given before: it is given all else again.
    pub received: Vec<AttemptRef>,
    /// What it runs that only waits for a person and takes no slot.
    pub resting: Vec<AttemptRef>,
    /// How long it waits, up to 30.
    pub wait_seconds: f64,
}

/// What a worker is given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Polled {
    /// What it is to run. What it runs or has run already, it ignores.
    pub assignments: Vec<AssignmentDocument>,
    /// Whether there may be orders or mail for it.
    pub news: bool,
}

/// An attempt that a worker is to run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentDocument {
    /// The operation.
    pub operation: Uuid,
    /// What it runs.
    pub jobset: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The code of the state that it is run for: says what work it is.
    pub state: u8,
    /// What its claim knew of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knows: Option<StampBytes>,
    /// Whether the operation has a context.
    pub has_context: bool,
    /// Whether the operation has results of steps.
    pub has_results: bool,
    /// Whether clients edited attempts of the operation.
    pub has_edits: bool,
    /// When the attempts of the step have taken as long as they may together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// A stamp of an interval tree clock, packed, in base 64.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct StampBytes(pub Stamp);

impl Serialize for StampBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0.encode()))
    }
}

impl<'de> Deserialize<'de> for StampBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        Stamp::decode(&bytes, NODES_MAX).map(Self).map_err(de::Error::custom)
    }
}

/// Bytes, in base 64.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map(Self).map_err(de::Error::custom)
    }
}

/// What a heartbeat is answered with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// The time by the clock of the database.
    pub now: DateTime<Utc>,
    /// Whether it is to take nothing new.
    pub draining: bool,
    /// What it is to stop and has not yet settled.
    pub orders: Vec<OrderDocument>,
}

/// An attempt whose processes are to be ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrderDocument {
    /// Which one.
    pub of: AttemptRef,
    /// Whether SIGINT comes before SIGTERM.
    pub interrupt: bool,
    /// Whether SIGKILL comes at once.
    pub force: bool,
}

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

/// A value that stands there, `null` included; serde would take that for one that is left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
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
