//! Resident memory of the server, and WAL per step.

use std::time::Duration;

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, float};
use crate::jobs;
use crate::load::Work;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let idle = server.memory()?;
    let mut figures = vec![Figure::new("resident memory, idle", "MiB", idle)];
    let mut most = idle;
    for steps in [1, 2, 10] {
        let before = bench.wal().await?;
        let work = Work::Post(JOBSETS.to_owned(), jobs::chain(steps));
        let loaded = bench.load(server.address, CLIENTS, work).await?;
        most = most.max(server.memory()?);
        bench.drained().await?;
        let wal = (bench.wal().await? - before) / float(loaded.done * steps);
        figures.push(Figure::new(format!("WAL per step, operations of {steps}"), "B", wal));
    }
    let after = server.memory()?;
    figures.push(Figure::new("resident memory, under load", "MiB", most));
    figures.push(Figure::new("resident memory, after the load", "MiB", after));
    server.stop().await?;
    Ok(figures)
}
