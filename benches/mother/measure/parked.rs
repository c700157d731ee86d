//! Thousands of clients that wait for operations that do not move.

use super::SLOTS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of};
use crate::park::Way;

const DATABASE: &str = "parked";

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for (name, way) in [("Prefer: wait", Way::Wait), ("server-sent events", Way::Events)] {
        let (server, _) = bench.serve_on(DATABASE, SLOTS).await?;
        let idle_mib = server.memory()?;
        let parked = bench.park(&server, DATABASE, way).await?;
        server.stop().await?;
        let name = format!("{} clients parked by {name}", bench.sizes.parked);
        figures.extend([
            Figure::new(format!("{name}: connections that listen"), "", parked.listeners)
                .at_most(Of::Value, 1.0),
            Figure::new("  transactions", "1/s", parked.parked_rate)
                .limit("without clients", parked.idle_rate)
                .at_most(Of::Ratio, 1.5),
            Figure::new("  resident memory", "MiB", parked.memory_mib)
                .limit("without clients", idle_mib),
            Figure::new("  woken, after the answer to who moved it", "ms", parked.p50_ms)
                .times(parked.p50_ms, parked.p99_ms)
                .at_most(Of::P99, 50.0),
        ]);
    }
    Ok(figures)
}
