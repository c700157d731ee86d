//! The load generator: connections that send one request after the other for a while.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::figure::{P50, P99, float, percentile};
use crate::http::{self, Client};

/// What a connection does again and again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Work {
    /// Posts the body to the path and expects 202.
    Post(String, String),
    /// Posts a body whose middle part stands in it so often, with commas between, and expects 202.
    Bulk(String, [String; 3], usize),
    /// Submits the jobset and waits until it succeeded.
    Follow(String),
    /// Gets the paths one after the other, with these headers, and expects the status.
    Get(Vec<String>, String, u16),
}

/// What the load generator is to do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Orders {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) work: Work,
}

/// What it did.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Loaded {
    pub(crate) done: usize,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) failed: usize,
    pub(crate) failure: Option<String>,
}

impl Loaded {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        float(self.done) / self.seconds
    }
}

/// Plays the role.
pub(crate) async fn load(orders: Orders) -> Result<Loaded, Failure> {
    let mut clients = Vec::new();
    for _ in 0..orders.connections {
        clients.push(Client::connect(orders.address).await?);
    }
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(orders.seconds);
    let mut tasks = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        tasks.spawn(connection(client, orders.work.clone(), number, end));
    }
    let (mut times, mut loaded) = (Vec::new(), Loaded::default());
    for (taken, failure) in tasks.join_all().await {
        times.extend(taken);
        loaded.failed += usize::from(failure.is_some());
        loaded.failure = loaded.failure.or(failure.map(|failure| failure.to_string()));
    }
    loaded.seconds = started.elapsed().as_secs_f64();
    loaded.done = times.len();
    loaded.p50_ms = percentile(&mut times, P50);
    loaded.p99_ms = percentile(&mut times, P99);
    Ok(loaded)
}

/// Works until `end` or the first failure; answers what each request took, in milliseconds.
async fn connection(
    mut client: Client,
    work: Work,
    number: usize,
    end: Instant,
) -> (Vec<f64>, Option<Failure>) {
    let requests = match &work {
        Work::Post(path, body) => vec![http::post(path, body)],
        Work::Bulk(path, [head, part, tail], count) => {
            let parts = vec![part.as_str(); *count].join(",");
            vec![http::post(path, &format!("{head}{parts}{tail}"))]
        }
        Work::Follow(body) => vec![http::post("/v1.0/jobsets", body)],
        Work::Get(paths, headers, _) => paths.iter().map(|path| http::get(path, headers)).collect(),
    };
    let mut times = Vec::new();
    // Each connection begins elsewhere, so that not all ask for the same at the same time.
    for request in requests.iter().cycle().skip(number * 7 % requests.len()) {
        let started = Instant::now();
        if started >= end {
            break;
        }
        if let Err(failure) = once(&mut client, request, &work).await {
            return (times, Some(failure));
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    (times, None)
}

async fn once(client: &mut Client, request: &[u8], work: &Work) -> Result<(), Failure> {
    let expected = match work {
        Work::Post(..) | Work::Bulk(..) => 202,
        Work::Get(_, _, status) => *status,
        Work::Follow(_) => {
            let id = client.submit(request).await?;
            return client.follow(&id).await;
        }
    };
    let status = client.ask(request).await?;
    if status == expected { Ok(()) } else { Err(client.failure(status)) }
}
