//! Durable one-step submissions, each run to its end meanwhile.

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::Work;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let body = jobs::chain(1);
    for connections in [1, CLIENTS] {
        let server = bench.serve(SLOTS).await?;
        let work = Work::Post(JOBSETS.to_owned(), body.clone());
        let loaded = bench.load(server.address, connections, work).await?;
        // What had not ended with the load counts as time, so no backlog flatters the figure.
        let drained = bench.drained().await?;
        server.stop().await?;
        let row = Work::Post("/row".to_owned(), body.clone());
        let limit = bench.load_limit(connections, row).await?;
        let rate = float(loaded.done) / (loaded.seconds + drained);
        let of = format!("{connections} connection{}", if connections == 1 { "" } else { "s" });
        let figure = Figure::new(format!("one-step submits, run to the end, {of}"), "1/s", rate)
            .times(loaded.p50_ms, loaded.p99_ms)
            .limit("group-commit route", limit.rate());
        figures.push(match connections {
            CLIENTS => figure.at_least(Of::Ratio, 0.7).at_most(Of::P99, 10.0),
            _ => figure,
        });
        figures.push(
            Figure::new(format!("  the limit's route, {of}"), "1/s", limit.rate())
                .times(limit.p50_ms, limit.p99_ms)
                .limit("inserts without HTTP", bench.insert(connections, body.clone()).await?),
        );
    }
    Ok(figures)
}
