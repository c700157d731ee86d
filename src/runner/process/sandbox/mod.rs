//! The sandbox: a step that sees little of its host.
//!
//! - **Processes**: a namespace of process ids. Its first process (`housekeeper`) reaps orphans and
//!   does nothing else; when it dies, the kernel kills everything in the namespace. It and the step
//!   are both children of the monitor, whose wait status stays the only authority on the end.
//! - **Files**: a namespace of mounts in which everything can only be read, but for the folders of
//!   the attempt and a private, empty `/tmp`, `/var/tmp` and `/run`. `/dev` has the harmless devices
//!   and `/proc` the processes of the sandbox.
//! - **Network**: a namespace with nothing but a loopback of its own.
//! - **Users**: an ordinary user may make all this only in a namespace of users, in which he is
//!   himself. Root needs none, and loses the capabilities that reach beyond files and users.
//! - **Landlock**: the same rules for files once more, by another part of the kernel, as far as it
//!   knows them.
//!
//! What it does not hide: files that the step's user can read, and sockets among them that lie
//! outside of `/run` and `/tmp`.

mod landlock;
mod mounts;

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid, getegid, geteuid};
use serde::{Deserialize, Serialize};

pub(super) use self::landlock::{is_supported as has_landlock, restrict};
use super::sys::{self, Patience};
use super::wire::{Refusal, Stage};
use crate::domain::definition::Wall;

/// What a process in a sandbox may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The folders that it may write to; they exist.
    pub writable: Vec<PathBuf>,
}

/// A refusal of the kernel.
fn refused(action: &'static str) -> impl Fn(Errno) -> Refusal {
    move |errno| Refusal::new(Stage::Wall(Wall::Namespaces), errno, action)
}

/// Has the monitor's next children live in a namespace of process ids of their own, and starts the
/// first of them.
pub(super) fn divide() -> Result<Pid, Refusal> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        unshare(CloneFlags::CLONE_NEWPID).map_err(refused("make a namespace of process ids"))?;
    } else {
        let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID;
        unshare(both).map_err(refused("make namespaces of users and process ids"))?;
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/self/{file}"), text).map_err(|error| {
                let stage = Stage::Wall(Wall::Namespaces);
                Refusal::of_io(stage, &error, "say who is who in the namespace of users")
            })
        };
        // Without this no ordinary user may say which groups there are, see user_namespaces(7).
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("{user} {user} 1"))?;
        write("gid_map", format!("{group} {group} 1"))?;
    }
    match sys::fork_single_threaded().map_err(refused("start the housekeeper"))? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => housekeeper(),
    }
}

/// The first process of a namespace: reaps the orphans until it is killed.
fn housekeeper() -> ! {
    // It must hold none of the step's pipes open.
    let mut outcome = sys::close_inherited();
    let ended = SigSet::from(Signal::SIGCHLD);
    while outcome.is_ok() {
        outcome = ended.wait().map(drop);
        while let Ok(Some(_)) = sys::wait_any(Patience::Ask) {}
    }
    sys::exit_forked(1);
}

/// Puts the calling process, which is in such a namespace already, into the other ones.
pub(super) fn enclose(sandbox: &Sandbox, cwd: &std::ffi::CStr) -> Result<(), Refusal> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused("make a namespace of mounts"))?;
    mounts::arrange(sandbox, cwd)?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(refused("make a namespace of networks"))?;
    sys::raise_loopback().map_err(refused("raise the loopback"))?;
    set_no_new_privs().map_err(refused("forbid new privileges"))?;
    if geteuid().is_root() {
        sys::drop_capabilities().map_err(refused("drop capabilities"))?;
    }
    Ok(())
}

/// The error number of something that failed in a file system.
fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
