//! Section D and row 182: a request that is repeated makes one operation.

mod aliases;
mod client;
mod keys;
mod races;
mod repeatable;
mod window;

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{Answer, Service};

/// A date as `Repeatability-First-Sent` takes it, so far from now.
#[expect(clippy::disallowed_methods, reason = "a client has no other clock than its own")]
pub(crate) fn sent(from_now: TimeDelta) -> String {
    let date: DateTime<Utc> = Utc::now() + from_now;
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A key that no other test has.
fn key() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("key-{:03}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A jobset that has ended as soon as it is submitted.
fn job() -> Value {
    json!({"name": "once", "steps": [{"name": "only"}], "labels": {"a": "1", "b": "2"},
        "context": {"seed": 5, "deep": {"x": [1, 2]}}})
}

/// The same request, written in another way.
fn job_rewritten() -> String {
    r#"{ "context": {"deep": {"x": [1,2]}, "seed": 5},
        "labels": {"b": "2", "a": "1"}, "steps": [{"name": "only"}], "name": "once" }"#
        .to_owned()
}

impl Service {
    async fn post_named(&self, job: &Value, name: &str, value: &str) -> Answer {
        self.post(job.to_string(), &[(name, value)]).await
    }
}

/// Both are the same answer: status, links and body.
#[track_caller]
fn assert_replayed(first: &Answer, again: &Answer) {
    assert_eq!((first.status, again.status), (202, 202), "{}", again.text());
    for name in ["operation-location", "location", "retry-after", "content-type"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
        assert!(!again.header(name).is_empty(), "{name}");
    }
    assert_eq!(first.text(), again.text());
}
