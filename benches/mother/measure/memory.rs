//! Resident memory of the server, and WAL per step.

use std::time::Duration;

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::Work;

/// Steps of the operations that are run, and the bytes that a step may cost.
const LOADS: [(usize, Option<f64>); 3] = [(1, None), (2, Some(1_331.0)), (10, Some(819.0))];

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let idle = server.memory()?;
    let mut figures =
        vec![Figure::new("resident memory, idle", "MiB", idle).at_most(Of::Value, 30.0)];
    let (mut most, mut done) = (idle, 0);
    for (steps, bound) in LOADS {
        let before = bench.wal().await?;
        let work = Work::Post(JOBSETS.to_owned(), jobs::chain(steps));
        let loaded = bench.load(server.address, CLIENTS, work).await?;
        most = most.max(server.memory()?);
        bench.drained().await?;
        done += loaded.done;
        let wal = (bench.wal().await? - before) / float(loaded.done * steps);
        let figure = Figure::new(format!("WAL per step, operations of {steps}"), "B", wal);
        figures.push(bound.map_or(figure.clone(), |bound| figure.at_most(Of::Value, bound)));
    }
    while done < bench.sizes.run {
        let work = Work::Post(JOBSETS.to_owned(), jobs::chain(1));
        done += bench.load(server.address, CLIENTS, work).await?.done;
        most = most.max(server.memory()?);
        bench.drained().await?;
    }
    let after = server.memory()?;
    server.stop().await?;
    let run = bench.sizes.run;
    for (name, memory) in [("under load", most), ("after the load", after)] {
        let name = format!("resident memory, {name}, {run} operations and more");
        figures.push(Figure::new(name, "MiB", memory).at_most(Of::Value, 100.0));
    }
    Ok(figures)
}
