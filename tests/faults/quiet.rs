//! When the clients have gone and nothing breaks any more: everything comes to rest by itself, what
//! has not ended says why, and ends when it is told to.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ledger::{Ledger, Question, has_ended};
use crate::patience::{PATIENCE, until};

/// How many operations are ended at once.
const AT_ONCE: usize = 32;
/// What cannot wait for a person: a step in such a state moves by itself.
const MOVING: [&str; 2] = ["Running", "Unresponsive"];
/// The same, for what begins nothing while its operation is paused.
const BEGINNING: &str = "Open";

/// What is due for a second and was not claimed, although workers are idle.
const OVERDUE: &str = "select operation from ready \
                       where due < clock_timestamp() - interval '1 second'";

/// Waits until nothing moves; then ends what has not ended, after it has said why.
pub(crate) async fn settle(ledger: &Ledger, database: &mut PgConnection) {
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        let overdue: Vec<Uuid> =
            sqlx::query_scalar(OVERDUE).fetch_all(&mut *database).await.expect("an answer");
        let left = living(ledger).await;
        let moving: Vec<&Value> = left.iter().filter(|operation| is_moving(operation)).collect();
        if overdue.is_empty() && moving.is_empty() {
            break left;
        }
        let is_in_time = Instant::now() < deadline;
        assert!(is_in_time, "these never come to rest: {moving:#?}, these are due: {overdue:?}");
        sleep(Duration::from_millis(100)).await;
    };
    let ends = left.iter().map(async |operation| {
        explain(ledger, operation).await;
        end(ledger, operation["id"].as_str().expect("an id")).await;
    });
    stream::iter(ends).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    println!("{} operations waited for people and said so", left.len());
}

fn is_moving(operation: &Value) -> bool {
    let counts = operation["stepCounts"].as_object().expect("counts");
    let is_stopping = !["Running", "NotStarted"].iter().any(|state| operation["state"] == *state);
    let begins = operation["paused"] == false && counts.contains_key(BEGINNING);
    is_stopping || begins || MOVING.iter().any(|state| counts.contains_key(*state))
}

/// All operations that have not ended.
async fn living(ledger: &Ledger) -> Vec<Value> {
    let path = "operations?$filter=not(status in ('succeeded','failed','canceled'))";
    let mut found = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next.take() {
        let page = certainly(ledger, &Question::get(path)).await;
        found.extend(page["value"].as_array().expect("a list").iter().cloned());
        let link = page["@odata.nextLink"].as_str();
        next = link.and_then(|link| link.split_once("/v1.0/")).map(|(_, path)| path.to_owned());
    }
    found
}

async fn explain(ledger: &Ledger, operation: &Value) {
    let id = operation["id"].as_str().expect("an id");
    let told = certainly(ledger, &Question::get(format!("operations/{id}/explain"))).await;
    if told["because"].as_array().is_none_or(Vec::is_empty) {
        ledger.lie(format!("{id} does not end and does not say why: {told} {operation}"));
    }
}

async fn end(ledger: &Ledger, id: &str) {
    let path = format!("operations/{id}");
    let delete = Question { method: Method::DELETE, path: path.clone(), headers: &[], body: None };
    certainly(ledger, &delete).await;
    until(&format!("{id} ends"), async || {
        has_ended(&certainly(ledger, &Question::get(path.clone())).await).then_some(())
    })
    .await;
}

/// Asks until there is an answer, which must be that it was done.
async fn certainly(ledger: &Ledger, question: &Question<'_>) -> Value {
    let answer = until(&question.path, async || ledger.ask(0, question).await).await;
    let is_good = [StatusCode::OK, StatusCode::ACCEPTED].contains(&answer.status);
    assert!(is_good, "{}: {} {}", question.path, answer.status, answer.body);
    answer.body
}
