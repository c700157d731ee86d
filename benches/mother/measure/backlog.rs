//! Many queued operations when a worker starts: how fast they are worked off alone, and beside new
//! ones that come as fast as they are taken.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::{CLIENTS, JOBSETS, SLOTS};
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, float};
use crate::jobs;
use crate::load::Work;
use crate::serve::Server;

const DATABASE: &str = "backlog";
/// Submitted and not ended at once where the queue is to be empty.
const OUTSTANDING: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(10);

/// What has not ended of the backlog and of what came after its last operation.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Left {
    old: f64,
    new: f64,
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let place = bench.place_on(DATABASE, SLOTS).await?;
    let empty = bench.noop(place.clone(), jobs::chain(1), OUTSTANDING).await?.rate;
    let size = bench.sizes.backlog;
    let queued = bench.queue(bench.place_in(DATABASE, 0), jobs::chain(1), size).await?;
    let mut database = PgConnection::connect(&place.url).await?;
    let (middle, last) = middle_and_last(&mut database).await?;
    let server = Server::start(&place).await?;
    let (began, at_first) = (Instant::now(), left(&mut database, last).await?);
    while is_live(&mut database, middle).await? {
        tokio::time::sleep(PAUSE).await;
    }
    let (seconds, before) = (began.elapsed().as_secs_f64(), left(&mut database, last).await?);
    let work = Work::Post(JOBSETS.to_owned(), jobs::chain(1));
    let loaded = bench.load(server.address, CLIENTS, work).await?;
    let after = left(&mut database, last).await?;
    server.stop().await?;
    let rate = (at_first.old - before.old) / seconds;
    let old = (before.old - after.old) / loaded.seconds;
    let new = (float(loaded.done) - after.new) / loaded.seconds;
    Ok(vec![
        Figure::new(format!("{size} operations queued, from within"), "1/s", queued),
        Figure::new("  worked off, nothing else to be done", "1/s", rate)
            .limit("from within, empty queue", empty)
            .at_least(Of::Ratio, 0.7),
        Figure::new(format!("  old ones ended, {CLIENTS} connections submit"), "1/s", old)
            .limit("nothing else to be done", rate),
        Figure::new("  new ones ended meanwhile", "1/s", new)
            .times(loaded.p50_ms, loaded.p99_ms)
            .limit("submitted", loaded.rate()),
    ])
}

async fn middle_and_last(database: &mut PgConnection) -> Result<(Uuid, Uuid), Failure> {
    let ids = sqlx::query_as(
        r#"
        select percentile_disc(0.5) within group (order by operation), max(operation::text)::uuid
        from live
        "#,
    );
    Ok(ids.fetch_one(database).await?)
}

async fn is_live(database: &mut PgConnection, operation: Uuid) -> Result<bool, Failure> {
    let found = sqlx::query_scalar("select exists (select from live where operation = $1)");
    Ok(found.bind(operation).fetch_one(database).await?)
}

async fn left(database: &mut PgConnection, last: Uuid) -> Result<Left, Failure> {
    let counts = sqlx::query_as(
        r#"
        select (count(*) filter (where operation <= $1))::float8 as old,
            (count(*) filter (where operation > $1))::float8 as new
        from live
        "#,
    );
    Ok(counts.bind(last).fetch_one(database).await?)
}
