//! The examples do what they say: each is run as a user would, by `mother run`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Runs an example with everything of its own; answers the operation as it ended.
fn run(file: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(["run", file, "--json"])
        .args(more)
        .arg("--data-dir")
        .arg(folder.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("DATABASE_URL")
        .env_remove("MOTHER_SERVER")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    let last = text.lines().last().expect("the operation is the last line");
    serde_json::from_str(last).unwrap()
}

#[test]
fn a_service_is_tested_repaired_and_tested_again() {
    let operation = run("examples/repair.yaml", &[]);
    assert_eq!(operation["state"], "Succeeded");
    assert_eq!(operation["stepCounts"]["Failed"], 1, "the test that found the defect");
    assert_eq!(operation["result"]["report"]["repaired"], true);
}

#[test]
fn without_the_defect_nothing_is_repaired() {
    let operation = run("examples/repair.yaml", &["--set", "index=fresh"]);
    assert_eq!(operation["state"], "Succeeded");
    assert_eq!(operation["stepCounts"].get("Failed"), None);
    assert_eq!(operation["stepCounts"]["Unreachable"], 2, "repair and retest");
    assert_eq!(operation["result"]["report"]["repaired"], false);
}

/// A machine of its own: deployed, watched, rolled back, deployed again once the cause is known.
#[test]
fn a_canary_is_rolled_back_and_deployed_again() {
    let operation = run("examples/canary.yaml", &[]);
    assert_eq!(operation["state"], "Succeeded");
    assert_eq!(operation["stepCounts"]["Succeeded"], 4);
}

#[test]
fn a_deployment_that_is_alone_waits_for_nobody() {
    let operation = run("examples/deploy.yaml", &[]);
    assert_eq!(operation["state"], "Succeeded");
    assert_eq!(operation["stepCounts"]["Succeeded"], 3);
}

/// Ctrl-C cancels: what was done is undone, the last first, and the lock is given back.
#[test]
fn an_upgrade_that_is_cancelled_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(["run", "examples/rollback.yaml", "--json", "--data-dir"])
        .arg(folder.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("DATABASE_URL")
        .env_remove("MOTHER_SERVER")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut began, mut last) = (Vec::new(), Value::Null);
    for line in lines {
        last = serde_json::from_str(&line.unwrap()).unwrap();
        if last["action"] == "run" {
            let step = last["step"].as_str().unwrap().to_owned();
            if step == "soak" {
                kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
            }
            began.push(step);
        }
    }
    child.wait().unwrap();
    assert_eq!(last["state"], "Cancelled", "{last}");
    let expected = [
        "lock",
        "schema",
        "release",
        "soak",
        "back-to-old-release",
        "back-to-old-schema",
        "unlock",
    ];
    assert_eq!(began, expected);
    assert_eq!(last["cancellation"]["steps"]["interrupted"], 1, "{last}");
}

/// A server that ends with its test, in order, so that its database ends with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// The test that fails says only what it found; the causal order says who was at work meanwhile.
#[test]
fn who_disturbed_a_test_is_told_by_the_causal_order() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mother = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
        command.arg("--socket").arg(&socket).args(arguments);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env_remove("DATABASE_URL").env_remove("MOTHER_SERVER");
        command
    };
    let mut serve = mother(&["serve", "--slots", "2", "--data-dir"]);
    let serve = serve.arg(folder.path().join("data")).stdout(Stdio::piped()).spawn();
    let mut server = Server(serve.unwrap());
    let mut said = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("listening"), "{line}");
    let ran = mother(&["run", "examples/collision.yaml", "--json"]).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    let operation: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let id = operation["id"].as_str().unwrap();
    let ask = |arguments: &[&str]| {
        let output = mother(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let told = ask(&["op", "suspects", id, "reader"]);
    let after = ask(&["op", "suspects", id, "report", "--json"]);
    let drawn = ask(&["op", "causality", id]);
    let causes = ask(&["op", "causes", id, "6"]);
    assert_eq!(
        (ran.status.code(), &operation["state"]),
        (Some(1), &Value::from("Failed")),
        "{text}"
    );
    assert_eq!(operation["error"]["message"], "step `reader` ended Failed: exit code 1");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], format!("concurrent with reader #1 of {id}: 1 attempt"));
    assert!(lines[2].starts_with("-          writer  1        +0.0 s"), "{told}");
    assert_eq!(lines.len(), 3, "{told}");
    assert!(drawn.contains("reader #35;1<br/>Failed") && drawn.contains("flowchart"), "{drawn}");
    assert_eq!(causes.lines().count(), 1 + 5, "all before its claim: {causes}");
    assert_eq!(after.trim(), r#"{"value":[]}"#);
}

#[test]
fn the_project_checks_itself() {
    assert_eq!(run("examples/self-check.yaml", &[])["state"], "Succeeded");
}

/// It waits for people, so it is only checked here; `tests/http/people.rs` replies to it.
#[test]
fn the_runbook_is_a_jobset() {
    let checked = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(["check", "examples/runbook.yaml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn two_hundred_steps_fan_out_and_in() {
    let operation = run("examples/fan.json", &[]);
    assert_eq!(operation["stepCounts"]["Succeeded"], 200);
}
