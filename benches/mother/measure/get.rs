//! Polls of operations.

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of};
use crate::http::{self, Client};
use crate::jobs;
use crate::load::Work;

/// Operations that are polled.
const OPERATIONS: usize = 1_000;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let mut client = Client::connect(server.address).await?;
    let request = http::post(JOBSETS, &jobs::chain(2));
    let mut ids = Vec::new();
    for _ in 0..OPERATIONS {
        ids.push(client.submit(&request).await?);
    }
    bench.drained().await?;
    let paths = |in_front: &str| ids.iter().map(|id| format!("{in_front}{id}")).collect();
    let polled = Work::Get(paths("/v1.0/operations/"), String::new(), 200);
    let loaded = bench.load(server.address, CLIENTS, polled).await?;
    let known = Work::Get(paths("/v1.0/operations/"), "if-none-match: *\r\n".into(), 304);
    let unchanged = bench.load(server.address, CLIENTS, known).await?;
    server.stop().await?;
    let rows = Work::Get(paths("/row/"), String::new(), 200);
    let row = bench.load_limit(CLIENTS, rows).await?;
    let constant = Work::Get(vec!["/none".to_owned()], String::new(), 200);
    let none = bench.load_limit(CLIENTS, constant).await?;
    let get = format!("GET operation, {CLIENTS} connections");
    Ok(vec![
        Figure::new(get.clone(), "1/s", loaded.rate())
            .times(loaded.p50_ms, loaded.p99_ms)
            .limit("row by its key, sqlx", row.rate()),
        Figure::new(get.clone(), "1/s", loaded.rate())
            .limit("route without database", none.rate())
            .at_least(Of::Ratio, 0.6),
        Figure::new(format!("{get}, If-None-Match"), "1/s", unchanged.rate())
            .times(unchanged.p50_ms, unchanged.p99_ms)
            .limit("route without database", none.rate())
            .at_least(Of::Ratio, 0.75),
    ])
}
