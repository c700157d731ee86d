//! The monitor: a process that runs one step after the other, forked by the zygote, single-threaded
//! like it.
//!
//! It is the parent of its step and the subreaper of all that the step leaves behind. It runs the next
//! one only when none of them is left.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{AccessFlags, Pid, access, chdir, setsid};

use super::cgroup::{Ground, Group};
use super::launch::{self, Launched};
use super::rescue::Rescuer;
use super::spec::{Plan, read_memory};
use super::sys::{self, Changed, Patience, Usage};
use super::wire::{self, Refusal, Report, Request, Stage};
use super::{Confinement, Ended, Exit, fence, sweep};

/// What a monitor and the worker share.
pub(super) struct Post {
    /// Where the worker asks and the monitor reports.
    pub(super) channel: OwnedFd,
    /// The moment by which every step ends.
    pub(super) fence: OwnedFd,
    /// The specification of the step, in memory.
    pub(super) spec: File,
    /// What the worker takes from 1 and 2 of the step, for a rescue.
    pub(super) taken: [File; 2],
}

/// Runs the steps that the worker sends; `lifeline` breaks when the zygote dies.
///
/// An exit code other than 0 says that the sweep is not done: the zygote does it then.
pub(super) fn run(
    post: &Post,
    lifeline: &PipeReader,
    ground: &Ground,
) -> Result<Infallible, io::Error> {
    let prepared = prepare();
    let mut rescuer = None;
    while let Some(order) = next(&post.channel, lifeline)? {
        // The worker has all that the last step wrote.
        drop(rescuer.take());
        let started = match &prepared {
            Ok(signals) => start(order, post, ground).map(|started| (signals, started)),
            Err(errno) => Err(host(*errno)),
        };
        match started {
            Ok((signals, started)) => rescuer = watch_over(started, post, signals, lifeline)?,
            Err(refusal) => {
                // A sandbox that was begun has a process in it.
                sweep::until_childless(sweep::kill_children, |_| {})?;
                wire::send_message(&post.channel, &Report::Refused(refusal))?;
            }
        }
        // No folder of a step is held while there is none.
        chdir("/")?;
    }
    if let Some(rescuer) = rescuer {
        rescuer.save()?;
    }
    sys::exit_forked(0);
}

/// Makes this process fit to be the parent of steps.
fn prepare() -> nix::Result<SignalFd> {
    setsid()?;
    set_name(c"sut-monitor")?;
    set_child_subreaper(true)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)
}

fn host(errno: Errno) -> Refusal {
    Refusal::new(Stage::Host, errno, "create it")
}

/// The order to start a step.
struct Order {
    /// How many descriptors were sent.
    sent: usize,
    /// Those that arrived.
    descriptors: Vec<OwnedFd>,
}

