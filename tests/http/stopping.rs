//! What runs at the end of an operation, what force does, what is told of it, and time that is up.

use serde_json::{Value, json};

use crate::steering::{endless, step};
use crate::support::{own_service, service};

/// The steps that a worker took, in the order in which it did.
async fn ran(service: &crate::support::Service, url: &str) -> Vec<String> {
    let events = service.events(url).await;
    let claims = events.iter().filter(|event| event["action"] == "run");
    claims.map(|event| event["step"].as_str().expect("a claim is of a step").to_owned()).collect()
}

fn with(mut step: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("fields of a step") {
        step[name] = value.clone();
    }
    step
}

/// `a`, then `b`, then `c`, which runs on; with all kinds of steps for the end.
fn deployment(on_cancel: &str) -> Value {
    json!({
        "onCancel": on_cancel,
        "steps": [
            step("a", "true"),
            step("b", "true"),
            with(endless("c"), &json!({"grace": "200ms"})),
            with(step("undo-a", "true"), &json!({"compensates": "a"})),
            with(step("undo-b", "true"), &json!({"compensates": "b"})),
            with(step("undo-c", "true"), &json!({"compensates": "c"})),
            with(step("notify", "true"), &json!({"cleanUp": true})),
            with(step("revert", "true"), &json!({"cleanUp": true, "when": {"c": ["Succeeded"]}})),
            with(step("teardown", "true"), &json!({"ensure": true})),
        ],
        "successPairs": [["a", "b"], ["b", "c"]],
    })
}

#[tokio::test]
async fn cancelling_runs_what_the_jobset_says() {
    let service = service().await;
    for (on_cancel, at_end) in [
        ("nothing", vec!["teardown"]),
        ("cleanUp", vec!["notify", "teardown"]),
        ("compensate", vec!["undo-b", "undo-a", "teardown"]),
    ] {
        let url = service.submit(&deployment(on_cancel)).await.url;
        service.in_state(&url, "c", "Running").await;
        let from = ("from", "nora@example.org");
        let asked = format!("{url}?reason=wrong%20branch");
        service.send("DELETE", &asked, &[from], None).await.expect(202);
        let ended = service.ended(&url).await;
        assert_eq!((&ended["state"], &ended["status"]), (&json!("Cancelled"), &json!("canceled")));
        let ran = ran(&service, &url).await;
        assert_eq!(ran[..3], ["a", "b", "c"]);
        assert_eq!(ran[3..], at_end, "{on_cancel}");

        let told = &ended["cancellation"];
        assert_eq!(told["requestedBy"], "nora@example.org");
        assert_eq!(told["reason"], "wrong branch");
        let never = 6 - at_end.len();
        let counts = json!({"neverStarted": never, "interrupted": 1, "finished": 2 + at_end.len(),
            "unknown": 0});
        assert_eq!(told["steps"], counts, "{on_cancel}");
        let steps = service.steps(&url).await;
        let outcome = |name: &str| {
            let step = steps.iter().find(|step| step["name"] == name).unwrap();
            step["stopOutcome"].as_str().unwrap()
        };
        assert_eq!(["a", "c", "revert"].map(outcome), ["finished", "interrupted", "neverStarted"]);
    }
}

#[tokio::test]
async fn what_always_runs_does_after_a_failure_and_after_a_deadline() {
    let service = service().await;
    let ensured = with(step("teardown", "echo torn down"), &json!({"ensure": true}));
    let failing = json!({"steps": [step("a", "exit 3"), ensured]});
    let url = service.submit(&failing).await.url;
    let ended = service.ended(&url).await;
    assert_eq!((&ended["state"], &ended["error"]["target"]), (&json!("Failed"), &json!("a")));
    assert_eq!(ran(&service, &url).await, ["a", "teardown"]);

    let a = with(endless("a"), &json!({"grace": "100ms"}));
    let late = json!({"deadline": "300ms", "steps": [a, ensured]});
    let url = service.submit(&late).await.url;
    let ended = service.ended(&url).await;
    assert_eq!((&ended["state"], &ended["status"]), (&json!("Timeout"), &json!("failed")));
    assert_eq!(ended["error"]["code"], "OperationTimeout");
    assert_eq!(service.states(&url).await["teardown"], "Succeeded");
    assert_eq!(service.step(&url, "a").await["stopOutcome"], "interrupted");
    assert_eq!(service.wrote(&url, "teardown").await, "torn down\n");
}

