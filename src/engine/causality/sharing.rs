//! What operations share, and what they knew of each other.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::attempts::Span;
use crate::domain::resources;

/// The first resource of `ours` that an operation with these labels names too, whatever it calls it.
pub(super) fn shared_resource<'a>(ours: &[(&str, &'a str)], labels: &Value) -> Option<&'a str> {
    let theirs = resources(Some(labels));
    let is_theirs = |name: &&str| theirs.iter().any(|(_, other)| other == name);
    ours.iter().map(|(_, name)| *name).find(is_theirs)
}

/// What two operations knew of each other: up to which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Their events up to this one happened before all of ours.
    pub(super) theirs: i32,
    /// Our events up to this one happened before all of theirs.
    pub(super) ours: i32,
}

impl Order {
    /// What an operation that was submitted at `submitted` knew of one that ended at `ended`, if it
    /// did, by its tie to it, if there is one.
    pub(super) fn seen(
        tie: Option<&i32>,
        ended: Option<DateTime<Utc>>,
        submitted: DateTime<Utc>,
    ) -> i32 {
        match (tie, ended) {
            (Some(seen), _) => *seen,
            (None, Some(ended)) if ended <= submitted => i32::MAX,
            (None, _) => 0,
        }
    }

    /// Whether neither of an attempt of ours and one of theirs happened before the other.
    pub(super) fn is_concurrent(self, ours: &Span, theirs: &Span) -> bool {
        let is_seen = |span: &Span, seen: i32| span.end.as_ref().is_some_and(|end| end.seq <= seen);
        !is_seen(theirs, self.theirs) && !is_seen(ours, self.ours)
    }
}
