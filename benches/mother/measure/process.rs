//! Steps that run `/bin/true`: contained, output captured, recorded.

use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, float};
use crate::jobs;
use crate::load::Work;

/// Processes that run side by side.
const AT_ONCE: u32 = 8;
/// Steps per operation.
const STEPS: usize = 50;
/// Operations under way at once.
const OPERATIONS: usize = 4;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(AT_ONCE).await?;
    let work = Work::Follow(jobs::programs(STEPS, &["/bin/true"]));
    let loaded = bench.load(server.address, OPERATIONS, work).await?;
    server.stop().await?;
    let limit = bench.spawn(AT_ONCE as usize).await?;
    let rate = loaded.rate() * float(STEPS);
    let name = format!("/bin/true steps, {AT_ONCE} at once");
    Ok(vec![Figure::new(name, "steps/s", rate).limit("spawn, capture, reap", limit)])
}
