//! What it costs that somebody else keeps a transaction open: nothing that is updated or deleted
//! meanwhile can be cleared away. The longer the load (`--seconds 600`), the more it shows. Both loads are
//! equally long, because operations get dearer in the first minutes of a new database.
//!
//! That somebody has read none of the queues, so these can be made anew. One who has (a dump of the whole
//! database) keeps their dead rows too.

use std::time::Duration;

use sqlx::PgConnection;

use super::{CLIENTS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::Figure;
use crate::jobs;
use crate::load::Work;

/// The tables whose rows are updated or deleted all the time.
const BUSY: [&str; 6] = ["operation", "live", "ready", "deadline", "worker", "lease"];
/// PostgreSQL counts what a session did when that was idle for a moment.
const COUNTED_AFTER: Duration = Duration::from_millis(1_500);

/// What a table holds, its partitions and indexes included.
#[derive(sqlx::FromRow)]
struct Held {
    dead: f64,
    mebibytes: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let (free, without) = run(bench, "xmin_free", false).await?;
    let (held, with) = run(bench, "xmin_held", true).await?;
    let name = format!("2-step operations beside an open transaction, {CLIENTS} clients");
    let mut figures = vec![Figure::new(name, "1/s", held).limit("without it", free)];
    for (table, (with, without)) in BUSY.into_iter().zip(with.into_iter().zip(without)) {
        let dead = Figure::new(format!("  dead rows of {table}"), "rows", with.dead);
        figures.push(dead.limit("without it", without.dead));
        let size = Figure::new(format!("  size of {table}"), "MiB", with.mebibytes);
        figures.push(size.limit("without it", without.mebibytes));
    }
    Ok(figures)
}

/// Operations per second on a new database, and what each busy table holds then.
async fn run(
    bench: &mut Bench,
    database: &str,
    is_held: bool,
) -> Result<(f64, Vec<Held>), Failure> {
    let (server, mut connection) = bench.serve_on(database, SLOTS).await?;
    if is_held {
        let hold = "begin isolation level repeatable read; select count(*) from jobset";
        sqlx::raw_sql(hold).execute(&mut connection).await?;
    }
    let loaded = bench.load(server.address, CLIENTS, Work::Follow(jobs::chain(2))).await?;
    server.stop().await?;
    tokio::time::sleep(COUNTED_AFTER).await;
    let mut held = Vec::new();
    for table in BUSY {
        held.push(holdings(&mut connection, table).await?);
    }
    Ok((loaded.rate(), held))
}

async fn holdings(connection: &mut PgConnection, table: &str) -> Result<Held, Failure> {
    let asked = sqlx::query_as(
        r#"
        select coalesce(sum(pg_stat_get_dead_tuples(c.oid)), 0)::float8 as dead,
            coalesce(sum(pg_total_relation_size(c.oid)) / 1048576, 0)::float8 as mebibytes
        from pg_class c
        where c.oid = $1::text::regclass
            or c.oid in (select inhrelid from pg_inherits where inhparent = $1::text::regclass)
        "#,
    );
    Ok(asked.bind(table).fetch_one(connection).await?)
}
