//! What a step may use and see, from its document to the record of its attempt.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sutbot::cli::{Host, HostSettings};
use sutbot::domain::{OperationState, StepState};
use sutbot::engine::{AttemptView, Engine};
use sutbot::runner::process::GroundChoice;

use super::support::{database, ended, submit, until, within};

/// A host with settings of its own.
async fn host(folder: &Path, change: impl FnOnce(&mut HostSettings)) -> Host {
    let mut settings = HostSettings {
        database_url: Some(database().await),
        slots: 4,
        drain: Duration::ZERO,
        zygote_exe: Some(Path::new(env!("CARGO_BIN_EXE_mother")).to_owned()),
        ..HostSettings::new(folder)
    };
    change(&mut settings);
    Host::start(settings).await.unwrap()
}

/// Runs one step to its end; answers its last attempt.
async fn attempt(engine: &Engine, mut step: Value) -> AttemptView {
    step["name"] = "only".into();
    let id = submit(engine, &json!({"steps": [step]})).await;
    ended(engine, id).await;
    engine.store().attempts(id, 0).await.unwrap().pop().unwrap()
}

fn exception(attempt: &AttemptView) -> (&str, &str) {
    let exception = attempt.exception.as_ref().unwrap();
    (exception["type"].as_str().unwrap(), exception["message"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_tells_what_stood_and_what_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), |_| {}).await;
    let engine = host.engine();
    let plain = attempt(engine, json!({"run": {"command": ["true"]}})).await;
    let usage = plain.usage.unwrap();
    assert_eq!((&usage["containment"][0], &usage["oomKills"]), (&json!("sweep"), &json!(0)));
    for name in ["wallSeconds", "userSeconds", "systemSeconds", "maxRssBytes"] {
        assert!(usage[name].as_f64().is_some_and(|used| used >= 0.0), "{name}: {usage}");
    }
    // The workspace and the attempt's files can be written to, wherever the worker has them.
    let script = r#"pwd > "$SUT_WORKSPACE/here" && echo '{"a": 1}' > "$SUT_OUTPUT" && test $TMPDIR = /tmp
        ! touch /usr/here 2>/dev/null"#;
    let boxed = attempt(engine, json!({"sandbox": true, "run": {"shell": script}})).await;
    assert_eq!(boxed.result, Some(json!({"a": 1})), "{boxed:?}");
    let walls = boxed.usage.unwrap()["containment"].clone();
    assert!(walls.as_array().unwrap().contains(&json!("namespaces")), "{walls}");
    host.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_uses_up_its_memory_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), |_| {}).await;
    let command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=512M", "count=1"];
    let bomb = json!({"limits": {"memory": "32MiB"}, "run": {"command": command}});
    let killed = attempt(host.engine(), bomb).await;
    let counted = killed.usage.as_ref().unwrap()["memoryPeakBytes"].is_u64();
    let (kind, message) = exception(&killed);
    if counted {
        assert_eq!(kind, "OutOfMemory");
        assert!(message.contains("33554432 bytes"), "{message}");
    } else {
        // Without a control group it is refused the memory, and ends by itself.
        assert_eq!(kind, "ExitStatus");
    }
    host.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_host_cannot_hold_fails_closed() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), |settings| settings.cgroup = GroundChoice::Nowhere).await;
    let witness = folder.path().join("ran");
    let run = json!({"shell": format!("touch {}", witness.display())});
    let limited = attempt(host.engine(), json!({"limits": {"cpu": 0.5}, "run": run})).await;
    let (kind, message) = exception(&limited);
    assert_eq!(kind, "LimitUnavailable");
    assert!(message.contains("`cpu`") && message.contains("mother doctor"), "{message}");
    let walled = attempt(host.engine(), json!({"containment": ["cgroup"], "run": run})).await;
    let (kind, message) = exception(&walled);
    assert_eq!(kind, "ContainmentUnavailable");
    assert!(message.contains("`cgroup`"), "{message}");
    assert!(!witness.exists());
    host.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_get_the_environment_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Cargo sets these for its tests, so they are in the environment of this worker.
    let passed = |settings: &mut HostSettings| settings.pass_env = vec!["CARGO_PKG_N*".into()];
    let host = host(folder.path(), passed).await;
    let script = r#"printf '{"name": "%s", "version": "%s", "path": "%s"}' \
        "$CARGO_PKG_NAME" "$CARGO_PKG_VERSION" "${PATH:+is there}" > "$SUT_OUTPUT""#;
    let told = attempt(host.engine(), json!({"run": {"shell": script}})).await;
    let expected = json!({"name": "sutbot", "version": "", "path": "is there"});
    assert_eq!(told.result, Some(expected));
    host.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_go_when_their_operations_have_ended_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Duration::from_millis(300);
    let host = host(folder.path(), |settings| settings.keep_workspaces = keep).await;
    let engine = host.engine();
    let operations = folder.path().join("operations");
    let unknown = operations.join("018f0000-0000-7000-8000-000000000000");
    fs::create_dir_all(unknown.join("workspace")).unwrap();
    let other = operations.join("not-an-operation");
    fs::create_dir_all(&other).unwrap();
    let stays = json!({"steps": [{"name": "only", "run": {"shell": "sleep 1000"}}]});
    let stays = submit(engine, &stays).await;
    let script =
        "cd $SUT_WORKSPACE && mkdir -p a/b && touch a/b/c && chmod -R a-w . && ln -s / root";
    let goes = json!({"steps": [{"name": "only", "run": {"shell": script}}]});
    let goes = submit(engine, &goes).await;
    assert_eq!(ended(engine, goes).await.view.state, OperationState::Succeeded);
    until(engine, stays, |found| found.view.steps[0] == StepState::RUNNING).await;
    let gone = [operations.join(goes.to_string()), unknown];
    within(async {
        while gone.iter().any(|folder| folder.exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(operations.join(stays.to_string()).join("workspace").exists());
    assert!(other.exists());
    within(host.run_until(async {})).await.unwrap();
}
