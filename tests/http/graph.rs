//! Graphs of operations and jobsets, and the choice of their format.

use serde_json::{Value, json};

use crate::support::{own_service, service};

fn job() -> Value {
    json!({
        "name": "a \"job\" & <more>",
        "steps": [
            {"name": "first"},
            {"name": "second", "run": {"shell": "exit 1"}},
            {"name": "graph"},
            {"name": "last", "when": [{"first": ["Succeeded"], "second": ["Failed", "TimedOut"]}]},
        ],
        "successPairs": [["first", "second"]],
        "failurePairs": [["second", "graph"]],
    })
}

const DOT: &str = "text/vnd.graphviz; charset=utf-8";
const MERMAID: &str = "text/vnd.mermaid; charset=utf-8";
const SVG: &str = "image/svg+xml";

#[tokio::test]
async fn the_format_is_chosen_by_accept_or_by_parameter() {
    let service = service().await;
    let submitted = service.submit(&job()).await;
    service.ended(&submitted.url).await;
    let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                   image/png,image/svg+xml,*/*;q=0.8";
    for place in ["operations", "jobsets"] {
        let url = format!("/v1.0/{place}/{}/graph", submitted.id());
        for (accept, kind) in [
            ("*/*", DOT),
            ("text/vnd.graphviz", DOT),
            ("text/vnd.mermaid", MERMAID),
            ("image/svg+xml", SVG),
            ("image/*", SVG),
            ("text/vnd.graphviz;q=0.5, text/vnd.mermaid", MERMAID),
            (firefox, SVG),
        ] {
            let answer = service.get_with(&url, "accept", accept).await.expect(200);
            assert_eq!(answer.header("content-type"), kind, "{accept}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("vary").to_ascii_lowercase().contains("accept"));
        }
        assert_eq!(service.get(&url).await.expect(200).header("content-type"), DOT);
        for (format, kind) in [("dot", DOT), ("mermaid", MERMAID), ("svg", SVG), ("SVG", SVG)] {
            let url = format!("{url}?format={format}");
            let answer = service.get_with(&url, "accept", "text/html").await.expect(200);
            assert_eq!(answer.header("content-type"), kind);
        }
        for refused in ["text/html", "application/json", "image/png, text/plain", "*/*;q=0"] {
            let error = service.get_with(&url, "accept", refused).await.error(406);
            assert_eq!(error["target"], "Accept", "{refused}");
            assert!(error["message"].as_str().expect("a message").contains("image/svg+xml"));
        }
        let error = service.get(&format!("{url}?format=png")).await.error(400);
        assert_eq!(
            (&error["code"], &error["target"]),
            (&json!("InvalidParameter"), &json!("format"))
        );
        assert_eq!(
            service.get(&format!("{url}?fromat=dot")).await.error(400)["code"],
            "UnknownParameter"
        );
    }
}

#[tokio::test]
async fn an_operation_is_drawn_with_its_states_and_a_jobset_without() {
    let service = service().await;
    let submitted = service.submit(&job()).await;
    service.ended(&submitted.url).await;
    let dot = service.get(&format!("{}/graph", submitted.url)).await.expect(200);
    for part in [
        r#"label="a \"job\" &amp; <more>""#,
        r#"n0 [label="first\nSucceeded""#,
        r#"n1 [label="second\nFailed""#,
        r##"n0 -> n1 [color="#374151"]"##,
        "style=dashed",
        r#"label="Failed or TimedOut""#,
    ] {
        assert!(dot.text().contains(part), "{part}: {}", dot.text());
    }
    let svg = service.get(&format!("{}/graph?format=svg", submitted.url)).await.expect(200);
    assert!(svg.text().contains("<title>second: Failed</title>"), "{}", svg.text());
    let plain = service.get(&format!("/v1.0/jobsets/{}/graph", submitted.id())).await.expect(200);
    assert!(
        plain.text().contains(r#"n0 [label="first"]"#) && !plain.text().contains("\\nSucceeded")
    );
    // The name of a step is no place for a graph.
    let step = format!("{}/steps/graph", submitted.url);
    service.get_with(&step, "accept", "image/svg+xml").await.error(406);
    service.get("/v1.0/operations/00000000-0000-7000-8000-000000000000/graph").await.error(404);
}

#[tokio::test]
async fn the_entity_tag_tells_versions_and_formats_apart() {
    let service = own_service(|s| s.slots = 0).await;
    let submitted =
        service.submit(&json!({"steps": [{"name": "a", "run": {"shell": "true"}}]})).await;
    let url = format!("{}/graph", submitted.url);
    let tag = service.get(&url).await.expect(200).header("etag").to_owned();
    let known = service.get_with(&url, "if-none-match", &tag).await.expect(304);
    assert_eq!(known.header("etag"), tag);
    let svg = format!("{url}?format=svg");
    assert_ne!(service.get_with(&svg, "if-none-match", &tag).await.expect(200).header("etag"), tag);
    service.delete(&submitted.url).await;
    service.ended(&submitted.url).await;
    let answer = service.get_with(&url, "if-none-match", &tag).await.expect(200);
    assert!(answer.text().contains("Cancelled"));
}

#[tokio::test]
async fn a_graph_that_is_too_large_for_a_drawing_says_so() {
    let service = own_service(|s| s.slots = 0).await;
    let steps: Vec<Value> = (0..5_001).map(|n| json!({"name": format!("s{n}")})).collect();
    let submitted = service.submit(&json!({"steps": steps})).await;
    let url = format!("{}/graph", submitted.url);
    let error = service.get(&format!("{url}?format=svg")).await.error(400);
    assert_eq!((&error["code"], &error["target"]), (&json!("GraphTooLarge"), &json!("format")));
    let dot = service.get(&url).await.expect(200);
    assert!(dot.text().contains("n5000 [label=\"s5000"));
}
