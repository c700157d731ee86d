//! The monitor: one process per step, forked by the zygote, single-threaded like it.
//!
//! It is the parent of its step and the subreaper of all that the step leaves behind. It runs until
//! none of them is left.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeVal;
use nix::unistd::{AccessFlags, Pid, access, chdir, setsid};

use super::cgroup::{Ground, Group};
use super::launch::{self, Launched};
use super::rescue::Rescuer;
use super::spec::{Plan, read_memory};
use super::sys::{self, Patience};
use super::wire::{self, Refusal, Report, Request, Stage};
use super::{Confinement, Ended, Exit, fence, sweep};

/// What starts a step.
pub(super) struct Job {
    /// Where the worker asks and the monitor reports.
    pub(super) channel: OwnedFd,
    /// The specification, in memory.
    pub(super) spec: File,
    /// The moment by which the step ends.
    pub(super) fence: OwnedFd,
    /// What the worker takes from 1 and 2, for a rescue.
    pub(super) taken: [OwnedFd; 2],
    /// What becomes 0, 1, 2 and so on of the step.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Runs the step of a job; `lifeline` breaks when the zygote dies.
///
/// An exit code other than 0 says that the sweep is not done: the zygote does it then.
pub(super) fn run(
    job: Job,
    lifeline: &PipeReader,
    ground: &Ground,
) -> Result<Infallible, io::Error> {
    let Job { channel, spec, fence, taken, descriptors } = job;
    let begun = Instant::now();
    let prepared = prepare();
    let started = prepared
        .and_then(|signals| Ok((signals, start(&spec, &fence, &descriptors, taken, ground)?)));
    let (signals, Started { step, group, rescuer }) = match started {
        Ok(started) => started,
        Err(refusal) => {
            // A sandbox that was begun has a process in it.
            sweep::until_childless(sweep::kill_children, |_, _| {})?;
            wire::send_message(&channel, &Report::Refused(refusal))?;
            sys::exit_forked(0);
        }
    };
    // The step alone holds its pipes, so that they end with it.
    drop(descriptors);
    let pid = step.pid.as_raw();
    let mut family = Family { step, group, begun, end: None, swept: 0, signalled: false };
    // The worker may have gone: the watch sees that too.
    let _ = wire::send_message(&channel, &Report::Started { pid });
    let orphaned = family.watch(&channel, &signals, lifeline, &fence)?;
    family.sweep()?;
    let ended = family.report();
    if let Some(group) = &family.group {
        group.remove();
    }
    if !orphaned {
        let _ = wire::send_message(&channel, &Report::Ended(ended?));
    }
    if let Some(rescuer) = rescuer {
        rescuer.finish(&channel)?;
    }
    sys::exit_forked(0);
}

/// Makes this process fit to be the parent of a step.
fn prepare() -> Result<SignalFd, Refusal> {
    let host = |errno| Refusal::new(Stage::Host, errno, "create it");
    setsid().map_err(host)?;
    set_name(c"sut-monitor").map_err(host)?;
    set_child_subreaper(true).map_err(host)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags).map_err(host)
}

/// A step that was started, and what is to be done after its end.
struct Started {
    step: Launched,
    group: Option<Group>,
    rescuer: Option<Rescuer>,
}

