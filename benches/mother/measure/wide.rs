//! Large operations: what a step costs must not depend on how many there are.

use tokio::time::Instant;

use super::{JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::http::{self, Client};
use crate::jobs;

/// Sizes, and how many operations of each are run one after the other.
const SIZES: [(usize, u32); 5] = [(200, 20), (2_000, 4), (10_000, 1), (20_000, 1), (100_000, 1)];
/// The sizes whose rate is told as well.
const RATED: [usize; 2] = [10_000, 100_000];

/// Microseconds per step.
#[derive(Debug, Default)]
struct Cost {
    submit: f64,
    run: f64,
    list: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let mut client = Client::connect(server.address).await?;
    let mut figures = Vec::new();
    let (mut first, mut first_rate) = (None, None);
    for (steps, times) in SIZES {
        let request = http::post(JOBSETS, &jobs::fan(steps));
        // The first one is compiled and stored anew in each round but not in each operation.
        once(&mut client, &request, steps).await?;
        let mut cost = Cost::default();
        for _ in 0..times {
            let one = once(&mut client, &request, steps).await?;
            cost.submit += one.submit / f64::from(times);
            cost.run += one.run / f64::from(times);
            cost.list += one.list / f64::from(times);
        }
        let base = first.get_or_insert([cost.submit, cost.run, cost.list]);
        let costs = [("submit", cost.submit), ("run", cost.run), ("list", cost.list)];
        for ((what, cost), base) in costs.into_iter().zip(base) {
            let name = format!("operation of {steps}: {what}, per step");
            figures.push(Figure::new(name, "us", cost).limit("operation of 200", *base));
        }
        if RATED.contains(&steps) {
            let rate = 1e6 / (cost.submit + cost.run);
            let base = first_rate.get_or_insert(rate);
            let name = format!("operation of {steps}: fan-out and fan-in, to the observed end");
            let figure = Figure::new(name, "steps/s", rate).at_least(Of::Value, 80_000.0);
            let limit = format!("operation of {}", RATED[0]);
            figures.push(figure.limit(limit, *base).at_least(Of::Ratio, 1.0 / 1.5));
        }
    }
    server.stop().await?;
    Ok(figures)
}

/// Submits, runs and lists one operation.
async fn once(client: &mut Client, request: &[u8], steps: usize) -> Result<Cost, Failure> {
    let per_step = |since: Instant| since.elapsed().as_secs_f64() * 1e6 / float(steps);
    let started = Instant::now();
    let id = client.submit(request).await?;
    let submit = per_step(started);
    let started = Instant::now();
    client.follow(&id).await?;
    let run = per_step(started);
    let started = Instant::now();
    let mut listed = 0;
    let mut next = format!("/v1.0/operations/{id}/steps?$top={steps}");
    loop {
        let status = client.ask(&http::get(&next, "prefer: maxpagesize=1000\r\n")).await?;
        if status != 200 {
            return Err(client.failure(status));
        }
        // Taken apart without building a tree, so that mostly the server's time counts.
        let page: Page = serde_json::from_slice(client.body())?;
        listed += page.value.len();
        match page.next.as_deref().and_then(|link| link.find("/v1.0").map(|at| &link[at..])) {
            Some(path) => path.clone_into(&mut next),
            None => break,
        }
    }
    if listed != steps {
        return Err(format!("{listed} of {steps} steps were listed").into());
    }
    Ok(Cost { submit, run, list: per_step(started) })
}

#[derive(Debug, serde::Deserialize)]
struct Page {
    value: Vec<serde::de::IgnoredAny>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
}
