//! The postmaster: started, watched and stopped by its owner.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::binaries::{self, Binaries};
use super::create::{create, sweep};
use super::error::ClusterError;
use super::home::{Home, Lock};
use super::probe::{Answer, probe};
use super::spawn::tied_to_this_thread;
use super::stale::disown_strangers;
use super::tool::run;

/// How long a start may take, recovery of up to `max_wal_size` included.
pub(super) const READY_TIMEOUT: Duration = Duration::from_mins(5);
/// How often a starting server is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(20);
/// How long remains of a killed predecessor (a zombie, a backend on its way out) may be in the way.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to try again while they are.
const PREDECESSOR_POLL: Duration = Duration::from_millis(200);
/// The two requests to end, and how long each may take: a fast shutdown writes a checkpoint; an
/// immediate one does not, which costs nothing but a recovery at the next start.
const STOP_REQUESTS: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_mins(1)), (Signal::SIGQUIT, Duration::from_secs(10))];
/// How much of the log an error quotes.
const QUOTE_BYTES_MAX: u64 = 2048;

/// What every cluster runs with. Errors of statements are not logged: they go to the client, which
/// knows what they mean, and the log stays small.
const TUNING: [&str; 12] = [
    "listen_addresses=",
    "port=5432",
    "max_connections=100",
    // A copy is restored in one transaction, and there are tables for each day.
    "max_locks_per_transaction=256",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "autovacuum_naptime=5s",
    "wal_compression=on",
    "jit=off",
    "log_min_messages=log",
    "log_checkpoints=off",
    "logging_collector=off",
];
/// A commit that was acknowledged survives a power failure.
const DURABLE: [&str; 3] = ["fsync=on", "synchronous_commit=on", "full_page_writes=on"];
/// For tests: consistent after `kill -9`, though without the last commits.
const QUICK: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// A postmaster that is a child of this process. Dropping it asks it to shut down.
#[derive(Debug)]
pub(super) struct Server {
    pid: Pid,
    ended: watch::Receiver<bool>,
}

/// Creates the cluster if there is none, and starts it.
///
/// # Errors
/// See [`super::start`].
pub(super) async fn boot(home: &Home, lock: Lock) -> Result<Server, ClusterError> {
    let binaries = binaries::find(home.bin_dir(), home.data_dir(), &home.cluster()).await?;
    sweep(home);
    if !home.cluster().exists() {
        create(home, &binaries).await?;
    }
    home.claim_sockets()?;
    retire_orphan(home, &binaries).await?;
    tracing::info!(version = binaries.major, dir = %binaries.dir.display(), "starting PostgreSQL");
    let lock = Arc::new(lock);
    let deadline = Instant::now() + PREDECESSOR_TIMEOUT;
    loop {
        let mut log = home.open_log()?;
        let mark =
            log.seek(SeekFrom::End(0)).map_err(ClusterError::io("read", &home.log_path()))?;
        let mut server = Server::launch(home, &binaries, &log, &lock).await?;
        if server.ready(home).await? {
            return Ok(server);
        }
        let said = read_from(home, mark)?;
        if !blames_predecessor(&said) || Instant::now() >= deadline {
            return Err(ClusterError::Ended { log: home.log_path(), said });
        }
        disown_strangers(home).map_err(ClusterError::io("clean up in", &home.cluster()))?;
        tracing::info!("waiting for what a killed PostgreSQL left behind");
        sleep(PREDECESSOR_POLL).await;
    }
}

