//! The private PostgreSQL: found or started when no `DATABASE_URL` is given.
//!
//! # Problem
//! `mother serve` must work on a fresh machine with one command, and yet everything it acknowledges
//! must survive a `kill -9` of everything. So there has to be a real PostgreSQL, but nobody wants
//! to set one up to try a test orchestrator. Several processes of one user (a server, workers, a
//! second server started by mistake) have to end up on the same database without any coordination
//! by hand.
//!
//! # Design
//! A data folder holds one cluster, one lock file and one log:
//!
//! | path below the data folder | what it is |
//! |---|---|
//! | `lock` | `flock`ed by the process whose child postgres is, until that child has ended |
//! | `cluster/` | PGDATA; appears by one rename, complete with the database `mother` |
//! | `run/` | the Unix socket, mode 0700: the only way in, which is why `trust` is safe; a folder in `/tmp` when this path is too long for a socket |
//! | `postgres.log` | what postgres says |
//! | `fetched/` | binaries that `mother db fetch` unpacked |
//!
//! [`start`] loops over two questions: can I have the lock? Then I am the *owner* and start
//! postgres. Does the cluster answer? Then I am a *guest* of the process that holds the lock. When
//! an owner stops, the lock is free, and the first guest that calls [`Cluster::ensure`] becomes
//! owner.
//!
//! postgres is a direct child of a thread that does nothing but spawn it, wait for it and then let
//! go of the lock. One thread thus gives three things: the parent-death signal stays armed (Linux
//! ties it to the *thread* that forked, so a pool thread that retires would shut the database
//! down), the end of postgres is noticed at once, and "the lock is held" means "postgres may be
//! alive".
//!
//! Whether the cluster is ready is asked with a startup packet on its socket (`probe`): no SQL
//! client is needed here, and it is the same question that the first real connection will ask.
//!
//! # Rejected
//! `pg_ctl start` makes postgres a daemon: it outlives us, and its end is noticed by nobody.
//! A port on localhost needs a password and a free port, and is open to every user of the machine.
//! Deciding by `postmaster.pid` alone: after a crash it names a process that may be anybody's.
//!
//! # Deliberately absent
//! Upgrades from one major version to the next (refused with an error that says what to do),
//! replication, TCP, and every tuning knob: whoever needs those has a PostgreSQL and a
//! `DATABASE_URL`.

mod account;
mod binaries;
mod copy;
mod create;
mod error;
mod fetch;
mod home;
mod probe;
mod server;
mod spawn;
mod stale;
mod tool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use copy::check_copy;
pub use error::{ClusterError, FetchError};
pub use fetch::fetch;
use home::Home;
use probe::{Answer, probe};
use server::Server;

/// How often a guest asks whether it can have the lock or whether the owner's cluster answers.
const JOIN_POLL: Duration = Duration::from_millis(50);
/// How long a guest waits for the owner: as long as the owner itself may take to become ready.
const JOIN_TIMEOUT: Duration = server::READY_TIMEOUT;
/// How often a guest that waits for the end of the cluster asks whether it still answers.
const GUEST_POLL: Duration = Duration::from_secs(1);

/// What the caller decides about the private PostgreSQL.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the cluster, its lock and its log; created when it does not exist.
    pub data_dir: PathBuf,
    /// The folder of `postgres` and `initdb` (`MOTHER_PG_BIN`). `None` searches the usual places.
    pub bin_dir: Option<PathBuf>,
    /// Whether a commit survives a power failure. Only tests turn this off, to be quick.
    pub durable: bool,
}

impl Settings {
    /// Durable settings for a data folder, with a search for the binaries.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), bin_dir: None, durable: true }
    }
}

/// The data folder when none is configured: `mother` in the user's data folder, and
/// `/var/lib/mother` for root, because the account that runs postgres for root cannot look below
/// root's home.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};

    let system = || PathBuf::from("/var/lib/mother");
    if nix::unistd::geteuid().is_root() {
        return system();
    }
    choose_base_strategy().map_or_else(|_| system(), |dirs| dirs.data_dir().join("mother"))
}

/// The connection URL of the cluster in the data folder, whether it runs or not; `None` when there is
/// no cluster yet. Creates and starts nothing.
///
/// # Errors
/// [`ClusterError::Io`], and those of an account that may not use the folder.
pub fn url(settings: &Settings) -> Result<Option<String>, ClusterError> {
    if !settings.data_dir.join("cluster").exists() {
        return Ok(None);
    }
    Ok(Some(Home::prepare(settings)?.url()))
}

