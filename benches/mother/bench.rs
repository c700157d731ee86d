//! What all measurements share: the cluster, the limits' server, the length of a load.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use sutbot::postgres::{self, Cluster};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::Failure;
use crate::child::{self, Role, Serving};
use crate::limits::{InsertOrders, SpawnOrders};
use crate::load::{Loaded, Orders, Work};
use crate::noop::{Ended, NoopOrders, QueueOrders};
use crate::park::{ParkOrders, Parked, Way};
use crate::serve::{Place, Server};
use crate::sizes::Sizes;

/// How long work may take to come to its end after the load.
const DRAIN_MAX: Duration = Duration::from_mins(2);
/// The longest load of a limit.
const LIMIT_SECONDS_MAX: f64 = 30.0;

/// The set-up of a run.
#[derive(Debug)]
pub(crate) struct Bench {
    /// For questions about the database.
    pub(crate) database: PgConnection,
    /// Where the barest routes are.
    limit_address: SocketAddr,
    limit: Serving,
    cluster: Cluster,
    folder: TempDir,
    /// How long and how much.
    pub(crate) sizes: Sizes,
}

impl Bench {
    pub(crate) async fn start(sizes: Sizes) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        // As root, the account of PostgreSQL has to get through.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let cluster = postgres::start(&postgres::Settings {
            durable: true,
            ..postgres::Settings::new(folder.path().join("cluster"))
        })
        .await?;
        let mut database = PgConnection::connect(&cluster.url()).await?;
        sqlx::raw_sql("create table limit_row (id uuid primary key, body text not null)")
            .execute(&mut database)
            .await?;
        let (limit, limit_address) = child::start(Role::LimitServe, &cluster.url()).await?;
        Ok(Self { database, limit_address, limit, cluster, folder, sizes })
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.limit.stop().await?;
        self.database.close().await?;
        Ok(self.cluster.stop().await?)
    }

    /// What a server of this run is started with.
    pub(crate) fn place(&self, slots: u32) -> Place {
        let data_dir = self.folder.path().join("server");
        Place { url: self.cluster.url(), data_dir, slots, stamps: true, ballast_mib: 0 }
    }

    /// Starts the service.
    pub(crate) async fn serve(&self, slots: u32) -> Result<Server, Failure> {
        Server::start(&self.place(slots)).await
    }

    /// Starts the service on a new database of this name; answers a connection to that too.
    pub(crate) async fn serve_on(
        &mut self,
        database: &str,
        slots: u32,
    ) -> Result<(Server, PgConnection), Failure> {
        let place = self.place_on(database, slots).await?;
        Ok((Server::start(&place).await?, PgConnection::connect(&place.url).await?))
    }

    /// What a server on a new database of this name is started with.
    pub(crate) async fn place_on(&mut self, database: &str, slots: u32) -> Result<Place, Failure> {
        for query in ["drop database if exists", "create database"] {
            let query = format!("{query} {database}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&mut self.database).await?;
        }
        Ok(self.place_in(database, slots))
    }

    /// What a server on the database of this name is started with.
    pub(crate) fn place_in(&self, database: &str, slots: u32) -> Place {
        let place = self.place(slots);
        let url = place.url.replacen("///mother?", &format!("///{database}?"), 1);
        Place { url, ..place }
    }

    /// Whether there is a database of this name.
    pub(crate) async fn has(&mut self, database: &str) -> Result<bool, Failure> {
        let found = "select exists (select from pg_database where datname = $1)";
        Ok(sqlx::query_scalar(found).bind(database).fetch_one(&mut self.database).await?)
    }

    /// Loads an HTTP server for the length of a load.
    pub(crate) async fn load(
        &self,
        address: SocketAddr,
        connections: usize,
        work: Work,
    ) -> Result<Loaded, Failure> {
        self.load_all(vec![address], connections, work).await
    }

    /// Loads the barest routes, which are as fast in the end as in the beginning.
    pub(crate) async fn load_limit(
        &self,
        connections: usize,
        work: Work,
    ) -> Result<Loaded, Failure> {
        let seconds = self.sizes.seconds.min(LIMIT_SECONDS_MAX);
        self.load_for(seconds, vec![self.limit_address], connections, work).await
    }

    /// Loads several HTTP servers, each with its share of the connections.
    pub(crate) async fn load_all(
        &self,
        addresses: Vec<SocketAddr>,
        connections: usize,
        work: Work,
    ) -> Result<Loaded, Failure> {
        self.load_for(self.sizes.seconds, addresses, connections, work).await
    }

    /// As [`load_all`](Self::load_all), for so long.
    pub(crate) async fn load_for(
        &self,
        seconds: f64,
        addresses: Vec<SocketAddr>,
        connections: usize,
        work: Work,
    ) -> Result<Loaded, Failure> {
        let orders = Orders { addresses, connections, seconds, work };
        let loaded: Loaded = child::run(Role::Load, &orders).await?;
        if loaded.failed > 0 {
            let told = loaded.failure.unwrap_or_default();
            return Err(format!("{} requests failed: {told}", loaded.failed).into());
        }
        Ok(loaded)
    }

    /// Operations without work, submitted from within.
    pub(crate) async fn noop(
        &self,
        place: Place,
        body: String,
        outstanding: usize,
    ) -> Result<Ended, Failure> {
        let orders = NoopOrders { place, seconds: self.sizes.seconds, body, outstanding };
        child::run(Role::Noop, &orders).await
    }

    /// Puts operations into the queue of a place without slots; answers how many per second.
    pub(crate) async fn queue(
        &self,
        place: Place,
        body: String,
        operations: usize,
    ) -> Result<f64, Failure> {
        child::run(Role::Queue, &QueueOrders { place, body, operations }).await
    }

    /// Parks clients at a server on the database of this name.
    pub(crate) async fn park(
        &self,
        server: &Server,
        database: &str,
        way: Way,
    ) -> Result<Parked, Failure> {
        let Sizes { seconds, parked: clients, .. } = self.sizes;
        let (address, server_pid) = (server.address, server.pid()?);
        let url = self.place_in(database, 0).url;
        let orders = ParkOrders { address, server_pid, url, clients, seconds, way };
        child::run(Role::Park, &orders).await
    }

    /// Rows per second of the barest insert.
    pub(crate) async fn insert(&self, batch: usize, body: String) -> Result<f64, Failure> {
        let orders =
            InsertOrders { url: self.cluster.url(), seconds: self.sizes.seconds, batch, body };
        child::run(Role::LimitInsert, &orders).await
    }

    /// Processes per second of the barest loop.
    pub(crate) async fn spawn(&self, at_once: usize) -> Result<f64, Failure> {
        child::run(Role::LimitSpawn, &SpawnOrders { seconds: self.sizes.seconds, at_once }).await
    }

    /// Waits until no operation is left that has not ended; answers how long that took.
    pub(crate) async fn drained(&mut self) -> Result<f64, Failure> {
        drained(&mut self.database).await
    }

    /// How many bytes of WAL were written so far.
    pub(crate) async fn wal(&mut self) -> Result<f64, Failure> {
        let bytes = sqlx::query_scalar(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
        );
        Ok(bytes.fetch_one(&mut self.database).await?)
    }
}

/// Waits until no operation of a database is left that has not ended; answers how long that took.
pub(crate) async fn drained(database: &mut PgConnection) -> Result<f64, Failure> {
    let started = Instant::now();
    while started.elapsed() < DRAIN_MAX {
        let live: bool = sqlx::query_scalar("select exists (select from live)")
            .fetch_one(&mut *database)
            .await?;
        if !live {
            return Ok(started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Err("operations did not end".into())
}
