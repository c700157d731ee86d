//! Section B: the status monitor.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::support::{own_service, service, shell};

fn time(operation: &Value, field: &str) -> DateTime<Utc> {
    let text = operation[field].as_str().expect("a time");
    assert!(text.ends_with('Z') && text.contains('T'), "{text}");
    text.parse().expect("RFC 3339")
}

#[tokio::test]
async fn row_023_200_in_every_state() {
    let service = service().await;
    for text in ["true", "exit 3", "sleep 60"] {
        let url = service.submit(&shell(text)).await.url;
        if text == "sleep 60" {
            service.running(&url).await;
            service.get(&url).await.expect(200);
            service.delete(&url).await.expect(202);
        }
        service.ended(&url).await;
        service.get(&url).await.expect(200);
    }
}

#[tokio::test]
async fn row_024_retry_after_until_it_has_ended() {
    let service = own_service(|s| s.slots = 0).await;
    let url = service.submit(&shell("true")).await.url;
    let answer = service.get(&url).await;
    assert_eq!(answer.json()["status"], "notstarted");
    assert!(answer.header("retry-after").parse::<u32>().expect("seconds") >= 1);
    let known = answer.header("etag");
    let unchanged = service.get_with(&url, "if-none-match", known).await.expect(304);
    assert!(unchanged.has("retry-after"));
}

#[tokio::test]
async fn row_025_no_retry_after_at_the_end() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    service.ended(&url).await;
    assert!(!service.get(&url).await.has("retry-after"));
}

#[tokio::test]
async fn row_026_027_what_every_operation_has() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    let first = service.get(&url).await.json();
    for operation in [first, service.ended(&url).await] {
        assert!(operation["id"].is_string() && operation["status"].is_string());
        assert!(operation["state"].is_string());
        assert!(time(&operation, "createdDateTime") <= time(&operation, "lastActionDateTime"));
    }
}

#[tokio::test]
async fn row_028_029_times_and_transitions() {
    let service = service().await;
    let submitted = service.submit(&shell("sleep 0.3")).await;
    let mut seen = vec![submitted.answer.json(), service.running(&submitted.url).await];
    seen.push(service.ended(&submitted.url).await);
    seen.push(service.get(&submitted.url).await.json());
    for pair in seen.windows(2) {
        let times = [0, 1].map(|n| time(&pair[n], "lastActionDateTime"));
        // A step may start in the very millisecond in which it was submitted.
        assert!(times[0] <= times[1]);
        if pair[0]["state"] == pair[1]["state"] {
            assert_eq!(times[0], times[1]);
        }
        assert_eq!(pair[0]["createdDateTime"], pair[1]["createdDateTime"]);
        assert_eq!(pair[0]["id"], pair[1]["id"]);
    }
}

#[tokio::test]
async fn row_030_progress() {
    let service = service().await;
    let names = ["a", "b", "c", "d"];
    let steps: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "run": {"shell": "sleep 0.1"}})).collect();
    let job = json!({"steps": steps, "maxConcurrency": 1});
    let submitted = service.submit(&job).await;
    let mut last = submitted.answer.json()["percentComplete"].as_f64().expect("a number");
    let mut known = submitted.answer.header("etag").to_owned();
    while last < 100.0 {
        let headers = [("prefer", "wait=5"), ("if-none-match", known.as_str())];
        let answer = service.send("GET", &submitted.url, &headers, None).await.expect(200);
        let operation = answer.json();
        let now = operation["percentComplete"].as_f64().expect("a number");
        assert!((last..=100.0).contains(&now), "{last} {now}");
        assert_eq!(operation["status"] == "succeeded", now >= 100.0, "{operation}");
        last = now;
        answer.header("etag").clone_into(&mut known);
    }
}

#[tokio::test]
async fn row_031_032_the_resource_is_there_once_it_ended() {
    let service = service().await;
    let submitted = service.submit(&shell("sleep 0.2")).await;
    let running = service.running(&submitted.url).await;
    assert!(running.get("resourceLocation").is_none(), "{running}");
    let ended = service.ended(&submitted.url).await;
    let place = ended["resourceLocation"].as_str().expect("a link");
    assert!(place.starts_with(&service.base));
    let jobset = service.get(place).await.expect(200).json();
    assert_eq!(jobset["definition"]["steps"][0]["run"]["shell"], "sleep 0.2");
    assert_eq!(jobset["operationLocation"], submitted.url);
}

#[tokio::test]
async fn row_033_result() {
    let service = service().await;
    let text = r#"echo '{"port": 8080}' > "$SUT_OUTPUT""#;
    let url = service.submit(&shell(text)).await.url;
    let ended = service.ended(&url).await;
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(ended["result"], json!({"only": {"port": 8080}}));
    assert!(ended.get("error").is_none(), "{ended}");
}