/// Ends a postmaster that outlived its owner. We hold the lock and yet the socket answers: only
/// then does `postmaster.pid` surely name a postmaster, so only then may `pg_ctl` signal what it
/// names.
async fn retire_orphan(home: &Home, binaries: &Binaries) -> Result<(), ClusterError> {
    let deadline = Instant::now() + PREDECESSOR_TIMEOUT;
    while probe(&home.socket()).await == Answer::Busy && Instant::now() < deadline {
        sleep(READY_POLL).await;
    }
    if probe(&home.socket()).await == Answer::Silent {
        return Ok(());
    }
    tracing::info!("stopping a PostgreSQL that outlived its owner");
    let cluster = home.cluster();
    let mut pg_ctl = home.account().command(&binaries.program("pg_ctl"), &cluster);
    pg_ctl.args(["stop", "--silent", "--wait", "--mode=fast", "--pgdata"]).arg(&cluster);
    match run(pg_ctl, "").await {
        // It may have ended by itself meanwhile, and then there was nothing to stop.
        Err(error) if probe(&home.socket()).await != Answer::Silent => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Server {
    /// Spawns postgres in a thread that lives exactly as long as it does, and that lets go of its
    /// share of the lock when it has ended.
    async fn launch(
        home: &Home,
        binaries: &Binaries,
        log: &File,
        lock: &Arc<Lock>,
    ) -> Result<Self, ClusterError> {
        let program = binaries.program("postgres");
        let mut command = postmaster_command(home, binaries, log)?;
        let lock = Arc::clone(lock);
        let sockets = home.sockets().to_owned();
        let (tell_end, ended) = watch::channel(false);
        let (tell_pid, pid) = oneshot::channel();
        let live = move || {
            let mut child = match tied_to_this_thread(&mut command) {
                Ok(child) => child,
                Err(error) => return drop(tell_pid.send(Err(error))),
            };
            let pid = Pid::from_raw(child.id().cast_signed());
            if tell_pid.send(Ok(pid)).is_err() {
                // The caller gave up; the child is not reaped yet, so the id is still its own.
                let _ = kill(pid, Signal::SIGINT);
            }
            match child.wait() {
                Ok(status) => tracing::info!(%status, "PostgreSQL has ended"),
                Err(error) => tracing::error!(%error, "could not wait for PostgreSQL"),
            }
            // Not empty after a crash; else it should not stay behind in /tmp.
            let _ = std::fs::remove_dir(&sockets);
            drop(lock);
            tell_end.send_replace(true);
        };
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(live)
            .map_err(ClusterError::io("start a thread for", &program))?;
        let pid = pid.await.expect("the thread sends before it ends");
        Ok(Self { pid: pid.map_err(ClusterError::io("run", &program))?, ended })
    }

    /// Waits until the server takes connections; `false` when it has ended instead.
    ///
    /// # Errors
    /// [`ClusterError::NotReady`] after [`READY_TIMEOUT`].
    pub(super) async fn ready(&mut self, home: &Home) -> Result<bool, ClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut next_word = Instant::now() + Duration::from_secs(5);
        while !*self.ended.borrow() {
            if probe(&home.socket()).await == Answer::Ready {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= deadline {
                let secs = READY_TIMEOUT.as_secs();
                return Err(ClusterError::NotReady { log: home.log_path(), secs });
            }
            if now >= next_word {
                tracing::info!(log = %home.log_path().display(), "PostgreSQL is not ready yet");
                next_word = now + Duration::from_secs(5);
            }
            sleep(READY_POLL).await;
        }
        Ok(false)
    }

    /// Resolves when the process has ended and the lock is free.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.clone();
        async move {
            // An error would mean that the thread is gone, and it ends only after the process.
            let _ = ended.wait_for(|&ended| ended).await;
        }
    }

    /// Asks the server to end and waits until it has.
    ///
    /// # Errors
    /// [`ClusterError::StopTimedOut`] when it has not after every request.
    pub(super) async fn stop(self) -> Result<(), ClusterError> {
        for (signal, patience) in STOP_REQUESTS {
            self.signal(signal);
            if timeout(patience, self.ended()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(%signal, "PostgreSQL did not end when asked to");
        }
        let secs = STOP_REQUESTS.iter().map(|(_, patience)| patience.as_secs()).sum();
        Err(ClusterError::StopTimedOut { pid: self.pid.as_raw(), secs })
    }

    fn signal(&self, signal: Signal) {
        // The id could be another process's only if the system used up all its process ids in the
        // microseconds between the reaping of the child and the word about it.
        if !*self.ended.borrow() {
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGINT);
    }
}

fn postmaster_command(
    home: &Home,
    binaries: &Binaries,
    log: &File,
) -> Result<Command, ClusterError> {
    let copy = || log.try_clone().map_err(ClusterError::io("share", &home.log_path()));
    let mut command = home.account().command(&binaries.program("postgres"), &home.cluster());
    command.arg("-D").arg(home.cluster()).stdout(copy()?).stderr(copy()?);
    let safety = if home.durable() { DURABLE } else { QUICK };
    for setting in TUNING.into_iter().chain(safety) {
        command.args(["-c", setting]);
    }
    command.arg("-c").arg(socket_setting(home)).args(["-c", "unix_socket_permissions=0700"]);
    Ok(command)
}

/// The folder of the socket, quoted: the setting is a list, and a path may hold a comma.
fn socket_setting(home: &Home) -> OsString {
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for &byte in home.sockets().as_os_str().as_bytes() {
        setting.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
    }
    setting.push(b'"');
    OsString::from_vec(setting)
}

/// What postgres said since a position in its log; the end of it when that is long.
fn read_from(home: &Home, mark: u64) -> Result<String, ClusterError> {
    let path = home.log_path();
    let read = || {
        let mut log = File::open(&path)?;
        let start = mark.max(log.metadata()?.len().saturating_sub(QUOTE_BYTES_MAX));
        log.seek(SeekFrom::Start(start))?;
        let mut said = Vec::new();
        log.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    };
    read().map_err(ClusterError::io("read", &path))
}

/// Whether postgres refused to start because of a predecessor that is gone, or soon will be: its
/// lock file while it is a zombie, its shared memory while its last backends end. The words are
/// stable, since `LC_ALL=C` keeps them untranslated.
fn blames_predecessor(said: &str) -> bool {
    ["\" already exists", "pre-existing shared memory block"]
        .iter()
        .any(|words| said.contains(words))
}
