//! Requests with keys that are repeated after a kill make one operation each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sutbot::client::{Client, SubmissionKeys};
use tokio::task::JoinSet;

use crate::{Server, document};

const KEYS: usize = 600;
const CLIENTS: usize = 32;
const BATCHES: usize = 16;
const RUNS: usize = 300;

async fn count(server: &Server) -> usize {
    let answer = reqwest::get(format!("{}/v1.0/operations/$count", server.url)).await.unwrap();
    answer.text().await.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_080_a_kill_between_the_commit_and_the_answer() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let job = json!({"steps": [{"name": "a"}], "start": "manual"});
    let post = async |server: &Server, prefer: &'static str| {
        let request = reqwest::Client::new().post(format!("{}/v1.0/jobsets", server.url));
        let request = request.header("prefer", prefer).header("operation-id", "killed");
        request.header("idempotency-key", "\"killed\"").json(&job).send().await
    };
    // The answer waits for the end of the operation; the operation itself is durable before.
    let waiting = post(&server, "wait=60");
    let stored = async {
        while count(&server).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = waiting => panic!("{answer:?} came before the end"),
        () = stored => {}
    }
    server.kill();
    let server = Server::start(folder.path());
    for _ in 0..2 {
        let answer = post(&server, "respond-async").await.unwrap();
        assert_eq!(answer.status(), 202);
        assert!(answer.headers()["location"].to_str().unwrap().ends_with("/operations/killed"));
    }
    assert_eq!(count(&server).await, 1);
}

/// Posts all keys, each by one client; answers what was acknowledged to `made`.
fn post_all(server: &Server, made: &Arc<Mutex<HashMap<usize, String>>>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (url, made) = (server.url.clone(), Arc::clone(made));
        clients.spawn(async move {
            let mother = Client::new(&url, None).unwrap();
            for n in (client..KEYS).step_by(CLIENTS) {
                let keys = SubmissionKeys {
                    idempotency_key: Some(format!("key-{n}")),
                    operation_id: (n % 2 == 0).then(|| format!("op-{n}")),
                };
                let json = serde_json::to_vec(&document(n)).unwrap();
                let Ok(submitted) = mother.submit_once(json, &keys).await else { return };
                let id = submitted.operation.id;
                let before = made.lock().unwrap().insert(n, id.clone());
                assert!(before.is_none_or(|before| before == id), "key-{n} made two operations");
            }
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_makes_one_operation_over_kills() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let made = Arc::new(Mutex::new(HashMap::new()));
    for killed_after in [KEYS / 6, KEYS / 3] {
        let server = Server::start(folder.path());
        let clients = post_all(&server, &made);
        let enough = async {
            while made.lock().unwrap().len() < killed_after {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), enough).await.unwrap();
        server.kill();
        clients.join_all().await;
    }
    let server = Server::start(folder.path());
    post_all(&server, &made).join_all().await;
    let made = made.lock().unwrap().clone();
    assert_eq!((made.len(), count(&server).await), (KEYS, KEYS));
}

/// Posts all batches, one client each; answers what was acknowledged to `made`.
fn post_batches(server: &Server, made: &Arc<Mutex<HashMap<usize, Value>>>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for n in 0..BATCHES {
        let (url, made) = (format!("{}/v1.0/jobsets:batch", server.url), Arc::clone(made));
        let jobset = json!({"name": format!("j{n}"), "start": "manual", "steps": [{"name": "a"}]});
        let batch = json!({"jobsets": [{"jobset": jobset, "runs": vec![json!({}); RUNS]}]});
        clients.spawn(async move {
            let request = reqwest::Client::new().post(url).json(&batch);
            let request = request.header("prefer", "return=minimal");
            let request = request.header("idempotency-key", format!("batch-{n}"));
            let Ok(answer) = request.send().await else { return };
            assert_eq!(answer.status(), 202);
            let Ok(answer) = answer.json::<Value>().await else { return };
            let before = made.lock().unwrap().insert(n, answer.clone());
            assert!(before.is_none_or(|before| before == answer), "batch-{n} was made twice");
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_made_whole_and_once_over_kills() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let made = Arc::new(Mutex::new(HashMap::new()));
    for acknowledged in [1, BATCHES / 2] {
        let server = Server::start(folder.path());
        let stored = count(&server).await;
        assert_eq!(stored % RUNS, 0, "a batch was stored in part");
        assert!(stored >= made.lock().unwrap().len() * RUNS, "what was acknowledged is gone");
        let mut clients = post_batches(&server, &made);
        while made.lock().unwrap().len() < acknowledged && clients.join_next().await.is_some() {}
        server.kill();
        clients.join_all().await;
    }
    let server = Server::start(folder.path());
    post_batches(&server, &made).join_all().await;
    let made = made.lock().unwrap().len();
    assert_eq!((made, count(&server).await), (BATCHES, BATCHES * RUNS));
}
