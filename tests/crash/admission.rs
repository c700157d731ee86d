//! The server that holds what was admitted is killed: what waits is admitted all the same, and never
//! more than may be at once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{json, to_vec};
use sutbot::client::Client;

use crate::Server;

const OPERATIONS: usize = 40;
const LIMIT: usize = 2;

/// When an operation was admitted and when it ended, once it has.
async fn admitted(client: &Client, id: &str) -> (DateTime<Utc>, DateTime<Utc>) {
    let wait = Duration::from_secs(10);
    let operation = loop {
        let polled = client.poll(id, None, wait).await.unwrap();
        let operation = polled.operation.expect("a whole answer");
        if operation.has_ended() {
            break operation;
        }
    };
    let events = client.events(id, 0).await.unwrap().value;
    assert_eq!(operation.state, "Succeeded", "{events:?}");
    let begun: Vec<_> = events.iter().filter(|event| event.kind == "admitted").collect();
    assert_eq!(begun.len(), 1, "it is admitted once");
    (begun[0].at, events.last().unwrap().at)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_holder_neither_loses_nor_doubles_a_place() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let front = Server::without_worker(folder.path());
    let first = Server::with_lease(folder.path(), "1s");
    let (client, other) = (Client::new(&front.url, None), Client::new(&first.url, None));
    let (client, other) = (client.unwrap(), other.unwrap());
    let job = to_vec(&json!({
        "steps": [{"name": "a"}, {"name": "b", "run": {"command": ["sleep", "0.05"]}}],
        "successPairs": [["a", "b"]],
        "concurrency": {"key": "deploy", "limit": LIMIT},
        "rateLimit": {"key": "deploy", "limit": 20, "per": "1s"},
    }))
    .unwrap();
    let mut ids = Vec::new();
    for n in 0..OPERATIONS {
        let client = if n % 2 == 0 { &client } else { &other };
        ids.push(client.submit_json(job.clone()).await.unwrap().operation.id);
    }
    admitted(&client, &ids[OPERATIONS / 5]).await;
    first.kill();
    let _second = Server::with_lease(folder.path(), "1s");
    let mut spans = Vec::new();
    for id in &ids {
        spans.push(admitted(&client, id).await);
    }
    // Each server estimates the clock of the database.
    let slack = TimeDelta::milliseconds(20);
    for (at, _) in &spans {
        let runs = |(begun, ended): &&(_, _)| begun <= at && *ended > *at + slack;
        let running = spans.iter().filter(runs).count();
        assert!(running <= LIMIT, "{running} run at {at}");
    }
    let next = client.submit_json(job.clone()).await.unwrap().operation.id;
    admitted(&client, &next).await;
}
