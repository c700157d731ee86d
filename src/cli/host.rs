//! All rooms put together: database, engine, worker and API in one process.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::socket::{SocketError, SocketListener};
use crate::api::{self, ApiSettings, ApiState, Listen};
use crate::domain::Limits;
use crate::domain::profile::Profile;
use crate::engine::{Engine, EngineError, EngineSettings, Retention};
use crate::odata;
use crate::postgres::{self, Cluster, ClusterError};
use crate::runner::process::GroundChoice;
use crate::runner::{self, RunnerError, WorkerSettings};
use crate::store::{Store, StoreError, StoreSettings};
use crate::wire;

/// What a process is made of.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The port on which the API listens. Without it and without `socket` the process only works.
    pub listen: Option<SocketAddr>,
    /// The file of the Unix socket on which the API listens; only the owner gets in.
    pub socket: Option<PathBuf>,
    /// The address under which clients see the service.
    pub public_url: Option<String>,
    /// Origins of web pages that may call the API.
    pub cors_origins: Vec<String>,
    /// Who has to show a token.
    pub tokens: TokenRule,
    /// The database; `None` for the private cluster.
    pub database_url: Option<String>,
    /// Where the PostgreSQL binaries are, if they are to be taken from a certain place.
    pub pg_bin: Option<PathBuf>,
    /// Whether the private cluster survives a crash of the machine. Only tests and benchmarks of
    /// other things turn it off.
    pub durable: bool,
    /// The folder of the private cluster and of workspaces.
    pub data_dir: PathBuf,
    /// How many attempts the worker of this process runs at once; 0 for no worker.
    pub slots: u32,
    /// What that worker offers.
    pub profile: Profile,
    /// What people call it; `None` for the host and the number of the process.
    pub name: Option<String>,
    /// Where its workspaces are; `None` for a folder in `data_dir`.
    pub work_dir: Option<PathBuf>,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// How many operations one request may make.
    pub max_batch: usize,
    /// How many steps they may have together.
    pub max_batch_steps: usize,
    /// The largest page of a collection.
    pub max_page_size: usize,
    /// How many may follow events or output at once.
    pub max_followers: usize,
    /// How many nodes the trees of a stamp may have.
    pub max_stamp_nodes: usize,
    /// How long a stream of events is silent at the most.
    pub keep_alive: Duration,
    /// The output that is kept of one attempt, in bytes.
    pub output_cap_bytes: u64,
    /// The folder of the files with the values of secrets, each named like its secret.
    pub secrets_dir: Option<PathBuf>,
    /// How long a worker may act without a heartbeat.
    pub lease: Duration,
    /// How long attempts of a worker that lost its lease are Unresponsive before others get them.
    pub requeue_after: Duration,
    /// By how much longer an operation must have waited than one whose priority is higher by 1, to go
    /// before it.
    pub ageing: Duration,
    /// How often a step is given to another worker because its worker was lost.
    pub infra_retries: u32,
    /// The time between two heartbeats.
    pub heartbeat: Duration,
    /// How long a process that is not heard of keeps a duty that one process has for all.
    pub duty_lease: Duration,
    /// For how long operations are kept; `None` for a process that leaves that to the servers.
    pub retention: Option<Retention>,
    /// The time between SIGTERM and SIGKILL where a step does not say.
    pub default_grace: Duration,
    /// How long running attempts may take to end by themselves when the process shuts down.
    pub drain: Duration,
    /// Names of variables that steps get beside the usual ones; `NAME*` for all that begin so.
    pub pass_env: Vec<String>,
    /// Processes and threads per slot, for all attempts together whose steps set no limit, where
    /// control groups count them.
    pub max_processes: u64,
    /// Where the control groups of attempts are made.
    pub cgroup: GroundChoice,
    /// How long the workspace of an operation is kept after its end.
    pub keep_workspaces: Duration,
    /// What a jobset may have at the most.
    pub limits: Limits,
    /// Whether the causal order of events is kept.
    pub stamps: bool,
    /// For how long a submission that is repeated makes nothing new.
    pub repeatability_window: Duration,
    /// What a question to a collection may have at the most.
    pub query_limits: odata::Limits,
    /// The longest time that the database may take to answer a client's question.
    pub statement_timeout: Duration,
    /// The program to be started as the zygote, and to call the functions of steps; `None` for the
    /// running one. Its `main` must call [`run_if_child`](crate::run_if_child) first.
    pub zygote_exe: Option<PathBuf>,
}

