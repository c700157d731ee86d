//! Rows 178 to 182: how long operations are kept.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;
use sutbot::cli::HostSettings;
use sutbot::engine::Retention;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ageing::{age, has_day};
use crate::support::{OwnService, PATIENCE, own_service, shell};

const DAY: Duration = Duration::from_hours(24);

/// Keeps operations for a day and their tombstones for so long, and looks all the time.
fn keeping(tombstones: Duration) -> impl FnOnce(&mut HostSettings) {
    move |settings| {
        let every = Duration::from_millis(50);
        settings.retention = Some(Retention { whole: DAY, tombstones, every });
    }
}

/// The URL of an operation that is made so many days older.
async fn aged(database: &mut PgConnection, url: &str, days: u32) -> (String, Uuid) {
    let (base, id) = url.rsplit_once('/').expect("an id");
    let older = age(database, id.parse().expect("an own id"), days).await;
    (format!("{base}/{older}"), older)
}

async fn tombstone(service: &OwnService, url: &str) -> Value {
    service.until(url, |operation| operation["state"] == "Tombstone").await.json()
}

/// Waits until a table has nothing of the day of an operation any more.
async fn until_dropped(database: &mut PgConnection, table: &str, of: Uuid) {
    let deadline = Instant::now() + PATIENCE;
    while has_day(database, table, of).await {
        assert!(Instant::now() < deadline, "{table} keeps its day");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn listed(service: &OwnService, filter: &str) -> Vec<String> {
    let url = format!("/v1.0/operations?$count=true&$filter={}", filter.replace(' ', "%20"));
    let page = service.get(&url).await.expect(200).json();
    let value = page["value"].as_array().expect("a list");
    assert_eq!(page["@odata.count"], value.len());
    value.iter().map(|operation| operation["id"].as_str().expect("an id").to_owned()).collect()
}

/// What belonged to a tombstone is gone, and says so.
async fn nothing_is_below(service: &OwnService, operation: &str) {
    for below in [
        "/steps",
        "/steps/only",
        "/events",
        "/context",
        "/steps/only/output",
        "/steps/only/explain",
        "/explain",
        "/graph",
        "/prompts",
        "/messages",
        "/causality",
    ] {
        let answer = service.get(&format!("{operation}{below}")).await;
        if answer.status != 405 {
            assert_eq!(answer.error(410)["code"], "OperationTombstone", "{below}");
        }
    }
}

/// Questions leave tombstones out unless they name them.
async fn questions_find(service: &OwnService, recent: &str, good: &str, bad: &str) {
    assert_eq!(listed(service, "status eq 'succeeded'").await, [recent]);
    assert_eq!(service.count().await, 1);
    assert_eq!(listed(service, "state eq 'Tombstone'").await, [bad, good]);
    assert_eq!(listed(service, "state eq 'tombstone' and status eq 'failed'").await, [bad]);
    assert_eq!(listed(service, "state eq 'Tombstone' and status ne 'failed'").await, [good]);
    assert_eq!(listed(service, "state eq 'Tombstone' and error/code eq 'StepFailed'").await, [bad]);
    assert_eq!(listed(service, "state eq 'Tombstone' and percentComplete eq 100").await, [good]);
}

#[tokio::test]
async fn row_179_what_ended_long_ago_is_a_tombstone() {
    let service = own_service(keeping(30 * DAY)).await;
    let mut database = service.database().await;
    let mut job = shell("echo said; echo '{\"a\": 1}' > $SUT_OUTPUT");
    job["labels"] = json!({"branch": "main"});
    job["context"] = json!({"seen": true});
    let key = [("idempotency-key", "once")];
    let good = service.submit_with(&job, &key).await.url;
    let bad = service.submit(&shell("exit 3")).await.url;
    let recent = service.submit(&shell("true")).await.url;
    let mut before = service.ended(&good).await;
    service.ended(&bad).await;
    service.ended(&recent).await;
    let (good, good_id) = aged(&mut database, &good, 3).await;
    let (bad, bad_id) = aged(&mut database, &bad, 5).await;

    let mut after = tombstone(&service, &good).await;
    assert!(after["lastActionDateTime"].as_str() > before["lastActionDateTime"].as_str());
    for gone in
        ["id", "createdDateTime", "lastActionDateTime", "resourceLocation", "state", "result"]
    {
        before.as_object_mut().expect("an object").remove(gone);
        after.as_object_mut().expect("an object").remove(gone);
    }
    assert_eq!(after, before, "status, name, labels and counts are kept");
    let failed = tombstone(&service, &bad).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("StepFailed"))
    );

    until_dropped(&mut database, "event", good_id).await;
    for table in ["attempt", "output", "operation_data", "step_chunk", "prompt", "message", "tie"] {
        until_dropped(&mut database, table, good_id).await;
    }
    assert!(has_day(&mut database, "operation", good_id).await);

    nothing_is_below(&service, &good).await;
    let rerun = service.send("POST", &format!("{good}/rerun"), &[], Some(b"{}".into())).await;
    assert_eq!(rerun.error(410)["code"], "OperationTombstone");
    let streamed = service.get_with(&format!("{good}/events"), "accept", "text/event-stream").await;
    assert_eq!(streamed.error(410)["code"], "OperationTombstone");
    assert_eq!(service.delete(&good).await.expect(200).json()["status"], "succeeded");
    service.get(&format!("/v1.0/jobsets/{good_id}")).await.expect(200);

    let (good_id, bad_id) = (good_id.to_string(), bad_id.to_string());
    let recent = recent.rsplit('/').next().expect("an id");
    questions_find(&service, recent, &good_id, &bad_id).await;

    // The same request again makes nothing new.
    let again = service.submit_with(&job, &key).await;
    assert_eq!(again.id(), good_id);
    service.end().await;
}

