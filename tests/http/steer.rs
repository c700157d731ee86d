//! Steering: which steps a verb is meant for, what is refused and why, many operations at once.

mod verbs;

use serde_json::{Value, json};

use crate::steering::{endless, moves, step};
use crate::support::{Service, service};

/// Three that wait for an endless one, with tags.
fn job() -> Value {
    let tagged = |name: &str, kind: &str, size: &str| {
        let mut step = step(name, "true");
        step["tags"] = json!({"kind": kind, "size": size});
        step
    };
    json!({
        "steps": [endless("root"), tagged("unit", "test", "small"), tagged("load", "test", "big"),
                  tagged("report", "paper", "small")],
        "successPairs": [["root", "unit"], ["root", "load"], ["unit", "report"]]
    })
}

async fn running(service: &Service) -> String {
    let url = service.submit(&job()).await.url;
    service.in_state(&url, "root", "Running").await;
    url
}

#[tokio::test]
async fn unknown_verbs_methods_and_paths() {
    let service = service().await;
    let url = running(&service).await;
    for (verb, near) in [("puase", "`pause`"), ("re-run", "`rerun`"), ("cancle", "verbs are")] {
        let error = service.verb(&url, verb, &json!({})).await.error(404);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(near), "{message}");
    }
    for method in ["GET", "DELETE", "PATCH"] {
        let answer = service.send(method, &format!("{url}/pause"), &[], None).await;
        answer.error(405);
        assert_eq!(answer.header("allow"), "POST");
        service.send(method, &format!("{url}/fly"), &[], None).await.error(404);
    }
    let nobody = "/v1.0/operations/00000000-0000-7000-8000-000000000000";
    service.verb(nobody, "pause", &json!({})).await.error(404);
    service.verb("/v1.0/operations/no-id", "pause", &json!({})).await.error(404);
    service.end(&url).await;
}

#[tokio::test]
async fn unknown_steps_and_states() {
    let service = service().await;
    let url = running(&service).await;
    let error = service.verb(&url, "pause", &json!({"steps": ["unit", "laod"]})).await.error(404);
    assert!(error["message"].as_str().unwrap().contains("`load`"), "{error}");
    assert_eq!(service.states(&url).await["unit"], "Waiting", "all or nothing");
    let error = service.verb(&url, "pause", &json!({"states": ["Wating"]})).await.error(400);
    assert_eq!(error["target"], "states");
    assert!(error["message"].as_str().unwrap().contains("`Waiting`"), "{error}");
    service.end(&url).await;
}

#[tokio::test]
async fn what_no_step_allows() {
    let service = service().await;
    let url = running(&service).await;
    // Nobody was named, so nobody is missed.
    let answer = service.verb(&url, "unskip", &json!({})).await.expect(200).json();
    assert_eq!(answer, json!({"value": [], "paused": false}));
    let answer =
        service.verb(&url, "resume", &json!({"filter": "n ge 0"})).await.expect(200).json();
    assert_eq!(answer["value"], json!([]));
    // Who was named gets the reason.
    let error = service.verb(&url, "resume", &json!({"steps": ["root", "unit"]})).await.error(409);
    assert_eq!(error["code"], "TransitionNotAllowed");
    let details = error["details"].as_array().unwrap();
    let targets: Vec<&Value> = details.iter().map(|detail| &detail["target"]).collect();
    assert_eq!(targets, ["root", "unit"]);
    assert!(details[0]["message"].as_str().unwrap().contains("`root` is Running"), "{error}");
    // Of whom some could be moved and some not, both are told.
    let some = json!({"steps": ["root", "unit"]});
    let answer = service.verb(&url, "pause", &some).await.expect(200).json();
    assert_eq!(moves(&answer), ["unit Waiting Paused"]);
    let refused = answer["refused"].as_array().unwrap();
    assert_eq!(
        (refused.len(), &refused[0]["name"], &refused[0]["state"]),
        (1, &json!("root"), &json!("Running"))
    );
    service.end(&url).await;
}

