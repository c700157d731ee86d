//! A worker that is killed: clients see what it had before others get it.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Server;

/// A worker beside a server, killed with its test.
struct Worker(Child);

impl Worker {
    fn start(data_dir: &Path) -> Self {
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

/// The operation once it is in that state, with the answer's `Retry-After`.
async fn in_state(url: &str, state: &str) -> (Value, Option<String>) {
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
    let http = reqwest::Client::new();
    let answer = http.post(format!("{}/v1.0/jobsets", server.url)).json(&jobset).send().await;
    let url = answer.unwrap().headers()["operation-location"].to_str().unwrap().to_owned();
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
