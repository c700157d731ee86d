//! Killing what is left, with proof.
//!
//! An orphan is re-parented to its nearest subreaper, so it cannot leave. Whoever kills its
//! children until `waitpid` knows of none has no descendants any more. A child that has ended
//! keeps its process id until its parent reaps it, and only this process reaps here, so an id
//! that was just listed cannot have passed to a stranger.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getsid};

use super::sys::{self, Changed, Patience};

/// Whether this kernel lists the children of a process, without which nothing can be swept.
pub(super) fn check_host() -> io::Result<()> {
    fs::read_to_string("/proc/thread-self/children").map(drop)
}

/// The children of the calling process, zombies included.
pub(super) fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let listed = match fs::read_to_string(thread?.path().join("children")) {
            Ok(listed) => listed,
            // The thread has just ended; its children are another thread's now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        children.extend(listed.split_ascii_whitespace().filter_map(parse_pid));
    }
    Ok(children)
}

/// The living descendants of a process, as far as one look at them can tell.
pub(super) fn descendants(of: Pid) -> usize {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let children = listed.unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(parse_pid);
    children.map(|child| 1 + descendants(child)).sum()
}

fn parse_pid(pid: &str) -> Option<Pid> {
    pid.parse().ok().map(Pid::from_raw)
}

/// Kills all children of the calling process.
pub(super) fn kill_children() -> io::Result<()> {
    for child in children()? {
        // It may have ended since it was listed.
        let _ = kill(child, Signal::SIGKILL);
    }
    Ok(())
}

/// Kills and reaps until no descendant is left, and tells of each that it reaped. What `kill` misses
/// is the child of one that it did not: it is called again.
pub(super) fn until_childless(
    mut kill: impl FnMut() -> io::Result<()>,
    mut on_end: impl FnMut(Changed),
) -> io::Result<()> {
    loop {
        // With no child at all, nothing has to be listed: the way of every well-behaved step.
        let mut reaped = match sys::wait_any(Patience::Ask) {
            Err(Errno::ECHILD) => return Ok(()),
            reaped => reaped?,
        };
        if reaped.is_none() {
            kill()?;
            reaped = sys::wait_any(Patience::Wait)?;
        }
        if let Some(ended) = reaped.filter(|changed| has_ended(changed.status)) {
            on_end(ended);
        }
    }
}

/// Kills and reaps what the calling process has adopted: the children of other sessions.
///
/// The children that it started itself are in its own session, but for those that are `spared`.
pub(super) fn adopted(spared: impl Fn(Pid) -> bool) -> io::Result<()> {
    let own = getsid(None)?;
    let is_adopted = |child: &Pid| getsid(Some(*child)).is_ok_and(|session| session != own);
    loop {
        let mut adopted = children()?;
        adopted.retain(|child| is_adopted(child) && !spared(*child));
        if adopted.is_empty() {
            return Ok(());
        }
        for child in adopted {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
        }
    }
}

/// Whether a wait status tells of an end, not of a stop.
pub(super) fn has_ended(status: ExitStatus) -> bool {
    status.code().is_some() || status.signal().is_some()
}