/// Starts the step, in a control group of its own where it asks for one.
fn start(
    spec: &File,
    fence: &OwnedFd,
    descriptors: &[OwnedFd],
    taken: [OwnedFd; 2],
    ground: &Ground,
) -> Result<Started, Refusal> {
    let host = |errno| Refusal::new(Stage::Host, errno, "create it");
    let of_io = |error: io::Error| Refusal::of_io(Stage::Host, &error, "create it");
    let bytes = read_memory(spec).map_err(of_io)?;
    let plan = Plan::parse(&bytes).map_err(host)?;
    chdir(plan.cwd).map_err(|errno| Refusal::new(Stage::Cwd, errno, "enter it"))?;
    let program =
        find_program(&plan).map_err(|errno| Refusal::new(Stage::Program, errno, "find it"))?;
    let descriptors = out_of_the_way(descriptors).map_err(host)?;
    let rescuer = plan.rescue.map(|(spool, head)| {
        let spool = Path::new(OsStr::from_bytes(spool.to_bytes()));
        Rescuer::new(spool, head.to_bytes(), [&descriptors[1], &descriptors[2]], taken)
    });
    let rescuer = rescuer.transpose().map_err(of_io)?;
    let Confinement { limits, demanded, .. } = &plan.confinement;
    let group = Group::make(ground, Pid::this(), limits, demanded.cgroup)?;
    if fence::has_passed(fence.as_fd()) {
        return Err(Refusal::new(Stage::Host, Errno::ETIMEDOUT, "start it while the lease lasts"));
    }
    let launched = launch::start(&program, &plan, &descriptors, group.as_ref());
    if let (Err(_), Some(group)) = (&launched, &group) {
        group.remove();
    }
    Ok(Started { step: launched?, group, rescuer })
}

/// Copies of descriptors with numbers beyond those that they become in the step: none of them is
/// replaced before it was copied.
fn out_of_the_way(descriptors: &[OwnedFd]) -> nix::Result<Vec<OwnedFd>> {
    let least = RawFd::try_from(descriptors.len()).map_err(|_| Errno::E2BIG)?;
    descriptors.iter().map(|fd| sys::duplicate_above(fd.as_fd(), least)).collect()
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

/// The step and its descendants.
struct Family {
    step: Launched,
    group: Option<Group>,
    begun: Instant,
    /// The wait status of the step and the time it took: the only authority on its end.
    end: Option<(ExitStatus, Duration)>,
    swept: u32,
    /// Whether a signal of the worker came before the step's own end.
    signalled: bool,
}

impl Family {
    /// Serves the worker until the step has ended or has to; true when the zygote has died.
    fn watch(
        &mut self,
        channel: &OwnedFd,
        signals: &SignalFd,
        lifeline: &PipeReader,
        fence: &OwnedFd,
    ) -> nix::Result<bool> {
        loop {
            let mut ready = [signals.as_fd(), channel.as_fd(), lifeline.as_fd(), fence.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                outcome => outcome?,
            };
            let [child, asked, orphaned, overdue] = ready.map(|fd| fd.any().unwrap_or(true));
            if orphaned {
                return Ok(true);
            }
            if child && self.reap(signals)? {
                return Ok(false);
            }
            if overdue {
                self.signalled = true;
                return Ok(false);
            }
            if asked {
                let request = match wire::receive_message(channel) {
                    Err(Errno::EAGAIN) => continue,
                    request => request?,
                };
                // What has ended by itself meanwhile was not ended by anybody.
                if self.reap(signals)? {
                    return Ok(false);
                }
                self.signalled = true;
                match request {
                    // The step is not reaped yet, so its group is still its own.
                    Some(Request::Signal(number)) => {
                        let _ = killpg(self.step.pid, Signal::try_from(number)?);
                    }
                    Some(Request::KillTree) | None => return Ok(false),
                    // Is said only of a step that has ended.
                    Some(Request::Release) => {}
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
                    if pid == self.step.pid && sweep::has_ended(status) {
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
        let Self { step, group, begun, end, swept, .. } = self;
        // Of what lives in a namespace of its own, only the first process is reaped here.
        let unseen = step.housekeeper.map_or(0, sweep::descendants);
        *swept += u32::try_from(unseen).unwrap_or(u32::MAX);
        let kill = || {
            if let Some(group) = group {
                group.kill();
            }
            sweep::kill_children()
        };
        sweep::until_childless(kill, |pid, status| {
            if pid == step.pid {
                *end = Some((status, begun.elapsed()));
            } else if status.signal() == Some(libc::SIGKILL) && Some(pid) != step.housekeeper {
                *swept += 1;
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
            memory_peak_bytes: self.group.as_ref().and_then(Group::memory_peak),
            oom_kills: self.group.as_ref().map_or(0, Group::oom_kills),
            signalled: self.signalled,
            walls: self.step.walls,
        })
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}
