//! Section E: HTTP itself.

use serde_json::json;

use crate::support::{own_service, service, shell};

const UNKNOWN: &str = "/v1.0/operations/00000000-0000-7000-8000-000000000000";

#[tokio::test]
async fn row_081_082_every_error_has_the_envelope() {
    let service = service().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/v1.0", 404),
        ("GET", "/v1.0/", 404),
        ("GET", "/docs/nowhere", 404),
        ("GET", UNKNOWN, 404),
        ("POST", "/livez", 405),
        ("DELETE", "/openapi.json", 405),
        ("DELETE", "/docs/", 405),
        ("PUT", "/v1.0/operations", 405),
        ("GET", "/v1.0/operations?$top=x", 400),
        ("GET", "/v1.0/operations?%ZZ=1", 400),
        ("PATCH", "/v1.0/operations/x/context", 404),
    ] {
        let answer = service.send(method, path, &[], None).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.has("x-ms-error-code"), "{method} {path}");
        answer.error(status);
    }
    service.post("{", &[]).await.error(400);
    service.post("{}", &[("content-type", "text/plain")]).await.error(415);
}

#[tokio::test]
async fn row_083_errors_for_clients_of_problem_json() {
    let service = service().await;
    let answer = service.get_with(UNKNOWN, "accept", "application/problem+json").await;
    answer.error(404);
}

#[tokio::test]
async fn row_084_to_086_entity_tags() {
    let service = service().await;
    let submitted = service.submit(&shell("sleep 0.2")).await;
    let url = &submitted.url;
    service.running(url).await;
    let running = service.get(url).await;
    service.ended(url).await;
    let ended = service.get(url).await;
    let tag = ended.header("etag");
    assert_ne!(running.header("etag"), tag);
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let list = format!("\"other\", W/{tag}");
    for known in [tag, &list, "*"] {
        let unchanged = service.get_with(url, "if-none-match", known).await.expect(304);
        assert!(unchanged.bytes.is_empty());
        assert_eq!(unchanged.header("etag"), tag);
    }
    service.get_with(url, "if-none-match", "\"other\"").await.expect(200);

    let context = format!("{url}/context");
    let tag = service.get(&context).await.expect(200).header("etag").to_owned();
    service.get_with(&context, "if-none-match", &tag).await.expect(304);
    service.get_with(&context, "if-none-match", "\"other\"").await.expect(200);
}

#[tokio::test]
async fn row_087_conditions_that_cannot_be_evaluated() {
    let service = service().await;
    let url = service.submit(&shell("sleep 60")).await.url;
    let date = "Sat, 29 Oct 1994 19:43:31 GMT";
    for (method, name, value) in [
        ("DELETE", "if-none-match", "*"),
        ("DELETE", "if-unmodified-since", date),
        ("GET", "if-match", "\"1\""),
        ("GET", "if-unmodified-since", date),
    ] {
        let answer = service.send(method, &url, &[(name, value)], None).await;
        answer.error(412);
    }
    let before = service.get(&url).await.expect(200).json();
    assert_ne!(before["status"], "canceled");
    service.delete(&url).await;
    for name in ["if-match", "if-none-match"] {
        service.post(shell("true").to_string(), &[(name, "*")]).await.error(412);
    }
    service.get_with("/v1.0/operations", "if-match", "\"1\"").await.error(412);
}

#[tokio::test]
async fn row_087_conditions_of_the_context() {
    let service = service().await;
    let url = service.submit(&shell("sleep 60")).await.url;
    let context = format!("{url}/context");
    let patch = |value: u32, condition: Vec<(&'static str, String)>| {
        let (service, context) = (&service, &context);
        async move {
            let mut headers = vec![("content-type", "application/merge-patch+json")];
            headers.extend(condition.iter().map(|(name, value)| (*name, value.as_str())));
            let body = json!({"n": value}).to_string().into_bytes();
            service.send("PATCH", context, &headers, Some(body)).await
        }
    };
    let first = patch(1, vec![]).await.expect(200);
    let tag = first.header("etag").to_owned();
    let second = patch(2, vec![("if-match", tag.clone())]).await.expect(200);
    assert_eq!(second.json(), json!({"n": 2}));
    patch(3, vec![("if-match", tag)]).await.error(412);
    assert_eq!(service.get(&context).await.json(), json!({"n": 2}));
    service.delete(&url).await;
}

#[tokio::test]
async fn row_088_operations_are_not_cached() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    for url in [url.as_str(), "/v1.0/operations"] {
        let answer = service.get(url).await;
        let control = answer.header("cache-control");
        assert!(control.contains("no-cache") || control.contains("no-store"), "{url}: {control}");
    }
}

