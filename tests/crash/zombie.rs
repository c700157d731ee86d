//! A worker that is killed: clients see what it had before others get it.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;
use super::stopped::actions;

/// A worker beside a server, killed with its test.
pub(super) struct Worker(Child);

impl Worker {
    pub(super) fn start(data_dir: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["worker", "--lease", "1s", "--heartbeat", "300ms", "--data-dir"])
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Submits a jobset; answers where its operation is.
pub(super) async fn submit(server: &Server, jobset: &Value) -> String {
    _ = rustls::crypto::ring::default_provider().install_default();
    let jobsets = format!("{}/v1.0/jobsets", server.url);
    let answer = reqwest::Client::new().post(jobsets).json(jobset).send().await.unwrap();
    answer.headers()["operation-location"].to_str().unwrap().to_owned()
}

/// The operation once it is in that state, with the answer's `Retry-After`.
pub(super) async fn in_state(url: &str, state: &str) -> (Value, Option<String>) {
    let http = reqwest::Client::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut known = String::new();
    loop {
        let asked = http.get(url).header("prefer", "wait=5").header("if-none-match", &known);
        let answer = asked.send().await.unwrap();
        known = answer.headers()["etag"].to_str().unwrap().to_owned();
        let retry = answer.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        if answer.status() == 200 {
            let operation: Value = answer.json().await.unwrap();
            if operation["state"] == state {
                return (operation, retry);
            }
            let is_final = ["succeeded", "failed", "canceled"]
                .contains(&operation["status"].as_str().unwrap());
            assert!(!is_final, "it ended before it was {state}: {operation}");
        }
        assert!(Instant::now() < deadline, "it is never {state}");
    }
}

#[tokio::test]
async fn row_050_a_lost_worker_makes_a_zombie_that_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::without_worker(folder.path());
    let worker = Worker::start(folder.path());
    let first_only = "[ $SUT_ATTEMPT -gt 1 ] || exec sleep 1000";
    let jobset = json!({"steps": [{"name": "a", "run": {"shell": first_only}}]});
    let url = submit(&server, &jobset).await;
    let http = reqwest::Client::new();
    in_state(&url, "Running").await;
    drop(worker);
    let (zombie, retry) = in_state(&url, "Zombie").await;
    assert_eq!(zombie["status"], "running");
    assert_eq!(zombie["stepCounts"], json!({"Unresponsive": 1}));
    assert!(retry.unwrap().parse::<u32>().unwrap() >= 1);
    let explained: Value =
        http.get(format!("{url}/explain")).send().await.unwrap().json().await.unwrap();
    let told = explained["because"][0]["message"].as_str().unwrap();
    assert!(told.contains("`a` is Unresponsive"), "{explained}");
    let _second = Worker::start(folder.path());
    in_state(&url, "Running").await;
    let (ended, retry) = in_state(&url, "Succeeded").await;
    assert_eq!((retry, &ended["status"]), (None, &json!("succeeded")));
    let page: Value = http.get(format!("{url}/events")).send().await.unwrap().json().await.unwrap();
    let states: Vec<&str> =
        page["value"].as_array().unwrap().iter().filter_map(|e| e["state"].as_str()).collect();
    assert_eq!(states, ["NotStarted", "Running", "Zombie", "Running", "Succeeded"]);
}

#[tokio::test]
async fn a_step_whose_workers_are_lost_too_often_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(folder.path(), &["--no-worker", "--infra-retries", "1"]);
    // Its own retries are for its own failures.
    let step =
        json!({"name": "a", "run": {"command": ["sleep", "1000"]}, "retry": {"maxAttempts": 5}});
    let url = submit(&server, &json!({"steps": [step]})).await;
    for attempt in 1..=2 {
        let worker = Worker::start(folder.path());
        while actions(&url).await.last() != Some(&("run".to_owned(), attempt)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(worker);
        in_state(&url, "Zombie").await;
    }
    let (failed, _) = in_state(&url, "Failed").await;
    let told = &failed["error"]["details"][0];
    assert_eq!((&told["code"], &told["target"]), (&json!("Unresponsive"), &json!("a")), "{failed}");
    let step: Value = reqwest::get(format!("{url}/steps/a")).await.unwrap().json().await.unwrap();
    assert_eq!((&step["state"], &step["attempt"]), (&json!("Failed"), &json!(2)));
    assert_eq!(step["exception"]["type"], "Unresponsive", "{step}");
}