#[tokio::test]
async fn row_180_what_was_a_tombstone_for_long_is_not_found() {
    let service = own_service(keeping(Duration::ZERO)).await;
    let mut database = service.database().await;
    let headers = [("operation-id", "mine")];
    let made = service.submit_with(&shell("true"), &headers).await;
    service.ended(&made.url).await;
    let id: Uuid = sqlx::query_scalar("select operation from idempotency_key where kind = 0")
        .fetch_one(&mut database)
        .await
        .expect("an alias");
    let older = age(&mut database, id, 3).await;
    until_dropped(&mut database, "operation", older).await;
    assert!(!has_day(&mut database, "event", older).await);
    let error = service.get(&format!("/v1.0/operations/{older}")).await.error(404);
    assert!(error["message"].as_str().expect("a text").contains("is kept for 1d"), "{error}");
    service.get(&made.url).await.error(404);
    // Its name is free again.
    let again = service.submit_with(&shell("true"), &headers).await;
    assert_eq!(service.ended(&again.url).await["id"], "mine");
    service.end().await;
}

#[tokio::test]
async fn what_is_live_on_an_old_day_keeps_what_it_needs() {
    let service = own_service(keeping(Duration::ZERO)).await;
    let mut database = service.database().await;
    let mut waiting = shell("true");
    waiting["start"] = json!("manual");
    let live = service.submit(&waiting).await.url;
    let over = service.submit(&shell("true")).await.url;
    service.ended(&over).await;
    // On one day, so that each is in the way of the other.
    let (over, id) = aged(&mut database, &over, 3).await;
    let (live, _) = aged(&mut database, &live, 3).await;
    tombstone(&service, &over).await;
    assert_eq!(
        service.get(&format!("{over}/events")).await.error(410)["code"],
        "OperationTombstone"
    );
    assert_eq!(service.get(&live).await.expect(200).json()["state"], "NotStarted");
    let start = service.send("POST", &format!("{live}/start"), &[], Some(b"{}".into())).await;
    start.expect(200);
    assert_eq!(service.ended(&live).await["state"], "Succeeded");
    // It ended just now: it is kept, and so is its day.
    for _ in 0..5 {
        sleep(Duration::from_millis(50)).await;
        service.get(&format!("{live}/events")).await.expect(200);
    }
    assert!(has_day(&mut database, "event", id).await);
    service.end().await;
}
