//! Clients that submit, look, steer and cancel, and ask again where they got no answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::draw::{self, Chance};
use crate::journal::Journal;
use crate::ledger::{Answer, Counts, Ledger, Question, has_ended};
use crate::patience::Patience;
use crate::told::note_moves;

/// The longest that a client does nothing.
const REST_MILLIS_MAX: usize = 600;
/// How often a client turns to one operation before it turns to the next.
const TURNS: usize = 6;

/// How long steps take: some survive what kills their worker, if nobody ends them.
const SECONDS: [&str; 6] = ["0", "0", "0", "1", "1", "5"];

/// One client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) journal: Arc<Journal>,
    /// In the environment of every step.
    pub(crate) mark: String,
    pub(crate) chance: Chance,
}

impl Client {
    /// Works until the ledger says that it is over.
    pub(crate) async fn work(mut self) {
        for n in 0_u32.. {
            if self.ledger.is_over() {
                return;
            }
            let key = format!("client-{}-{n}", self.number);
            let document = self.jobset(&key);
            let Some(id) = self.submit(&key, &document).await else { continue };
            for _ in 0..TURNS {
                if self.ledger.is_over() || self.turn_to(id, &key, &document).await {
                    break;
                }
                let millis = self.chance.below(REST_MILLIS_MAX).try_into().expect("small");
                sleep(Duration::from_millis(millis)).await;
            }
        }
    }

    /// A random jobset whose steps keep the journal, and some of which take long enough for a fault.
    fn jobset(&mut self, key: &str) -> Value {
        let mut jobset = draw::jobset(&mut self.chance, &self.mark);
        jobset["labels"]["key"] = json!(key);
        let (chance, journal) = (&mut self.chance, &self.journal);
        let mut keep = |text: &mut Value| {
            let own = text.as_str().expect("a text");
            *text = json!(journal.keeping(&format!("sleep {}\n{own}", chance.of(&SECONDS))));
        };
        for step in jobset["steps"].as_array_mut().expect("a list") {
            if let Some(text) = step.pointer_mut("/run/shell") {
                keep(text);
            }
        }
        keep(jobset.pointer_mut("/machines/door/states/Open/run/shell").expect("a text"));
        jobset
    }

    /// Submits until that is acknowledged; `None` for what can never run.
    async fn submit(&mut self, key: &str, document: &Value) -> Option<Uuid> {
        Counts::add(&self.ledger.counts.submitted);
        let patience = Patience::with(format!("{key} is acknowledged"));
        let id = loop {
            if let Some(answer) = self.submit_once(key, document).await {
                break answer;
            }
            patience.wait().await;
            Counts::add(&self.ledger.counts.repeated);
        };
        if id.is_some() && self.chance.one_in(5) {
            Counts::add(&self.ledger.counts.repeated);
            self.submit_once(key, document).await;
        }
        id
    }

    /// The operation, if there can be one; `None` without an answer.
    async fn submit_once(&mut self, key: &str, document: &Value) -> Option<Option<Uuid>> {
        let name = format!("\"{key}\"");
        let headers = [("idempotency-key", name.as_str())];
        let path = "jobsets".to_owned();
        let question =
            Question { method: Method::POST, path, headers: &headers, body: Some(document) };
        let answer = self.ask(&question).await?;
        if answer.status == StatusCode::BAD_REQUEST {
            return Some(None);
        }
        let (StatusCode::ACCEPTED, Some(id)) = (answer.status, answer.operation) else {
            self.ledger.lie(format!("{key} was answered with {} {}", answer.status, answer.body));
            return None;
        };
        let before = self.ledger.acknowledged.lock().expect("sound").insert(key.to_owned(), id);
        if let Some(before) = before.filter(|before| *before != id) {
            self.ledger.lie(format!("{key} is both {before} and {id}"));
        }
        Some(Some(id))
    }

    /// Does one thing to an operation; true when it has ended.
    async fn turn_to(&mut self, id: Uuid, key: &str, document: &Value) -> bool {
        match self.chance.below(20) {
            0..8 => self.look(id).await,
            8..17 => self.steer(id).await,
            17..19 => {
                Counts::add(&self.ledger.counts.repeated);
                self.submit_once(key, document).await;
                false
            }
            _ => self.cancel(id).await,
        }
    }

    async fn look(&mut self, id: Uuid) -> bool {
        let mut question = Question::get(format!("operations/{id}"));
        question.headers = &[("prefer", "wait=1")];
        let Some(answer) = self.ask(&question).await else { return false };
        if answer.status != StatusCode::OK {
            self.ledger.lie(format!("{id} was shown with {} {}", answer.status, answer.body));
        }
        self.note_end(id, &answer.body)
    }

    async fn steer(&mut self, id: Uuid) -> bool {
        let asked = draw::verb(&mut self.chance);
        let path = format!("operations/{id}/{}", asked.verb);
        let body = Some(&asked.body);
        let question = Question { method: Method::POST, path, headers: &[], body };
        let Some(answer) = self.ask(&question).await else { return false };
        let Answer { status, operation, body } = answer;
        Counts::add(&self.ledger.counts.steered);
        match status.as_u16() {
            200 if asked.is_trial || body.is_null() => {}
            200 => {
                let mut told = self.ledger.told.lock().expect("sound");
                note_moves(&mut told, id, asked.action, &body["value"]);
            }
            202 => self.ledger.forks.lock().expect("sound").extend(operation),
            409 => {
                Counts::add(&self.ledger.counts.refused);
                return body["error"]["code"] != "TransitionNotAllowed";
            }
            _ => self.ledger.lie(format!("{} of {id}: {status} {body}", asked.verb)),
        }
        false
    }

    async fn cancel(&mut self, id: Uuid) -> bool {
        let force = if self.chance.one_in(3) { "?force=true" } else { "" };
        let path = format!("operations/{id}{force}");
        let question = Question { method: Method::DELETE, path, headers: &[], body: None };
        let Some(answer) = self.ask(&question).await else { return false };
        match answer.status.as_u16() {
            202 => _ = self.ledger.cancelled.lock().expect("sound").insert(id),
            200 => {}
            _ => self.ledger.lie(format!("DELETE {id}: {} {}", answer.status, answer.body)),
        }
        self.note_end(id, &answer.body)
    }

    /// Takes note of an end; true if it is one.
    fn note_end(&self, id: Uuid, operation: &Value) -> bool {
        if !has_ended(operation) {
            return false;
        }
        let state = operation["state"].as_str().expect("a state").to_owned();
        let before = self.ledger.ends.lock().expect("sound").insert(id, state.clone());
        if let Some(before) = before.filter(|before| *before != state) {
            self.ledger.lie(format!("{id} ended as {before} and as {state}"));
        }
        true
    }

    async fn ask(&mut self, question: &Question<'_>) -> Option<Answer> {
        let server = self.chance.below(2);
        self.ledger.ask(server, question).await
    }
}
