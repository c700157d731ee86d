//! `Repeatability-Request-ID` and `Repeatability-First-Sent` (OASIS Repeatable Requests 1.0).

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::{assert_replayed, job, job_rewritten, key, sent};
use crate::support::{Answer, own_service, service, shell};

const REQUEST_ID: &str = "repeatability-request-id";
const FIRST_SENT: &str = "repeatability-first-sent";
/// As its source writes it.
const FIRST_SENT_SHOWN: &str = "Repeatability-First-Sent";

#[track_caller]
fn assert_rejected(answer: &Answer, status: u16, target: &str) {
    let error = answer.error(status);
    assert_eq!(answer.header("repeatability-result"), "rejected", "{error}");
    assert_eq!(error["target"], target, "{error}");
}

#[tokio::test]
async fn row_063_accepted() {
    let (service, id, now) = (service().await, key(), sent(TimeDelta::zero()));
    let answer = service.submit_with(&job(), &[(REQUEST_ID, &id), (FIRST_SENT, &now)]).await.answer;
    assert_eq!(answer.header("repeatability-result"), "accepted");
    let unasked = service.submit(&job()).await.answer;
    assert!(!unasked.has("repeatability-result"));
}

#[tokio::test]
async fn row_064_the_same_again_is_the_same_operation() {
    let service = own_service(|_| {}).await;
    let (id, now) = (key(), sent(TimeDelta::zero()));
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str())];
    let first = service.post(job().to_string(), &headers).await;
    let monitor = service.ended(first.header("operation-location")).await;
    assert_eq!(monitor["status"], "succeeded");
    // Also when it has ended meanwhile, and however its JSON is written.
    for body in [job().to_string(), job_rewritten()] {
        let again = service.post(body, &headers).await;
        assert_eq!(again.header("repeatability-result"), "accepted");
        assert_replayed(&first, &again);
        assert_eq!(again.json()["status"], "notstarted");
    }
    assert_eq!(service.count().await, 1);
}

#[tokio::test]
async fn row_064_preferences_are_of_each_request() {
    let (service, id, now) = (service().await, key(), sent(TimeDelta::zero()));
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str())];
    let first = service.submit_with(&shell("false"), &headers).await;
    service.ended(&first.url).await;
    for prefer in ["return=minimal", "wait=30"] {
        let mut headers = headers.to_vec();
        headers.push(("prefer", prefer));
        let again = service.submit_with(&shell("false"), &headers).await;
        assert_eq!(again.url, first.url);
        assert_eq!(again.answer.header("preference-applied"), prefer);
        // A 202 never tells of an end.
        assert!(again.answer.bytes.is_empty() || again.answer.json()["status"] == "notstarted");
    }
}

#[tokio::test]
async fn row_065_another_body() {
    let service = own_service(|s| s.slots = 0).await;
    let (id, now) = (key(), sent(TimeDelta::zero()));
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str())];
    service.submit_with(&job(), &headers).await;
    for (field, value) in [
        ("steps", json!([{"name": "other"}])),
        ("labels", json!({"a": "2", "b": "2"})),
        ("context", json!({"seed": 6})),
        ("name", json!("other")),
    ] {
        let mut other = job();
        other[field] = value;
        let answer = service.post(other.to_string(), &headers).await;
        assert_rejected(&answer, 400, "Repeatability-Request-ID");
    }
    assert_eq!(service.count().await, 1);
}

#[tokio::test]
async fn row_066_another_route() {
    let (service, id, now) = (service().await, key(), sent(TimeDelta::zero()));
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str())];
    service.submit_with(&job(), &headers).await;
    let mut all = headers.to_vec();
    all.push(("content-type", "application/json"));
    let answer = service.send("POST", "/beta/jobsets", &all, Some(job().to_string().into())).await;
    assert_rejected(&answer, 400, "Repeatability-Request-ID");
}

#[tokio::test]
async fn row_067_one_of_two_headers() {
    let service = own_service(|s| s.slots = 0).await;
    let answer = service.post_named(&job(), REQUEST_ID, &key()).await;
    assert_rejected(&answer, 400, "Repeatability-First-Sent");
    let answer = service.post_named(&job(), FIRST_SENT, &sent(TimeDelta::zero())).await;
    assert_rejected(&answer, 400, "Repeatability-Request-ID");
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn row_068_a_date_of_another_form() {
    let service = service().await;
    for date in [
        "Sunday, 06-Nov-94 08:49:37 GMT".to_owned(),
        "Sun Nov  6 08:49:37 1994".to_owned(),
        sent(TimeDelta::zero()).replace("GMT", "+0000"),
        sent(TimeDelta::zero()).to_lowercase(),
        "2026-01-31T12:01:03Z".to_owned(),
        "1769860863".to_owned(),
        "yesterday".to_owned(),
        String::new(),
    ] {
        let headers = [(REQUEST_ID, key()), (FIRST_SENT, date)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = service.post(job().to_string(), &headers).await;
        assert_rejected(&answer, 400, FIRST_SENT_SHOWN);
    }
}

#[tokio::test]
async fn row_069_out_of_the_window() {
    let window = Duration::from_mins(10);
    let service = own_service(|s| (s.slots, s.repeatability_window) = (0, window)).await;
    for minutes in [-11, -60 * 24, 6, 60] {
        let (id, date) = (key(), sent(TimeDelta::minutes(minutes)));
        let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, date.as_str())];
        assert_rejected(&service.post(job().to_string(), &headers).await, 412, FIRST_SENT_SHOWN);
    }
    assert_eq!(service.count().await, 0);
    for minutes in [-9, 4] {
        let (id, date) = (key(), sent(TimeDelta::minutes(minutes)));
        service.submit_with(&job(), &[(REQUEST_ID, &id), (FIRST_SENT, &date)]).await;
    }
}

