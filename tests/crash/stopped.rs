//! `mother serve`, stopped for a while and continued: its steps run on without it, and end without it
//! when it is stopped for too long.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Server;
use super::zombie::{Worker, in_state, submit};

impl Server {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

/// What happened to the step of an operation, with the attempts to which it did.
pub(super) async fn actions(url: &str) -> Vec<(String, u64)> {
    let page: Value = reqwest::get(format!("{url}/events")).await.unwrap().json().await.unwrap();
    let events = page["value"].as_array().unwrap();
    let told = |event: &Value| Some((event["action"].as_str()?.into(), event["attempt"].as_u64()?));
    events.iter().filter_map(told).collect()
}

async fn read(path: &Path) -> String {
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test]
async fn a_worker_that_was_stopped_for_a_while_goes_on_with_its_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let other = Server::without_worker(folder.path());
    let terms = ["--lease", "1s", "--heartbeat", "200ms", "--requeue-after", "1m"];
    let server = Server::with(folder.path(), &terms);
    let go = folder.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let url = submit(&other, &json!({"steps": [{"name": "a", "run": {"shell": script}}]})).await;
    in_state(&url, "Running").await;
    server.signal(Signal::SIGSTOP);
    in_state(&url, "Zombie").await;
    server.signal(Signal::SIGCONT);
    in_state(&url, "Running").await;
    std::fs::write(go, "").unwrap();
    in_state(&url, "Succeeded").await;
    let mut told = actions(&url).await;
    assert!(told.iter().all(|(_, attempt)| *attempt == 1), "{told:?}");
    // A busy host may have lost it once more.
    told.dedup();
    let told: Vec<&str> = told.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(told[..3], ["run", "lose", "recover"]);
    assert_eq!(told.last(), Some(&"succeed"));
}

#[tokio::test]
async fn the_step_of_a_worker_that_was_stopped_for_too_long_ends_before_another_begins() {
    let folder = tempfile::tempdir().unwrap();
    let other = Server::without_worker(folder.path());
    let terms = ["--lease", "2s", "--heartbeat", "300ms", "--requeue-after", "2s"];
    let server = Server::with(folder.path(), &terms);
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    // The first one cannot be ended in good order, and has a child that hides.
    let script = format!(
        r#"if [ $SUT_ATTEMPT = 1 ]; then
            trap '' TERM; setsid sleep 1000 & echo "$$ $!" > {first}; wait
        else
            for pid in $(cat {first}); do kill -0 $pid 2>/dev/null && echo $pid lives; done > {second}
            echo done >> {second}
        fi"#,
        first = first.display(),
        second = second.display(),
    );
    let url = submit(&other, &json!({"steps": [{"name": "a", "run": {"shell": script}}]})).await;
    read(&first).await;
    server.signal(Signal::SIGSTOP);
    in_state(&url, "Zombie").await;
    let worker = Worker::start(folder.path());
    in_state(&url, "Succeeded").await;
    assert_eq!(read(&second).await, "done\n", "what the first attempt had started");
    drop(worker);
    // Continued, it finds itself over and works as somebody new.
    server.signal(Signal::SIGCONT);
    let next =
        submit(&other, &json!({"steps": [{"name": "a", "run": {"command": ["true"]}}]})).await;
    in_state(&next, "Succeeded").await;
    let told = actions(&url).await;
    let expected = [("run", 1), ("lose", 1), ("requeue", 1), ("run", 2), ("succeed", 2)];
    assert_eq!(told, expected.map(|(action, attempt)| (action.to_owned(), attempt)));
}
