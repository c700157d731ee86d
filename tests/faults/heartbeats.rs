//! No false alarms: workers with default leases keep them while every core has more to do than it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, available_parallelism, spawn};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use sutbot::domain::{Action, OperationState, StepState};
use sutbot::postgres::{self, Settings};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::folder::Folder;
use crate::ledger::{Ledger, Question, has_ended};
use crate::party::{Party, Recipe};
use crate::patience::until;
use crate::{ALONE, setting};

/// Workers beside the one of the server.
const WORKERS: usize = 8;
/// How long an everyday run lasts: longer than a lease.
const SECONDS: u64 = 10;
/// Threads per core that do nothing but turn.
const PER_CORE: usize = 2;

/// Threads that take all the time that they are given.
struct Load {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let cores = available_parallelism().expect("it is known").get();
        let turn = |is_over: Arc<AtomicBool>| {
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..cores * PER_CORE).map(|_| spawn(turn(Arc::clone(&is_over)))).collect();
        Self { is_over, threads }
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

/// Runs operations, one after the other, until the time is over; answers how many.
async fn run_steps(ledger: &Ledger, over: Instant) -> usize {
    let step = |name: &str| json!({"name": name, "run": {"shell": "sleep 0.5"}});
    let steps: Vec<_> = (0..WORKERS).map(|n| step(&format!("s{n}"))).collect();
    let document = json!({"steps": steps});
    let mut count = 0;
    while Instant::now() < over {
        let path = "jobsets".to_owned();
        let question = Question { method: Method::POST, path, headers: &[], body: Some(&document) };
        let submitted = until("it is submitted", async || ledger.ask(0, &question).await).await;
        let id = submitted.operation.expect("an operation");
        let question = Question {
            headers: &[("prefer", "wait=2")],
            ..Question::get(format!("operations/{id}"))
        };
        until("it ends", async || has_ended(&ledger.ask(0, &question).await?.body).then_some(()))
            .await;
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_keep_their_leases_on_a_machine_that_is_too_busy() {
    let _alone = ALONE.lock().await;
    let seconds = setting("SUTBOT_HEARTBEAT_SECONDS").unwrap_or(SECONDS);
    let folder = Folder::make();
    let database = folder.path().join("database");
    let cluster = postgres::start(&Settings::new(&database)).await.expect("a cluster");
    let process = |name: &str, words: &[&str]| {
        let data_dir = folder.path().join(name).display().to_string();
        let places = ["--database-url", &cluster.url(), "--data-dir", &data_dir];
        Recipe::mother(folder.path(), name, words).with(&places)
    };
    let (mut server, base) = Party::serve(process("server", &["serve", "--listen", "127.0.0.1:0"]));
    let mut workers: Vec<Party> =
        (0..WORKERS).map(|n| Party::start(process(&format!("worker-{n}"), &["worker"]))).collect();
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("a connection");
    until("all have registered", async || {
        let registered = "select count(*) from worker";
        let count: i64 = sqlx::query_scalar(registered).fetch_one(&mut connection).await.ok()?;
        (usize::try_from(count).ok()? == WORKERS + 1).then_some(())
    })
    .await;

    let load = Load::begin();
    let ledger = Ledger::new(vec![base]);
    let over = Instant::now() + Duration::from_secs(seconds);
    let (operations, ()) =
        tokio::join!(run_steps(&ledger, over), sleep(Duration::from_secs(seconds)));
    load.end();

    // A worker that lost its lease would have registered anew.
    let last: i64 = sqlx::query_scalar("select max(id) from worker")
        .fetch_one(&mut connection)
        .await
        .expect("an answer");
    let alarms: Vec<(Uuid, i32)> = sqlx::query_as(
        "select operation, seq from event where action = $1 or to_state = $2 or state = $3",
    )
    .bind(i16::from(Action::LOSE.code()))
    .bind(i16::from(StepState::UNRESPONSIVE.code()))
    .bind(OperationState::Zombie.code())
    .fetch_all(&mut connection)
    .await
    .expect("an answer");
    Party::end_all(workers.iter_mut().chain([&mut server]).collect()).await;
    drop(connection);
    cluster.stop().await.expect("it stops");
    println!("{operations} operations in {seconds} s, {} false alarms", alarms.len());
    assert!(operations > 0);
    assert_eq!((usize::try_from(last), alarms), (Ok(WORKERS + 1), vec![]), "leases were lost");
}
