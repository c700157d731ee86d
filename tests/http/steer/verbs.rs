//! What the verbs do beside moving a step: the operation as a whole, further attempts with changes,
//! what opens and closes others.

use serde_json::{Value, json};

use crate::steering::{endless, moves, step};
use crate::support::{Service, service, shell};

/// Until another operation, submitted now, has ended.
async fn while_others_run(service: &Service) {
    let url = service.submit(&shell("true")).await.url;
    service.ended(&url).await;
}

#[tokio::test]
async fn the_operation_as_a_whole_is_paused_and_resumed() {
    let service = service().await;
    let job = json!({"labels": {"paused": "whole"}, "successPairs": [["a", "b"]],
        "steps": [step("a", "until [ -e $SUT_WORKSPACE/go ]; do sleep 0.02; done"), step("b", "true"),
                  step("c", "until [ -e $SUT_WORKSPACE/going ]; do sleep 0.02; done; touch $SUT_WORKSPACE/go")]});
    let url = service.submit(&job).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    let whole = json!({"scope": "operation"});
    let answer = service.verb(&url, "pause", &whole).await.expect(200).json();
    assert_eq!(answer, json!({"value": [], "paused": true}));
    service.verb(&url, "interrupt", &json!({"steps": ["c"]})).await.expect(200);
    service.gone(&url, "c").await;
    // What runs ends; nothing new starts, not even what is resumed.
    service.verb(&url, "resume", &json!({"steps": ["c"]})).await.expect(200);
    while_others_run(&service).await;
    assert_eq!(service.states(&url).await["c"], "Waiting");
    let filter = "/v1.0/operations?$filter=paused%20eq%20true%20and%20labels/paused%20eq%20'whole'";
    let found = service.get(filter).await.expect(200).json();
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    assert_eq!(found["value"][0]["paused"], true);
    let again = service.verb(&url, "pause", &whole).await.expect(200).json();
    assert_eq!(again["paused"], true);
    let answer = service.verb(&url, "resume", &whole).await.expect(200).json();
    assert_eq!(answer["paused"], false);
    service.in_state(&url, "c", "Running").await;
    assert_eq!(service.get(filter).await.json()["value"], json!([]));
    let kinds: Vec<Value> = service.events(&url).await.iter().map(|e| e["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "paused").count(), 1);
    service.end(&url).await;
}

#[tokio::test]
async fn a_rerun_takes_changes_and_its_retries_keep_them() {
    let service = service().await;
    let mut job = shell("echo \"$COLOUR {{ context.size }} $SUT_ATTEMPT\"; [ $SUT_ATTEMPT -ge 4 ]");
    job["context"] = json!({"size": 1, "kept": true});
    job["steps"][0]["env"] = json!({"COLOUR": "red"});
    job["steps"][0]["onFailure"] = json!("hold");
    job["steps"][0]["retry"] = json!({"maxAttempts": 2, "backoff": "10ms"});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "only", "Error").await;
    assert!(service.wrote(&url, "only").await.starts_with("red 1 2\n"));
    let edits = json!({"env": {"COLOUR": "blue"}, "context": {"size": 2}});
    let answer = service.verb(&url, "rerun", &edits).await.expect(200).json();
    assert_eq!(moves(&answer), ["only Error Waiting"], "without a selection what went wrong");
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let output = async |attempt: u32| {
        let url = format!("{url}/steps/only/output?attempt={attempt}");
        service.get(&url).await.expect(200).text().to_owned()
    };
    assert!(output(3).await.starts_with("blue 2 3\n"));
    assert_eq!(output(4).await, "blue 2 4\n", "a retry keeps the changes");
    let context = service.get(&format!("{url}/context")).await.json();
    assert_eq!(context, json!({"size": 2, "kept": true}));
}

#[tokio::test]
async fn a_rerun_takes_another_program() {
    let service = service().await;
    let mut job = shell("exit 1");
    job["steps"][0]["onFailure"] = json!("hold");
    let url = service.submit(&job).await.url;
    service.in_state(&url, "only", "Error").await;
    service
        .verb(&url, "rerun", &json!({"command": ["sh", "-c", "echo $0; exit 2", "x"]}))
        .await
        .expect(200);
    let second =
        service.until_below(&url, "/steps/only", |s| s["exitCode"] == 2 && s["state"] == "Error");
    assert_eq!(second.await["attempt"], 2);
    assert!(service.wrote(&url, "only").await.starts_with("x\n"));
    service.verb(&url, "rerun", &json!({"shell": "echo shell"})).await.expect(200);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.wrote(&url, "only").await, "shell\n");
}

