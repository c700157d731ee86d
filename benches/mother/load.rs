//! The load generator: connections that send one request after the other for a while.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::figure::{P50, P99, SLICE, float, percentile};
use crate::http::{self, Client};

/// What a connection does again and again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Work {
    /// Posts the body to the path and expects 202.
    Post(String, String),
    /// Posts a body whose middle part stands in it so often, with commas between, and expects 202.
    Bulk(String, [String; 3], usize),
    /// Submits the jobset by a request that is answered at its end, and sees that it succeeded.
    Run(String),
    /// Submits the jobset and then waits until it succeeded.
    Follow(String),
    /// Gets the paths one after the other, with these headers, and expects the status.
    Get(Vec<String>, String, u16),
}

/// What the load generator is to do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Orders {
    /// The servers; the connections are dealt out to them.
    pub(crate) addresses: Vec<SocketAddr>,
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
    /// Requests per second in each slice of a long load.
    pub(crate) slices: Vec<f64>,
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
    for address in orders.addresses.iter().cycle().take(orders.connections) {
        clients.push(Client::connect(*address).await?);
    }
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(orders.seconds);
    let mut tasks = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        tasks.spawn(connection(client, orders.work.clone(), number, end));
    }
    let (mut times, mut loaded) = (Vec::new(), Loaded::default());
    let mut counts = vec![0; slices_in(orders.seconds)];
    for (Taken { times: taken, counts: counted }, failure) in tasks.join_all().await {
        times.extend(taken);
        counts.iter_mut().zip(counted).for_each(|(all, some)| *all += some);
        loaded.failed += usize::from(failure.is_some());
        loaded.failure = loaded.failure.or(failure.map(|failure| failure.to_string()));
    }
    loaded.seconds = started.elapsed().as_secs_f64();
    loaded.done = times.len();
    loaded.p50_ms = percentile(&mut times, P50);
    loaded.p99_ms = percentile(&mut times, P99);
    loaded.slices = counts.into_iter().map(|count| float(count) / SLICE.as_secs_f64()).collect();
    Ok(loaded)
}

/// How many whole slices a load has.
pub(crate) fn slices_in(seconds: f64) -> usize {
    let whole = Duration::from_secs_f64(seconds).as_secs() / SLICE.as_secs();
    usize::try_from(whole).unwrap_or(usize::MAX)
}

/// What the requests of one connection took.
#[derive(Debug, Default)]
struct Taken {
    /// Each in milliseconds.
    times: Vec<f64>,
    /// How many ended in each slice.
    counts: Vec<usize>,
}

impl Taken {
    fn add(&mut self, began: Instant, since: Instant) {
        self.times.push(began.elapsed().as_secs_f64() * 1e3);
        let slice = slices_in(since.elapsed().as_secs_f64());
        if self.counts.len() <= slice {
            self.counts.resize(slice + 1, 0);
        }
        self.counts[slice] += 1;
    }
}

/// Works until `end` or the first failure.
async fn connection(
    mut client: Client,
    work: Work,
    number: usize,
    end: Instant,
) -> (Taken, Option<Failure>) {
    let requests = match &work {
        Work::Post(path, body) => vec![http::post(path, body)],
        Work::Bulk(path, [head, part, tail], count) => {
            let parts = vec![part.as_str(); *count].join(",");
            vec![http::post(path, &format!("{head}{parts}{tail}"))]
        }
        Work::Run(body) => vec![http::submit_and_wait(body)],
        Work::Follow(body) => vec![http::post("/v1.0/jobsets", body)],
        Work::Get(paths, headers, _) => paths.iter().map(|path| http::get(path, headers)).collect(),
    };
    let (began, mut taken) = (Instant::now(), Taken::default());
    // Each connection begins elsewhere, so that not all ask for the same at the same time.
    for request in requests.iter().cycle().skip(number * 7 % requests.len()) {
        let started = Instant::now();
        if started >= end {
            break;
        }
        if let Err(failure) = once(&mut client, request, &work).await {
            return (taken, Some(failure));
        }
        taken.add(started, began);
    }
    (taken, None)
}

async fn once(client: &mut Client, request: &[u8], work: &Work) -> Result<(), Failure> {
    let expected = match work {
        Work::Post(..) | Work::Bulk(..) => 202,
        Work::Get(_, _, status) => *status,
        Work::Run(_) => return client.run(request).await,
        Work::Follow(_) => {
            let id = client.submit(request).await?;
            return client.follow(&id).await;
        }
    };
    let status = client.ask(request).await?;
    if status == expected { Ok(()) } else { Err(client.failure(status)) }
}