/// Waits for the next step; `None` when the worker is gone.
fn next(channel: &OwnedFd, lifeline: &PipeReader) -> nix::Result<Option<Order>> {
    let mut is_orphaned = false;
    loop {
        match wire::receive_with(channel) {
            Ok(Some((Request::Start { descriptors: sent }, descriptors))) => {
                return Ok(Some(Order { sent, descriptors }));
            }
            // Late words on the last step.
            Ok(Some((Request::Signal(_) | Request::KillTree, _))) => {}
            Ok(None) => return Ok(None),
            Err(Errno::EAGAIN) => {
                let ready = [channel.as_fd(), lifeline.as_fd()];
                let mut ready = ready.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                let awaited = if is_orphaned { &mut ready[..1] } else { &mut ready[..] };
                match poll(awaited, PollTimeout::NONE) {
                    Err(Errno::EINTR) => continue,
                    outcome => outcome?,
                };
                if !is_orphaned && ready[1].any().unwrap_or(true) {
                    // The worker sees that nothing more comes; if it lives, it sees to the rest.
                    is_orphaned = true;
                    shutdown(channel.as_raw_fd(), Shutdown::Write)?;
                }
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// A step that was started, and what is to be done after its end.
struct Started<'a> {
    family: Family,
    rescuer: Option<Rescuer<'a>>,
}

/// Starts a step, in a control group of its own where it asks for one.
fn start<'a>(order: Order, post: &'a Post, ground: &Ground) -> Result<Started<'a>, Refusal> {
    let begun = Instant::now();
    let is_whole = order.descriptors.len() == order.sent && order.sent >= wire::STEP_DESCRIPTORS;
    let mut arrived = order.descriptors.into_iter();
    let (Some(out), Some(err), true) = (arrived.next(), arrived.next(), is_whole) else {
        return Err(host(Errno::EMFILE));
    };
    let bytes = read_memory(&post.spec)
        .map_err(|error| Refusal::of_io(Stage::Host, &error, "create it"))?;
    let plan = Plan::parse(&bytes).map_err(host)?;
    chdir(plan.cwd).map_err(|errno| Refusal::new(Stage::Cwd, errno, "enter it"))?;
    let program =
        find_program(&plan).map_err(|errno| Refusal::new(Stage::Program, errno, "find it"))?;
    let descriptors = out_of_the_way(arrived).map_err(host)?;
    let rescuer = plan.rescue.map(|rescue| Rescuer::new(rescue, [out, err], &post.taken));
    let Confinement { limits, demanded, .. } = &plan.confinement;
    let group = Group::make(ground, Pid::this(), limits, demanded.cgroup)?;
    if fence::has_passed(post.fence.as_fd()) {
        return Err(Refusal::new(Stage::Host, Errno::ETIMEDOUT, "start it while the lease lasts"));
    }
    let launched = launch::start(&program, &plan, &descriptors, group.as_ref());
    if let (Err(_), Some(group)) = (&launched, &group) {
        group.remove();
    }
    let family = Family {
        step: launched?,
        group,
        begun,
        end: None,
        used: Usage::default(),
        swept: 0,
        signalled: false,
    };
    Ok(Started { family, rescuer })
}

/// Watches over a step until it and all its descendants are gone. Answers what saves what they wrote,
/// to be asked when the worker is gone.
fn watch_over<'a>(
    Started { mut family, rescuer }: Started<'a>,
    Post { channel, fence, .. }: &Post,
    signals: &SignalFd,
    lifeline: &PipeReader,
) -> io::Result<Option<Rescuer<'a>>> {
    let pid = family.step.pid.as_raw();
    // The worker may have gone: the watch sees that too.
    let _ = wire::send_message(channel, &Report::Started { pid });
    let orphaned = family.watch(channel, signals, lifeline, fence)?;
    family.sweep()?;
    let ended = family.report();
    if let Some(group) = &family.group {
        group.remove();
    }
    if !orphaned {
        let _ = wire::send_message(channel, &Report::Ended(ended?));
    }
    Ok(rescuer)
}

/// The descriptors of a step in their order, those as copies whose numbers one of them gets in the
/// step: none is replaced before it was copied.
fn out_of_the_way(descriptors: std::vec::IntoIter<OwnedFd>) -> nix::Result<Vec<OwnedFd>> {
    let least = RawFd::try_from(descriptors.len()).map_err(|_| Errno::E2BIG)?;
    let moved = |fd: OwnedFd| {
        if fd.as_raw_fd() < least { sys::duplicate_above(fd.as_fd(), least) } else { Ok(fd) }
    };
    descriptors.map(moved).collect()
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
    /// What those used that were reaped.
    used: Usage,
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
                    // Is said only when no step runs.
                    Some(Request::Start { .. }) => {}
                }
            }
        }
    }

    /// Reaps what has ended by itself; true when the step has.
    fn reap(&mut self, signals: &SignalFd) -> nix::Result<bool> {
        while signals.read_signal()?.is_some() {}
        loop {
            match sys::wait_any(Patience::Ask) {
                Ok(Some(Changed { pid, status, usage })) => {
                    if sweep::has_ended(status) {
                        self.used = self.used.and(usage);
                        if pid == self.step.pid {
                            self.end = Some((status, self.begun.elapsed()));
                        }
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return Ok(self.end.is_some()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Kills and reaps everything that is left.
    fn sweep(&mut self) -> io::Result<()> {
        let Self { step, group, begun, end, used, swept, .. } = self;
        // Of what lives in a namespace of its own, only the first process is reaped here.
        let unseen = step.housekeeper.map_or(0, sweep::descendants);
        *swept += u32::try_from(unseen).unwrap_or(u32::MAX);
        let kill = || {
            if let Some(group) = group {
                group.kill();
            }
            sweep::kill_children()
        };
        sweep::until_childless(kill, |Changed { pid, status, usage }| {
            *used = used.and(usage);
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
        let Usage { user_cpu, system_cpu, max_rss_bytes } = self.used;
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Lost,
        };
        Ok(Ended {
            status: exit,
            swept: self.swept,
            user_cpu,
            system_cpu,
            wall,
            max_rss_bytes,
            memory_peak_bytes: self.group.as_ref().and_then(Group::memory_peak),
            oom_kills: self.group.as_ref().map_or(0, Group::oom_kills),
            signalled: self.signalled,
            walls: self.step.walls,
        })
    }
}