#[tokio::test]
async fn a_rerun_of_what_has_ended_starts_another_operation() {
    let service = service().await;
    let job = json!({"steps": [step("a", "echo 1 >$SUT_OUTPUT"),
        step("b", "[ \"$FIXED\" = yes ] && echo 2 >$SUT_OUTPUT"), step("c", "true"),
        step("d", "true")], "successPairs": [["a", "b"], ["b", "c"], ["a", "d"]]});
    let url = service.submit(&job).await.url;
    let ended = service.ended(&url).await;
    assert_eq!(ended["state"], "Failed");
    let trial = service.verb(&url, "rerun", &json!({"dryRun": true})).await.expect(200).json();
    assert_eq!(moves(&trial), ["b Failed Waiting", "c Unreachable Waiting"]);
    let cascade = json!({"steps": ["a"], "cascade": true, "dryRun": true});
    let cascade = service.verb(&url, "rerun", &cascade).await.expect(200).json();
    assert_eq!(cascade["value"].as_array().unwrap().len(), 4);
    let fixed = json!({"env": {"FIXED": "yes"}});
    let answer = service.verb(&url, "rerun", &fixed).await.expect(202);
    let other = answer.header("operation-location").to_owned();
    assert_ne!(other, url);
    assert!(answer.header("retry-after").parse::<u32>().expect("seconds") >= 1);
    assert!(url.ends_with(answer.json()["forkedFrom"].as_str().unwrap()));
    let forked = service.ended(&other).await;
    assert_eq!(forked["state"], "Succeeded");
    assert_eq!(forked["result"], json!({"a": 1, "b": 2}), "what was kept is shown too");
    // What was kept did not run again, and shows what it did.
    let kept = service.step(&other, "a").await;
    assert_eq!((&kept["state"], &kept["result"]), (&json!("Succeeded"), &json!(1)));
    assert!(service.told(&other, "a").await.iter().all(|event| !event.starts_with("run ")));
    assert_eq!(service.get(&url).await.json(), ended, "the old one never changes again");
    // Nothing to run again: nothing is started.
    let nothing = service.verb(&other, "rerun", &json!({})).await.expect(200).json();
    assert_eq!(nothing["value"], json!([]));
}

