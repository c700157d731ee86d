//! The zygote: a small process that forks monitors and buries those that are killed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_child_subreaper, set_name};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, dup2_stdin, setsid};

use super::cgroup::{self, Ground};
use super::monitor::{self, Post};
use super::sys::{self, Changed, Patience};
use super::wire::{self, Refusal, Report, Request, Stage};
use super::{Ended, sweep};

/// The name by which a zygote knows itself.
pub(super) const NAME: &str = "mother-zygote";

/// How long the monitors may take to end when the worker is gone.
const FINISHING_MAX: Duration = Duration::from_secs(5);

/// Makes this process a zygote if it was started as one, and does not return then.
///
/// To be called first in `main`: the process must still have a single thread.
pub fn run_if_zygote() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        let Err(error) = serve();
        eprintln!("{NAME}: {error}");
        std::process::exit(1);
    }
}

/// Serves until the worker is gone.
fn serve() -> Result<Infallible, io::Error> {
    sys::close_inherited()?;
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with several threads cannot be a zygote"));
    }
    // The socket comes as descriptor 0; a copy that closes on exec takes its place.
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    setsid()?;
    // Whoever kills the worker by its name must not kill those that then clean up after it.
    set_name(c"sut-zygote")?;
    set_child_subreaper(true)?;
    sys::reset_signals();
    SigSet::all().thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags)?;
    let ground = read_ground();
    if let Err(error) = ground.settle() {
        eprintln!("{NAME}: no common control group: {error}");
    }
    let (lifeline, held) = io::pipe()?;
    let pid = Pid::this().as_raw();
    wire::send_message(&control, &Report::Started { pid })?;
    let mut house = House {
        signals,
        ground,
        lifeline,
        _held: held,
        monitors: HashMap::new(),
        bereaved: vec![],
        swept: 0,
    };
    loop {
        let mut ready =
            [house.signals.as_fd(), control.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            outcome => outcome?,
        };
        let [ended, asked] = ready.map(|fd| fd.any().unwrap_or(true));
        if ended {
            house.reap()?;
        }
        if !asked {
            continue;
        }
        match wire::receive_with(&control) {
            Ok(Some((Request::Start { descriptors }, arrived))) => {
                let Some(post) = post(descriptors, arrived) else { continue };
                match sys::fork_single_threaded() {
                    Ok(ForkResult::Parent { child }) => house.admit(child, post),
                    Ok(ForkResult::Child) => {
                        drop(control);
                        let (lifeline, ground) = house.into_kept();
                        return monitor::run(&post, &lifeline, &ground);
                    }
                    Err(errno) => refuse(&post.channel, errno),
                }
            }
            // The worker is gone, and nothing may outlive it: the monitors kill their steps for
            // the same reason, and what they leave falls to this process.
            Ok(None) => {
                house.let_monitors_finish()?;
                sweep::until_childless(sweep::kill_children, |_| {})?;
                std::process::exit(0);
            }
            // Is said only to monitors.
            Ok(Some((Request::Signal(_) | Request::KillTree, _))) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What a monitor is given; it is told where not all of that has arrived (no more descriptors here).
fn post(sent: usize, arrived: Vec<OwnedFd>) -> Option<Post> {
    let is_whole = arrived.len() == sent && sent >= wire::MONITOR_DESCRIPTORS;
    let mut arrived = arrived.into_iter();
    let channel = arrived.next()?;
    match (arrived.next(), arrived.next(), arrived.next(), arrived.next()) {
        (Some(fence), Some(spec), Some(out), Some(err)) if is_whole => {
            Some(Post { channel, fence, spec: spec.into(), taken: [out, err].map(File::from) })
        }
        _ => {
            refuse(&channel, Errno::EMFILE);
            None
        }
    }
}

fn refuse(channel: &OwnedFd, errno: Errno) {
    // A worker that does not listen any more has no use for the reason.
    let refusal = Refusal::new(Stage::Host, errno, "create it");
    let _ = wire::send_message(channel, &Report::Refused(refusal));
}

/// The control groups of the worker, which it passes as the only argument.
fn read_ground() -> Ground {
    let passed = std::env::args().nth(1);
    passed.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The monitors and what they need of the zygote.
struct House {
    signals: SignalFd,
    /// Where the monitors make the groups of their steps.
    ground: Ground,
    /// Breaks for the monitors when this process dies, because it alone holds the other end.
    lifeline: PipeReader,
    _held: PipeWriter,
    /// The channel of each monitor. Held here too, so that the worker sees its end only after
    /// this process knows of the monitor's end.
    monitors: HashMap<Pid, OwnedFd>,
    /// The monitors that were killed and their channels, until their orphans are swept.
    bereaved: Vec<(Pid, OwnedFd)>,
    swept: u32,
}

impl House {
    fn admit(&mut self, monitor: Pid, post: Post) {
        self.monitors.insert(monitor, post.channel);
    }

    /// What the monitor keeps of all this; the rest is closed here, above all the other end of the
    /// lifeline.
    fn into_kept(self) -> (PipeReader, Ground) {
        (self.lifeline, self.ground)
    }

    /// Reaps monitors and orphans that have ended.
    fn reap(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        loop {
            let Changed { pid, status, .. } = match sys::wait_any(Patience::Ask) {
                Ok(Some(changed)) => changed,
                Ok(None) | Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno.into()),
            };
            if !sweep::has_ended(status) {
                // A step has stopped its monitor, which could not contain it any longer.
                if self.monitors.contains_key(&pid) {
                    let _ = kill(pid, Signal::SIGKILL);
                }
            } else if let Some(channel) = self.monitors.remove(&pid) {
                if !status.success() {
                    self.bereaved.push((pid, channel));
                }
            } else if status.signal() == Some(libc::SIGKILL) {
                self.swept += 1;
            }
        }
        if self.bereaved.is_empty() { Ok(()) } else { self.sweep_orphans() }
    }

    /// Gives the monitors the time to save what their steps wrote.
    fn let_monitors_finish(&mut self) -> io::Result<()> {
        let over = Instant::now() + FINISHING_MAX;
        while !self.monitors.is_empty() {
            let left = over.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Ok(0) => break,
                Ok(_) => self.reap()?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Kills what killed monitors have left, and tells their worker once there is nothing more.
    ///
    /// Does not wait: each death brings a signal, and with it the next round. A new orphan is the
    /// child of one that was killed here, so no round is missed.
    fn sweep_orphans(&mut self) -> io::Result<()> {
        let mut children = sweep::children()?;
        children.retain(|child| !self.monitors.contains_key(child));
        for orphan in &children {
            let _ = kill(*orphan, Signal::SIGKILL);
        }
        if children.is_empty() {
            let lost = Report::Ended(Ended::lost(std::mem::take(&mut self.swept)));
            for (monitor, channel) in self.bereaved.drain(..) {
                cgroup::discard(&self.ground, monitor);
                let _ = wire::send_message(&channel, &lost);
            }
        }
        Ok(())
    }
}
