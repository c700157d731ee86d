//! How long reading and checking a filter of ten terms takes.

use std::hint::black_box;
use std::time::Instant;

use sutbot::odata::{Limits, Model, Type, filter};

fn main() {
    const ROUNDS: u32 = 200_000;
    let model = Model::new()
        .property("id", Type::String)
        .property(
            "status",
            Type::enumeration(
                "status",
                &["notstarted", "running", "succeeded", "failed", "canceled"],
            ),
        )
        .nullable("name", Type::String)
        .property("createdDateTime", Type::DateTimeOffset)
        .nullable("percentComplete", Type::Double)
        .property("paused", Type::Boolean)
        .nullable("error", Type::object(Model::new().nullable("code", Type::String)))
        .property("labels", Type::Map);
    let text = "status eq 'failed' and createdDateTime gt 2026-01-01T00:00:00Z \
                and labels/branch eq 'main' and error/code ne 'Boom' and percentComplete lt 50.5 \
                and not paused and contains(name,'nightly') and id ne 'x' \
                and (percentComplete gt 10 or name eq null) and status in ('failed','canceled')";
    let limits = Limits::default();
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS / 10 {
                black_box(filter(black_box(text), &model, &limits)).expect("the filter is valid");
            }
            start.elapsed() / (ROUNDS / 10)
        })
        .min();
    println!("{} bytes, best of 10: {best:?} per filter", text.len());
}
