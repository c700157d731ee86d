//! Workers: as clients see them, and what remote ones and the server tell each other.
//!
//! Remote workers are of the same version as the server or close to it. Requests refuse unknown
//! fields, like all; answers may grow.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;
use uuid::Uuid;

use super::operation::timestamp;
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
    /// For how long after that it may come back before others are given what it has. Its processes
    /// must have ended by then.
    pub requeue_after_seconds: f64,
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
    /// Whether it takes nothing more.
    pub closing: bool,
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
