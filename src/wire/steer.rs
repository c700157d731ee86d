//! Steering: which steps a verb is meant for, and what it did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a verb is sent with: `POST /v1.0/operations/{id}/{verb}`. An empty body means all steps.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SteerRequest {
    /// These steps. A name that no step has is answered with 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<String>>,
    /// Steps that have at least these tags with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Steps in one of these states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<String>>,
    /// Steps for which this holds: an expression as in `$filter` of the collection of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Also the steps that can be reached only through a selected one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub branch: bool,
    /// Answers what would be done and does nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Only `pause` and `resume`: whether single steps are meant or the operation as a whole, which
    /// then starts nothing new.
    #[serde(skip_serializing_if = "ScopeDocument::is_steps")]
    pub scope: ScopeDocument,
    /// Only `next`: how many paused steps are released. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub count: Option<u32>,
    /// Only `rerun`: whether steps that follow a chosen one and already ran are run again as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cascade: bool,
    /// Only `rerun`: environment variables of the next attempt, beside those of the step.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Only `rerun`: the program of the next attempt, in place of the step's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Only `rerun`: the shell text of the next attempt, in place of the step's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Only `rerun`: a merge patch (RFC 7396) of the operation's context, applied before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
}

/// What `pause` and `resume` are about.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScopeDocument {
    /// Each selected step.
    #[default]
    Steps,
    /// The operation: what runs ends, nothing new starts.
    Operation,
}

impl ScopeDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_steps(&self) -> bool {
        matches!(self, Self::Steps)
    }
}

/// What a verb did, or would do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Steered {
    /// The steps that were (would be) moved, in topological order.
    pub value: Vec<MovedStep>,
    /// The steps that were named and not moved, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedStep>,
    /// Whether the operation is paused as a whole.
    #[serde(default)]
    pub paused: bool,
}

/// A step that a verb moved.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct MovedStep {
    /// Its name.
    pub name: String,
    /// Its number.
    pub n: u32,
    /// The state it was in.
    pub from: String,
    /// The state that the verb led to; what follows by itself is told by the events.
    pub to: String,
}

/// A step that was named and not moved.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedStep {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Why it was not moved.
    pub message: String,
}

/// What a verb did to the operations that `$filter` chose: `POST /v1.0/operations/{verb}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct SteeredOperations {
    /// One entry per operation that was asked.
    pub value: Vec<SteeredOperation>,
    /// Whether more operations fit the filter than are steered at once: ask again.
    #[serde(default)]
    pub more: bool,
}

/// What a verb did to one of many operations.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct SteeredOperation {
    /// The operation.
    pub id: String,
    /// The steps that were (would be) moved.
    pub moved: Vec<MovedStep>,
    /// The operation that was started instead, because this one had ended; only `rerun` does this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<String>,
    /// Why nothing was done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<super::Detail>,
}
