//! The operation: the resource that a client polls.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::{Detail, ErrorBody};
use crate::domain::Status;

/// A run of a jobset.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The last segment of its URL: what its client chose (`Operation-Id`), else a UUID.
    pub id: String,
    /// The category that it was posted to.
    #[schema(example = "jobsets")]
    pub category: String,
    /// The name that the jobset gives itself.
    pub name: String,
    /// When it was made (RFC 3339, UTC).
    #[serde(serialize_with = "timestamp")]
    pub created_date_time: DateTime<Utc>,
    /// When it entered its state.
    #[serde(serialize_with = "timestamp")]
    pub last_action_date_time: DateTime<Utc>,
    /// What a poller needs: `succeeded`, `failed` and `canceled` are final.
    #[schema(pattern = "^(notstarted|running|succeeded|failed|canceled)$")]
    pub status: String,
    /// The full life.
    #[schema(example = "Running")]
    pub state: String,
    /// 0 to 100; falls only when a client has steps run again, 100 only on success.
    pub percent_complete: u8,
    /// Whether it is held by an operator: nothing new starts.
    pub paused: bool,
    /// Whether it waits to be admitted, under its concurrency key or its rate limit; `explain` tells
    /// what for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_admission: bool,
    /// The operation whose results it took over, if it was made by a rerun of one that had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
    /// Where the jobset is found, once the operation has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_location: Option<String>,
    /// What its steps wrote to `SUT_OUTPUT`, by step name, once it succeeded (100 at the most).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// Who cancelled it, when and why: `{requestedBy?, requestedDateTime, reason?, forced?}`; `forced`
    /// tells the same of an abort. Once it has ended, `steps` tells how many steps were
    /// `neverStarted`, `interrupted`, `finished` or `unknown`, as `stopOutcome` does for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Value>,
    /// How many steps are in each state; states without steps are left out. A state of a machine of
    /// the jobset's own is counted as the state of the default machine that it stands for.
    pub step_counts: BTreeMap<String, u32>,
    /// Free key-values of this run.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether a step waits for a person: it is held, or is an instruction that nobody replied to yet.
    /// Prompts of running programs are found under `/waiting` only.
    pub attention: bool,
    /// What the author of the jobset may not have meant. Told only by the answer that takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Detail>,
}

impl Operation {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ends = [Status::Succeeded, Status::Failed, Status::Canceled];
        ends.into_iter().any(|end| end.name() == self.status)
    }
}

/// A definition that was submitted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jobset {
    /// The id of the operation that runs it.
    pub id: String,
    /// Where that operation is found.
    pub operation_location: String,
    /// SHA-256 of the definition in hexadecimal: equal definitions have equal digests.
    pub digest: String,
    /// The definition.
    #[schema(value_type = super::JobsetDocument)]
    pub definition: Value,
}

/// One page of a collection.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    /// The members on this page.
    pub value: Vec<T>,
    /// How many there are in all, if `$count=true` was asked for.
    #[serde(default, rename = "@odata.count", skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Where the next page is found; absent on the last one.
    #[serde(default, rename = "@odata.nextLink", skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// RFC 3339 in UTC with milliseconds: `2026-01-31T12:01:03.450Z`.
pub(super) fn timestamp<S: Serializer>(time: &DateTime<Utc>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
