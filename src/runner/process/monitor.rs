//! The monitor: one process per step, forked by the zygote, single-threaded like it.
//!
//! It is the parent of its step and the subreaper of all that the step leaves behind. It runs until
//! none of them is left.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeVal;
use nix::unistd::{AccessFlags, Pid, access, chdir, setsid};

use super::rescue::Rescuer;
use super::spec::{Plan, read_memory};
use super::sys::{self, Patience};
use super::wire::{self, Report, Request, Stage};
use super::{Ended, Exit, sweep};

/// What starts a step.
pub(super) struct Job {
    /// Where the worker asks and the monitor reports.
    pub(super) channel: OwnedFd,
    /// The specification, in memory.
    pub(super) spec: File,
    /// What the worker takes from 1 and 2, for a rescue.
    pub(super) taken: [OwnedFd; 2],
    /// What becomes 0, 1, 2 and so on of the step.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A start that failed: where, and with which error.
struct Refusal(Stage, Errno);

/// Runs the step of a job; `lifeline` breaks when the zygote dies.
///
/// An exit code other than 0 says that the sweep is not done: the zygote does it then.
pub(super) fn run(job: Job, lifeline: &PipeReader) -> Result<Infallible, io::Error> {
    let Job { channel, spec, taken, descriptors } = job;
    let begun = Instant::now();
    let prepared = prepare();
    let started = prepared.and_then(|signals| Ok((signals, start(&spec, &descriptors, taken)?)));
    let (signals, (step, rescuer)) = match started {
        Ok(started) => started,
        Err(Refusal(stage, errno)) => {
            wire::send_message(&channel, &Report::Refused { stage, errno: errno as i32 })?;
            sys::exit_forked(0);
        }
    };
    // The step alone holds its pipes, so that they end with it.
    drop(descriptors);
    let mut family = Family { step, begun, end: None, swept: 0 };
    // The worker may have gone: the watch sees that too.
    let _ = wire::send_message(&channel, &Report::Started { pid: step.as_raw() });
    let orphaned = family.watch(&channel, &signals, lifeline)?;
    family.sweep()?;
    if !orphaned {
        let _ = wire::send_message(&channel, &Report::Ended(family.report()?));
    }
    if let Some(rescuer) = rescuer {
        rescuer.finish(&channel)?;
    }
    sys::exit_forked(0);
}

/// Makes this process fit to be the parent of a step.
fn prepare() -> Result<SignalFd, Refusal> {
    let host = |errno| Refusal(Stage::Host, errno);
    setsid().map_err(host)?;
    set_name(c"sut-monitor").map_err(host)?;
    set_child_subreaper(true).map_err(host)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags).map_err(host)
}

/// Starts the step, in a process group of its own; answers also what is to save its output.
fn start(
    spec: &File,
    descriptors: &[OwnedFd],
    taken: [OwnedFd; 2],
) -> Result<(Pid, Option<Rescuer>), Refusal> {
    let host = |errno| Refusal(Stage::Host, errno);
    let bytes = read_memory(spec).map_err(|error| host(errno_of(&error)))?;
    let plan = Plan::parse(&bytes).map_err(host)?;
    chdir(plan.cwd).map_err(|errno| Refusal(Stage::Cwd, errno))?;
    let program = find_program(&plan).map_err(|errno| Refusal(Stage::Program, errno))?;
    let descriptors = out_of_the_way(descriptors).map_err(host)?;
    let (actions, attributes) = spawn_settings(&descriptors).map_err(host)?;
    let rescuer = plan.rescue.map(|(spool, head)| {
        let spool = Path::new(OsStr::from_bytes(spool.to_bytes()));
        Rescuer::new(spool, head.to_bytes(), [&descriptors[1], &descriptors[2]], taken)
    });
    let rescuer = rescuer.transpose().map_err(|error| host(errno_of(&error)))?;
    let step = posix_spawn(&program, &actions, &attributes, &plan.argv, &plan.env);
    let step = step.map_err(|errno| {
        let of_host =
            matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
        Refusal(if of_host { Stage::Host } else { Stage::Program }, errno)
    })?;
    Ok((step, rescuer))
}

