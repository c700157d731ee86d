//! How the operations of a jobset get their turn among others.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::duration::DurationText;
use crate::domain::scheduling::{Concurrency, OnConflict, RateLimit};

/// No more than `limit` operations with the same key run at once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConcurrencyDocument {
    /// The key: text that may have labels and values of the context of the run in it, as
    /// `deploy-{{ labels.env }}` and `{{ context.region.name }}`; no other templates.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub key: String,
    /// How many may run at once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schema(value_type = u64, minimum = 1, maximum = 1_000, default = 1)]
    pub limit: u32,
    /// What becomes of whom when there are more.
    #[serde(default, skip_serializing_if = "OnConflictDocument::is_queue")]
    pub on_conflict: OnConflictDocument,
}

/// What becomes of whom when more operations with one key are wanted than may run at once.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnConflictDocument {
    /// The new one waits.
    #[default]
    Queue,
    /// The old ones are cancelled, and the new one begins when they have ended.
    CancelRunning,
    /// The new one is cancelled.
    CancelNew,
}

/// No more than `limit` operations with the same key begin in any time of the length `per`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitDocument {
    /// The key: text that may have labels and values of the context of the run in it, as that of
    /// `concurrency`; the two have nothing to do with each other.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub key: String,
    /// How many may begin.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000)]
    pub limit: u32,
    /// In which time.
    pub per: DurationText,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_one(value: &u32) -> bool {
    *value == 1
}

impl OnConflictDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_queue(&self) -> bool {
        matches!(self, Self::Queue)
    }
}

impl ConcurrencyDocument {
    pub(super) fn into_concurrency(self) -> Concurrency {
        Concurrency {
            key: self.key,
            limit: self.limit,
            on_conflict: match self.on_conflict {
                OnConflictDocument::Queue => OnConflict::Queue,
                OnConflictDocument::CancelRunning => OnConflict::CancelRunning,
                OnConflictDocument::CancelNew => OnConflict::CancelNew,
            },
        }
    }
}

impl RateLimitDocument {
    pub(super) fn into_rate_limit(self) -> RateLimit {
        RateLimit { key: self.key, limit: self.limit, per: self.per.0 }
    }
}
