//! Steps, attempts, output and history.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::operation::timestamp;
use super::why::maybe_timestamp;

/// A step of an operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name in the jobset.
    pub name: String,
    /// Its topological number, from 0.
    pub n: u32,
    /// Free key-values.
    pub tags: BTreeMap<String, String>,
    /// Its state.
    #[schema(example = "Running")]
    pub state: String,
    /// When it entered its state.
    #[serde(serialize_with = "timestamp")]
    pub entered_date_time: DateTime<Utc>,
    /// The number of its latest attempt; 0 before the first one.
    pub attempt: u32,
    /// What a client may do with it now.
    pub actions: Vec<String>,
    /// The JSON that its last attempt wrote to `SUT_OUTPUT`, or that its function returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What its last attempt exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What signal ended its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why its last attempt failed: `{type, message}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Value>,
    /// How far it came, of a step that has ended in an operation that was cancelled or ran out of time:
    /// `neverStarted`, `interrupted`, `finished`, or `unknown` if its worker was lost meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(neverStarted|interrupted|finished|unknown)$")]
    pub stop_outcome: Option<String>,
    /// Its attempts that ended; only where a single step is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// One execution of a step's work.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1; never used again.
    pub attempt: u32,
    /// When a worker took it.
    #[serde(serialize_with = "timestamp")]
    pub started_date_time: DateTime<Utc>,
    /// When its outcome was recorded.
    #[serde(serialize_with = "timestamp")]
    pub ended_date_time: DateTime<Utc>,
    /// What the process exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What signal ended the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it failed: `{type, message}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Value>,
    /// The JSON that it wrote to `SUT_OUTPUT`, or that its function returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What it used: times in seconds, memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
}

/// Something that happened to an operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// From 1 without gaps.
    pub seq: u32,
    /// When it happened.
    #[serde(serialize_with = "timestamp")]
    pub at: DateTime<Utc>,
    /// `submitted`, `moved`, `cancelRequested`, `deadlinePassed`, `contextChanged`, `paused`,
    /// `resumed`, `attemptEnded`, `abortRequested` or `admitted`.
    pub kind: String,
    /// The step that moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The attempt concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why the step moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The state that the step left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state that the step entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The state that the operation entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The worker incarnation concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<i64>,
    /// Its interval tree clock stamp as text, `(id,events)`: what had happened before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
}

/// An attempt that ran causally concurrent with another one: neither can have known how the other
/// ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrentAttempt {
    /// The operation that it belongs to.
    pub operation: String,
    /// The name of its step.
    pub step: String,
    /// From 1; never used again.
    pub attempt: u32,
    /// When a worker took it.
    #[serde(serialize_with = "timestamp")]
    pub started_date_time: DateTime<Utc>,
    /// When it ended; absent while it runs.
    #[serde(default, serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub ended_date_time: Option<DateTime<Utc>>,
    /// The state that its step entered by its end; while it runs, the one that the step is in.
    #[schema(example = "Succeeded")]
    pub state: String,
    /// The worker incarnation that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<i64>,
    /// In another operation: the resource that both operations name in a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// A piece of output as it was read from a step.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputPiece {
    /// The order in which pieces were read, over both streams.
    pub seq: u32,
    /// When it was read.
    #[serde(serialize_with = "timestamp")]
    pub at: DateTime<Utc>,
    /// `stdout`, `stderr`, or `worker` for a remark of the worker.
    pub stream: String,
    /// The bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in Base64, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}
