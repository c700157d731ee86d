//! The engine and its worker without HTTP: operations submitted from within.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sutbot::cli::Host;
use sutbot::engine::{Compiled, Engine};
use tokio::time::Instant;

use crate::Failure;
use crate::figure::{SLICE, float};
use crate::load::slices_in;
use crate::serve::Place;

/// How long work may take to come to its end after the load.
const DRAIN_MAX: Duration = Duration::from_mins(1);
/// How often it is looked what has ended: what is outstanding takes much longer, and the database has
/// other things to do.
const PAUSE: Duration = Duration::from_millis(5);
/// How many submissions wait for their commit at once.
const OUTSTANDING: usize = 2_000;

/// What is submitted, and how many of it may be under way at once.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct NoopOrders {
    pub(crate) place: Place,
    pub(crate) seconds: f64,
    pub(crate) body: String,
    pub(crate) outstanding: usize,
}

/// How many operations ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ended {
    /// Per second, until the last one ended.
    pub(crate) rate: f64,
    /// The same in each slice of a long load.
    pub(crate) slices: Vec<f64>,
}

/// Plays the role.
pub(crate) async fn noop(orders: NoopOrders) -> Result<Ended, Failure> {
    let pool = PgPool::connect(&orders.place.url).await?;
    let host = Host::start(orders.place.settings()).await?;
    let engine = host.engine().clone();
    let compiled = compile(&engine, &orders.body)?;
    let stored = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(orders.seconds);
    let (mut submitted, mut ended) = (0, 0);
    let mut at_slice_ends = vec![0];
    while Instant::now() < end || ended < submitted {
        while Instant::now() < end && submitted - ended < orders.outstanding {
            submitted += 1;
            submit(&engine, &compiled, &stored);
        }
        tokio::time::sleep(PAUSE).await;
        let known = stored.load(Ordering::Relaxed);
        let live: i64 = sqlx::query_scalar("select count(*) from live").fetch_one(&pool).await?;
        ended = ended.max(known.saturating_sub(usize::try_from(live)?));
        if slices_in(started.elapsed().as_secs_f64()) >= at_slice_ends.len() {
            at_slice_ends.push(ended);
        }
        if started.elapsed() > Duration::from_secs_f64(orders.seconds) + DRAIN_MAX {
            return Err("operations did not end".into());
        }
    }
    let rate = float(ended) / started.elapsed().as_secs_f64();
    at_slice_ends.truncate(slices_in(orders.seconds) + 1);
    let slice = |ends: &[usize]| float(ends[1] - ends[0]) / SLICE.as_secs_f64();
    host.run_until(async {}).await?;
    Ok(Ended { rate, slices: at_slice_ends.windows(2).map(slice).collect() })
}

fn compile(engine: &Engine, body: &str) -> Result<Arc<Compiled>, Failure> {
    let document = sutbot::wire::read_jobset(body.as_bytes())
        .map_err(|problems| format!("the jobset is not valid: {problems:?}"))?;
    Ok(engine.compile(document.canonical(), document.into_definition())?)
}

fn submit(engine: &Engine, compiled: &Arc<Compiled>, stored: &Arc<AtomicUsize>) {
    let (engine, compiled, stored) = (engine.clone(), Arc::clone(compiled), Arc::clone(stored));
    tokio::spawn(async move {
        // One that fails is missed at the end, and that ends the benchmark.
        if engine.submit(compiled, None, None).await.is_ok() {
            stored.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// What is put into the queue.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct QueueOrders {
    /// Without slots: nothing is begun.
    pub(crate) place: Place,
    pub(crate) body: String,
    pub(crate) operations: usize,
}

/// Plays the role; answers how many operations were stored per second.
pub(crate) async fn queue(orders: QueueOrders) -> Result<f64, Failure> {
    let host = Host::start(orders.place.settings()).await?;
    let engine = host.engine();
    let compiled = compile(engine, &orders.body)?;
    let started = Instant::now();
    let submits = (0..orders.operations).map(|_| engine.submit(Arc::clone(&compiled), None, None));
    let mut stored = stream::iter(submits).buffer_unordered(OUTSTANDING);
    while let Some(submitted) = stored.next().await {
        submitted?;
    }
    drop(stored);
    let rate = float(orders.operations) / started.elapsed().as_secs_f64();
    host.run_until(async {}).await?;
    Ok(rate)
}
