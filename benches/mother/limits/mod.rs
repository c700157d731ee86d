//! The limits: the barest programs that do what the service does.

pub(crate) mod http;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Failure;
use crate::figure::float;

/// One batch of rows, as group commit makes it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct InsertOrders {
    pub(crate) url: String,
    pub(crate) seconds: f64,
    pub(crate) batch: usize,
    pub(crate) body: String,
}

/// Plays the role; answers rows per second.
pub(crate) async fn insert(orders: InsertOrders) -> Result<f64, Failure> {
    let mut connection = PgConnection::connect(&orders.url).await?;
    let bodies = vec![orders.body; orders.batch];
    let (started, mut rows) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < orders.seconds {
        let ids: Vec<Uuid> = bodies.iter().map(|_| new_id()).collect();
        store(&mut connection, &ids, &bodies).await?;
        rows += ids.len();
    }
    Ok(float(rows) / started.elapsed().as_secs_f64())
}

/// An id like those of operations: in the order of time.
fn new_id() -> Uuid {
    Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext))
}

/// One statement, one commit.
async fn store(
    connection: &mut PgConnection,
    ids: &[Uuid],
    bodies: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into limit_row (id, body) select * from unnest($1::uuid[], $2::text[])")
        .bind(ids)
        .bind(bodies)
        .execute(connection)
        .await?;
    Ok(())
}

/// How many processes run side by side.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SpawnOrders {
    pub(crate) seconds: f64,
    pub(crate) at_once: usize,
}

/// Plays the role; answers processes per second.
pub(crate) async fn spawn(orders: SpawnOrders) -> Result<f64, Failure> {
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(orders.seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..orders.at_once {
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                let output = Command::new("/bin/true").output().await?;
                count += usize::from(output.status.success());
            }
            std::io::Result::Ok(count)
        });
    }
    let counts: Vec<usize> = tasks.join_all().await.into_iter().collect::<Result<_, _>>()?;
    Ok(float(counts.iter().sum()) / started.elapsed().as_secs_f64())
}
