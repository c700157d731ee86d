//! Two servers on one database: the same load, split between them.

use sqlx::{Connection, PgConnection};

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::{Bench, drained};
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::{Loaded, Work};
use crate::serve::{Place, Server};

/// What the history says of a database's operations.
#[derive(Debug, sqlx::FromRow)]
struct Told {
    operations: f64,
    ended_once: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let loads = [
        ("one-step submits, run to the end", Work::Post(JOBSETS.to_owned(), jobs::chain(1))),
        ("2-step operations to the observed end", Work::Run(jobs::chain(2))),
    ];
    let mut figures = Vec::new();
    for (name, work) in loads {
        let (one, rate_of_one, _) = run(bench, "servers_one", 1, work.clone()).await?;
        let (both, rate_of_both, told) = run(bench, "servers_two", 2, work).await?;
        let name = format!("two servers: {name}, {CLIENTS} connections");
        figures.push(
            Figure::new(name, "1/s", rate_of_both)
                .times(both.p50_ms, both.p99_ms)
                .limit("one server", rate_of_one)
                .at_least(Of::Ratio, 0.8),
        );
        figures.push(
            Figure::new("  the one server's", "1/s", rate_of_one).times(one.p50_ms, one.p99_ms),
        );
        let lost = float(both.done) - told.operations;
        let not_once = told.operations - told.ended_once;
        let counts = [("  lost by two servers", lost), ("  not ended exactly once", not_once)];
        figures.extend(counts.into_iter().map(|(name, count)| {
            Figure::new(name, "operations", count.abs()).at_most(Of::Value, 0.0)
        }));
    }
    Ok(figures)
}

/// Loads so many servers on a new database; answers how many operations ended per second, the time
/// after the load included, and what the history says of them.
async fn run(
    bench: &mut Bench,
    database: &str,
    count: usize,
    work: Work,
) -> Result<(Loaded, f64, Told), Failure> {
    let place = bench.place_on(database, SLOTS).await?;
    let mut servers = Vec::new();
    for number in 0..count {
        let data_dir = place.data_dir.with_file_name(format!("server{number}"));
        servers.push(Server::start(&Place { data_dir, ..place.clone() }).await?);
    }
    let mut connection = PgConnection::connect(&place.url).await?;
    let addresses = servers.iter().map(|server| server.address).collect();
    let loaded = bench.load_all(addresses, CLIENTS, work).await?;
    let seconds = loaded.seconds + drained(&mut connection).await?;
    for server in servers {
        server.stop().await?;
    }
    let told = sqlx::query_as(
        r#"
        select count(*)::float8 as operations, (count(*) filter (where ends = 1))::float8 as ended_once
        from operation o
        cross join lateral (
            select count(*) as ends
            from event e
            where e.operation = o.id and e.state >= 6
        ) history
        "#,
    );
    let rate = float(loaded.done) / seconds;
    Ok((loaded, rate, told.fetch_one(&mut connection).await?))
}