#[tokio::test]
async fn run_now_ends_a_back_off() {
    let service = service().await;
    let mut job = shell("[ $SUT_ATTEMPT -ge 2 ]");
    job["steps"][0]["retry"] = json!({"maxAttempts": 2, "backoff": "1h", "maxBackoff": "1h"});
    let url = service.submit(&job).await.url;
    let is_retried = |page: &Value| {
        page["value"].as_array().is_some_and(|all| all.iter().any(|e| e["action"] == "retry"))
    };
    service.until_below(&url, "/events", is_retried).await;
    assert_eq!(service.moved_one(&url, "run-now", "only").await, ["only Waiting Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let url = service
        .submit(&json!({"steps": [endless("a"), step("b", "true")],
        "successPairs": [["a", "b"]]}))
        .await
        .url;
    assert!(service.refused(&url, "run-now", "b").await.contains("no back-off"));
    service.end(&url).await;
}

#[tokio::test]
async fn hold_and_unhold_say_what_becomes_of_a_failure() {
    let service = service().await;
    let gate = "until [ -e $SUT_WORKSPACE/go ]; do sleep 0.02; done; exit 1";
    let job = json!({"steps": [step("a", gate), {"name": "b", "run": {"shell": gate}, "onFailure": "hold"},
        {"name": "go", "initialState": "Paused", "run": {"shell": "touch $SUT_WORKSPACE/go"}}]});
    let url = service.submit(&job).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    // While they run.
    assert_eq!(service.moved_one(&url, "hold", "a").await, ["a Running Running"]);
    assert_eq!(service.moved_one(&url, "unhold", "b").await, ["b Running Running"]);
    assert!(service.refused(&url, "unhold", "b").await.contains("not held on failure already"));
    service.moved_one(&url, "resume", "go").await;
    service.in_state(&url, "b", "Failed").await;
    service.in_state(&url, "a", "Error").await;
    service.end(&url).await;
}

#[tokio::test]
async fn manual_start_and_breakpoints() {
    let service = service().await;
    let mut job = shell("true");
    job["start"] = json!("manual");
    let url = service.submit(&job).await.url;
    while_others_run(&service).await;
    assert_eq!(service.get(&url).await.json()["status"], "notstarted");
    assert_eq!(service.moved(&url, "start", &json!({})).await, ["only Ready Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");

    let job = json!({"steps": [step("a", "true"), {"name": "b", "initialState": "Paused"}, step("c", "true")],
        "successPairs": [["a", "b"], ["b", "c"]]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "a", "Succeeded").await;
    let stopped = service.until(&url, |operation| operation["attention"] == true).await.json();
    assert_eq!(stopped["stepCounts"], json!({"Succeeded": 1, "Paused": 1, "Waiting": 1}));
    assert_eq!(service.moved(&url, "resume", &json!({})).await, ["b Paused Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}

#[tokio::test]
async fn blocking_closes_what_follows_and_unblocking_opens_it() {
    let service = service().await;
    let job = json!({"steps": [endless("root"), step("b", "true"), step("c", "true"), step("d", "true")],
        "successPairs": [["root", "b"], ["b", "c"], ["c", "d"]]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "root", "Running").await;
    assert_eq!(service.moved_one(&url, "block", "b").await, ["b Waiting Blocked"]);
    let states = service.states(&url).await;
    assert_eq!([&*states["c"], &*states["d"]], ["Unreachable", "Unreachable"]);
    assert_eq!(service.moved_one(&url, "unblock", "b").await, ["b Blocked Waiting"]);
    let states = service.states(&url).await;
    assert_eq!([&*states["c"], &*states["d"]], ["Waiting", "Waiting"]);
    service.end(&url).await;
}

#[tokio::test]
async fn a_rerun_of_a_failed_step_opens_what_it_had_closed() {
    let service = service().await;
    let job = json!({"steps": [step("a", "[ $SUT_ATTEMPT -ge 2 ]"), step("b", "true"), endless("c")],
        "successPairs": [["a", "b"]]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "a", "Failed").await;
    service.in_state(&url, "b", "Unreachable").await;
    assert_eq!(service.moved_one(&url, "rerun", "a").await, ["a Failed Waiting"]);
    service.in_state(&url, "b", "Succeeded").await;
    assert!(service.told(&url, "b").await.contains(&"reopen Unreachable Waiting".to_owned()));
    // With `cascade`, what followed and did run is run again.
    let cascade = json!({"steps": ["a"], "cascade": true});
    let answer = service.verb(&url, "rerun", &cascade).await.expect(200).json();
    assert_eq!(moves(&answer), ["a Succeeded Waiting", "b Succeeded Waiting"]);
    let is_again = |step: &Value| step["state"] == "Succeeded" && step["attempt"] == 2;
    service.until_below(&url, "/steps/b", is_again).await;
    service.end(&url).await;
}

#[tokio::test]
async fn a_guard_of_the_document_stands_before_a_verb() {
    let service = service().await;
    let job = json!({"steps": [endless("canary"), {"name": "deploy", "run": {"shell": "true"},
        "when": {"canary": ["Succeeded"]}, "guards": {"pause": {"canary": ["Interrupted"]}}}]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "canary", "Running").await;
    let reason = service.refused(&url, "pause", "deploy").await;
    assert!(reason.contains("the guard of `pause` on `deploy` does not hold"), "{reason}");
    // It is not among what may be done now, either.
    let actions = service.step(&url, "deploy").await["actions"].clone();
    assert!(!actions.as_array().unwrap().contains(&json!("pause")), "{actions}");
    service.moved_one(&url, "interrupt", "canary").await;
    service.gone(&url, "canary").await;
    assert_eq!(service.moved_one(&url, "pause", "deploy").await, ["deploy Waiting Paused"]);
    service.end(&url).await;
}