impl HostSettings {
    /// The defaults, with everything of this process below `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let api = ApiSettings::default();
        Self {
            listen: None,
            socket: None,
            public_url: None,
            cors_origins: Vec::new(),
            tokens: TokenRule::default(),
            database_url: None,
            pg_bin: None,
            durable: true,
            data_dir: data_dir.into(),
            slots: default_slots(),
            profile: Profile::default(),
            name: None,
            work_dir: None,
            max_body_bytes: api.max_body_bytes,
            max_batch: api.max_batch,
            max_batch_steps: api.max_batch_steps,
            max_page_size: api.max_page_size,
            max_followers: api.max_followers,
            max_stamp_nodes: api.max_stamp_nodes,
            keep_alive: api.keep_alive,
            output_cap_bytes: 16 * 1024 * 1024,
            secrets_dir: None,
            stamps: true,
            repeatability_window: EngineSettings::default().repeatability_window,
            lease: Duration::from_secs(6),
            requeue_after: Duration::from_secs(2),
            ageing: EngineSettings::default().ageing,
            infra_retries: EngineSettings::default().infra_retries,
            heartbeat: Duration::from_secs(2),
            duty_lease: EngineSettings::default().duty_lease,
            retention: None,
            default_grace: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            pass_env: Vec::new(),
            max_processes: 4096,
            cgroup: GroundChoice::default(),
            keep_workspaces: Duration::from_hours(24),
            limits: Limits::default(),
            query_limits: api.query_limits,
            statement_timeout: StoreSettings::new("").statement_timeout,
            zygote_exe: None,
        }
    }
}

/// One per processor, and at least four: a step that serves others must not keep them waiting.
fn default_slots() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(u32::MAX).max(4)
}

/// Who has to show a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenRule {
    /// Whoever comes over a network.
    #[default]
    FromElsewhere,
    /// Everybody.
    Always,
    /// Nobody: whoever reaches the address can run commands here.
    Never,
}

impl TokenRule {
    /// Whether clients of a listener are asked: of the port at this address, or of the socket.
    #[must_use]
    pub fn asks(self, address: Option<SocketAddr>) -> bool {
        match self {
            Self::FromElsewhere => address.is_some_and(|address| !address.ip().is_loopback()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Why a process could not be put together, or ended.
#[derive(Debug, Error)]
pub enum HostError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another server running there? Choose with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be listened on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The private cluster cannot be started.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    /// The engine cannot be started.
    #[error("cannot start the engine")]
    Engine(#[from] EngineError),
    /// The worker ended.
    #[error("the worker ended")]
    Worker(#[from] RunnerError),
    /// The program itself was not found.
    #[error("this program's own file cannot be found")]
    Program(#[source] io::Error),
    /// The API ended.
    #[error("the API ended")]
    Serve(#[source] io::Error),
}

/// All rooms in one process.
#[derive(Debug)]
pub struct Host {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    engine: Engine,
    store: Store,
    /// Keeps the private cluster alive; stops it when told.
    keeper: Option<(CancellationToken, JoinHandle<()>)>,
    /// One per listener.
    api: Vec<JoinHandle<io::Result<()>>>,
    worker: JoinHandle<Result<(), RunnerError>>,
    /// Ends waits and then connections.
    draining: CancellationToken,
    /// Ends the worker.
    stop_worker: CancellationToken,
}

impl Host {
    /// Starts everything. When this answers, the API serves.
    ///
    /// # Errors
    /// [`HostError`] tells what to do.
    pub async fn start(settings: HostSettings) -> Result<Self, HostError> {
        let zygote_exe = match &settings.zygote_exe {
            Some(path) => path.clone(),
            None => std::env::current_exe().map_err(HostError::Program)?,
        };
        // Bound first: a port that is taken is told before a database is started.
        let listener = match settings.listen {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|source| HostError::Listen { address, source })?,
            ),
            None => None,
        };
        let socket = match &settings.socket {
            Some(path) => Some(SocketListener::bind(path).await?),
            None => None,
        };
        let (url, keeper) = database(&settings).await?;
        let statement_timeout = settings.statement_timeout;
        let store_settings = StoreSettings { statement_timeout, ..StoreSettings::new(url) };
        let store = Store::open(&store_settings).await?;
        store.migrate().await?;
        let engine_settings = EngineSettings {
            limits: settings.limits,
            stamps: settings.stamps,
            repeatability_window: settings.repeatability_window,
            requeue_after: settings.requeue_after,
            duty_lease: settings.duty_lease,
            retention: settings.retention,
            name: own_name(),
            ageing: settings.ageing,
            infra_retries: settings.infra_retries,
            ..EngineSettings::default()
        };
        let engine = Engine::start(store.clone(), engine_settings, wire::decode_definition).await?;
        let stop_worker = CancellationToken::new();
        let worker = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop_worker.clone());
            let settings = worker_settings(&settings, zygote_exe);
            async move { runner::work(&engine, settings, stop).await }
        });
        let draining = CancellationToken::new();
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let mut api = Vec::new();
        if listener.is_some() || socket.is_some() {
            let state = ApiState::new(engine.clone(), api_settings(&settings), draining.clone());
            let needs_token = settings.tokens.asks(address);
            let open_to_network = state.clone().needing_token(needs_token);
            api.extend(listener.map(|listener| serve(listener, &open_to_network, &draining)));
            let needs_token = settings.tokens.asks(None);
            api.extend(
                socket.map(|socket| serve(socket, &state.needing_token(needs_token), &draining)),
            );
        }
        let socket = settings.socket;
        Ok(Self { address, socket, engine, store, keeper, api, worker, draining, stop_worker })
    }

    /// The port on which the API listens.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The socket on which the API listens.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The engine of this process.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs until `stop` ends, then drains: no new requests, no new attempts; what runs may end by
    /// itself for a while, the rest is given back.
    ///
    /// # Errors
    /// [`HostError`] when something ended that should not have.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), HostError> {
        let result = tokio::select! {
            () = stop => Ok(()),
            ended = &mut self.worker => match ended {
                Ok(Err(error)) => Err(HostError::Worker(error)),
                Ok(Ok(())) | Err(_) => Ok(()),
            },
        };
        self.shut_down().await?;
        result
    }

    async fn shut_down(self) -> Result<(), HostError> {
        self.draining.cancel();
        for api in self.api {
            api.await.unwrap_or(Ok(())).map_err(HostError::Serve)?;
        }
        self.stop_worker.cancel();
        if !self.worker.is_finished() {
            let _ended = self.worker.await;
        }
        self.engine.shut_down().await;
        self.store.close().await;
        if let Some((stop, keeper)) = self.keeper {
            stop.cancel();
            let _ended = keeper.await;
        }
        Ok(())
    }
}

/// Serves until the process drains.
fn serve<L: Listen + Sync + 'static>(
    listener: L,
    state: &ApiState,
    draining: &CancellationToken,
) -> JoinHandle<io::Result<()>> {
    tokio::spawn(api::serve(listener, api::router(state.clone()), draining.clone()))
}

