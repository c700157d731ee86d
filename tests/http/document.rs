//! Section K: the OpenAPI document.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use crate::support::service;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

fn document() -> Value {
    serde_json::to_value(sutbot::api::openapi()).expect("a document")
}

/// Path, method and operation of everything that is documented.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            METHODS
                .into_iter()
                .filter_map(move |method| Some((path.as_str(), method, item.get(method)?)))
        })
        .collect()
}

#[test]
fn row_193_the_committed_document_is_the_generated_one() {
    let mut text = sutbot::api::openapi().to_pretty_json().expect("a document");
    text.push('\n');
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(COMMITTED, &text).expect("a file that can be written");
    }
    let committed = fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(committed == text, "openapi/openapi.json is old; run this test with UPDATE_OPENAPI=1");
}

#[test]
fn row_193_version_and_ids() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["license"]["identifier"], "Apache-2.0");
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "{method} {path}: {id} is not unique");
        assert!(operation["summary"].is_string(), "{id}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{id}: {parameter}");
        }
    }
}

#[tokio::test]
async fn row_193_the_service_shows_its_document() {
    let answer = service().await.get("/openapi.json").await.expect(200);
    assert_eq!(answer.json(), document());
    let page = service().await.get("/docs/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn row_193_every_documented_route_answers() {
    let service = service().await;
    let id = service.submit(&crate::support::shell("true")).await.id();
    service.ended(&format!("/v1.0/operations/{id}")).await;
    let document = document();
    for (path, method, operation) in operations(&document) {
        let is_verb = operation["operationId"] == "steerOperations";
        let url = path.replace("{id}", if is_verb { "pause" } else { &id });
        let url = url.replace("{name}", "only").replace("{verb}", "pause");
        let url = url.replace("{promptId}", "0-1-1").replace("{jobset}", &id).replace("{seq}", "1");
        let body = operation.get("requestBody").map(|_| b"{\"x\": 1}".to_vec());
        let json = [("content-type", "application/json")];
        let answer = service.send(&method.to_uppercase(), &url, &json, body).await;
        // The operation has ended, the body is none, all events are only streamed and no worker has
        // that id, so nothing else may be the reason.
        let expected = if path.starts_with("/v1.0/workers/") { 404 } else { 406 };
        let is_expected = [200, 400, 409, expected].contains(&answer.status);
        assert!(is_expected, "{method} {url}: {}", answer.status);
        let documented = operation["responses"].as_object().expect("responses");
        assert!(documented.contains_key(&answer.status.to_string()), "{method} {path}");
        let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        let content = &operation["responses"][answer.status.to_string()]["content"];
        assert!(content.get(&kind).is_some(), "{method} {path} {}: {kind}", answer.status);
    }
}

#[test]
fn row_197_errors_and_headers_are_documented() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let is_error = status.starts_with('4') || status.starts_with('5');
            if is_error {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(
                    schema, "#/components/schemas/ErrorEnvelope",
                    "{method} {path} {status}"
                );
            }
            if status == "503" {
                assert!(response["headers"]["Retry-After"].is_object(), "{method} {path}");
            }
        }
    }
    let accepted = &document["paths"]["/v1.0/jobsets"]["post"]["responses"]["202"]["headers"];
    for name in ["Operation-Location", "Location", "Retry-After"] {
        assert!(accepted[name].is_object(), "{name}");
    }
}
