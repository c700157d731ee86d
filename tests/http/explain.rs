//! Why a step does not move, and why an operation has not ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, own_service, service};

async fn explained(service: &Service, url: &str) -> Value {
    service.get(&format!("{url}/explain")).await.expect(200).json()
}

async fn step(service: &Service, url: &str, name: &str) -> Value {
    explained(service, &format!("{url}/steps/{name}")).await
}

fn message(cause: &Value) -> &str {
    cause["message"].as_str().expect("a message")
}

#[tokio::test]
async fn a_chain_to_a_step_that_is_held() {
    let service = service().await;
    let job = json!({
        "steps": [
            {"name": "canary", "initialState": "Paused"},
            {"name": "check"},
            {"name": "deploy"},
        ],
        "successPairs": [["canary", "check"], ["check", "deploy"]],
    });
    let url = service.submit(&job).await.url;
    let deploy = step(&service, &url, "deploy").await;
    assert_eq!((&deploy["state"], &deploy["n"]), (&json!("Waiting"), &json!(2)));
    let because = deploy["because"].as_array().expect("causes");
    assert_eq!(because.len(), 1, "{deploy}");
    assert_eq!(
        message(&because[0]),
        "`deploy` waits for `check` to be Skipped or Succeeded, `check` waits for `canary` to be \
         Skipped or Succeeded; `canary` is Paused: resume, skip or block it"
    );
    assert_eq!((&because[0]["kind"], &because[0]["step"]), (&json!("person"), &json!("canary")));
    assert_eq!(because[0]["verbs"], json!(["resume", "skip", "block"]));
    assert_eq!(because[0]["via"], json!(["deploy", "check", "canary"]));
    let listed = service.get(&format!("{url}/steps/deploy")).await.expect(200).json();
    assert_eq!(deploy["actions"], listed["actions"]);
    let moves = deploy["moves"].as_array().expect("moves");
    let run = moves.iter().find(|m| m["action"] == "run").expect("a rule");
    assert_eq!((&run["by"], &run["possible"]), (&json!("engine"), &json!(false)));
    assert_eq!(
        run["guards"][0]["clauses"][0]["groups"][0]["terms"][0],
        json!({"step": "check", "states": ["Skipped", "Succeeded"], "state": "Waiting",
               "holds": false, "dead": false})
    );
    assert!(moves.iter().all(|m| m["action"] != "cancel"));
    let whole = explained(&service, &url).await;
    assert_eq!(whole["because"].as_array().map(Vec::len), Some(1), "{whole}");
    assert_eq!(whole["because"][0]["steps"], 3);
    assert!(whole.get("never").is_none() && whole.get("failed").is_none());
}

#[tokio::test]
async fn a_back_off_and_a_deadline() {
    let service = service().await;
    let job = json!({
        "deadline": "2h",
        "steps": [
            {"name": "flaky", "run": {"shell": "exit 1"},
             "retry": {"maxAttempts": 2, "backoff": "5m"}},
            {"name": "after"},
        ],
        "successPairs": [["flaky", "after"]],
    });
    let url = service.submit(&job).await.url;
    let backs_off = |operation: &Value| {
        operation["state"] == "Running" && operation["stepCounts"]["Waiting"] == 2
    };
    service.until(&url, backs_off).await;
    let after = step(&service, &url, "after").await;
    let cause = &after["because"][0];
    assert_eq!((&cause["kind"], &cause["step"]), (&json!("timer"), &json!("flaky")), "{after}");
    let until = cause["until"].as_str().expect("a time");
    assert!(message(cause).contains(until) && until.ends_with('Z'), "{cause}");
    let whole = explained(&service, &url).await;
    let kinds: Vec<&Value> =
        whole["because"].as_array().expect("causes").iter().map(|cause| &cause["kind"]).collect();
    assert_eq!(kinds, ["timer", "timer"], "{whole}");
    assert!(message(&whole["because"][1]).contains("deadline of 2h"), "{whole}");
    service.delete(&url).await;
}