#[tokio::test]
async fn row_070_reading_ignores_them() {
    let service = service().await;
    let submitted = service.submit(&job()).await;
    for method in ["GET", "HEAD"] {
        for headers in [
            &[(REQUEST_ID, "x"), (FIRST_SENT, "yesterday")][..],
            &[(REQUEST_ID, "x")],
            &[(FIRST_SENT, "x"), ("idempotency-key", "\""), ("operation-id", "a b")],
        ] {
            let answer = service.send(method, &submitted.url, headers, None).await.expect(200);
            assert!(!answer.has("repeatability-result"));
        }
    }
}

#[tokio::test]
async fn row_071_elsewhere_nothing_is_repeatable() {
    let service = service().await;
    let submitted = service.submit(&json!({"steps": [{"name": "a"}], "start": "manual"})).await;
    let (id, now) = (key(), sent(TimeDelta::zero()));
    let json = ("content-type", "application/json");
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str()), json];
    for (method, path, body) in [
        ("POST", "/start", "{}"),
        ("POST", "/rerun", "{}"),
        ("POST", "/messages", r#"{"message": 1}"#),
        ("PATCH", "/context", r#"{"seed": 1}"#),
    ] {
        let url = format!("{}{path}", submitted.url);
        let answer = service.send(method, &url, &headers, Some(body.into())).await;
        assert_eq!(answer.error(501)["code"], "RepeatabilityNotSupported");
        assert_eq!(answer.header("repeatability-result"), "rejected");
    }
    let operation = service.get(&submitted.url).await.json();
    assert_eq!(operation["state"], "NotStarted");
    assert_eq!(service.get(&format!("{}/context", submitted.url)).await.json(), json!({}));
    // What may be repeated anyway is not refused.
    service.send("DELETE", &submitted.url, &headers, None).await.expect(200);
}

#[tokio::test]
async fn a_refused_request_is_rejected_and_its_id_stays_free() {
    let (service, id, now) = (service().await, key(), sent(TimeDelta::zero()));
    let headers = [(REQUEST_ID, id.as_str()), (FIRST_SENT, now.as_str())];
    let answer = service.post(json!({"steps": []}).to_string(), &headers).await;
    answer.error(400);
    assert_eq!(answer.header("repeatability-result"), "rejected");
    let more = [headers[0], headers[1], ("operation-id", "a/b")];
    assert_rejected(&service.post(job().to_string(), &more).await, 400, "Operation-Id");
    service.submit_with(&job(), &headers).await;
}

#[tokio::test]
async fn ids_are_those_of_a_client_that_names_itself() {
    let (service, id, now) = (service().await, key(), sent(TimeDelta::zero()));
    let mut urls = Vec::new();
    for client in ["one", "other", "one"] {
        let headers =
            [(REQUEST_ID, id.as_str()), (FIRST_SENT, &now), ("repeatability-client-id", client)];
        urls.push(service.submit_with(&job(), &headers).await.url);
    }
    assert_eq!(urls[0], urls[2]);
    assert_ne!(urls[0], urls[1]);
}

#[tokio::test]
async fn ids_have_a_limit() {
    let (service, now) = (service().await, sent(TimeDelta::zero()));
    let (longest, too_long) = ("i".repeat(248) + &key()[..7], "i".repeat(256));
    service.submit_with(&job(), &[(REQUEST_ID, &longest), (FIRST_SENT, &now)]).await;
    for id in ["", "a b", "a\tb", &too_long] {
        let answer = service.post(job().to_string(), &[(REQUEST_ID, id), (FIRST_SENT, &now)]).await;
        assert_rejected(&answer, 400, "Repeatability-Request-ID");
    }
    let twice = [(REQUEST_ID, "a"), (REQUEST_ID, "b"), (FIRST_SENT, &now)];
    assert_rejected(
        &service.post(job().to_string(), &twice).await,
        400,
        "Repeatability-Request-ID",
    );
}
