//! One-step operations submitted thousands at a time, run to their end meanwhile and only submitted.

use sqlx::Connection;

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::{Loaded, Work};

const BATCH: &str = "/v1.0/jobsets:batch";
const CONNECTIONS: [usize; 2] = [1, 4];
const BATCHES: [usize; 2] = [1_000, 10_000];

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for count in BATCHES {
        let limit = bench.insert(count, jobs::chain(1)).await?;
        for connections in CONNECTIONS {
            for (form, parts) in [("documents", documents()), ("runs", runs())] {
                let of = format!("{count} {form} at a time, {connections} at once");
                let work = Work::Bulk(BATCH.to_owned(), parts, count);
                let (loaded, rate) = only_submitted(bench, connections, &work, count).await?;
                let submits = Figure::new(format!("bulk submits, {of}"), "1/s", rate);
                let submits = match (count, connections) {
                    // One connection has nobody who reads a batch while another one is stored.
                    (10_000, 4) => submits.at_least(Of::Ratio, 0.3),
                    _ => submits,
                };
                let (ended, run) = run_to_the_end(bench, connections, &work, count).await?;
                let runs = Figure::new(format!("  run to the end meanwhile, {of}"), "1/s", run);
                for (figure, loaded) in [(submits, loaded), (runs, ended)] {
                    let figure = figure.times(loaded.p50_ms, loaded.p99_ms);
                    figures.push(figure.limit("inserts without HTTP", limit));
                }
            }
        }
    }
    figures.extend(beside(bench).await?);
    Ok(figures)
}

/// What single submissions take, alone and while batches come in.
async fn beside(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let (server, database) = bench.serve_on("bulk", 0).await?;
    let single = || bench.load(server.address, CLIENTS, Work::Post(JOBSETS.into(), jobs::chain(1)));
    let alone = single().await?;
    let count = BATCHES[1];
    let batches = bench.load(server.address, 1, Work::Bulk(BATCH.into(), runs(), count));
    let (beside, batches) = tokio::try_join!(single(), batches)?;
    server.stop().await?;
    database.close().await?;
    let figure = |name: String, loaded: &Loaded, rate| {
        Figure::new(name, "1/s", rate).times(loaded.p50_ms, loaded.p99_ms)
    };
    let name = format!("single submits, {CLIENTS} connections");
    Ok(vec![
        figure(name.clone(), &alone, alone.rate()),
        figure(format!("{name}, beside batches of {count}"), &beside, beside.rate()),
        figure("  these batches".to_owned(), &batches, batches.rate() * float(count)),
    ])
}

/// Each jobset written out.
fn documents() -> [String; 3] {
    [r#"{"jobsets":["#.to_owned(), jobs::chain(1), "]}".to_owned()]
}

/// One jobset, and its runs.
fn runs() -> [String; 3] {
    let head = format!(r#"{{"jobsets":[{{"jobset":{},"runs":["#, jobs::chain(1));
    [head, "{}".to_owned(), "]}]}".to_owned()]
}

/// A database of its own is left to what nobody runs.
async fn only_submitted(
    bench: &mut Bench,
    connections: usize,
    work: &Work,
    count: usize,
) -> Result<(Loaded, f64), Failure> {
    let (server, database) = bench.serve_on("bulk", 0).await?;
    let loaded = bench.load(server.address, connections, work.clone()).await?;
    server.stop().await?;
    database.close().await?;
    let rate = loaded.rate() * float(count);
    Ok((loaded, rate))
}

/// What had not ended with the load counts as time, so no backlog flatters the figure.
async fn run_to_the_end(
    bench: &mut Bench,
    connections: usize,
    work: &Work,
    count: usize,
) -> Result<(Loaded, f64), Failure> {
    let server = bench.serve(SLOTS).await?;
    let loaded = bench.load(server.address, connections, work.clone()).await?;
    let drained = bench.drained().await?;
    server.stop().await?;
    let rate = float(loaded.done * count) / (loaded.seconds + drained);
    Ok((loaded, rate))
}
