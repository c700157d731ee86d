//! Steps that run `/bin/true`: contained, output captured, recorded.

use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::Work;
use crate::serve::{Place, Server};

/// Slots of the server. One is held until the outcome of its step is durable, which takes longer than
/// the program, so more of them than a machine can run keep it a little busier.
const SLOTS: u32 = 32;
/// Processes that run side by side in the barest loop.
const AT_ONCE: usize = 8;
/// Steps per operation.
const STEPS: usize = 50;
/// Operations under way at once.
const OPERATIONS: usize = 4;
/// What a large server has in its memory, in MiB.
const LARGE_MIB: usize = 500;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let small = rate(bench, bench.place(SLOTS)).await?;
    let large = rate(bench, Place { ballast_mib: LARGE_MIB, ..bench.place(SLOTS) }).await?;
    let limit = bench.spawn(AT_ONCE).await?;
    let name = format!("/bin/true steps, {SLOTS} slots");
    let with_heap = format!("{name}, {LARGE_MIB} MiB in the server");
    Ok(vec![
        Figure::new(&name, "steps/s", small)
            .limit(format!("spawn, capture, reap, {AT_ONCE} at once"), limit)
            .at_least(Of::Ratio, 0.7),
        Figure::new(with_heap, "steps/s", large).limit(name, small).at_least(Of::Ratio, 0.95),
    ])
}

/// Steps per second of such a server.
async fn rate(bench: &Bench, place: Place) -> Result<f64, Failure> {
    let server = Server::start(&place).await?;
    let work = Work::Run(jobs::programs(STEPS, &["/bin/true"]));
    let loaded = bench.load(server.address, OPERATIONS, work).await?;
    server.stop().await?;
    Ok(loaded.rate() * float(STEPS))
}
