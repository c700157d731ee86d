//! Two-step operations over HTTP, from their submission to their observed end: by a client that asks
//! for the answer when the operation has ended and then gets it, and by one that submits and then
//! waits.

use super::{CLIENTS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, slices};
use crate::jobs;
use crate::load::Work;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let run = bench.load(server.address, CLIENTS, Work::Run(jobs::chain(2))).await?;
    let followed = bench.load(server.address, CLIENTS, Work::Follow(jobs::chain(2))).await?;
    server.stop().await?;
    let row = Work::Post("/row".to_owned(), jobs::chain(2));
    let limit = bench.load_limit(CLIENTS, row).await?.rate();
    let name = format!("2-step operations to the observed end, {CLIENTS} clients");
    let mut figures = vec![
        Figure::new(name.clone(), "1/s", run.rate())
            .times(run.p50_ms, run.p99_ms)
            .limit("group-commit route", limit)
            .at_least(Of::Ratio, 0.45),
    ];
    figures.extend(slices("1/s", &run.slices));
    figures.push(
        Figure::new(format!("{name} that submit, then wait"), "1/s", followed.rate())
            .times(followed.p50_ms, followed.p99_ms)
            .limit("group-commit route", limit),
    );
    figures.extend(slices("1/s", &followed.slices));
    Ok(figures)
}
