//! Tables 3.1 and 3.2: states and calls of the older system.
//!
//! Its `Paused due to failure` is Error here; its marks `To Pause` and `To Block` are Paused and
//! Blocked, because a step that does not run yet can be paused and blocked at once.

use serde_json::{Value, json};

use crate::place::{service, while_others_run};
use crate::steering::{endless, moves, step};
use crate::support::{Service, shell};

/// A step that waits for an operator.
fn paused(name: &str) -> Value {
    json!({"name": name, "initialState": "Paused", "run": {"shell": "true"}})
}

/// ```text
///        / b - c \
/// root -          end
///        \   d   /
/// ```
/// The root is endless.
fn diamond() -> Value {
    json!({
        "steps": [endless("root"), step("b", "true"), step("c", "true"), step("d", "true"),
                  step("end", "true")],
        "successPairs": [["root", "b"], ["b", "c"], ["root", "d"], ["c", "end"], ["d", "end"]]
    })
}

async fn running(service: &Service, job: &Value, name: &str) -> String {
    let url = service.submit(job).await.url;
    service.in_state(&url, name, "Running").await;
    url
}

/// Ends the endless root well.
async fn open(service: &Service, url: &str) {
    service.verb(url, "interrupt", &json!({"steps": ["root"]})).await.expect(200);
    service.verb(url, "skip", &json!({"steps": ["root"]})).await.expect(200);
}

#[tokio::test]
async fn row_3_1_ready_is_left_by_start_pause_skip_and_block() {
    let service = service().await;
    let job = json!({"start": "manual", "steps": [{"name": "gate"}, {"name": "a"}, {"name": "b"},
        {"name": "c"}, {"name": "d"}],
        "successPairs": [["gate", "a"], ["gate", "b"], ["gate", "c"], ["gate", "d"]]});
    let url = service.submit(&job).await.url;
    let all = service.states(&url).await;
    assert!(all.values().all(|state| state == "Ready"), "{all:?}");
    for (verb, name, to) in [
        ("start", "a", "Waiting"),
        ("pause", "b", "Paused"),
        ("skip", "c", "ToSkip"),
        ("block", "d", "Blocked"),
    ] {
        assert_eq!(service.moved_one(&url, verb, name).await, [format!("{name} Ready {to}")]);
    }
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_1_waiting_is_entered_by_start_resume_unskip_and_unblock() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    for (there, state, back) in [
        ("pause", "Paused", "resume"),
        ("skip", "ToSkip", "unskip"),
        ("block", "Blocked", "unblock"),
    ] {
        assert_eq!(service.moved_one(&url, there, "b").await, [format!("b Waiting {state}")]);
        assert_eq!(service.moved_one(&url, back, "b").await, [format!("b {state} Waiting")]);
    }
    // It runs by itself when all that it waits for is done.
    open(&service, &url).await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert!(service.states(&url).await.values().filter(|state| *state == "Succeeded").count() == 4);
}

#[tokio::test]
async fn row_3_1_running_ends_in_succeeded_failed_held_or_interrupted() {
    let service = service().await;
    let job = json!({"steps": [step("good", "true"), step("bad", "false"),
        {"name": "held", "run": {"shell": "false"}, "onFailure": "hold"}, endless("long")]});
    let url = service.submit(&job).await.url;
    for (name, state) in
        [("good", "Succeeded"), ("bad", "Failed"), ("held", "Error"), ("long", "Running")]
    {
        service.in_state(&url, name, state).await;
    }
    assert_eq!(service.moved_one(&url, "interrupt", "long").await, ["long Running Interrupted"]);
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_1_marks_take_effect_when_they_are_reached_or_are_undone() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    service.moved_one(&url, "skip", "b").await;
    service.moved_one(&url, "block", "c").await;
    service.moved_one(&url, "pause", "d").await;
    open(&service, &url).await;
    service.in_state(&url, "b", "Skipped").await;
    let states = service.states(&url).await;
    assert_eq!(
        [&*states["c"], &*states["d"], &*states["end"]],
        ["Blocked", "Paused", "Unreachable"]
    );
    assert_eq!(service.moved_one(&url, "unblock", "c").await, ["c Blocked Waiting"]);
    service.in_state(&url, "c", "Succeeded").await;
    service.verb(&url, "resume", &json!({})).await.expect(200);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.states(&url).await["end"], "Succeeded", "it was opened again");
}