/// The URL of the database and, for the private cluster, the task that keeps it.
async fn database(
    settings: &HostSettings,
) -> Result<(String, Option<(CancellationToken, JoinHandle<()>)>), HostError> {
    if let Some(url) = &settings.database_url {
        return Ok((url.clone(), None));
    }
    let cluster = postgres::start(&postgres::Settings {
        data_dir: settings.data_dir.clone(),
        bin_dir: settings.pg_bin.clone(),
        durable: settings.durable,
    })
    .await?;
    let url = cluster.url();
    let stop = CancellationToken::new();
    let keeper = tokio::spawn(keep(cluster, stop.clone()));
    Ok((url, Some((stop, keeper))))
}

/// Starts the private cluster again when it ends, and stops it at the end.
async fn keep(mut cluster: Cluster, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = cluster.ended() => {}
            () = stop.cancelled() => break,
        }
        tracing::warn!("the private PostgreSQL ended; it is started again");
        if let Err(error) = cluster.ensure().await {
            tracing::error!(error = &error as &dyn std::error::Error, "postgres.cluster.lost");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    if let Err(error) = cluster.stop().await {
        tracing::error!(error = &error as &dyn std::error::Error, "postgres.cluster.stuck");
    }
}

fn api_settings(settings: &HostSettings) -> ApiSettings {
    ApiSettings {
        public_url: settings.public_url.clone(),
        max_body_bytes: settings.max_body_bytes,
        max_batch: settings.max_batch,
        max_batch_steps: settings.max_batch_steps,
        max_page_size: settings.max_page_size,
        query_limits: settings.query_limits,
        cors_origins: settings.cors_origins.clone(),
        max_followers: settings.max_followers,
        max_stamp_nodes: settings.max_stamp_nodes,
        keep_alive: settings.keep_alive,
        ..ApiSettings::default()
    }
}

fn own_host() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What people call this process.
fn own_name() -> String {
    format!("{}-{}", own_host(), std::process::id())
}

pub(super) fn worker_settings(settings: &HostSettings, zygote_exe: PathBuf) -> WorkerSettings {
    WorkerSettings {
        name: settings.name.clone().unwrap_or_else(own_name),
        host: own_host(),
        slots: settings.slots,
        profile: settings.profile.clone(),
        lease: settings.lease,
        heartbeat: settings.heartbeat,
        drain: settings.drain,
        default_grace: settings.default_grace,
        output_cap_bytes: settings.output_cap_bytes,
        secrets_dir: settings.secrets_dir.clone(),
        work_dir: (settings.work_dir.clone())
            .unwrap_or_else(|| settings.data_dir.join("operations")),
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        pass_env: settings.pass_env.clone(),
        max_processes: settings.max_processes,
        cgroup: settings.cgroup.clone(),
        keep_workspaces: settings.keep_workspaces,
        zygote_exe,
    }
}
