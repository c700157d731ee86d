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
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Until the submission is answered.
    submit: f64,
    /// From then on until it has ended, while nobody looks at it.
    run: f64,
    /// From the submission to its observed end, by a client that waits for that.
    wait: f64,
    /// To list all steps, page by page.
    list: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let mut client = Client::connect(server.address).await?;
    let mut figures = Vec::new();
    let (mut first, mut first_rate) = (None, None);
    for (steps, times) in SIZES {
        let mut cost = Cost::default();
        for _ in 0..times {
            let one = once(bench, &mut client, &jobs::fan(steps), steps).await?;
            cost.submit += one.submit / f64::from(times);
            cost.run += one.run / f64::from(times);
            cost.wait += one.wait / f64::from(times);
            cost.list += one.list / f64::from(times);
        }
        let base = *first.get_or_insert(cost);
        for (what, cost, base) in [
            ("submit", cost.submit, base.submit),
            ("run", cost.run, base.run),
            ("submit and wait for the end", cost.wait, base.wait),
            ("list", cost.list, base.list),
        ] {
            let name = format!("operation of {steps}: {what}, per step");
            figures.push(Figure::new(name, "us", cost).limit("operation of 200", base));
        }
        if RATED.contains(&steps) {
            let rate = 1e6 / (cost.submit + cost.run);
            let base = first_rate.get_or_insert(rate);
            let name = format!("operation of {steps}: fan-out and fan-in, submission to end");
            let figure = Figure::new(name, "steps/s", rate).at_least(Of::Value, 80_000.0);
            let limit = format!("operation of {}", RATED[0]);
            figures.push(figure.limit(limit, *base).at_least(Of::Ratio, 0.67));
        }
    }
    server.stop().await?;
    Ok(figures)
}

/// Runs an operation that a client waits for, and then one that nobody looks at, and lists that.
async fn once(
    bench: &mut Bench,
    client: &mut Client,
    body: &str,
    steps: usize,
) -> Result<Cost, Failure> {
    let per_step = |since: Instant| since.elapsed().as_secs_f64() * 1e6 / float(steps);
    let started = Instant::now();
    client.run(&http::submit_and_wait(body)).await?;
    let wait = per_step(started);
    let request = http::post(JOBSETS, body);
    let started = Instant::now();
    let id = client.submit(&request).await?;
    let submit = per_step(started);
    let started = Instant::now();
    bench.drained().await?;
    let run = per_step(started);
    client.follow(&id).await?;
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
    Ok(Cost { submit, run, wait, list: per_step(started) })
}

#[derive(Debug, serde::Deserialize)]
struct Page {
    value: Vec<serde::de::IgnoredAny>,
    #[serde(rename = "@odata.nextLink")]
    next: Option<String>,
}