#[tokio::test]
async fn force_kills_at_once_what_would_clean_up() {
    let service = service().await;
    // Neither would end within a minute by itself.
    let stubborn = |name: &str| {
        with(step(name, "trap '' TERM; while :; do sleep 0.1; done"), &json!({"grace": "1m"}))
    };
    let teardown = with(stubborn("teardown"), &json!({"ensure": true}));
    let job = json!({"steps": [with(endless("a"), &json!({"grace": "100ms"})), teardown]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "a", "Running").await;
    service.delete(&url).await.expect(202);
    service.in_state(&url, "teardown", "Running").await;
    let answer = service.delete(&format!("{url}?force=true&reason=hangs")).await.expect(202);
    assert_eq!(answer.json()["state"], "Aborting");
    assert!(answer.has("retry-after"));
    let ended = service.ended(&url).await;
    assert_eq!((&ended["state"], &ended["status"]), (&json!("Aborted"), &json!("canceled")));
    assert_eq!(ended["cancellation"]["forced"]["reason"], "hangs");
    assert!(ended["cancellation"]["reason"].is_null());
    let again = service.delete(&format!("{url}?force=true")).await.expect(200);
    assert_eq!(again.json(), ended);
    let kinds: Vec<Value> =
        service.events(&url).await.iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "abortRequested").count(), 1);

    let url = service.submit(&json!({"steps": [stubborn("a")]})).await.url;
    service.in_state(&url, "a", "Running").await;
    service.delete(&format!("{url}?force=true")).await.expect(202);
    let ended = service.ended(&url).await;
    assert_eq!(ended["state"], "Aborted");
    assert_eq!(ended["cancellation"]["steps"]["interrupted"], 1);
    service.delete(&format!("{url}?force=perhaps")).await.error(400);
}

#[tokio::test]
async fn each_time_that_is_up_names_itself() {
    let service = own_service(|settings| settings.slots = 1).await;
    // One slot: the second step waits for it.
    let waits = with(step("waits", "true"), &json!({"queueTimeout": "300ms"}));
    let job = json!({"steps": [with(endless("holds"), &json!({"grace": "0s"})), waits]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "waits", "TimedOut").await;
    service.verb(&url, "interrupt", &json!({"steps": ["holds"]})).await.expect(200);
    service.verb(&url, "skip", &json!({"steps": ["holds"]})).await.expect(200);
    let error = service.ended(&url).await["error"].clone();
    assert_eq!(error["details"][0]["code"], "QueueTimeout");
    assert!(error["message"].as_str().unwrap().contains("queueTimeout of 300ms"), "{error}");
    let waits = service.step(&url, "waits").await;
    assert_eq!(waits["attempts"][0]["exception"]["type"], "QueueTimeout");

    let attempt = with(endless("a"), &json!({"timeout": "200ms", "grace": "0s"}));
    let url = service.submit(&json!({"steps": [attempt]})).await.url;
    let error = service.ended(&url).await["error"].clone();
    assert_eq!(error["details"][0]["code"], "StepTimedOut");
    assert!(error["message"].as_str().unwrap().contains("timeout of 200ms"), "{error}");

    // The second attempt is cut off by what is left for all of them.
    let retry = json!({"maxAttempts": 5, "backoff": "1ms"});
    let total = json!({"totalTimeout": "500ms", "timeout": "300ms", "grace": "0s", "retry": retry});
    let url = service.submit(&json!({"steps": [with(endless("a"), &total)]})).await.url;
    let error = service.ended(&url).await["error"].clone();
    assert_eq!(error["details"][0]["code"], "TotalTimeout");
    let attempts = service.step(&url, "a").await["attempts"].clone();
    assert_eq!(attempts[0]["exception"]["type"], "Timeout");
    assert_eq!(attempts[1]["exception"]["type"], "TotalTimeout");
}

#[tokio::test]
async fn times_and_ends_that_cannot_be_meant_are_refused() {
    let service = service().await;
    for (more, target) in [
        (json!({"queueTimeout": "0s"}), "steps[0].queueTimeout"),
        (json!({"totalTimeout": "soon"}), "steps[0].totalTimeout"),
        (json!({"compensates": "nobody"}), "steps[0].compensates"),
        (json!({"ensure": true, "cleanUp": true}), "steps[0].cleanUp"),
        (json!({"limits": {"memory": "many"}}), "steps[0].limits.memory"),
        (json!({"limits": {"files": 1}}), "steps[0].limits.files"),
        (json!({"limits": {"colour": 1}}), "steps[0].limits"),
        (json!({"containment": ["moat"]}), "steps[0].containment[0]"),
        (json!({"secrets": ["A=B"]}), "steps[0].secrets[0]"),
    ] {
        let body = json!({"steps": [with(step("a", "true"), &more)]}).to_string();
        let answer = service.post(body, &[("content-type", "application/json")]).await;
        let error = answer.error(400);
        let targets = crate::support::targets(&error);
        assert!(targets.iter().any(|found| found.starts_with(target)), "{more}: {error}");
    }
}
