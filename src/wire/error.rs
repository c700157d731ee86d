//! The error envelope (Microsoft REST API Guidelines 7.10.2, Azure REST API Guidelines).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A word for programs; also in the header `x-ms-error-code`.
    #[schema(example = "InvalidJobset")]
    pub code: String,
    /// A sentence for people that says what to do next.
    pub message: String,
    /// The part of the request, or the step, that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Each thing that is wrong, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// One of several things that are wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Detail {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The field as a path into the document, or the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}
