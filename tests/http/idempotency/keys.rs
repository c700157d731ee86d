//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), and several keys at once.

use chrono::TimeDelta;
use serde_json::json;

use super::{assert_replayed, job, job_rewritten, key, sent};
use crate::support::{own_service, service};

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn row_073_the_second_answer_is_the_first() {
    let service = own_service(|_| {}).await;
    let quoted = format!("\"{}\"", key());
    let first = service.post_named(&job(), KEY, &quoted).await;
    service.ended(first.header("operation-location")).await;
    for body in [job().to_string(), job_rewritten()] {
        assert_replayed(&first, &service.post(body, &[(KEY, &quoted)]).await);
    }
    assert_eq!(service.count().await, 1);
}

#[tokio::test]
async fn row_074_another_payload() {
    let service = own_service(|s| s.slots = 0).await;
    let quoted = format!("\"{}\"", key());
    let first = service.post_named(&job(), KEY, &quoted).await;
    let other = json!({"steps": [{"name": "other"}]});
    let error = service.post_named(&other, KEY, &quoted).await.error(422);
    assert_eq!(error["target"], "Idempotency-Key", "{error}");
    assert_eq!(service.count().await, 1);
    assert_replayed(&first, &service.post_named(&job(), KEY, &quoted).await);
}

#[tokio::test]
async fn row_075_quotes_may_be_left_out() {
    let (service, bare) = (service().await, key());
    let first = service.post_named(&job(), KEY, &bare).await;
    assert_replayed(&first, &service.post_named(&job(), KEY, &format!("\"{bare}\"")).await);
}

#[tokio::test]
async fn keys_have_a_form() {
    let service = own_service(|s| s.slots = 0).await;
    let too_long = "k".repeat(256);
    for key in ["", "\"\"", "\"a", "a b", "\"a\", \"b\"", "a,b", r#""a\b""#, &too_long] {
        let error = service.post_named(&job(), KEY, key).await.error(400);
        assert_eq!(error["target"], "Idempotency-Key", "{key}: {error}");
    }
    let twice = [(KEY, "\"a\""), (KEY, "\"a\"")];
    service.post(job().to_string(), &twice).await.error(400);
    assert_eq!(service.count().await, 0);
    let hostile = "\"'; drop table operation; --\"";
    let first = service.post_named(&job(), KEY, hostile).await;
    assert_replayed(&first, &service.post_named(&job(), KEY, hostile).await);
}

#[tokio::test]
async fn keys_of_each_header_are_their_own() {
    let (service, one) = (service().await, key());
    let by_key = service.post_named(&job(), KEY, &one).await;
    let by_id = service.post_named(&job(), "operation-id", &one).await;
    assert_ne!(by_key.json()["id"], by_id.json()["id"]);
}

#[tokio::test]
async fn several_keys_name_one_request() {
    let service = own_service(|s| s.slots = 0).await;
    let (one, other, now) = (key(), key(), sent(TimeDelta::zero()));
    let own = [(KEY, one.as_str()), ("operation-id", "both")];
    let first = service.post(job().to_string(), &own).await.expect(202);
    assert_eq!(first.json()["id"], "both");
    assert_replayed(&first, &service.post(job().to_string(), &own).await);
    // A key that was not there before changes nothing.
    let more = [
        (KEY, one.as_str()),
        ("operation-id", "both"),
        ("repeatability-request-id", other.as_str()),
        ("repeatability-first-sent", now.as_str()),
    ];
    assert_replayed(&first, &service.post(job().to_string(), &more).await);
    // Under another id it is another request.
    let renamed = [(KEY, one.as_str()), ("operation-id", "else")];
    service.post(job().to_string(), &renamed).await.error(422);
    service.post(job().to_string(), &[(KEY, &one)]).await.error(422);
    // Two keys of two operations name neither.
    service.post(job().to_string(), &[("operation-id", "second"), (KEY, &other)]).await.expect(202);
    let mixed = [(KEY, other.as_str()), ("operation-id", "both")];
    service.post(job().to_string(), &mixed).await.error(422);
    assert_eq!(service.count().await, 2);
}
