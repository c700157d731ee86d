//! The system calls that no safe wrapper offers: all the unsafe code of this module.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, Pid, fork};
use tokio::io::unix::AsyncFd;

use super::wire::{PARCEL_MAX, Parcel};

/// Forks the calling process, which must have no second thread.
///
/// With one thread no lock (the allocator's included) can be held by a thread that the child does
/// not have, so the child may run any code. The zygote counts its threads before it serves.
#[expect(unsafe_code, reason = "fork is unsafe where there are other threads")]
pub(super) fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: only the zygote calls this; it has checked that it has a single thread and starts none.
    unsafe { fork() }
}

/// Closes all descriptors but 0, 1 and 2, which somebody else may have left open across the start.
#[expect(unsafe_code, reason = "closes descriptors without regard to who owns them")]
pub(super) fn close_inherited() -> nix::Result<()> {
    // SAFETY: the zygote calls this before it opens anything, so nothing here owns them.
    Errno::result(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) }).map(drop)
}

/// Gives every signal its default effect, for this process and all that it starts.
#[expect(unsafe_code, reason = "setting a signal's effect is unsafe, as it could be a handler")]
pub(super) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is installed; a signal that has to keep its effect is refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ends a forked process without the clean-up of its parent's libraries, which is its parent's.
#[expect(unsafe_code, reason = "skips all clean-up")]
pub(super) fn exit_forked(code: i32) -> ! {
    // SAFETY: the process is about to be gone; it has no buffers to flush.
    unsafe { libc::_exit(code) }
}

/// Receives one packet with descriptors: `None` when the other end is closed.
#[expect(unsafe_code, reason = "received descriptors are plain numbers until somebody owns them")]
pub(super) fn receive_parcel(socket: BorrowedFd<'_>) -> nix::Result<Option<Parcel>> {
    let mut byte = [0_u8; 1];
    let mut iov = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; PARCEL_MAX]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let mut arrived = Vec::with_capacity(PARCEL_MAX);
    // A truncated list still holds descriptors that are open here: own them, so that they close.
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just opened these numbers for this process; nothing else
            // knows them.
            arrived.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(Some(Parcel { sent: usize::from(byte[0]), arrived }))
}

/// A copy of a descriptor with a number of at least `least`, closed on exec.
#[expect(unsafe_code, reason = "a new descriptor is a plain number until somebody owns it")]
pub(super) fn duplicate_above(fd: BorrowedFd<'_>, least: RawFd) -> nix::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel has just opened this number for this process; nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes a descriptor that this process was started with; `EBADF` if it was not.
///
/// To be called once for each number, before anything else may own it. What this process starts does
/// not get it.
#[expect(unsafe_code, reason = "an inherited descriptor is a plain number until somebody owns it")]
pub(in crate::runner) fn take_passed(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: a number that is not open is only asked about, and refused.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and nothing else owns it as the caller has just begun to run.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes a descriptor one that the runtime waits for.
#[expect(unsafe_code, reason = "the runtime relies on the descriptor to stay what it is")]
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and the same descriptor, for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Whether [`wait_any`] waits for a child to change its state or only asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until one has ended.
    Wait,
    /// Not at all; stopped children are told of too.
    Ask,
}

/// Reaps one child that has ended, whatever ended it; `None`: there are children, none has ended.
///
/// `ECHILD` says that there is no child. (The wrapper of `nix` reaps a child that a real-time
/// signal ended, and then returns an error that does not say which.)
#[expect(unsafe_code, reason = "waitpid writes through a pointer")]
pub(super) fn wait_any(patience: Patience) -> nix::Result<Option<(Pid, ExitStatus)>> {
    let flags = match patience {
        Patience::Wait => 0,
        Patience::Ask => libc::WNOHANG | libc::WUNTRACED,
    };
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for an integer during the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match Errno::result(pid) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((Pid::from_raw(pid), ExitStatus::from_raw(status)))),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
