//! The engine and its worker without HTTP: operations submitted from within.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sutbot::cli::Host;
use sutbot::engine::{Compiled, Engine};
use tokio::time::Instant;

use crate::Failure;
use crate::figure::float;
use crate::serve::Place;

/// How long work may take to come to its end after the load.
const DRAIN_MAX: Duration = Duration::from_mins(1);

/// What is submitted, and how many of it may be under way at once.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct NoopOrders {
    pub(crate) place: Place,
    pub(crate) seconds: f64,
    pub(crate) body: String,
    pub(crate) outstanding: usize,
}

/// Plays the role; answers how many operations ended per second.
pub(crate) async fn noop(orders: NoopOrders) -> Result<f64, Failure> {
    let pool = PgPool::connect(&orders.place.url).await?;
    let host = Host::start(orders.place.settings()).await?;
    let engine = host.engine().clone();
    let document = sutbot::wire::read_jobset(orders.body.as_bytes())
        .map_err(|problems| format!("the jobset is not valid: {problems:?}"))?;
    let compiled = engine.compile(document.canonical(), document.into_definition())?;
    let stored = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(orders.seconds);
    let (mut submitted, mut ended) = (0, 0);
    while Instant::now() < end || ended < submitted {
        while Instant::now() < end && submitted - ended < orders.outstanding {
            submitted += 1;
            submit(&engine, &compiled, &stored);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let known = stored.load(Ordering::Relaxed);
        let live: i64 = sqlx::query_scalar("select count(*) from live").fetch_one(&pool).await?;
        ended = ended.max(known.saturating_sub(usize::try_from(live)?));
        if started.elapsed() > Duration::from_secs_f64(orders.seconds) + DRAIN_MAX {
            return Err("operations did not end".into());
        }
    }
    let rate = float(ended) / started.elapsed().as_secs_f64();
    host.run_until(async {}).await?;
    Ok(rate)
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