#[tokio::test]
async fn row_3_1_held_states_are_left_by_resume_skip_and_block() {
    let service = service().await;
    let hold = |name: &str| {
        json!({"name": name, "onFailure": "hold",
        "run": {"shell": "[ $SUT_ATTEMPT -ge 2 ]"}})
    };
    let job = json!({"steps": [hold("a"), hold("b"), hold("c"), endless("d")]});
    let url = running(&service, &job, "d").await;
    for name in ["a", "b", "c"] {
        service.in_state(&url, name, "Error").await;
    }
    service.moved_one(&url, "interrupt", "d").await;
    service.gone(&url, "d").await;
    // The older system does not block what was interrupted either.
    assert!(service.refused(&url, "block", "d").await.contains("Interrupted"));
    let steps = json!({"steps": ["a"]});
    let resumed = service.verb(&url, "resume", &steps).await.expect(200).json();
    assert_eq!(moves(&resumed), ["a Error Waiting"], "to resume is to run again");
    service.in_state(&url, "a", "Succeeded").await;
    assert_eq!(service.moved_one(&url, "skip", "b").await, ["b Error ToSkip"]);
    assert_eq!(service.moved_one(&url, "block", "c").await, ["c Error Blocked"]);
    assert_eq!(service.moved_one(&url, "skip", "d").await, ["d Interrupted ToSkip"]);
    assert_eq!(service.ended(&url).await["state"], "Failed", "a blocked step is no success");
}

#[tokio::test]
async fn row_3_1_succeeded_and_skipped_let_children_proceed() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    service.moved_one(&url, "skip", "d").await;
    open(&service, &url).await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let states = service.states(&url).await;
    assert_eq!(
        [&*states["root"], &*states["d"], &*states["end"]],
        ["Skipped", "Skipped", "Succeeded"]
    );
}

#[tokio::test]
async fn row_3_1_failed_and_blocked_close_the_subtree() {
    let service = service().await;
    let mut job = diamond();
    job["steps"][1]["run"] = json!({"shell": "false"});
    let url = running(&service, &job, "root").await;
    service.moved_one(&url, "block", "d").await;
    open(&service, &url).await;
    assert_eq!(service.ended(&url).await["state"], "Failed");
    let states = service.states(&url).await;
    let closed = [&*states["b"], &*states["c"], &*states["d"], &*states["end"]];
    assert_eq!(closed, ["Failed", "Unreachable", "Blocked", "Unreachable"]);
}

