//! What an operation costs when many others are stored.

use sqlx::{Connection, PgConnection};

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::{Bench, drained};
use crate::figure::{Figure, float};
use crate::fill;
use crate::http::{self, Client};
use crate::jobs;
use crate::load::Work;
use crate::serve::Server;

/// A database of so many takes long to fill, and a round adds little to it: it is kept for the next.
const KEPT: usize = 1_000_000;
/// Operations that are polled.
const POLLED: usize = 1_000;

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let mut first = None;
    for stored in bench.sizes.stored.clone() {
        let (server, mut database) = serve(bench, stored).await?;
        let submit = Work::Post(JOBSETS.to_owned(), jobs::chain(1));
        let submitted = bench.load(server.address, CLIENTS, submit).await?;
        let seconds = submitted.seconds + drained(&mut database).await?;
        let submits = float(submitted.done) / seconds;
        let paths = polled(&mut database, stored).await?;
        let got = bench.load(server.address, CLIENTS, Work::Get(paths, String::new(), 200)).await?;
        server.stop().await?;
        let (base, base_submits, base_gets) = first.get_or_insert((stored, submits, got.rate()));
        let limit = format!("with {base} stored");
        figures.extend([
            Figure::new(
                format!("{stored} stored: one-step submits, run to the end"),
                "1/s",
                submits,
            )
            .times(submitted.p50_ms, submitted.p99_ms)
            .limit(limit.clone(), *base_submits),
            Figure::new(format!("{stored} stored: GET operation"), "1/s", got.rate())
                .times(got.p50_ms, got.p99_ms)
                .limit(limit, *base_gets),
        ]);
    }
    Ok(figures)
}

/// A server on a database with so many operations and their histories.
async fn serve(bench: &mut Bench, stored: usize) -> Result<(Server, PgConnection), Failure> {
    let name = format!("stored_{stored}");
    if stored >= KEPT && bench.has(&name).await? {
        let place = bench.place_in(&name, SLOTS);
        return Ok((Server::start(&place).await?, PgConnection::connect(&place.url).await?));
    }
    // One is run, whose jobset and history the others get, before a server sees those.
    let (server, mut database) = bench.serve_on(&name, SLOTS).await?;
    let mut client = Client::connect(server.address).await?;
    let id = client.submit(&http::post(JOBSETS, &jobs::chain(1))).await?;
    client.follow(&id).await?;
    server.stop().await?;
    fill::operations(&mut database, stored, false).await?;
    fill::histories(&mut database).await?;
    Ok((Server::start(&bench.place_in(&name, SLOTS)).await?, database))
}

/// The paths of some operations from all over the database.
async fn polled(database: &mut PgConnection, stored: usize) -> Result<Vec<String>, Failure> {
    let some = sqlx::query_scalar(
        r#"
        select '/v1.0/operations/' || id
        from operation tablesample bernoulli ($1)
        order by random()
        limit $2
        "#,
    );
    let percent = (100.0 * float(POLLED) / float(stored)).min(100.0);
    let some = some.bind(percent).bind(i64::try_from(POLLED)?);
    Ok(some.fetch_all(database).await?)
}
