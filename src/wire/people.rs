//! What steps ask of people, and what people tell steps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::operation::timestamp;

/// A question that a step put to people.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Its id.
    pub id: String,
    /// The operation.
    pub operation: String,
    /// The name of the step.
    pub step: String,
    /// The number of the step.
    pub n: u32,
    /// The attempt that asks.
    pub attempt: u32,
    /// `instruction` (a step that is done by people) or `prompt` (a running program asks).
    pub kind: String,
    /// What is asked or to be done.
    pub text: String,
    /// Who is meant, if the step says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// A JSON Schema that the value of the reply must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// When it was asked.
    #[serde(serialize_with = "timestamp")]
    pub created_date_time: DateTime<Utc>,
    /// What the attempt knew of the operation when it asked, as the stamps of events are written.
    /// Absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// What was replied: `status`, and `value` and `comment` if they were sent, `repliedDateTime`, and
    /// `stamp` if who replied said what was known. Absent if nobody replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
}

/// The reply to a prompt. A prompt is replied to once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReplyRequest {
    /// Whether it was done. `notDone` ends an instruction step badly.
    pub status: ReplyStatus,
    /// What was asked for; must fit the schema of the prompt. `null` is a value.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// A remark for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The `seq` of an event of this operation that led to the reply: what follows from the reply
    /// happened after that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
}

/// A value that stands there, `null` included; serde would take that for one that is left out.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Whether what was asked was done.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReplyStatus {
    /// It was done, or here is the value.
    #[default]
    Done,
    /// It was not done.
    NotDone,
}

/// A message to running steps: `POST /v1.0/operations/{id}/messages`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageRequest {
    /// Any JSON, `null`, `false`, `0` and `""` included.
    #[serde(deserialize_with = "Value::deserialize")]
    pub message: Value,
    /// Steps that have at least these tags with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// These steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<String>>,
    /// The `seq` of an event of this operation that led to the message: what follows from the message
    /// happened after that event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
    /// Answers who would get it and sends nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Who a message was sent to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageSent {
    /// The running steps that get it, in topological order.
    pub value: Vec<MessageReceiver>,
}

/// A step that gets a message.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageReceiver {
    /// Its name.
    pub name: String,
    /// Its number.
    pub n: u32,
    /// The attempt that gets it.
    pub attempt: u32,
    /// The number of the message within the attempt, from 1; 0 for a dry run.
    pub seq: u32,
}

/// A message to or from a step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The number within the attempt and direction, from 1.
    pub seq: u32,
    /// The name of the step.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// `toStep` or `fromStep`.
    pub direction: String,
    /// What was sent.
    pub message: Value,
    /// When it was stored.
    #[serde(serialize_with = "timestamp")]
    pub at: DateTime<Utc>,
    /// When the worker handed it to the step, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_date_time: Option<DateTime<Utc>>,
    /// What the sender knew of the operation, as the stamps of events are written. Absent if that is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
}
