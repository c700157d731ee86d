//! Section A: submitting.

use chrono::DateTime;
use serde_json::json;

use crate::support::{own_service, service, shell, targets};

#[tokio::test]
async fn row_001_always_202() {
    let service = service().await;
    service.post(shell("true").to_string(), &[]).await.expect(202);
    let milestone = json!({"steps": [{"name": "done at once"}]});
    service.post(milestone.to_string(), &[("prefer", "wait=30")]).await.expect(202);
}

#[tokio::test]
async fn row_002_operation_location_is_absolute() {
    let service = service().await;
    let submitted = service.submit(&shell("true")).await;
    assert!(submitted.url.starts_with(&format!("{}/v1.0/operations/", service.base)));
}

#[tokio::test]
async fn row_003_links_have_the_host_of_the_request_or_the_configured_one() {
    let job = shell("true");
    let service = service().await;
    let headers = [("host", "other.example:81"), ("x-forwarded-host", "evil.example")];
    let submitted = service.submit_with(&job, &headers).await;
    assert!(submitted.url.starts_with("http://other.example:81/v1.0/operations/"));
    drop(service);

    let own = own_service(|s| s.public_url = Some("https://ci.example/".to_owned())).await;
    let submitted = own.submit_with(&job, &headers).await;
    assert!(submitted.url.starts_with("https://ci.example/v1.0/operations/"));
    let path = submitted.url.replace("https://ci.example", "");
    let ended = own.ended(&path).await;
    let place = ended["resourceLocation"].as_str().expect("a link");
    assert!(place.starts_with("https://ci.example/v1.0/jobsets/"), "{place}");
}

#[tokio::test]
async fn row_004_retry_after_is_in_seconds() {
    let submitted = service().await.submit(&shell("true")).await;
    let seconds: u32 = submitted.answer.header("retry-after").parse().expect("whole seconds");
    assert!(seconds >= 1);
}

#[tokio::test]
async fn row_005_location_answers() {
    let service = service().await;
    let submitted = service.submit(&shell("true")).await;
    assert_eq!(submitted.answer.header("location"), submitted.url);
    service.get(&submitted.url).await.expect(200);
}

#[tokio::test]
async fn row_006_the_body_is_the_monitor() {
    let submitted = service().await.submit(&shell("true")).await;
    let body = submitted.answer.json();
    assert!(body["id"].is_string() && body["status"].is_string(), "{body}");
    assert_eq!(body["category"], "jobsets");
}

