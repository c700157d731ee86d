//! What streams carry beside what the collections do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::step::Event;

/// An event among those of all operations.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationEvent {
    /// The id of the operation.
    pub operation: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The data of `event: end` in a stream of events.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsEnd {
    /// The state in which the operation ended.
    pub state: String,
}

/// The data of `event: end` in a stream of output.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputEnd {
    /// The attempt that has ended; absent if the step ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// The data of `event: reset`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsReset {
    /// What happened and what to do.
    pub message: String,
}
