//! The question whether the service works: a step that is asked for now and runs to its end.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::journal::Journal;
use crate::ledger::{Ledger, Question, has_ended};
use crate::patience::until;

/// Submits an operation with one step, and answers when it has succeeded.
pub(crate) async fn succeeds(ledger: &Ledger, journal: &Journal, round: usize) {
    let key = format!("probe-{round}");
    let step = json!({"name": "probe", "run": {"shell": journal.keeping("echo probe")}});
    let document = json!({"name": "probe", "labels": {"key": key}, "steps": [step]});
    let name = format!("\"{key}\"");
    let headers = [("idempotency-key", name.as_str())];
    let mut turn = round;
    let id = until("a probe is acknowledged", async || {
        turn += 1;
        let path = "jobsets".to_owned();
        let question =
            Question { method: Method::POST, path, headers: &headers, body: Some(&document) };
        let answer = ledger.ask(turn, &question).await?;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer.operation
    })
    .await;
    ledger.acknowledged.lock().expect("sound").insert(key, id);
    let shown = until("a probe ends", async || {
        turn += 1;
        let question = Question {
            headers: &[("prefer", "wait=1")],
            ..Question::get(format!("operations/{id}"))
        };
        let shown = ledger.ask(turn, &question).await?.body;
        has_ended(&shown).then_some(shown)
    })
    .await;
    assert_eq!(shown["state"], "Succeeded", "{shown}");
}
