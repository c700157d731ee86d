//! What is stored beside the runs themselves: definitions, attempts, and what an operation has.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::Incarnation;
use crate::domain::admission::Terms;

/// The operation has a row in `operation_data`.
pub const HAS_DATA: i16 = 1;
/// Some attempt of the operation has a result.
pub const HAS_RESULT: i16 = 2;
/// The operation is paused as a whole.
pub const PAUSED: i16 = 4;
/// Some step has a machine of the jobset's own, so bytes of states have a high half.
pub const HAS_MACHINES: i16 = 8;
/// Some attempt was edited by a client.
pub const HAS_EDITS: i16 = 16;
/// The operation names resources that it shares with others.
pub const HAS_RESOURCES: i16 = 32;
/// The operation has not been admitted yet.
pub(super) const GATED: i16 = 64;
/// The operation has a row in `admission`.
pub const HAS_TERMS: i16 = 128;

/// What a new operation has beyond its run.
#[derive(Clone, Debug, Default)]
pub struct NewOperation {
    /// The digest-derived id of its jobset.
    pub jobset: Uuid,
    /// The id that its client chose.
    pub alias: Option<String>,
    /// Free key-values.
    pub labels: Option<Value>,
    /// The resources that it shares with others.
    pub resources: Vec<String>,
    /// What it asks before it may begin.
    pub terms: Option<Terms>,
}

/// What an operation has beside its row.
#[derive(Clone, Debug, Default)]
pub struct OperationData {
    /// Shared data of its steps.
    pub context: Option<Value>,
    /// Who asked for its cancellation. Merged into what is stored.
    pub cancellation: Option<Value>,
    /// What was edited of attempts, by step number: `{attempt, env?, command?, shell?}`. Merged
    /// into what is stored.
    pub edits: Option<Value>,
    /// The operation that it was forked from.
    pub forked_from: Option<Uuid>,
    /// The alias of that one.
    pub forked_from_alias: Option<String>,
    /// What its stop found begun and not ended, by step number: the name of a
    /// [`Cut`](crate::domain::Cut). Merged into what is stored.
    pub stopped: Option<Value>,
}

/// A definition that may not be stored yet.
#[derive(Clone, Debug)]
pub struct NewJobset {
    /// The first 16 bytes of the digest.
    pub id: Uuid,
    /// SHA-256 of the document.
    pub digest: [u8; 32],
    /// The name it gives itself.
    pub name: String,
    /// Canonical JSON.
    pub document: String,
}

/// How an attempt ended, beyond what the run knows.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker that ran it.
    pub worker: Incarnation,
    /// When it was claimed.
    pub started: DateTime<Utc>,
    /// When its outcome was recorded.
    pub ended: DateTime<Utc>,
    /// What the worker reported.
    pub report: AttemptReport,
}

/// What a worker reports of an attempt for the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttemptReport {
    /// What the process exited with.
    pub exit_code: Option<i32>,
    /// What signal ended the process.
    pub signal: Option<i32>,
    /// Why it failed: `{type, message}`.
    pub exception: Option<Value>,
    /// The JSON it wrote to `SUT_OUTPUT`.
    pub result: Option<Value>,
    /// What it used: times in seconds, memory in bytes.
    pub usage: Option<Value>,
}
