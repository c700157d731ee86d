//! Steps without work, submitted from within: leases and history, but no HTTP.

use super::SLOTS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::Figure;
use crate::jobs;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let one = bench.noop(SLOTS, jobs::chain(1), 1, 1_000).await?;
    let two = bench.noop(SLOTS, jobs::chain(2), 2, 1_000).await?;
    let chains = bench.noop(SLOTS, jobs::chain(10), 10, 1_000).await?;
    let fans = bench.noop(SLOTS, jobs::fan(1_000), 1_000, 8).await?;
    Ok(vec![
        Figure::new("no-op operations of 1 step", "operations/s", one),
        Figure::new("no-op operations of 2 steps", "operations/s", two / 2.0),
        Figure::new("no-op steps, chains of 10", "steps/s", chains),
        Figure::new("no-op steps, fans of 1,000", "steps/s", fans),
    ])
}