#[tokio::test]
async fn row_034_to_036_error() {
    let service = service().await;
    let write = r#"echo '{"a": 1}' > "$SUT_OUTPUT";"#;
    let steps = json!([{"name": "a", "run": {"shell": format!("{write} exit 3")}},
        {"name": "b", "run": {"command": ["/nowhere/to/be/found"]}},
        {"name": "c", "run": {"shell": "sleep 60"}, "timeout": "100ms"}]);
    let url = service.submit(&json!({"steps": steps})).await.url;
    let mut late = shell("sleep 60");
    late["deadline"] = json!("200ms");
    let late = service.submit(&late).await.url;
    for (url, code) in [(url, "StepFailed"), (late, "OperationTimeout")] {
        let ended = service.ended(&url).await;
        assert_eq!(ended["status"], "failed");
        assert_eq!(ended["error"]["code"], code);
        assert!(!ended["error"]["message"].as_str().expect("a text").is_empty());
        assert!(ended.get("result").is_none(), "{ended}");
        if let Some(inner) = ended["error"].get("innererror") {
            assert!(inner["message"].is_string(), "{inner}");
        }
        let details =
            ended["error"].get("details").map(|details| details.as_array().expect("a list"));
        assert_eq!(details.map_or(0, Vec::len), if code == "StepFailed" { 3 } else { 0 });
        for detail in details.into_iter().flatten() {
            assert!(detail["code"].is_string() && detail["message"].is_string(), "{detail}");
        }
    }
}

#[tokio::test]
async fn row_037_038_unknown_operations() {
    let service = service().await;
    for id in [
        "00000000-0000-7000-8000-000000000000",
        "not%20valid%2F..",
        "%FF%FE",
        "%00",
        "00000000000070008000000000000000",
        "$metadata",
        "..%2f..%2fetc",
        "%F0%9F%98%80",
    ] {
        service.get(&format!("/v1.0/operations/{id}")).await.error(404);
        for below in ["steps", "events", "context", "steps/a", "steps/a/output"] {
            service.get(&format!("/v1.0/operations/{id}/{below}")).await.error(404);
        }
    }
    let long = "a".repeat(8_000);
    service.get(&format!("/v1.0/operations/{long}")).await.error(404);
}

#[tokio::test]
async fn row_039_head_is_get_without_a_body() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    service.ended(&url).await;
    let (get, head) = (service.get(&url).await, service.send("HEAD", &url, &[], None).await);
    assert_eq!(head.status, 200);
    assert!(head.bytes.is_empty());
    for name in ["etag", "content-type", "content-length", "cache-control"] {
        assert_eq!(get.header(name), head.header(name), "{name}");
    }
}

#[tokio::test]
async fn row_040_no_slash_at_the_end_and_no_unknown_parameters() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    service.get(&format!("{url}/")).await.error(404);
    assert_eq!(service.get(&format!("{url}?foo=1")).await.error(400)["target"], "foo");
    service.get(&format!("{url}?api-version=2024-01-01")).await.expect(200);
}

#[tokio::test]
async fn row_042_methods_of_an_operation() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    for method in ["PUT", "PATCH", "POST"] {
        let answer = service.send(method, &url, &[], None).await;
        answer.error(405);
        let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        // At the same path, verbs in the place of the id are POSTed.
        allowed.retain(|allowed| *allowed != "POST" || method == "POST");
        assert_eq!(allowed, ["DELETE", "GET", "HEAD"], "{method}");
    }
}

#[tokio::test]
async fn row_043_044_two_pollers_see_the_same_in_order() {
    const ORDER: [&str; 3] = ["notstarted", "running", "succeeded"];
    let service = service().await;
    let url = service.submit(&shell("sleep 0.3")).await.url;
    let poll = || async {
        let mut seen = vec![0];
        while *seen.last().unwrap() < 2 {
            let operation = service.get(&url).await.expect(200).json();
            let status = operation["status"].as_str().expect("a status").to_owned();
            let rank = ORDER.iter().position(|known| *known == status).expect("a known status");
            assert!(rank >= *seen.last().unwrap(), "never back: {status}");
            seen.push(rank);
        }
        seen.dedup();
        seen
    };
    let (one, other) = tokio::join!(poll(), poll());
    assert_eq!(one, other);
}

#[tokio::test]
async fn row_045_accept() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    for refused in ["application/xml", "text/html", "application/json;q=0"] {
        assert_eq!(service.get_with(&url, "accept", refused).await.error(406)["target"], "Accept");
    }
    for taken in ["*/*", "application/*", "text/html, application/xml;q=0.9, */*;q=0.8"] {
        service.get_with(&url, "accept", taken).await.expect(200);
    }
}