#[tokio::test]
async fn row_090_a_server_that_drains_ends_waits() {
    let service = own_service(|s| s.slots = 0).await;
    let url = service.submit(&shell("true")).await.url;
    let known = service.get(&url).await.header("etag").to_owned();
    let waiter = (*service).clone();
    let waiting = tokio::spawn(async move {
        let headers = [("prefer", "wait=60"), ("if-none-match", known.as_str())];
        waiter.send("GET", &url, &headers, None).await
    });
    // The waiting request is under way once others are answered that came after it.
    tokio::task::yield_now().await;
    service.get("/readyz").await.expect(200);
    drop(service);
    if let Ok(answer) = waiting.await {
        assert!([200, 304].contains(&answer.status));
    }
}

#[tokio::test]
async fn row_091_no_rate_headers_of_the_older_draft() {
    let service = service().await;
    let answer = service.get("/v1.0/operations?$top=1").await;
    for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
        assert!(!answer.has(name));
    }
}

#[tokio::test]
async fn row_092_no_retry_after_on_client_errors() {
    let service = service().await;
    // `error` looks at it for every status.
    service.get(UNKNOWN).await.error(404);
    service.delete(UNKNOWN).await.error(404);
    service.post("[]", &[]).await.error(400);
    service.get_with("/v1.0/operations", "accept", "image/png").await.error(406);
}

#[tokio::test]
async fn row_093_cors() {
    let service = own_service(|s| s.cors_origins = vec!["https://ci.example".to_owned()]).await;
    let url = service.submit(&shell("true")).await.url;
    let ask = [("origin", "https://ci.example"), ("access-control-request-method", "DELETE")];
    let answer = service.send("OPTIONS", &url, &ask, None).await;
    assert!([200, 204].contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), "https://ci.example");
    assert!(answer.header("access-control-allow-methods").contains("DELETE"));

    let answer = service.get_with(&url, "origin", "https://ci.example").await;
    let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
    for name in ["operation-location", "location", "retry-after", "etag"] {
        assert!(exposed.split(',').any(|known| known.trim() == name), "{name}: {exposed}");
    }
    let answer = service.get_with(&url, "origin", "https://evil.example").await;
    assert!(!answer.has("access-control-allow-origin"));
    let foreign = [("origin", "https://evil.example")];
    service.post(shell("true").to_string(), &foreign).await.error(403);
    service.post(shell("true").to_string(), &ask[..1]).await.expect(202);
}

#[tokio::test]
async fn row_094_methods_have_a_case() {
    let service = service().await;
    let answer = service.send("get", "/v1.0/operations", &[], None).await;
    answer.error(405);
}

#[tokio::test]
async fn requests_that_are_not_http_leave_the_service_alone() {
    let service = service().await;
    for request in [
        &b"\r\n\r\n\r\n\r\nHELLO\r\n\r\n"[..],
        b"GET /v1.0/operations HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1.0/jobsets HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1.0/jobsets HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        b"POST /v1.0/jobsets HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    ] {
        let answer = service.raw(request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let no_host = service.raw(b"GET /v1.0/operations HTTP/1.0\r\n\r\n").await;
    assert!(no_host.contains("MissingHost") && no_host.starts_with("HTTP/1.0 400 "), "{no_host}");
    for host in ["a b", "x/../y", "evil\"", "a@b", "<script>"] {
        let text =
            format!("GET /v1.0/operations HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = service.raw(text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    service.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn an_attempt_that_never_was_has_no_output() {
    let service = service().await;
    let url = service.submit(&shell("printf out; printf err >&2")).await.url;
    service.ended(&url).await;
    let output = format!("{url}/steps/only/output");
    for (query, text) in
        [("", "outerr"), ("?stream=stdout&attempt=1", "out"), ("?stream=stderr", "err")]
    {
        let answer = service.get(&format!("{output}{query}")).await.expect(200);
        let mut letters: Vec<char> = answer.text().chars().collect();
        let mut expected: Vec<char> = text.chars().collect();
        // Which of the streams is read first is not told.
        letters.sort_unstable();
        expected.sort_unstable();
        assert_eq!(letters, expected, "{query}");
    }
    for attempt in [0, 2, i32::MAX] {
        service.get(&format!("{output}?attempt={attempt}")).await.error(404);
    }
    service.get(&format!("{output}?stream=stdin")).await.error(400);
    let error = service.get(&format!("{url}/steps/onyl")).await.error(404);
    assert!(error["message"].as_str().unwrap().contains("did you mean `only`?"), "{error}");
}
