//! What it costs that somebody else keeps a transaction open: nothing that is updated or deleted
//! meanwhile can be cleared away. The longer the load (`--seconds 600`), the more it shows.
//!
//! The loads with and without it are given in turns, each to a server and a database of its own: a machine
//! that is shared is quicker or slower for minutes. An open transaction holds back its own database only.
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
/// How long a turn is.
const TURN: Duration = Duration::from_secs(10);
/// PostgreSQL counts what a session did when that was idle for a moment.
const COUNTED_AFTER: Duration = Duration::from_millis(1_500);

/// What a table holds, its partitions and indexes included.
#[derive(sqlx::FromRow)]
struct Held {
    dead: f64,
    mebibytes: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let (free, mut free_tables) = bench.serve_on("xmin_free", SLOTS).await?;
    let (held, mut held_tables) = bench.serve_on("xmin_held", SLOTS).await?;
    let hold = "begin isolation level repeatable read; select count(*) from jobset";
    sqlx::raw_sql(hold).execute(&mut held_tables).await?;
    let whole = Duration::from_secs_f64(bench.sizes.seconds);
    let turns = u32::try_from(whole.as_secs() / TURN.as_secs()).unwrap_or(u32::MAX).max(1);
    let turn = (whole / turns).as_secs_f64();
    let mut rates = [0.0; 2];
    for _ in 0..turns {
        for (rate, server) in rates.iter_mut().zip([&free, &held]) {
            let work = Work::Follow(jobs::chain(2));
            let loaded = bench.load_for(turn, vec![server.address], CLIENTS, work).await?;
            *rate += loaded.rate() / f64::from(turns);
        }
    }
    free.stop().await?;
    held.stop().await?;
    tokio::time::sleep(COUNTED_AFTER).await;
    let [without, with] = rates;
    let name = format!("2-step operations beside an open transaction, {CLIENTS} clients");
    let mut figures = vec![Figure::new(name, "1/s", with).limit("without it", without)];
    for table in BUSY {
        let without = holdings(&mut free_tables, table).await?;
        let with = holdings(&mut held_tables, table).await?;
        let dead = Figure::new(format!("  dead rows of {table}"), "rows", with.dead);
        figures.push(dead.limit("without it", without.dead));
        let size = Figure::new(format!("  size of {table}"), "MiB", with.mebibytes);
        figures.push(size.limit("without it", without.mebibytes));
    }
    Ok(figures)
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
