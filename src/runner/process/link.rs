//! The worker's side of the zygote.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tracing::{error, warn};

use super::berth::{Berth, Idle, Vacancy};
use super::cgroup::{Ground, GroundSettings};
use super::child::Ends;
use super::wire::{self, Refusal, Report, Stage};
use super::{
    Fence, PASSED_MAX, Process, ProcessSpec, SpawnError, StartError, Stdin, sweep, sys, zygote,
};

/// How many processes may be between request and start. The descriptors of each are in flight, and
/// the kernel limits those.
const STARTING_MAX: usize = 64;

/// How long a zygote may take until it serves.
const SERVING_MILLIS_MAX: u16 = 10_000;

/// How long a start may take before the zygote is held to be stuck: far more than any host needs.
const STARTING_SECS_MAX: u64 = 60;

/// The zygotes that live: the only children in other sessions that a sweep must spare.
static ZYGOTES: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn zygotes() -> MutexGuard<'static, BTreeSet<u32>> {
    // A set of numbers is whole after every panic.
    ZYGOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts processes that are contained.
///
/// Makes the calling process a subreaper. When a zygote has died, the calling process kills all its
/// children that are in other sessions than its own: it must not start sessions itself.
#[derive(Debug)]
pub struct Zygote {
    exe: PathBuf,
    ground: Arc<Ground>,
    null: File,
    held: Option<OwnedFd>,
    fence: Fence,
    starting: Semaphore,
    idle: Arc<Idle>,
    link: tokio::sync::Mutex<Arc<Link>>,
}

impl Zygote {
    /// Starts a zygote from an executable whose `main` calls [`run_if_zygote`] first, such as
    /// `/proc/self/exe`. Takes some milliseconds.
    ///
    /// # Errors
    ///
    /// When the host cannot contain processes, or the executable does not serve as a zygote.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// [`run_if_zygote`]: super::run_if_zygote
    pub fn start(exe: &Path) -> Result<Zygote, StartError> {
        Self::start_with(exe, &GroundSettings::default(), None)
    }

