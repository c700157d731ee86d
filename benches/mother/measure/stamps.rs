//! What it costs to keep the causal order of events: the same load with and without it.

use super::SLOTS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, float};
use crate::jobs;
use crate::serve::Place;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let loads = [
        ("operations of 1 step", jobs::chain(1), 1, 1_000),
        ("chains of 10", jobs::chain(10), 10, 1_000),
        ("fans of 1,000", jobs::fan(1_000), 1_000, 8),
    ];
    let mut figures = Vec::new();
    for (name, body, steps, outstanding) in loads {
        // Each in the middle of two of the other: what slows down as tables grow slows both down.
        let (mut with, mut without) = (0.0, 0.0);
        for stamps in [true, false, false, true] {
            let place = Place { stamps, ..bench.place(SLOTS) };
            let rate = bench.noop(place, body.clone(), outstanding).await?.rate * float(steps);
            *(if stamps { &mut with } else { &mut without }) += rate / 2.0;
        }
        let name = format!("no-op steps with causal order, {name}");
        figures.push(Figure::new(name, "steps/s", with).limit("without", without));
    }
    Ok(figures)
}
