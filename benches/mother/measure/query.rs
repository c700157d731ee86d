//! Questions to a collection of many operations, on a database of their own.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use sutbot::odata::{Limits, filter};
use sutbot::store::lower::operation_model;
use tokio::time::Instant;

use super::JOBSETS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, P50, P99, float, percentile};
use crate::fill;
use crate::http::{self, Client};
use crate::jobs;
use crate::load::Work;

const LIST: &str = "/v1.0/operations";
const DATABASE: &str = "questions";
/// The page that a walk ends at, of 100 members.
const PAGE: usize = 1_000;
/// How often the text of a filter is read.
const READS: usize = 20_000;

const TEN_TERMS: &str = "labels/branch eq 'main' and status eq 'failed' and createdDateTime gt \
    now() sub duration'P1D' and (state eq 'Timeout' or stepCounts/TimedOut gt 0) and \
    contains(name,'night') and percentComplete lt 100 and not attention and error/code ne null and \
    labels/suite in ('unit','load') and length(name) le 50";

/// The path of the page that a walk ends at.
async fn walk(client: &mut Client) -> Result<String, Failure> {
    let mut path = LIST.to_owned();
    for _ in 1..PAGE {
        let page = client.json(&path).await?;
        let next = page["@odata.nextLink"]
            .as_str()
            .and_then(|link| link.find("/v1.0/").map(|at| &link[at..]));
        let Some(next) = next else { break };
        next.clone_into(&mut path);
    }
    Ok(path)
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let (server, mut database) = bench.serve_on(DATABASE, 1).await?;
    let mut client = Client::connect(server.address).await?;
    let id = client.submit(&http::post(JOBSETS, &jobs::chain(1))).await?;
    client.follow(&id).await?;
    let started = Instant::now();
    fill::operations(&mut database, bench.sizes.operations, true).await?;
    let seconds = started.elapsed().as_secs_f64();
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut database).await?;
    let since = (now - Duration::days(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let recent = format!("labels/branch+eq+'main'+and+createdDateTime+gt+{since}");
    let questions = [
        ("default page", LIST.to_owned()),
        ("status eq 'running'", format!("{LIST}?$filter=status+eq+'running'")),
        ("label and time, by time", format!("{LIST}?$filter={recent}&$orderby=createdDateTime")),
        ("page 1,000 of a walk", walk(&mut client).await?),
    ];
    let stored = bench.sizes.operations;
    let mut figures =
        vec![Figure::new("operations stored by the database", "1/s", float(stored) / seconds)];
    for (name, path) in questions {
        let page = client.json(&path).await?;
        if page["value"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("nothing was found: {path}").into());
        }
        let loaded =
            bench.load(server.address, 1, Work::Get(vec![path], String::new(), 200)).await?;
        let name = format!("{stored} operations, {name}");
        figures.push(Figure::new(name, "1/s", loaded.rate()).times(loaded.p50_ms, loaded.p99_ms));
    }
    server.stop().await?;
    figures.push(read()?);
    Ok(figures)
}

/// How long it takes to read and check a filter.
fn read() -> Result<Figure, Failure> {
    let (model, limits) = (operation_model(), Limits::default());
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let started = Instant::now();
        filter(std::hint::black_box(TEN_TERMS), model, &limits)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let (p50, p99) = (percentile(&mut times, P50), percentile(&mut times, P99));
    let name = "a filter of ten terms, read and checked";
    Ok(Figure::new(name, "µs", p50 * 1e3).times(p50, p99))
}