#[tokio::test]
async fn what_waits_for_people_and_what_runs() {
    let service = service().await;
    let job = json!({
        "start": "manual",
        "steps": [{"name": "one"}, {"name": "two"}],
        "successPairs": [["one", "two"]],
    });
    let url = service.submit(&job).await.url;
    let whole = explained(&service, &url).await;
    let first = &whole["because"][0];
    assert_eq!(message(first), "`one` is Ready and was not started: start, skip or block it");
    service.delete(&url).await;
    let ended = explained(&service, &url).await;
    assert_eq!(ended["state"], "Cancelled");
    assert_eq!(message(&ended["because"][0]), "`one` and `two` were cancelled with the operation");

    let job = json!({
        "maxConcurrency": 1,
        "steps": [{"name": "long", "run": {"shell": "sleep 60"}}, {"name": "other"}],
    });
    let url = service.submit(&job).await.url;
    service.running(&url).await;
    let long = step(&service, &url, "long").await;
    assert!(message(&long["because"][0]).starts_with("`long` is Running: worker "), "{long}");
    let other = step(&service, &url, "other").await;
    assert!(message(&other["because"][0]).contains("maxConcurrency"), "{other}");
    service.delete(&url).await;
}

#[tokio::test]
async fn a_failure_says_what_it_kept_from_running() {
    let service = service().await;
    let job = json!({
        "steps": [
            {"name": "unit", "run": {"shell": "exit 3"}},
            {"name": "report"},
            {"name": "held", "run": {"shell": "exit 1"}, "onFailure": "hold"},
        ],
        "successPairs": [["unit", "report"]],
    });
    let url = service.submit(&job).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Error"] == 1).await;
    service.until(&url, |operation| operation["stepCounts"]["Unreachable"] == 1).await;
    let report = step(&service, &url, "report").await;
    assert_eq!(
        message(&report["because"][0]),
        "`report` could never run: `unit` ended Failed and is never Skipped or Succeeded; \
         rerun `unit` to change that"
    );
    let whole = explained(&service, &url).await;
    assert_eq!(
        message(&whole["because"][0]),
        "`held` failed and is held in Error: resume, skip, rerun or block it"
    );
    service.delete(&url).await;
    let job = json!({
        "steps": [{"name": "unit", "run": {"shell": "exit 3"}}, {"name": "report"}],
        "successPairs": [["unit", "report"]],
    });
    let url = service.submit(&job).await.url;
    service.ended(&url).await;
    let whole = explained(&service, &url).await;
    assert_eq!(whole["failed"][0]["name"], "unit");
    assert_eq!(whole["never"][0]["name"], "report");
    assert!(message(&whole["never"][0]).starts_with("`report` could never run: `unit` ended"));
    assert_eq!(whole["because"][0]["steps"], 1);
}

/// A ladder of 10,000 steps has more ways through it than can be walked.
#[tokio::test]
async fn a_large_operation_is_explained_at_once() {
    let service = service().await;
    let name = |layer: usize, n: usize| format!("s{layer}-{n}");
    let (layers, width) = (200, 50);
    let held = |layer| if layer == 0 { "Paused" } else { "Waiting" };
    let steps: Vec<Value> = (0..layers * width)
        .map(|n| json!({"name": name(n / width, n % width), "initialState": held(n / width)}))
        .collect();
    let pairs: Vec<Value> = (width..layers * width)
        .flat_map(|n| (0..5).map(move |other| (n, other)))
        .map(|(n, other)| {
            json!([name(n / width - 1, (n + other) % width), name(n / width, n % width)])
        })
        .collect();
    let url = service.submit(&json!({"steps": steps, "successPairs": pairs})).await.url;
    let began = Instant::now();
    let whole = explained(&service, &url).await;
    let last = step(&service, &url, &name(layers - 1, 0)).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(whole["because"].as_array().map(Vec::len), Some(20));
    assert_eq!((&whole["more"], &last["more"]), (&json!(width - 20), &json!(width - 20)));
    assert!(whole["because"][0]["steps"].as_u64() > Some(9_000));
    service.delete(&url).await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_known() {
    let service = service().await;
    let url = service.submit(&json!({"steps": [{"name": "deploy"}]})).await.url;
    let error = service.get(&format!("{url}/steps/deplyo/explain")).await.error(404);
    assert!(message(&error).contains("deploy`"), "{error}");
    let nobody = "/v1.0/operations/00000000-0000-7000-8000-000000000000/explain";
    service.get(nobody).await.error(404);
    service.get(&format!("{url}/explain?nothing=1")).await.error(400);
}

#[tokio::test]
async fn without_workers_this_is_said() {
    let service = own_service(|settings| settings.slots = 0).await;
    let url = service.submit(&json!({"steps": [{"name": "only"}]})).await.url;
    let only = step(&service, &url, "only").await;
    assert_eq!(
        message(&only["because"][0]),
        "`only` waits for a worker with a free slot; no worker is registered: start one by \
         `mother worker`"
    );
}