    /// Starts a zygote, with a say in its control groups. It and all monitors hold `held` open as long
    /// as they live.
    ///
    /// # Errors
    ///
    /// As [`Zygote::start`], and when a control group that was named cannot be used.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start_with(
        exe: &Path,
        groups: &GroundSettings,
        held: Option<OwnedFd>,
    ) -> Result<Zygote, StartError> {
        sweep::check_host().map_err(|source| StartError::NoChildrenList { source })?;
        let null = File::open("/dev/null").map_err(|source| StartError::Host {
            exe: exe.into(),
            action: "open /dev/null",
            source,
        })?;
        let ground = Ground::claim(groups).map_err(|source| StartError::Cgroup {
            folder: groups.place.folder().to_owned(),
            source,
        })?;
        let ground = Arc::new(ground);
        let link = Link::start(exe, &ground, held.as_ref())?;
        let link = tokio::sync::Mutex::new(Arc::new(link));
        let fence = Fence::new().map_err(|source| StartError::Host {
            exe: exe.into(),
            action: "make a timer",
            source,
        })?;
        let (exe, starting) = (exe.into(), Semaphore::new(STARTING_MAX));
        Ok(Zygote { exe, ground, null, held, fence, starting, idle: Arc::default(), link })
    }

    /// The moment by which all its processes end. Nobody has set it at first, and it never comes.
    #[must_use]
    pub const fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Starts a process. A zygote that has died is replaced first.
    ///
    /// # Errors
    ///
    /// When the process could not be started; it does not run then.
    pub async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SpawnError> {
        self.spawn_passing(spec, Vec::new()).await
    }

    /// Starts a process that gets further descriptors as its 3, 4 and so on, [`PASSED_MAX`] at the
    /// most.
    ///
    /// # Errors
    ///
    /// As [`Zygote::spawn`], and when there are more.
    ///
    /// [`PASSED_MAX`]: super::PASSED_MAX
    pub async fn spawn_passing(
        &self,
        spec: ProcessSpec,
        passed: Vec<OwnedFd>,
    ) -> Result<Process, SpawnError> {
        if passed.len() > PASSED_MAX {
            return Err(SpawnError::TooManyDescriptors { count: passed.len() });
        }
        let _permit = self.starting.acquire().await;
        let host =
            |action: &'static str| move |source| SpawnError::Host { action: action.into(), source };
        let berth = match self.idle.take() {
            Some(berth) => berth,
            None => self.fill(Vacancy::new().map_err(host("make a channel"))?).await?,
        };
        let (stdout, their_stdout) = io::pipe().map_err(host("make a pipe"))?;
        let (stderr, their_stderr) = io::pipe().map_err(host("make a pipe"))?;
        let (their_stdin, stdin) = match spec.stdin {
            Stdin::Null => (None, None),
            Stdin::Piped => {
                let (theirs, ours) = io::pipe().map_err(host("make a pipe"))?;
                (Some(theirs), Some(ours))
            }
        };
        let register = host("register a descriptor");
        let stdout = pipe::Receiver::from_owned_fd(stdout.into()).map_err(register)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into()).map_err(register)?;
        let stdin = stdin.map(|fd| pipe::Sender::from_owned_fd(fd.into()));
        let stdin = stdin.transpose().map_err(register)?;

        let mut descriptors = vec![
            stdout.as_fd(),
            stderr.as_fd(),
            their_stdin.as_ref().map_or(self.null.as_fd(), AsFd::as_fd),
            their_stdout.as_fd(),
            their_stderr.as_fd(),
        ];
        descriptors.extend(passed.iter().map(AsFd::as_fd));
        berth.begin(&spec, &descriptors).await?;
        // From here the monitor alone holds its ends, so that they close when it dies.
        drop((their_stdin, their_stdout, their_stderr, passed));
        let has_rescue = spec.rescue.is_some();
        // Otherwise the monitor is in a namespace of the step.
        let is_as_before = spec.confinement.sandbox.is_none();
        let pid = started(&berth, spec).await?;
        let idle = is_as_before.then(|| Arc::clone(&self.idle));
        let ends = Ends { stdout, stderr, stdin };
        Ok(Process::new(pid, berth, idle, has_rescue, ends))
    }

    /// Where the control groups of processes are made.
    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Has the zygote, or its replacement, fork a monitor.
    async fn fill(&self, vacancy: Vacancy) -> Result<Berth, SpawnError> {
        let descriptors = vacancy.descriptors(self.fence.as_fd());
        let mut current = self.link.lock().await;
        let gone = match current.send(&descriptors).await {
            Ok(()) => return Ok(vacancy.filled(current.clone())),
            Err(source) => source,
        };
        if !matches!(gone.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) {
            return Err(SpawnError::Host { action: "pass descriptors".into(), source: gone });
        }
        warn!("process.zygote.replaced");
        current.end().await;
        *current = Arc::new(Link::start(&self.exe, &self.ground, self.held.as_ref())?);
        match current.send(&descriptors).await {
            Ok(()) => Ok(vacancy.filled(current.clone())),
            Err(_) => Err(SpawnError::ZygoteDied),
        }
    }

    /// Ends the zygote. Processes that still run are killed with all their descendants, and end as
    /// lost; none of them is left on return.
    pub async fn shutdown(self) {
        self.idle.clear();
        self.link.into_inner().end().await;
    }
}

/// Waits for the report that the process runs, and gives its id.
async fn started(berth: &Berth, spec: ProcessSpec) -> Result<u32, SpawnError> {
    let patience = Duration::from_secs(STARTING_SECS_MAX);
    match tokio::time::timeout(patience, berth.report()).await {
        Ok(Ok(Some(Report::Started { pid }))) => Ok(pid.unsigned_abs()),
        Ok(Ok(Some(Report::Refused(refusal)))) => Err(refused(refusal, spec)),
        // Its monitor was killed, and the zygote has swept what there was.
        Ok(Ok(Some(Report::Ended(_)))) => Err(SpawnError::ZygoteDied),
        Ok(Ok(None) | Err(_)) | Err(_) => {
            berth.link.end().await;
            Err(SpawnError::ZygoteDied)
        }
    }
}

