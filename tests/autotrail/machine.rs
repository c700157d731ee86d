//! Table 2.2: the default step machine of the newer system, transition by transition.

use serde_json::{Value, json};

use crate::place::{service, while_others_run};
use crate::steering::{endless, step};
use crate::support::{Service, shell};

/// `first` runs until it is interrupted, `then` waits for it.
fn two() -> Value {
    json!({"steps": [endless("first"), step("then", "true")], "successPairs": [["first", "then"]]})
}

/// The same, with nothing started.
fn manual() -> Value {
    json!({"start": "manual", "steps": [step("first", "true"), step("then", "true")],
           "successPairs": [["first", "then"]]})
}

async fn two_running(service: &Service) -> String {
    let url = service.submit(&two()).await.url;
    service.in_state(&url, "first", "Running").await;
    url
}

#[tokio::test]
async fn row_2_2_ready_start() {
    let service = service().await;
    let url = service.submit(&manual()).await.url;
    while_others_run(&service).await;
    let before = service.get(&url).await.json();
    assert_eq!(
        (&before["state"], &before["stepCounts"]["Ready"]),
        (&json!("NotStarted"), &json!(2))
    );
    let moved = service.moved(&url, "start", &json!({})).await;
    assert_eq!(moved, ["first Ready Waiting", "then Ready Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.told(&url, "first").await[0], "start Ready Waiting");
}

#[tokio::test]
async fn row_2_2_ready_pause() {
    let service = service().await;
    let url = service.submit(&manual()).await.url;
    assert_eq!(service.moved_one(&url, "pause", "first").await, ["first Ready Paused"]);
    // Starting what is left does not start it.
    assert_eq!(service.moved(&url, "start", &json!({})).await, ["then Ready Waiting"]);
    while_others_run(&service).await;
    assert_eq!(service.step(&url, "first").await["attempt"], 0);
    // The original starts such a step by `resume`.
    assert_eq!(service.moved_one(&url, "resume", "first").await, ["first Paused Ready"]);
    while_others_run(&service).await;
    assert_eq!(service.step(&url, "first").await["attempt"], 0);
    assert_eq!(service.moved_one(&url, "start", "first").await, ["first Ready Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}

#[tokio::test]
async fn row_2_2_ready_mark_to_skip() {
    let service = service().await;
    let url = service.submit(&manual()).await.url;
    assert_eq!(service.moved_one(&url, "skip", "then").await, ["then Ready ToSkip"]);
    assert_eq!(service.moved(&url, "start", &json!({})).await, ["first Ready Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let told = service.told(&url, "then").await;
    assert_eq!(told, ["skip Ready ToSkip", "reach ToSkip Skipped"]);
}

#[tokio::test]
async fn row_2_2_waiting_run_when_its_preconditions_hold() {
    let service = service().await;
    let job = json!({
        "steps": [step("good", "true"), {"name": "left out", "initialState": "Paused",
                   "run": {"shell": "true"}}, step("bad", "false"), step("after good", "true"),
                  step("after skipped", "true"), step("after bad", "true")],
        "successPairs": [["good", "after good"], ["left out", "after skipped"]],
        "failurePairs": [["bad", "after bad"]]
    });
    let url = service.submit(&job).await.url;
    let bad = service.in_state(&url, "after bad", "Succeeded").await;
    assert_eq!(bad["attempt"], 1);
    assert_eq!(service.step(&url, "after skipped").await["attempt"], 0, "it waits");
    service.moved_one(&url, "skip", "left out").await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    for name in ["after good", "after skipped"] {
        assert_eq!(service.step(&url, &name.replace(' ', "%20")).await["state"], "Succeeded");
    }
    // Each waited for its own source.
    let events = service.events(&url).await;
    let at = |step: &str, action: &str| {
        events.iter().position(|e| e["step"] == step && e["action"] == action).expect("an event")
    };
    assert!(at("good", "succeed") < at("after good", "run"));
    assert!(at("left out", "reach") < at("after skipped", "run"));
    assert!(at("bad", "fail") < at("after bad", "run"));
}

#[tokio::test]
async fn row_2_2_waiting_pause() {
    let service = service().await;
    let url = two_running(&service).await;
    assert_eq!(service.moved_one(&url, "pause", "then").await, ["then Waiting Paused"]);
    service.moved_one(&url, "interrupt", "first").await;
    service.moved_one(&url, "skip", "first").await;
    service.in_state(&url, "first", "Skipped").await;
    // Its guard holds, and it is still paused; so the operation is open.
    while_others_run(&service).await;
    let operation = service.get(&url).await.json();
    assert_eq!((&operation["status"], &operation["attention"]), (&json!("running"), &json!(true)));
    assert_eq!(service.step(&url, "then").await["attempt"], 0);
    service.moved_one(&url, "resume", "then").await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.step(&url, "then").await["attempt"], 1);
}

#[tokio::test]
async fn row_2_2_waiting_mark_to_skip() {
    let service = service().await;
    let url = two_running(&service).await;
    assert_eq!(service.moved_one(&url, "skip", "then").await, ["then Waiting ToSkip"]);
    assert!(service.refused(&url, "skip", "first").await.contains("is Running"));
    assert_eq!(service.states(&url).await["then"], "ToSkip", "it was not reached yet");
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_2_to_skip_unskip() {
    let service = service().await;
    // The original starts a step so that was never started; here it is what it was.
    let url = service.submit(&manual()).await.url;
    service.moved_one(&url, "skip", "then").await;
    assert_eq!(service.moved_one(&url, "unskip", "then").await, ["then ToSkip Ready"]);
    service.moved_one(&url, "pause", "then").await;
    service.moved_one(&url, "skip", "then").await;
    assert_eq!(service.moved_one(&url, "unskip", "then").await, ["then ToSkip Paused"]);
    assert_eq!(service.moved_one(&url, "resume", "then").await, ["then Paused Ready"]);
    service.end(&url).await;

    let url = two_running(&service).await;
    service.moved_one(&url, "skip", "then").await;
    assert_eq!(service.moved_one(&url, "unskip", "then").await, ["then ToSkip Waiting"]);
    assert!(service.refused(&url, "unskip", "then").await.contains("possible from ToSkip"));
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_2_to_skip_skip_when_reached() {
    let service = service().await;
    let mut job = two();
    job["steps"][0] = json!({"name": "first", "run": {"shell": "true"}, "initialState": "Paused"});
    job["steps"].as_array_mut().unwrap().push(step("last", "true"));
    job["successPairs"].as_array_mut().unwrap().push(json!(["then", "last"]));
    let url = service.submit(&job).await.url;
    service.moved_one(&url, "skip", "then").await;
    while_others_run(&service).await;
    assert_eq!(service.states(&url).await["then"], "ToSkip");
    service.moved_one(&url, "resume", "first").await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let states = service.states(&url).await;
    assert_eq!((&*states["then"], &*states["last"]), ("Skipped", "Succeeded"));
    assert_eq!(service.step(&url, "then").await["attempt"], 0, "it never ran");
    let events = service.events(&url).await;
    let at = |step: &str, action: &str| {
        events.iter().position(|e| e["step"] == step && e["action"] == action).expect("an event")
    };
    assert!(at("first", "succeed") < at("then", "reach"));
    assert!(at("then", "reach") < at("last", "run"));
}

#[tokio::test]
async fn row_2_2_paused_resume() {
    let service = service().await;
    let url = two_running(&service).await;
    service.moved_one(&url, "pause", "then").await;
    assert_eq!(service.moved_one(&url, "resume", "then").await, ["then Paused Waiting"]);
    assert!(service.refused(&url, "resume", "then").await.contains("`then` is Waiting"));
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_2_paused_mark_to_skip() {
    let service = service().await;
    let url = two_running(&service).await;
    service.moved_one(&url, "pause", "then").await;
    assert_eq!(service.moved_one(&url, "skip", "then").await, ["then Paused ToSkip"]);
    assert_eq!(service.moved_one(&url, "unskip", "then").await, ["then ToSkip Paused"]);
    service.end(&url).await;
}

/// An operation whose step `only` is held in Error.
async fn held(service: &Service, text: &str) -> String {
    let mut job = shell(text);
    job["steps"][0]["onFailure"] = json!("hold");
    let url = service.submit(&job).await.url;
    service.in_state(&url, "only", "Error").await;
    url
}

#[tokio::test]
async fn row_2_2_error_rerun() {
    let service = service().await;
    let url = held(&service, "[ $SUT_ATTEMPT -ge 2 ]").await;
    assert_eq!(service.moved_one(&url, "rerun", "only").await, ["only Error Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let step = service.step(&url, "only").await;
    let numbers: Vec<&Value> =
        step["attempts"].as_array().unwrap().iter().map(|a| &a["attempt"]).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!((&step["exitCode"], &step["exception"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn row_2_2_error_mark_to_skip() {
    let service = service().await;
    let url = held(&service, "false").await;
    assert_eq!(service.moved_one(&url, "skip", "only").await, ["only Error ToSkip"]);
    // Nothing stands before it, so it is reached at once.
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.states(&url).await["only"], "Skipped");
}

#[tokio::test]
async fn row_2_2_running_succeed() {
    let service = service().await;
    let url = service.submit(&shell("echo '{\"a\": [0, false, \"\"]}' >$SUT_OUTPUT")).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let told = service.told(&url, "only").await;
    // The original asks for the outcome up to three times; here it is told once.
    assert_eq!(told, ["run Waiting Running", "succeed Running Succeeded"]);
    assert_eq!(service.step(&url, "only").await["result"], json!({"a": [0, false, ""]}));
}

#[tokio::test]
async fn row_2_2_running_fail() {
    let service = service().await;
    let url = service.submit(&shell("exit 9")).await.url;
    assert_eq!(service.ended(&url).await["state"], "Failed");
    let told = service.told(&url, "only").await;
    assert_eq!(told, ["run Waiting Running", "fail Running Failed"]);
    assert_eq!(service.step(&url, "only").await["exitCode"], 9);
}

#[tokio::test]
async fn row_2_2_running_error() {
    let service = service().await;
    let url = held(&service, "exit 9").await;
    let operation = service.get(&url).await.json();
    assert_eq!((&operation["status"], &operation["attention"]), (&json!("running"), &json!(true)));
    let step = service.step(&url, "only").await;
    assert_eq!(step["exception"]["type"], "ExitStatus");
    let actions = step["actions"].as_array().unwrap();
    for action in ["rerun", "skip", "resume", "block"] {
        assert!(actions.contains(&json!(action)), "{step}");
    }
    service.end(&url).await;
    assert_eq!(service.told(&url, "only").await[1], "error Running Error");
}

#[tokio::test]
async fn row_2_2_running_interrupt_and_interrupted_resume() {
    let service = service().await;
    let url = service.submit(&shell("[ $SUT_ATTEMPT -ge 2 ] || exec sleep 1000")).await.url;
    service.in_state(&url, "only", "Running").await;
    assert_eq!(service.moved_one(&url, "interrupt", "only").await, ["only Running Interrupted"]);
    // The next attempt begins only when the process of this one is gone.
    let moved = service.verb(&url, "resume", &json!({})).await.expect(200).json();
    assert_eq!(moved["value"][0]["to"], "Waiting");
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let events = service.events(&url).await;
    let ended = events.iter().position(|e| e["kind"] == "attemptEnded").expect("it ended");
    let again = events.iter().position(|e| e["action"] == "run" && e["attempt"] == 2);
    assert!(ended < again.expect("it ran again"), "two processes at once");
}

#[tokio::test]
async fn row_2_2_interrupted_mark_to_skip() {
    let service = service().await;
    let url = two_running(&service).await;
    service.moved_one(&url, "interrupt", "first").await;
    service.gone(&url, "first").await;
    assert_eq!(service.moved_one(&url, "skip", "first").await, ["first Interrupted ToSkip"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.states(&url).await["first"], "Skipped");
}

#[tokio::test]
async fn row_2_2_successful_failed_and_skipped_end_the_operation() {
    let service = service().await;
    let job = json!({"steps": [step("good", "true"), step("bad", "false"),
        {"name": "out", "run": {"shell": "false"}, "onFailure": "skip"}]});
    let url = service.submit(&job).await.url;
    let ended = service.ended(&url).await;
    assert_eq!(ended["stepCounts"], json!({"Succeeded": 1, "Failed": 1, "Skipped": 1}));
    // It never changes again: every verb but `rerun`, which starts another one, is refused.
    for verb in ["start", "pause", "resume", "interrupt", "skip", "unskip", "block", "unblock"] {
        service.verb(&url, verb, &json!({})).await.error(409);
    }
    assert_eq!(service.get(&url).await.json(), ended);
}

#[tokio::test]
async fn row_2_2_preconditions_are_cumulative_and_failure_is_not_satisfied_by_skipping() {
    let service = service().await;
    let paused = |name: &str| json!({"name": name, "initialState": "Paused"});
    let job = json!({
        "steps": [paused("a"), paused("b"), {"name": "c"}, {"name": "repair"}],
        "successPairs": [["b", "c"], ["a", "b"]], "failurePairs": [["a", "repair"]]
    });
    let url = service.submit(&job).await.url;
    assert_eq!(service.moved_one(&url, "skip", "a").await, ["a Paused ToSkip"]);
    service.in_state(&url, "repair", "Unreachable").await;
    assert_eq!(service.moved_one(&url, "skip", "b").await, ["b Paused ToSkip"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.states(&url).await["c"], "Succeeded");
}
