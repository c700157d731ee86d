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
use crate::figure::float;
use crate::limits::{InsertOrders, SpawnOrders};
use crate::load::{Loaded, Orders, Work};
use crate::noop::NoopOrders;
use crate::serve::{Place, Server};

/// How long work may take to come to its end after the load.
const DRAIN_MAX: Duration = Duration::from_mins(2);

/// The set-up of a run.
#[derive(Debug)]
pub(crate) struct Bench {
    /// For questions about the database.
    pub(crate) database: PgConnection,
    /// Where the barest routes are.
    pub(crate) limit_address: SocketAddr,
    limit: Serving,
    cluster: Cluster,
    folder: TempDir,
    seconds: f64,
    /// How many operations are stored that questions are asked about.
    pub(crate) stored: usize,
}

impl Bench {
    pub(crate) async fn start(seconds: f64, stored: usize) -> Result<Self, Failure> {
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
        Ok(Self { database, limit_address, limit, cluster, folder, seconds, stored })
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.limit.stop().await?;
        self.database.close().await?;
        Ok(self.cluster.stop().await?)
    }

    /// What a server of this run is started with.
    fn place(&self, slots: u32) -> Place {
        let data_dir = self.folder.path().join("server");
        Place { url: self.cluster.url(), data_dir, slots, stamps: true }
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
        for query in ["drop database if exists", "create database"] {
            let query = format!("{query} {database}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&mut self.database).await?;
        }
        let place = self.place(slots);
        let url = place.url.replacen("///mother?", &format!("///{database}?"), 1);
        let server = Server::start(&Place { url: url.clone(), ..place }).await?;
        Ok((server, PgConnection::connect(&url).await?))
    }

    /// Loads an HTTP server for the length of a load.
    pub(crate) async fn load(
        &self,
        address: SocketAddr,
        connections: usize,
        work: Work,
    ) -> Result<Loaded, Failure> {
        let orders = Orders { address, connections, seconds: self.seconds, work };
        let loaded: Loaded = child::run(Role::Load, &orders).await?;
        if loaded.failed > 0 {
            let told = loaded.failure.unwrap_or_default();
            return Err(format!("{} requests failed: {told}", loaded.failed).into());
        }
        Ok(loaded)
    }

    /// No-op steps per second, submitted from within.
    pub(crate) async fn noop(
        &self,
        slots: u32,
        body: String,
        steps: usize,
        outstanding: usize,
    ) -> Result<f64, Failure> {
        self.noop_on(self.place(slots), body, steps, outstanding).await
    }

    /// The same without the causal order of events.
    pub(crate) async fn noop_unstamped(
        &self,
        slots: u32,
        body: String,
        steps: usize,
        outstanding: usize,
    ) -> Result<f64, Failure> {
        let place = Place { stamps: false, ..self.place(slots) };
        self.noop_on(place, body, steps, outstanding).await
    }

    async fn noop_on(
        &self,
        place: Place,
        body: String,
        steps: usize,
        outstanding: usize,
    ) -> Result<f64, Failure> {
        let orders = NoopOrders { place, seconds: self.seconds, body, outstanding };
        let operations: f64 = child::run(Role::Noop, &orders).await?;
        Ok(operations * float(steps))
    }

    /// Rows per second of the barest insert.
    pub(crate) async fn insert(&self, batch: usize, body: String) -> Result<f64, Failure> {
        let orders = InsertOrders { url: self.cluster.url(), seconds: self.seconds, batch, body };
        child::run(Role::LimitInsert, &orders).await
    }

    /// Processes per second of the barest loop.
    pub(crate) async fn spawn(&self, at_once: usize) -> Result<f64, Failure> {
        child::run(Role::LimitSpawn, &SpawnOrders { seconds: self.seconds, at_once }).await
    }

    /// Waits until no operation is left that has not ended; answers how long that took.
    pub(crate) async fn drained(&mut self) -> Result<f64, Failure> {
        let started = Instant::now();
        while started.elapsed() < DRAIN_MAX {
            let live: bool = sqlx::query_scalar("select exists (select from live)")
                .fetch_one(&mut self.database)
                .await?;
            if !live {
                return Ok(started.elapsed().as_secs_f64());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err("operations did not end".into())
    }

    /// How many bytes of WAL were written so far.
    pub(crate) async fn wal(&mut self) -> Result<f64, Failure> {
        let bytes = sqlx::query_scalar(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
        );
        Ok(bytes.fetch_one(&mut self.database).await?)
    }
}