/// The error of a start that failed.
fn refused(refusal: Refusal, spec: ProcessSpec) -> SpawnError {
    let Refusal { stage, errno, action } = refusal;
    let source = io::Error::from_raw_os_error(errno);
    match stage {
        Stage::Host => SpawnError::Host { action, source },
        Stage::Cwd => SpawnError::Cwd { cwd: spec.cwd, source },
        Stage::Program => SpawnError::Program {
            program: spec.argv.into_iter().next().unwrap_or_default(),
            source,
        },
        Stage::Limit(limit) => SpawnError::LimitUnavailable { limit, action, source },
        Stage::Wall(wall) => SpawnError::ContainmentUnavailable { wall, action, source },
    }
}

/// One zygote: the socket to it, and the process.
#[derive(Debug)]
pub(super) struct Link {
    control: AsyncFd<OwnedFd>,
    child: Mutex<Child>,
    ground: Arc<Ground>,
    over: AtomicBool,
}

impl Link {
    fn start(exe: &Path, ground: &Arc<Ground>, held: Option<&OwnedFd>) -> Result<Link, StartError> {
        let host = |action| move |source| StartError::Host { exe: exe.into(), action, source };
        let errno = |action| move |errno: Errno| host(action)(errno.into());
        set_child_subreaper(true).map_err(errno("become a subreaper"))?;
        let (ours, theirs) = wire::pair().map_err(errno("make a socket pair"))?;
        let control = sys::watch(ours).map_err(host("register a socket"))?;
        // It prints nothing, so its descriptor 1 is free for what it is to hold.
        let held = held.map(OwnedFd::try_clone).transpose().map_err(host("hold a file"))?;
        // Until it is listed as alive, no sweep may look at it.
        let mut alive = zygotes();
        let mut child = Command::new(exe)
            .arg0(zygote::NAME)
            .arg(serde_json::to_string(&**ground).map_err(|e| host("pass settings")(e.into()))?)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(held.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .map_err(host("execute"))?;
        let mut greeting = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut greeting, PollTimeout::from(SERVING_MILLIS_MAX));
        if let Ok(Some(Report::Started { .. })) = wire::receive_message(&control) {
            alive.insert(child.id());
            let (child, ground, over) =
                (Mutex::new(child), Arc::clone(ground), AtomicBool::new(false));
            return Ok(Link { control, child, ground, over });
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(StartError::NotAZygote { exe: exe.into() })
    }

    /// Asks for a monitor, waiting for room; `EPIPE` when the zygote has ended.
    async fn send(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.is_over() {
            return Err(Errno::EPIPE.into());
        }
        let send = |fd: &OwnedFd| Ok(wire::send_start(fd.as_fd(), descriptors)?);
        self.control.async_io(Interest::WRITABLE, send).await
    }

    /// Whether the zygote has ended, or is about to.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the zygote if it has not ended yet, and returns when nothing of it is left.
    pub(super) async fn end(self: &Arc<Self>) {
        let link = Arc::clone(self);
        // Fails only where the runtime shuts down; the drop of the link does the same then.
        let _ = tokio::task::spawn_blocking(move || link.end_now()).await;
    }

    /// There is one way to end a zygote: that it is killed must be survived anyhow. The monitors see
    /// it and kill their steps; what any of them leaves is adopted, and swept, here.
    fn end_now(&self) {
        self.over.store(true, Ordering::Release);
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alive = zygotes();
        let _ = child.kill();
        let _ = child.wait();
        alive.remove(&child.id());
        let spared = |pid: Pid| alive.contains(&pid.as_raw().unsigned_abs());
        if let Err(error) = sweep::adopted(spared) {
            error!(%error, "process.zygote.sweep");
        }
        self.ground.clear();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !*self.over.get_mut() {
            self.end_now();
        }
    }
}
