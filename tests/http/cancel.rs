//! Section C: states and cancelling.

use serde_json::{Value, json};

use crate::support::{own_service, service, shell};

const STATUSES: [&str; 5] = ["notstarted", "running", "succeeded", "failed", "canceled"];

#[tokio::test]
async fn row_046_to_048_states() {
    let service = service().await;
    for (text, state) in [("true", "Succeeded"), ("exit 1", "Failed")] {
        let url = service.submit(&shell(text)).await.url;
        let ended = service.ended(&url).await;
        assert_eq!(ended["state"], state);
        assert!(STATUSES.contains(&ended["status"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn row_049_timeout_is_a_failure_for_pollers() {
    let service = service().await;
    let mut job = shell("sleep 60");
    job["deadline"] = json!("200ms");
    let url = service.submit(&job).await.url;
    let ended = service.ended(&url).await;
    assert_eq!(ended["status"], "failed");
    assert_eq!(ended["state"], "Timeout");
    assert_eq!(ended["error"]["code"], "OperationTimeout");
}

#[tokio::test]
async fn row_051_cancelled_before_it_ran() {
    let service = own_service(|s| s.slots = 0).await;
    let url = service.submit(&shell("true")).await.url;
    let answer = service.delete(&format!("{url}?reason=not%20needed%26more")).await.expect(200);
    let operation = answer.json();
    assert_eq!(operation["status"], "canceled");
    assert_eq!(operation["cancellation"]["reason"], "not needed&more");
    let events = service.get(&format!("{url}/events")).await.json();
    let entered: Vec<&Value> =
        events["value"].as_array().unwrap().iter().map(|event| &event["state"]).collect();
    assert!(!entered.contains(&&json!("Running")), "{events}");
}

#[tokio::test]
async fn row_052_cancelled_while_it_runs() {
    let service = service().await;
    // The step ignores the first signal, so that cancelling can be seen.
    let mut job = shell("trap '' TERM; while :; do sleep 0.1; done");
    job["steps"][0]["grace"] = json!("1s");
    let url = service.submit(&job).await.url;
    service.running(&url).await;
    let answer = service.delete(&url).await.expect(202);
    assert_eq!(answer.json()["state"], "Cancelling");
    assert_eq!(answer.json()["status"], "running");
    assert_eq!(answer.header("operation-location"), url);
    assert!(answer.header("retry-after").parse::<u32>().expect("seconds") >= 1);
    assert_eq!(service.ended(&url).await["state"], "Cancelled");
}

#[tokio::test]
async fn row_053_cancelling_again_changes_nothing() {
    let service = service().await;
    let url = service.submit(&shell("sleep 60")).await.url;
    service.running(&url).await;
    let cancel = || async { service.delete(&url).await };
    let answers = tokio::join!(cancel(), cancel(), cancel(), cancel(), cancel());
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        assert!([200, 202].contains(&answer.status), "{}", answer.text());
    }
    let ended = service.ended(&url).await;
    assert_eq!(service.delete(&url).await.expect(200).json(), ended);
    assert_eq!(service.delete(&format!("{url}?reason=late")).await.expect(200).json(), ended);
    let events = service.get(&format!("{url}/events")).await.json();
    let events = events["value"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["kind"] == "cancelRequested").count(), 1);
}

#[tokio::test]
async fn row_054_cancelling_what_has_ended() {
    let service = service().await;
    for text in ["true", "exit 1"] {
        let url = service.submit(&shell(text)).await.url;
        let ended = service.ended(&url).await;
        for _ in 0..2 {
            assert_eq!(service.delete(&url).await.expect(200).json(), ended);
        }
        assert_eq!(service.get(&url).await.json(), ended);
    }
}

#[tokio::test]
async fn row_055_not_cancellable() {
    let service = service().await;
    let mut job = shell("sleep 0.5");
    job["cancellable"] = json!(false);
    let url = service.submit(&job).await.url;
    let answer = service.delete(&url).await;
    answer.error(405);
    assert_eq!(answer.header("allow"), "GET, HEAD");
    assert_eq!(service.ended(&url).await["status"], "succeeded");
}

#[tokio::test]
async fn row_056_cancelling_what_is_not_there() {
    let service = service().await;
    for _ in 0..2 {
        service.delete("/v1.0/operations/00000000-0000-7000-8000-000000000000").await.error(404);
    }
}

#[tokio::test]
async fn row_057_058_a_cancelled_operation_stays() {
    let service = service().await;
    let url = service.submit(&shell("sleep 60")).await.url;
    service.delete(&url).await;
    service.ended(&url).await;
    let operation = service.get(&url).await.expect(200).json();
    assert_eq!(operation["status"], "canceled");
    assert_eq!(operation["state"], "Cancelled");
    assert!(operation.get("result").is_none() && operation["cancellation"].is_object());
}

#[tokio::test]
async fn row_059_one_end_however_close_the_race() {
    let service = service().await;
    for _ in 0..10 {
        let url = service.submit_with(&shell("true"), &[("prefer", "return=minimal")]).await.url;
        let answer = service.delete(&url).await;
        assert!([200, 202].contains(&answer.status), "{}", answer.text());
        let ended = service.ended(&url).await;
        assert!(["canceled", "succeeded"].contains(&ended["status"].as_str().unwrap()), "{ended}");
        assert_eq!(service.get(&url).await.json(), ended);
        let events = service.get(&format!("{url}/events")).await.json();
        let finals = events["value"].as_array().unwrap().iter().filter(|event| {
            ["Succeeded", "Failed", "Cancelled"].contains(&event["state"].as_str().unwrap_or(""))
        });
        assert_eq!(finals.count(), 1, "{events}");
    }
}

#[tokio::test]
async fn row_060_a_stale_condition_cancels_nothing() {
    let service = service().await;
    let submitted = service.submit(&shell("sleep 60")).await;
    let url = &submitted.url;
    service.running(url).await;
    for stale in ["\"1\"", "\"not ours\"", "W/\"2\"", "\"1\", \"999\"", ""] {
        let answer = service.send("DELETE", url, &[("if-match", stale)], None).await;
        assert_eq!(answer.error(412)["target"], "If-Match");
    }
    assert_eq!(service.get(url).await.json()["state"], "Running");
    let fresh = service.get(url).await.header("etag").to_owned();
    let answer = service.send("DELETE", url, &[("if-match", &fresh)], None).await;
    assert!([200, 202].contains(&answer.status), "{}", answer.text());
}

#[tokio::test]
async fn row_061_the_collection_is_not_deleted() {
    let service = service().await;
    let answer = service.delete("/v1.0/operations").await;
    answer.error(405);
    let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD"]);
}
