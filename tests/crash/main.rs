//! `mother serve`, killed with SIGKILL while 64 clients post, and started again on the same folder:
//! everything it acknowledged is there and runs to its end, with every attempt accounted for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod repeated;
#[path = "../support/serve.rs"]
mod serve;
mod zombie;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use serve::listening;
use sutbot::client::Client;
use sutbot::itc::Stamp;
use sutbot::wire::Event;
use tokio::task::JoinSet;

mod output;

/// The value of the secret `CRASH_TOKEN`.
const SECRET: &str = "hunter22hunter";
const CLIENTS: usize = 64;
const ACKNOWLEDGED: usize = 600;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data_dir: &Path) -> Self {
        Self::with_lease(data_dir, "2s")
    }

    fn with_lease(data_dir: &Path, lease: &str) -> Self {
        Self::with(data_dir, &["--lease", lease, "--heartbeat", "500ms"])
    }

    fn without_worker(data_dir: &Path) -> Self {
        Self::with(data_dir, &["--no-worker"])
    }

    fn with(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        command.arg("--data-dir").arg(data_dir);
        command.env_remove("DATABASE_URL").env("CRASH_TOKEN", SECRET);
        let (child, url) = listening(&mut command).unwrap();
        Self { child, url }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// One of three shapes: a milestone, a chain with a process, a failure that is repaired.
fn document(n: usize) -> Value {
    let run = |command: &str| json!({"command": [command]});
    match n % 3 {
        0 => json!({"steps": [{"name": "a"}]}),
        1 => json!({"steps": [{"name": "a"}, {"name": "b", "run": run("true")}, {"name": "c"}],
            "successPairs": [["a", "b"], ["b", "c"]]}),
        _ => {
            json!({"steps": [{"name": "a", "run": run("false"), "retry": {"maxAttempts": 2, "backoff": "10ms"}},
            {"name": "b"}], "failurePairs": [["a", "b"]]})
        }
    }
}

/// Posts from all clients until enough was acknowledged; what was is in `acknowledged`.
async fn post_until_killed(server: Server, acknowledged: &Arc<Mutex<Vec<String>>>) {
    let before = acknowledged.lock().unwrap().len();
    let mut clients = JoinSet::new();
    let (enough, mut told) = tokio::sync::watch::channel(0_usize);
    let enough = Arc::new(enough);
    for client in 0..CLIENTS {
        let url = format!("{}/v1.0/jobsets", server.url);
        let (acknowledged, enough) = (Arc::clone(acknowledged), Arc::clone(&enough));
        clients.spawn(async move {
            let http = reqwest::Client::new();
            for n in client.. {
                let Ok(answer) = http.post(&url).json(&document(n)).send().await else { return };
                if answer.status() != reqwest::StatusCode::ACCEPTED {
                    continue;
                }
                let location = answer.headers()["operation-location"].to_str().unwrap();
                let id = location.rsplit('/').next().unwrap().to_owned();
                let count = {
                    let mut list = acknowledged.lock().unwrap();
                    list.push(id);
                    list.len()
                };
                _ = enough.send(count);
            }
        });
    }
    let waited = told.wait_for(|count| count - before.min(*count) >= ACKNOWLEDGED);
    drop(tokio::time::timeout(Duration::from_mins(1), waited).await.unwrap().unwrap());
    server.kill();
    clients.join_all().await;
}

/// Every attempt that ran ended, or was lost and followed by another one.
fn account(id: &str, events: &[Event]) {
    let mut running: BTreeMap<String, u32> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq as usize, index + 1, "{id} has a gap in its history");
        let (Some(step), Some(action)) = (&event.step, event.action.as_deref()) else { continue };
        let attempt = event.attempt.unwrap_or(0);
        match action {
            "run" | "recover" => {
                let before = running.insert(step.clone(), attempt);
                assert_eq!(before, None, "{id}: two attempts of {step} at once");
            }
            "succeed" | "fail" | "retry" | "lose" | "cancel" => {
                assert_eq!(running.remove(step), Some(attempt), "{id}: {step} ended unasked");
            }
            _ => {}
        }
    }
    assert!(running.is_empty(), "{id}: attempts that never ended: {running:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_and_ends() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        post_until_killed(Server::start(folder.path()), &acknowledged).await;
    }
    let server = Server::start(folder.path());
    let client = Client::new(&server.url, None).unwrap();
    let ids = acknowledged.lock().unwrap().clone();
    assert!(ids.len() >= 2 * ACKNOWLEDGED);
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    for id in ids {
        loop {
            let polled = client.poll(&id, None, Duration::from_secs(20)).await.unwrap();
            let operation = polled.operation.expect("a whole answer");
            if ["succeeded", "failed", "canceled"].contains(&operation.status.as_str()) {
                assert_eq!(operation.status, "succeeded", "{operation:?}");
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{id} never ended");
        }
        account(&id, &client.events(&id, 0).await.unwrap().value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_while_the_worker_is_lost_counts_and_without_one_people_are_asked_again() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let post = async |url: String, body: Value| http.post(url).json(&body).send().await.unwrap();
    let get = async |url: String| -> Value {
        let answer = http.get(url).header("prefer", "wait=20").send().await.unwrap();
        answer.json().await.unwrap()
    };
    let server = Server::with_lease(folder.path(), "8s");
    let job = json!({"steps": [{"name": "a", "run": {"instruction": {"text": "told"}}},
        {"name": "b", "run": {"instruction": {"text": "asked again"}}}]});
    let answer = post(format!("{}/v1.0/jobsets", server.url), job).await;
    let location = answer.headers()["operation-location"].to_str().unwrap().to_owned();
    let path = location.strip_prefix(&server.url).unwrap().to_owned();
    while get(format!("{location}/waiting")).await["value"].as_array().unwrap().len() < 2 {}
    server.kill();
    let server = Server::with_lease(folder.path(), "8s");
    let location = format!("{}{path}", server.url);
    let reply = |id: &str| format!("{location}/prompts/{id}/reply");
    // The first event by which a step entered a state.
    let event = async |step: &str, to: &str| -> Value {
        let page = get(format!("{location}/events")).await;
        let is_meant = |event: &&Value| event["step"] == step && event["to"] == to;
        page["value"].as_array().unwrap().iter().find(is_meant).expect("an event").clone()
    };
    let cause = event("b", "Running").await;
    // The lease of the worker that is gone has not run out, so nobody knows yet.
    let body = json!({"value": "in between", "after": cause["seq"]});
    let answer = post(reply("0-1-1"), body).await;
    assert_eq!(answer.status(), 200);
    let again = loop {
        let waiting = get(format!("{location}/waiting")).await;
        let first = waiting["value"][0].clone();
        if first["attempt"] == 2 {
            break first;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // Until the lease runs out.
    };
    assert_eq!(again["text"], "asked again");
    assert_eq!(post(reply("1-1-1"), json!({})).await.status(), 410);
    assert_eq!(post(reply("1-2-1"), json!({"value": "late"})).await.status(), 200);
    let ended = loop {
        let operation = get(location.clone()).await;
        if operation["status"] != "running" {
            break operation;
        }
    };
    let result = json!({"a": {"value": "in between"}, "b": {"value": "late"}});
    assert_eq!(ended["result"], result, "{ended}");
    let outcome = event("a", "Succeeded").await;
    let stamp = |event: &Value| event["stamp"].as_str().unwrap().parse::<Stamp>().unwrap();
    assert!(stamp(&cause).happened_before(&stamp(&outcome)), "{cause} {outcome}");
}
