//! Two-step operations over HTTP, from their submission to their observed end.

use super::{CLIENTS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::Figure;
use crate::jobs;
use crate::load::Work;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let loaded = bench.load(server.address, CLIENTS, Work::Follow(jobs::chain(2))).await?;
    server.stop().await?;
    let row = Work::Post("/row".to_owned(), jobs::chain(2));
    let limit = bench.load(bench.limit_address, CLIENTS, row).await?;
    let name = format!("2-step operations to the observed end, {CLIENTS} clients");
    Ok(vec![
        Figure::new(name, "1/s", loaded.rate())
            .times(loaded.p50_ms, loaded.p99_ms)
            .limit("group-commit route", limit.rate()),
    ])
}
