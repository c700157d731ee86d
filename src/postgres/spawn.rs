//! Starts a child that cannot outlive us: the one place of this room that needs `unsafe`.

use std::io;
use std::process::{Child, Command};

/// Spawns a child that gets SIGINT (to postgres: a fast shutdown) when the **thread** that called
/// this ends, hence also when our process is killed.
///
/// Where the kernel has no such signal the child outlives a killed parent; the next start finds it
/// by its socket and retires it.
///
/// # Errors
/// What the operating system says about the program.
#[cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "the parent-death signal can only be set between fork and exec")
)]
pub(super) fn tied_to_this_thread(command: &mut Command) -> io::Result<Child> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;

        let parent = nix::unistd::getpid();
        let hook = move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGINT)?;
            // The parent may have died before the signal was armed.
            if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::Error::ESRCH.into()) }
        };
        // SAFETY: the hook makes two system calls that are async-signal-safe, and neither allocates
        // nor takes a lock. It runs after the change of user, which would clear the signal.
        unsafe { command.pre_exec(hook) };
    }
    command.spawn()
}
