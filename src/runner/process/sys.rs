//! The system calls that no safe wrapper offers: all the unsafe code of this module.

use std::ffi::CStr;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socket,
};
use nix::unistd::{ForkResult, Pid, fork};
use tokio::io::unix::AsyncFd;

use super::wire::DESCRIPTORS_MAX;

/// Forks the calling process, which must have no second thread.
///
/// With one thread no lock (the allocator's included) can be held by a thread that the child does
/// not have, so the child may run any code. The zygote counts its threads before it serves.
#[expect(unsafe_code, reason = "fork is unsafe where there are other threads")]
pub(super) fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: only the zygote and its forks call this; it has checked that it has a single thread,
    // and none of them starts another.
    unsafe { fork() }
}

/// Forks like [`fork_single_threaded`], but into a control group of version 2: the child is in it from
/// its first moment, and nothing on the host has to wait until it was moved. Since Linux 5.7.
#[expect(unsafe_code, reason = "no wrapper of this system call exists")]
pub(super) fn fork_into(group: BorrowedFd<'_>) -> nix::Result<ForkResult> {
    /// `CLONE_INTO_CGROUP` of `linux/sched.h`, which does not fit the type that `libc` gives it.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zeros are valid arguments, those of no flags at all.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    let size = size_of::<libc::clone_args>();
    // SAFETY: the arguments are valid for reading. The child has its own copy of the memory and the
    // only thread, as in `fork_single_threaded`. It does not run the library's handlers for forks;
    // nobody here has registered any, and it soon executes a program or ends.
    match Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) })? {
        0 => Ok(ForkResult::Child),
        pid => {
            let pid = i32::try_from(pid).map_err(|_| Errno::ERANGE)?;
            Ok(ForkResult::Parent { child: Pid::from_raw(pid) })
        }
    }
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

/// Makes the descriptors the calling process's 0, 1, 2 and so on. All of them have higher numbers.
#[expect(unsafe_code, reason = "replaces descriptors without regard to who owns them")]
pub(super) fn take_descriptors(descriptors: &[OwnedFd]) -> nix::Result<()> {
    for (target, fd) in (0..).zip(descriptors) {
        // SAFETY: a forked child does this right before it executes a program; nothing of this
        // program uses those numbers any more.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), target) })?;
    }
    Ok(())
}

/// How mounts are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A mount and all below it can only be read, and no file gives privileges.
    ReadOnlyBelow,
    /// A mount can be written to.
    Writable,
}

/// Changes the mount at a path; see `mount_setattr(2)`, which is there since Linux 5.12.
#[expect(unsafe_code, reason = "no wrapper of this system call exists")]
pub(super) fn change_mounts(path: &CStr, change: Change) -> nix::Result<()> {
    let (set, clear, flags) = match change {
        Change::ReadOnlyBelow => {
            (libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID, 0, libc::AT_RECURSIVE)
        }
        Change::Writable => (0, libc::MOUNT_ATTR_RDONLY, 0),
    };
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attributes are valid for reading during the call, and the size is theirs.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(outcome).map(drop)
}

/// Raises the loopback of the calling process's network.
#[expect(unsafe_code, reason = "an ioctl takes a pointer that only its number gives a meaning")]
pub(super) fn raise_loopback() -> nix::Result<()> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    let any = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeros are a valid request: no name, no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = letter.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = flags.try_into().map_err(|_| Errno::ERANGE)?;
    // SAFETY: this request sets the flags of the interface that the structure names.
    let raised = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(raised).map(drop)
}

/// The capabilities that root keeps in a sandbox, see `capabilities(7)`: to own files and change the
/// user, not to change the host. By number: `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`, `KILL`,
/// `SETGID`, `SETUID`.
const KEPT_CAPABILITIES: [libc::c_ulong; 7] = [0, 1, 3, 4, 5, 6, 7];

/// Has no program that this process executes get other capabilities than those that are kept.
#[expect(unsafe_code, reason = "prctl takes arguments that only its first one gives a meaning")]
pub(super) fn drop_capabilities() -> nix::Result<()> {
    for capability in (0..64).filter(|number| !KEPT_CAPABILITIES.contains(number)) {
        // SAFETY: this option takes one number and no pointer.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(dropped) {
            // Past the last one that this kernel knows.
            Err(Errno::EINVAL) => break,
            outcome => outcome?,
        };
    }
    Ok(())
}

/// The version of Landlock that this kernel offers.
#[expect(unsafe_code, reason = "no wrapper tells the version without using it")]
pub(super) fn landlock_version() -> nix::Result<i64> {
    const VERSION: libc::c_ulong = 1;
    let no_rules = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the call takes no rules and only answers a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, no_rules, 0_usize, VERSION) };
    Errno::result(version)
}

/// Ends a forked process without the clean-up of its parent's libraries, which is its parent's.
#[expect(unsafe_code, reason = "skips all clean-up")]
pub(super) fn exit_forked(code: i32) -> ! {
    // SAFETY: the process is about to be gone; it has no buffers to flush.
    unsafe { libc::_exit(code) }
}

/// Receives the beginning of one packet without waiting, and the descriptors that arrived with it;
/// nothing at all when the other end is closed.
#[expect(unsafe_code, reason = "received descriptors are plain numbers until somebody owns them")]
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    packet: &mut [u8],
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut iov = [IoSliceMut::new(packet)];
    let mut space = nix::cmsg_space!([i32; DESCRIPTORS_MAX]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let mut arrived = Vec::new();
    // A truncated list still holds descriptors that are open here: own them, so that they close.
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just opened these numbers for this process; nothing else
            // knows them.
            arrived.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, arrived))
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

/// A child that has changed its state.
#[derive(Clone, Copy)]
pub(super) struct Changed {
    pub(super) pid: Pid,
    pub(super) status: ExitStatus,
    /// What it has used, and all that it reaped.
    pub(super) usage: Usage,
}

/// What processes have used.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) user_cpu: Duration,
    pub(super) system_cpu: Duration,
    /// The largest resident set of any one of them.
    pub(super) max_rss_bytes: u64,
}

impl Usage {
    fn of(usage: &libc::rusage) -> Self {
        let time = |time: libc::timeval| {
            let [seconds, micros] = [time.tv_sec, time.tv_usec].map(i64::unsigned_abs);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        };
        Self {
            user_cpu: time(usage.ru_utime),
            system_cpu: time(usage.ru_stime),
            max_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
        }
    }

    /// Of these processes and others.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            user_cpu: self.user_cpu + other.user_cpu,
            system_cpu: self.system_cpu + other.system_cpu,
            max_rss_bytes: self.max_rss_bytes.max(other.max_rss_bytes),
        }
    }
}

/// Reaps one child that has ended, whatever ended it; `None`: there are children, none has ended.
///
/// `ECHILD` says that there is no child. (The wrapper of `nix` reaps a child that a real-time
/// signal ended, and then returns an error that does not say which.)
#[expect(unsafe_code, reason = "wait4 writes through pointers")]
pub(super) fn wait_any(patience: Patience) -> nix::Result<Option<Changed>> {
    let flags = match patience {
        Patience::Wait => 0,
        Patience::Ask => libc::WNOHANG | libc::WUNTRACED,
    };
    let mut status = 0;
    // SAFETY: all zeros are a valid record, of one that has used nothing.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both are valid places for what they get during the call.
        let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
        match Errno::result(pid) {
            Ok(0) => return Ok(None),
            Ok(pid) => {
                let (pid, status) = (Pid::from_raw(pid), ExitStatus::from_raw(status));
                return Ok(Some(Changed { pid, status, usage: Usage::of(&usage) }));
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