/// The folder of the programs that the cluster of the data folder would run with, and their major
/// version. Starts nothing but `postgres --version`.
///
/// # Errors
/// Those of [`start`] about the programs.
pub async fn programs(settings: &Settings) -> Result<(PathBuf, u32), ClusterError> {
    let cluster = settings.data_dir.join("cluster");
    let found = binaries::find(settings.bin_dir.as_deref(), &settings.data_dir, &cluster).await?;
    Ok((found.dir, found.major))
}

/// Finds the running cluster of the data folder, or creates what is missing and starts it.
///
/// Returns when the database `mother` accepts connections. Safe to call from any number of tasks
/// and processes at once: one becomes the owner, the others share its cluster.
///
/// # Errors
/// Every variant of [`ClusterError`] except [`ClusterError::StopTimedOut`]; nothing half made is
/// left behind, so that the call can be repeated when the cause is gone.
pub async fn start(settings: &Settings) -> Result<Cluster, ClusterError> {
    let home = Arc::new(Home::prepare(settings)?);
    let server = join(&home).await?;
    Ok(Cluster { home, server })
}

/// The lock and a running server, or nothing when another process has both.
async fn join(home: &Home) -> Result<Option<Server>, ClusterError> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let mut said = false;
    loop {
        if let Some(lock) = home.try_lock()? {
            return server::boot(home, lock).await.map(Some);
        }
        if probe(&home.socket()).await == Answer::Ready {
            tracing::debug!(data_dir = %home.data_dir().display(), "sharing a running PostgreSQL");
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Err(ClusterError::OwnerSilent {
                lock: home.lock_path(),
                secs: JOIN_TIMEOUT.as_secs(),
            });
        }
        if !said {
            let lock = home.lock_path();
            tracing::info!(lock = %lock.display(), "waiting for the owner of PostgreSQL");
            said = true;
        }
        sleep(JOIN_POLL).await;
    }
}

/// A running private PostgreSQL, owned by this process or shared with the one that owns it.
///
/// Dropping an owned cluster asks postgres to shut down without waiting for it; [`Cluster::stop`]
/// waits.
#[derive(Debug)]
pub struct Cluster {
    home: Arc<Home>,
    /// `None` in a guest.
    server: Option<Server>,
}

impl Cluster {
    /// The connection URL of the database `mother`: percent-encoded, without a password, the same
    /// for every process on this data folder and for every restart.
    #[must_use]
    pub fn url(&self) -> String {
        self.home.url()
    }

    /// Whether postgres is a child of this process, and so ends with it.
    #[must_use]
    pub fn owned(&self) -> bool {
        self.server.is_some()
    }

    /// Resolves when the cluster has ended, for whatever reason: at once in the owner, within about
    /// a second in a guest. The future borrows nothing, so that it can be awaited beside
    /// [`Cluster::ensure`]; after a restart, ask for a new one.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let home = Arc::clone(&self.home);
        let ended = self.server.as_ref().map(Server::ended);
        async move {
            if let Some(ended) = ended {
                return ended.await;
            }
            while probe(&home.socket()).await != Answer::Silent {
                sleep(GUEST_POLL).await;
            }
        }
    }

    /// Makes sure that the cluster serves: returns at once when it answers, waits while it
    /// recovers, and starts it again, as the new owner, when it is gone and nobody else does.
    ///
    /// # Errors
    /// Like [`start`]. The cluster stays usable: the call can be repeated.
    pub async fn ensure(&mut self) -> Result<(), ClusterError> {
        if let Some(server) = &mut self.server {
            if server.ready(&self.home).await? {
                return Ok(());
            }
            tracing::warn!("PostgreSQL has ended; starting it again");
        }
        self.server = None;
        self.server = join(&self.home).await?;
        Ok(())
    }

    /// Shuts postgres down (open transactions are rolled back) and waits until it is gone and the
    /// lock is free. Does nothing in a guest: the cluster belongs to another process.
    ///
    /// # Errors
    /// [`ClusterError::StopTimedOut`] when postgres is still there after two polite requests.
    pub async fn stop(self) -> Result<(), ClusterError> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}
