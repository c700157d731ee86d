//! What the clients asked, and what they were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use crate::told::Move;

/// How long a client waits for an answer before it asks another server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// All that the clients share.
pub(crate) struct Ledger {
    http: reqwest::Client,
    bases: Vec<String>,
    /// The operations that were acknowledged, by the key of their submission.
    pub(crate) acknowledged: Mutex<BTreeMap<String, Uuid>>,
    /// The operations that were acknowledged as new runs of others.
    pub(crate) forks: Mutex<BTreeSet<Uuid>>,
    /// The moves of steps that were acknowledged.
    pub(crate) told: Mutex<HashMap<Move, i64>>,
    /// The operations whose end was acknowledged.
    pub(crate) cancelled: Mutex<BTreeSet<Uuid>>,
    /// The ends that clients saw.
    pub(crate) ends: Mutex<BTreeMap<Uuid, String>>,
    /// Answers that nobody may get.
    pub(crate) lies: Mutex<BTreeSet<String>>,
    pub(crate) counts: Counts,
    /// Whether the clients go home.
    pub(crate) is_over: AtomicBool,
}

/// How often something was asked.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) submitted: AtomicUsize,
    pub(crate) repeated: AtomicUsize,
    pub(crate) steered: AtomicUsize,
    /// Verbs that were not possible.
    pub(crate) refused: AtomicUsize,
    /// Requests without an answer, or with the one to come again later.
    pub(crate) unanswered: AtomicUsize,
}

impl Counts {
    pub(crate) fn add(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The operation that the answer is about, by its headers, which come before its body.
    pub(crate) operation: Option<Uuid>,
    /// Null if it did not come to its end.
    pub(crate) body: Value,
}

/// One request.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// Below `/v1.0/`.
    pub(crate) path: String,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<&'a Value>,
}

impl Question<'_> {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, headers: &[], body: None }
    }
}

impl Ledger {
    pub(crate) fn new(bases: Vec<String>) -> Self {
        // There is no TLS here, but the client wants to be able to.
        _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT);
        Self {
            http: http.build().expect("a client"),
            bases,
            acknowledged: Mutex::default(),
            forks: Mutex::default(),
            told: Mutex::default(),
            cancelled: Mutex::default(),
            ends: Mutex::default(),
            lies: Mutex::default(),
            counts: Counts::default(),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The answer of one of the servers; `None` if it has none now.
    pub(crate) async fn ask(&self, server: usize, question: &Question<'_>) -> Option<Answer> {
        let url = format!("{}/v1.0/{}", self.bases[server % self.bases.len()], question.path);
        let mut request = self.http.request(question.method.clone(), url);
        for (name, value) in question.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = question.body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => answer,
            Ok(_) | Err(_) => {
                Counts::add(&self.counts.unanswered);
                return None;
            }
        };
        let status = answer.status();
        let location = answer.headers().get("operation-location").and_then(|l| l.to_str().ok());
        let operation = location.and_then(|l| l.rsplit('/').next()).and_then(|id| id.parse().ok());
        let body = answer.json().await.unwrap_or(Value::Null);
        if status.is_server_error() {
            let asked = format!("{} {}", question.method, question.path);
            self.lie(format!("{asked} was answered with {status}: {body}"));
            return None;
        }
        Some(Answer { status, operation, body })
    }

    pub(crate) fn lie(&self, what: String) {
        self.lies.lock().expect("nobody panicked").insert(what);
    }
}

/// Whether an operation has ended, by what a client is shown.
pub(crate) fn has_ended(operation: &Value) -> bool {
    ["succeeded", "failed", "canceled"].iter().any(|status| operation["status"] == *status)
}