#[tokio::test]
async fn row_007_the_first_body_is_not_final() {
    let service = service().await;
    for text in ["true", "false"] {
        for prefer in ["respond-async", "wait=30"] {
            let submitted = service.submit_with(&shell(text), &[("prefer", prefer)]).await;
            let body = submitted.answer.json();
            assert!(
                ["notstarted", "running"].contains(&body["status"].as_str().unwrap()),
                "{body}"
            );
            for absent in ["error", "result", "resourceLocation"] {
                assert!(body.get(absent).is_none(), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn row_008_usual_headers() {
    let answer = service().await.submit(&shell("true")).await.answer;
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.has("content-length") || answer.has("transfer-encoding"));
    DateTime::parse_from_rfc2822(answer.header("date")).expect("a date");
}

#[tokio::test]
async fn row_009_the_operation_is_there_at_once() {
    let service = service().await;
    let submitted = service.submit(&shell("true")).await;
    assert_eq!(submitted.answer.json()["id"], submitted.id());
    assert_eq!(service.get(&submitted.url).await.expect(200).json()["id"], submitted.id());
}

#[tokio::test]
async fn row_010_equal_posts_are_two_operations() {
    let service = service().await;
    let (one, other) = (service.submit(&shell("true")).await, service.submit(&shell("true")).await);
    assert_ne!(one.url, other.url);
}

#[tokio::test]
async fn row_011_malformed_json_makes_nothing() {
    let service = own_service(|s| s.slots = 0).await;
    let error = service.post("{\"steps\": [", &[]).await.error(400);
    assert_eq!(error["code"], "InvalidJobset");
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn row_012_every_problem_has_its_place() {
    let service = own_service(|s| s.slots = 0).await;
    let job = json!({"stepz": 1, "maxConcurrency": "two", "steps": [{"run": {"shell": "x"}}]});
    let error = service.post(job.to_string(), &[]).await.error(400);
    assert!(error["target"].is_string(), "{error}");
    let targets = targets(&error);
    for place in ["stepz", "maxConcurrency", "steps[0]"] {
        assert!(targets.contains(&place), "{place}: {error}");
    }
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn row_013_other_content_types() {
    let service = service().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let error = service.post(shell("true").to_string(), &[("content-type", kind)]).await;
        assert_eq!(error.error(415)["target"], "Content-Type", "{kind}");
    }
    let kind = [("content-type", "Application/JSON; charset=utf-8")];
    service.post(shell("true").to_string(), &kind).await.expect(202);
}

#[tokio::test]
async fn row_014_too_large() {
    let service = own_service(|s| {
        s.slots = 0;
        s.max_body_bytes = 100_000;
    })
    .await;
    let error = service.post(vec![b' '; 100_001], &[]).await.error(413);
    assert!(error["message"].as_str().unwrap().contains("100000"), "{error}");
    service.post(vec![b' '; 20_000_000], &[]).await.error(413);
    service.post(vec![b' '; 100_000], &[]).await.error(400);

    let head = "POST /v1.0/jobsets HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
    let answer = service.raw(format!("{head}{}0\r\n\r\n", chunk.repeat(11)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn row_015_unknown_category() {
    let service = service().await;
    let body = Some(shell("true").to_string().into_bytes());
    let json = [("content-type", "application/json")];
    service.send("POST", "/v1.0/cakes", &json, body).await.error(404);
}

#[tokio::test]
async fn row_016_versions() {
    let service = service().await;
    let json = [("content-type", "application/json")];
    for (path, status) in [("/beta/jobsets", 202), ("/v9.9/jobsets", 404), ("/V1.0/jobsets", 404)] {
        let body = Some(shell("true").to_string().into_bytes());
        service.send("POST", path, &json, body).await.expect(status);
    }
}

#[tokio::test]
async fn row_017_unknown_headers_are_welcome() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", trace), ("x-foo", "bar")];
    service().await.submit_with(&shell("true"), &headers).await;
}

#[tokio::test]
async fn row_018_request_ids() {
    let service = service().await;
    let own = [("x-ms-client-request-id", "9c2b3d1e")];
    let one = service.submit_with(&shell("true"), &own).await.answer;
    let other = service.submit_with(&shell("true"), &own).await.answer;
    assert_eq!(one.header("x-ms-client-request-id"), "9c2b3d1e");
    assert!(one.has("x-ms-request-id"));
    assert_ne!(one.header("x-ms-request-id"), other.header("x-ms-request-id"));
}

#[tokio::test]
async fn row_019_respond_async_is_applied() {
    let headers = [("prefer", "respond-async")];
    let answer = service().await.submit_with(&shell("true"), &headers).await.answer;
    assert_eq!(answer.header("preference-applied"), "respond-async");
}

#[tokio::test]
async fn row_020_wait_is_a_202_all_the_same() {
    let service = service().await;
    let headers = [("prefer", "respond-async, wait=30")];
    let submitted = service.submit_with(&shell("true"), &headers).await;
    assert_eq!(submitted.answer.header("preference-applied"), "respond-async, wait=30");
    // It has ended: that was what the answer waited for.
    assert_eq!(service.get(&submitted.url).await.json()["status"], "succeeded");
    let submitted = service.submit_with(&shell("sleep 60"), &[("prefer", "wait=1")]).await;
    assert_eq!(submitted.answer.json()["status"], "running");
    service.delete(&submitted.url).await;
}

#[tokio::test]
async fn row_021_a_minimal_answer_keeps_its_headers() {
    let headers = [("prefer", "return=minimal")];
    let submitted = service().await.submit_with(&shell("true"), &headers).await;
    assert!(submitted.answer.bytes.is_empty());
    assert!(submitted.answer.has("retry-after") && submitted.answer.has("location"));
    assert_eq!(submitted.answer.header("preference-applied"), "return=minimal");
}

#[tokio::test]
async fn row_022_methods_of_the_category() {
    let service = service().await;
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let answer = service.send(method, "/v1.0/jobsets", &[], None).await;
        answer.error(405);
        assert_eq!(answer.header("allow"), "POST", "{method}");
    }
}