#[tokio::test]
async fn row_3_2_start() {
    let service = service().await;
    let job = json!({"start": "manual", "steps": [step("a", "true"), step("b", "true")]});
    let url = service.submit(&job).await.url;
    let started = service.moved(&url, "start", &json!({})).await;
    assert_eq!(started, ["a Ready Waiting", "b Ready Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}

#[tokio::test]
async fn row_3_2_stop_ends_what_runs_and_starts_nothing_more() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    service.delete(&url).await;
    assert_eq!(service.ended(&url).await["state"], "Cancelled");
    let states = service.states(&url).await;
    assert!(states.values().all(|state| state == "Cancelled"), "{states:?}");
    assert_eq!(service.step(&url, "b").await["attempt"], 0);
}

#[tokio::test]
async fn row_3_2_pause_branch_takes_only_the_strict_progeny() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    // `end` is reached through d as well.
    let branch = json!({"steps": ["b"], "branch": true});
    let moved = service.moved(&url, "pause", &branch).await;
    assert_eq!(moved, ["b Waiting Paused", "c Waiting Paused"]);
    let both = json!({"steps": ["b", "d"], "branch": true});
    let answer = service.verb(&url, "pause", &both).await.expect(200).json();
    assert_eq!(moves(&answer), ["d Waiting Paused", "end Waiting Paused"]);
    assert_eq!(answer["refused"][0]["name"], "b");
    // The same for `resume_branch`.
    let moved = service.moved(&url, "resume", &branch).await;
    assert_eq!(moved, ["b Paused Waiting", "c Paused Waiting"]);
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_2_resume_takes_paused_failed_and_interrupted_steps() {
    let service = service().await;
    let job = json!({"steps": [{"name": "held", "onFailure": "hold", "run": {"shell": "false"}},
        endless("long"), paused("p"), step("then", "true")], "successPairs": [["long", "then"]]});
    let url = running(&service, &job, "long").await;
    service.in_state(&url, "held", "Error").await;
    service.moved_one(&url, "interrupt", "long").await;
    service.gone(&url, "long").await;
    let body = json!({"dryRun": true});
    let all = service.verb(&url, "resume", &body).await.expect(200).json();
    let mut all = moves(&all);
    all.sort();
    assert_eq!(all, ["held Error Waiting", "long Interrupted Waiting", "p Paused Waiting"]);
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_2_next_step_takes_the_next_n_paused_steps() {
    let service = service().await;
    // The older system looks among the first N steps, paused or not, so its second call moves none.
    let names = ["a", "b", "c", "d", "e"];
    let mut steps: Vec<Value> = names.iter().map(|name| paused(name)).collect();
    steps.push(json!({"name": "late", "initialState": "Paused"}));
    let job = json!({"steps": steps, "successPairs": [["e", "late"]]});
    let url = service.submit(&job).await.url;
    let first = service.moved(&url, "next", &json!({})).await;
    assert_eq!(first, ["a Paused Waiting"]);
    service.in_state(&url, "a", "Succeeded").await;
    let more = service.moved(&url, "next", &json!({"count": 2})).await;
    assert_eq!(more, ["b Paused Waiting", "c Paused Waiting"]);
    service.in_state(&url, "c", "Succeeded").await;
    // Only steps that can run now: `late` waits for e.
    let more = service.moved(&url, "next", &json!({"count": 9})).await;
    assert_eq!(more, ["d Paused Waiting", "e Paused Waiting"]);
    service.in_state(&url, "e", "Succeeded").await;
    assert_eq!(service.moved(&url, "next", &json!({})).await, ["late Paused Waiting"]);
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}

#[tokio::test]
async fn row_3_2_skip_and_unskip() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    service.moved_one(&url, "pause", "c").await;
    let moved = service.moved(&url, "skip", &json!({"states": ["waiting", "paused"]})).await;
    assert_eq!(
        moved,
        ["b Waiting ToSkip", "c Paused ToSkip", "d Waiting ToSkip", "end Waiting ToSkip"]
    );
    let moved = service.moved(&url, "unskip", &json!({})).await;
    assert_eq!(
        moved,
        ["b ToSkip Waiting", "c ToSkip Paused", "d ToSkip Waiting", "end ToSkip Waiting"]
    );
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_2_block_and_unblock() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    let moved = service.moved(&url, "block", &json!({"steps": ["b"], "branch": true})).await;
    assert_eq!(moved, ["b Waiting Blocked", "c Waiting Blocked"]);
    assert_eq!(service.states(&url).await["end"], "Unreachable");
    let moved = service.moved(&url, "unblock", &json!({})).await;
    assert_eq!(moved, ["b Blocked Waiting", "c Blocked Waiting"]);
    assert_eq!(service.states(&url).await["end"], "Waiting");
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_2_set_and_unset_pause_on_fail() {
    let service = service().await;
    let mut job = shell("exit 3");
    job["steps"][0]["initialState"] = json!("Paused");
    let url = service.submit(&job).await.url;
    assert_eq!(service.moved_one(&url, "hold", "only").await, ["only Paused Paused"]);
    assert!(service.refused(&url, "hold", "only").await.contains("already"));
    service.moved_one(&url, "resume", "only").await;
    service.in_state(&url, "only", "Error").await;
    // Held already, so what becomes of the next failure is told before the next attempt.
    service.verb(&url, "rerun", &json!({"steps": ["only"]})).await.expect(200);
    service.in_state(&url, "only", "Error").await;
    service.end(&url).await;

    job["steps"][0]["onFailure"] = json!("hold");
    let url = service.submit(&job).await.url;
    assert_eq!(service.moved_one(&url, "unhold", "only").await, ["only Paused Paused"]);
    service.moved_one(&url, "resume", "only").await;
    assert_eq!(service.ended(&url).await["state"], "Failed");
    assert_eq!(service.states(&url).await["only"], "Failed");
}

#[tokio::test]
async fn row_3_2_n_is_the_topological_number() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    let steps = service.steps(&url).await;
    let at = |name: &str| steps.iter().position(|step| step["name"] == name).expect("a step");
    for (before, after) in [("root", "b"), ("b", "c"), ("root", "d"), ("c", "end"), ("d", "end")] {
        assert!(at(before) < at(after));
    }
    for (n, step) in steps.iter().enumerate() {
        assert_eq!(step["n"], n);
    }
    service.end(&url).await;
}

#[tokio::test]
async fn row_3_2_calls_that_are_wrong_are_refused_with_the_reason() {
    let service = service().await;
    let url = running(&service, &diamond(), "root").await;
    let unknown = service.verb(&url, "puase", &json!({})).await.error(404);
    assert!(unknown["message"].as_str().unwrap().contains("`pause`"), "{unknown}");
    let wrong = service.verb(&url, "next", &json!({"count": "two"})).await.error(400);
    assert_eq!(wrong["target"], "count");
    while_others_run(&service).await;
    assert_eq!(service.get(&url).await.json()["stepCounts"], json!({"Running": 1, "Waiting": 4}));
    service.end(&url).await;
}
