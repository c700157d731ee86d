//! Steps without work, submitted from within: leases and history, but no HTTP.

use super::SLOTS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float, slices};
use crate::jobs;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let loads = [
        ("no-op operations of 1 step", "operations/s", jobs::chain(1), 1, 1_000),
        ("no-op operations of 2 steps", "operations/s", jobs::chain(2), 1, 1_000),
        ("no-op steps, chains of 10", "steps/s", jobs::chain(10), 10, 1_000),
        ("no-op steps, fans of 1,000", "steps/s", jobs::fan(1_000), 1_000, 8),
    ];
    let mut figures = Vec::new();
    for (name, unit, body, counted, outstanding) in loads {
        let ended = bench.noop(bench.place(SLOTS), body, outstanding).await?;
        let figure = Figure::new(name, unit, ended.rate * float(counted));
        figures.push(if counted == 10 { figure.at_least(Of::Value, 40_000.0) } else { figure });
        let rates: Vec<f64> = ended.slices.iter().map(|rate| rate * float(counted)).collect();
        figures.extend(slices(unit, &rates));
    }
    Ok(figures)
}