/// Copies of descriptors with numbers beyond those that they become in the step: none of them is
/// replaced before it was copied.
fn out_of_the_way(descriptors: &[OwnedFd]) -> nix::Result<Vec<OwnedFd>> {
    let least = RawFd::try_from(descriptors.len()).map_err(|_| Errno::E2BIG)?;
    descriptors.iter().map(|fd| sys::duplicate_above(fd.as_fd(), least)).collect()
}

/// The step gets 0, 1, 2 and what its caller passes (all else closes on exec) and no blocked signal.
/// None is ignored: the zygote has seen to that.
fn spawn_settings(descriptors: &[OwnedFd]) -> nix::Result<(PosixSpawnFileActions, PosixSpawnAttr)> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (target, fd) in (0..).zip(descriptors) {
        actions.add_dup2(fd.as_raw_fd(), target)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok((actions, attributes))
}

/// The first executable file among the candidates, as `execvp` would find it.
fn find_program(plan: &Plan<'_>) -> nix::Result<std::path::PathBuf> {
    let mut reason = Errno::ENOENT;
    for candidate in plan.candidates() {
        match access(&candidate, AccessFlags::X_OK) {
            Ok(()) if candidate.is_dir() => reason = Errno::EACCES,
            Ok(()) => return Ok(candidate),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => reason = errno,
        }
    }
    Err(reason)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// The step and its descendants.
struct Family {
    step: Pid,
    begun: Instant,
    /// The wait status of the step and the time it took: the only authority on its end.
    end: Option<(ExitStatus, Duration)>,
    swept: u32,
}

impl Family {
    /// Serves the worker until the step has ended or has to; true when the zygote has died.
    fn watch(
        &mut self,
        channel: &OwnedFd,
        signals: &SignalFd,
        lifeline: &PipeReader,
    ) -> nix::Result<bool> {
        loop {
            let mut ready = [signals.as_fd(), channel.as_fd(), lifeline.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                outcome => outcome?,
            };
            let [child, asked, orphaned] = ready.map(|fd| fd.any().unwrap_or(true));
            if orphaned {
                return Ok(true);
            }
            if child && self.reap(signals)? {
                return Ok(false);
            }
            if asked {
                match wire::receive_message(channel) {
                    // The step is not reaped yet, so its group is still its own.
                    Ok(Some(Request::Signal(number))) => {
                        let _ = killpg(self.step, Signal::try_from(number)?);
                    }
                    Ok(Some(Request::KillTree) | None) => return Ok(false),
                    // The former is said only of a step that has ended.
                    Ok(Some(Request::Release)) | Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }

    /// Reaps what has ended by itself; true when the step has.
    fn reap(&mut self, signals: &SignalFd) -> nix::Result<bool> {
        while signals.read_signal()?.is_some() {}
        loop {
            match sys::wait_any(Patience::Ask) {
                Ok(Some((pid, status))) => {
                    if pid == self.step && sweep::has_ended(status) {
                        self.end = Some((status, self.begun.elapsed()));
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return Ok(self.end.is_some()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Kills and reaps everything that is left.
    fn sweep(&mut self) -> io::Result<()> {
        sweep::until_childless(|pid, status| {
            if pid == self.step {
                self.end = Some((status, self.begun.elapsed()));
            } else if status.signal() == Some(libc::SIGKILL) {
                self.swept += 1;
            }
        })
    }

    /// The record of the whole family: each of them was reaped here or by one that was.
    fn report(&self) -> nix::Result<Ended> {
        let (status, wall) = self.end.ok_or(Errno::ECHILD)?;
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Lost,
        };
        Ok(Ended {
            status: exit,
            swept: self.swept,
            user_cpu: duration(usage.user_time()),
            system_cpu: duration(usage.system_time()),
            wall,
            max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * 1024,
        })
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}