#[tokio::test]
async fn selections_and_their_intersections() {
    let service = service().await;
    let url = running(&service).await;
    for (body, expected) in [
        (json!({}), vec!["unit", "load", "report"]),
        (json!({"tags": {"kind": "test"}}), vec!["unit", "load"]),
        (json!({"tags": {"kind": "test", "size": "small"}}), vec!["unit"]),
        (json!({"tags": {"kind": "none"}}), vec![]),
        (json!({"states": ["WAITING"]}), vec!["unit", "load", "report"]),
        (json!({"states": ["Running", "Paused"]}), vec![]),
        (json!({"states": []}), vec![]),
        (json!({"filter": "tags/size eq 'small' and n gt 1"}), vec!["report"]),
        (json!({"filter": "contains(name,'o')", "tags": {"kind": "test"}}), vec!["load"]),
        (json!({"steps": ["unit", "report"], "tags": {"kind": "paper"}}), vec!["report"]),
        (json!({"steps": ["unit"], "branch": true}), vec!["unit", "report"]),
        (json!({"steps": ["root"], "branch": true}), vec!["unit", "load", "report"]),
    ] {
        let mut trial = body.clone();
        trial["dryRun"] = json!(true);
        let answer = service.verb(&url, "pause", &trial).await.expect(200).json();
        let mut found: Vec<String> = moves(&answer)
            .iter()
            .map(|moved| moved.split(' ').next().unwrap().to_owned())
            .collect();
        found.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
    let path = format!("{url}/pause?$filter=name%20eq%20'load'");
    let by_url = service.send("POST", &path, &[], None).await.expect(200).json();
    assert_eq!(moves(&by_url), ["load Waiting Paused"]);
    let body = Some(json!({"filter": "n eq 1"}).to_string().into_bytes());
    let json_body = [("content-type", "application/json")];
    let error = service.send("POST", &path, &json_body, body).await.error(400);
    assert_eq!(error["target"], "filter");
    for wrong in ["nonsense eq 1", "n eq", "n add 1", "state eq 'Fliyng'"] {
        let error = service.verb(&url, "pause", &json!({"filter": wrong})).await.error(400);
        assert_eq!(error["target"], "filter", "{error}");
    }
    service.end(&url).await;
}

#[tokio::test]
async fn what_a_verb_does_not_take() {
    let service = service().await;
    let url = running(&service).await;
    for (verb, body, target) in [
        ("pause", json!({"count": 1}), "count"),
        ("next", json!({"count": 0}), "count"),
        ("resume", json!({"cascade": true}), "cascade"),
        ("pause", json!({"env": {"A": "b"}}), "env"),
        ("skip", json!({"command": ["true"]}), "env"),
        ("skip", json!({"shell": "true"}), "env"),
        ("start", json!({"context": {"a": 1}}), "env"),
        ("skip", json!({"scope": "operation"}), "scope"),
        ("pause", json!({"scope": "operation", "steps": ["unit"]}), "scope"),
        ("pause", json!({"scope": "world"}), "scope"),
        ("rerun", json!({"command": ["a"], "shell": "b"}), "shell"),
        ("rerun", json!({"command": []}), "command"),
        ("rerun", json!({"env": {"A=B": "c"}}), "env"),
        ("pause", json!({"steps": "unit"}), "steps"),
        ("pause", json!({"steps": ["unit", 1]}), "steps[1]"),
        ("pause", json!({"tags": {"kind": 1}}), "tags.kind"),
        ("pause", json!({"dryRun": "yes"}), "dryRun"),
    ] {
        let error = service.verb(&url, verb, &body).await.error(400);
        let told = error["target"].as_str().unwrap_or_default();
        assert!(told.starts_with(target), "{verb} {body}: {error}");
    }
    // A slip in the name of a field is no request for all steps.
    let error = service.verb(&url, "pause", &json!({"step": ["unit"]})).await.error(400);
    assert!(error["message"].as_str().unwrap().contains("steps"), "{error}");
    for text in ["{", "[]", "{} {}", "null", "7"] {
        let headers = [("content-type", "application/json")];
        let body = Some(text.as_bytes().to_vec());
        service.send("POST", &format!("{url}/pause"), &headers, body).await.error(400);
    }
    assert_eq!(service.get(&url).await.json()["stepCounts"], json!({"Running": 1, "Waiting": 3}));
    service.end(&url).await;
}

#[tokio::test]
async fn if_match_and_dry_run() {
    let service = service().await;
    let url = running(&service).await;
    let before = service.get(&url).await;
    let etag = before.header("etag").to_owned();
    for verb in ["pause", "skip", "block", "interrupt", "hold"] {
        let answer = service.verb(&url, verb, &json!({"dryRun": true})).await.expect(200).json();
        assert!(!answer["value"].as_array().unwrap().is_empty(), "{verb}");
    }
    let whole = json!({"scope": "operation", "dryRun": true});
    assert_eq!(service.verb(&url, "pause", &whole).await.expect(200).json()["paused"], true);
    let after = service.get(&url).await;
    assert_eq!((after.header("etag"), &after.bytes), (&*etag, &before.bytes));
    let pause = async |tag: &str| {
        let headers = [("if-match", tag)];
        service.send("POST", &format!("{url}/pause"), &headers, None).await
    };
    let answer = pause(&etag).await.expect(200).json();
    assert_eq!(answer["value"].as_array().unwrap().len(), 3);
    assert_eq!(pause(&etag).await.error(412)["target"], "If-Match");
    service.end(&url).await;
}

/// `POST /v1.0/operations/{verb}?$filter=...`.
async fn bulk(service: &Service, verb: &str, filter: &str, body: &Value) -> crate::support::Answer {
    let query = filter.replace(' ', "%20").replace('\'', "%27");
    let url = format!("/v1.0/operations/{verb}?$filter={query}");
    let headers = [("content-type", "application/json")];
    service.send("POST", &url, &headers, Some(body.to_string().into())).await
}

#[tokio::test]
async fn many_operations_at_once() {
    let service = service().await;
    let mut job = job();
    job["labels"] = json!({"crowd": "steered together"});
    let mut urls = Vec::new();
    for _ in 0..3 {
        let url = service.submit(&job).await.url;
        service.in_state(&url, "root", "Running").await;
        urls.push(url);
    }
    let filter = "labels/crowd eq 'steered together'";
    let pause = json!({"tags": {"kind": "test"}, "dryRun": true});
    let trial = bulk(&service, "pause", filter, &pause).await.expect(200).json();
    assert_eq!(trial["value"].as_array().unwrap().len(), 3);
    for operation in trial["value"].as_array().unwrap() {
        assert_eq!(operation["moved"].as_array().unwrap().len(), 2, "{trial}");
    }
    for url in &urls {
        assert!(service.get(url).await.json()["stepCounts"].get("Paused").is_none());
    }
    let pause = json!({"tags": {"kind": "test"}});
    let done = bulk(&service, "pause", filter, &pause).await.expect(200).json();
    assert_eq!(done, trial);
    // One of them refuses: the others are moved all the same.
    service.moved_one(&urls[0], "resume", "unit").await;
    let named = json!({"steps": ["unit"]});
    let done = bulk(&service, "resume", filter, &named).await.expect(200).json();
    let told = done["value"].as_array().unwrap();
    let refused: Vec<_> = told.iter().filter(|one| one["error"].is_object()).collect();
    assert_eq!((told.len(), refused.len()), (3, 1), "{done}");
    assert!(urls[0].ends_with(refused[0]["id"].as_str().unwrap()));
    assert_eq!(refused[0]["error"]["code"], "TransitionNotAllowed");
    // Who names steps does not mean whole operations.
    bulk(&service, "cancel", filter, &named).await.error(400);
    bulk(&service, "cancel", filter, &json!({"tags": {"kind": "test"}})).await.error(400);
    // All are ended, after a trial of it.
    let trial = bulk(&service, "cancel", filter, &json!({"dryRun": true})).await.expect(200).json();
    for operation in trial["value"].as_array().unwrap() {
        // The one that runs is Cancelled only once its process is gone.
        assert_eq!(operation["moved"].as_array().unwrap().len(), 3, "{trial}");
    }
    assert_eq!(service.get(&urls[0]).await.json()["state"], "Running");
    let done = bulk(&service, "cancel", filter, &json!({})).await.expect(200).json();
    assert_eq!(done, trial);
    for url in &urls {
        assert_eq!(service.ended(url).await["state"], "Cancelled");
    }
    let late = bulk(&service, "pause", filter, &json!({})).await.expect(200).json();
    assert!(late["value"].as_array().unwrap().iter().all(|one| one["error"].is_object()), "{late}");
}

#[tokio::test]
async fn many_operations_need_a_filter_and_a_verb() {
    let service = service().await;
    let error = service.verb("/v1.0/operations", "pause", &json!({})).await.error(400);
    assert_eq!(error["target"], "$filter");
    bulk(&service, "pause", "nonsense eq 1", &json!({})).await.error(400);
    let nobody = "labels/crowd eq 'nobody'";
    let error = bulk(&service, "cancle", nobody, &json!({})).await.error(404);
    assert!(error["message"].as_str().unwrap().contains("`cancel`"), "{error}");
    let none = bulk(&service, "pause", nobody, &json!({})).await.expect(200).json();
    assert_eq!(none, json!({"value": [], "more": false}));
    let error = bulk(&service, "pause", nobody, &json!({"step": []})).await.error(400);
    assert_eq!(error["code"], "InvalidRequest");
}
