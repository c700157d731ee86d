//! Clients that are parked: each waits for an operation of its own that does not move. What they cost
//! while nothing happens is looked at in the database and in the server's process; then some of the
//! operations are moved, one after the other over a few connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::figure::{P50, P99, percentile};
use crate::http::{self, Client};
use crate::jobs;
use crate::serve::resident_mib;

/// Connections that are made, and operations that are moved, at once.
const AT_ONCE: usize = 8;
/// One of so many is woken.
const WOKEN: usize = 10;
/// A session of the database that idles tells what it did after this time at the latest.
const COUNTED_AFTER: Duration = Duration::from_millis(10_500);
/// How long is looked: a wait is granted for a minute, in which all must be over.
const LOOKED: (f64, f64) = (3.0, 20.0);
/// When those who should have been woken are given up.
const WAKE_MAX: Duration = Duration::from_secs(20);

/// How a client waits.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Way {
    /// By a request with `Prefer: wait`.
    Wait,
    /// By a stream of server-sent events.
    Events,
}

/// Who is parked, and where.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ParkOrders {
    pub(crate) address: SocketAddr,
    pub(crate) server_pid: u32,
    /// The server's database, which nobody else uses.
    pub(crate) url: String,
    pub(crate) clients: usize,
    pub(crate) seconds: f64,
    pub(crate) way: Way,
}

/// What was seen.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Parked {
    /// Sessions of the database that listen.
    pub(crate) listeners: f64,
    /// Transactions per second without a parked client.
    pub(crate) idle_rate: f64,
    /// The same with all of them.
    pub(crate) parked_rate: f64,
    /// The server's memory with all of them.
    pub(crate) memory_mib: f64,
    /// From the answer to who moved an operation to the answer to who waited for it.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Plays the role.
pub(crate) async fn park(orders: ParkOrders) -> Result<Parked, Failure> {
    let mut database = PgConnection::connect(&orders.url).await?;
    let looked = Duration::from_secs_f64(orders.seconds.clamp(LOOKED.0, LOOKED.1));
    let idle_rate = transactions(&mut database, looked).await?;
    let ids = submit(&orders).await?;
    let mut clients = JoinSet::new();
    for (number, mut client) in connect(&orders).await?.into_iter().enumerate() {
        let request = request(&ids[number], orders.way);
        clients.spawn(async move {
            let woken = wait(&mut client, &request, orders.way).await;
            woken.map(|()| (number, Instant::now()))
        });
    }
    tokio::time::sleep(COUNTED_AFTER).await;
    let parked_rate = transactions(&mut database, looked).await?;
    let listeners = listeners(&mut database).await?;
    let memory_mib = resident_mib(orders.server_pid)?;
    if let Some(early) = clients.try_join_next() {
        return Err(format!("a parked client was answered: {:?}", early?).into());
    }
    let mut times = wake(orders.address, &ids, &mut clients).await?;
    let (p50_ms, p99_ms) = (percentile(&mut times, P50), percentile(&mut times, P99));
    Ok(Parked { listeners, idle_rate, parked_rate, memory_mib, p50_ms, p99_ms })
}

/// An operation for each client.
async fn submit(orders: &ParkOrders) -> Result<Vec<String>, Failure> {
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE {
        let (address, count) = (orders.address, (first..orders.clients).step_by(AT_ONCE).len());
        tasks.spawn(async move {
            let mut client = Client::connect(address).await?;
            let (request, mut ids) = (http::post("/v1.0/jobsets", &jobs::manual()), Vec::new());
            for _ in 0..count {
                ids.push(client.submit(&request).await?);
            }
            Ok::<_, Failure>(ids)
        });
    }
    let ids: Vec<_> = tasks.join_all().await.into_iter().collect::<Result<_, _>>()?;
    Ok(ids.concat())
}

async fn connect(orders: &ParkOrders) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::with_capacity(orders.clients);
    for _ in 0..orders.clients {
        clients.push(Client::connect(orders.address).await?);
    }
    Ok(clients)
}

fn request(id: &str, way: Way) -> Vec<u8> {
    let path = format!("/v1.0/operations/{id}");
    match way {
        Way::Wait => http::get(&path, "prefer: wait=60\r\n"),
        // Its first event is its submission.
        Way::Events => {
            http::get(&format!("{path}/events?after=1"), "accept: text/event-stream\r\n")
        }
    }
}

/// Waits until the server says that something happened.
async fn wait(client: &mut Client, request: &[u8], way: Way) -> Result<(), String> {
    let woken = match way {
        Way::Wait => client.ask(request).await.map(drop),
        Way::Events => match client.open(request).await {
            Ok(()) => client.read_until(b"\ndata:").await,
            Err(error) => Err(error),
        },
    };
    woken.map_err(|error| error.to_string())
}

/// Moves some of the operations; answers by how much later who waits for them is answered, each in
/// milliseconds.
async fn wake(
    address: SocketAddr,
    ids: &[String],
    clients: &mut JoinSet<Result<(usize, Instant), String>>,
) -> Result<Vec<f64>, Failure> {
    let mut wakers = JoinSet::new();
    for first in 0..AT_ONCE {
        let chosen: Vec<_> = ids.iter().cloned().enumerate().step_by(WOKEN).collect();
        wakers.spawn(async move {
            let (mut client, mut told) = (Client::connect(address).await?, Vec::new());
            for (number, id) in chosen.into_iter().skip(first).step_by(AT_ONCE) {
                let start = http::post(&format!("/v1.0/operations/{id}/start"), "{}");
                match client.ask(&start).await? {
                    200 => told.push((number, Instant::now())),
                    status => return Err(client.failure(status)),
                }
            }
            Ok::<_, Failure>(told)
        });
    }
    let mut answered = HashMap::new();
    let everybody = async {
        while answered.len() < ids.len().div_ceil(WOKEN) {
            let Some(woken) = clients.join_next().await else { break };
            let (number, at) = woken??;
            answered.insert(number, at);
        }
        Ok::<_, Failure>(())
    };
    let (told, woken) = tokio::join!(wakers.join_all(), tokio::time::timeout(WAKE_MAX, everybody));
    woken.map_err(|_| "parked clients were not woken")??;
    let told: Vec<_> = told.into_iter().collect::<Result<_, _>>()?;
    let late = |(number, told): (usize, Instant)| {
        let answered = answered.get(&number).ok_or("a client was woken whose operation stands")?;
        Ok(answered.saturating_duration_since(told).as_secs_f64() * 1e3)
    };
    told.into_iter().flatten().map(late).collect()
}

/// Transactions per second that others do in the database.
async fn transactions(database: &mut PgConnection, looked: Duration) -> Result<f64, Failure> {
    let before = committed(database).await?;
    let started = Instant::now();
    tokio::time::sleep(looked).await;
    let count = committed(database).await? - before;
    Ok(count / started.elapsed().as_secs_f64())
}

async fn committed(database: &mut PgConnection) -> Result<f64, Failure> {
    let commits = sqlx::query_scalar(
        "select xact_commit::float8 from pg_stat_database where datname = current_database()",
    );
    Ok(commits.fetch_one(database).await?)
}

async fn listeners(database: &mut PgConnection) -> Result<f64, Failure> {
    let sessions = sqlx::query_scalar(
        r#"
        select count(*)::float8
        from pg_stat_activity
        where datname = current_database() and query ilike 'listen %'
        "#,
    );
    Ok(sessions.fetch_one(database).await?)
}
