//! The moment after which nothing that a worker started may run.
//!
//! Only the worker knows how long it may act, and only the worker cannot see to it: when it is
//! stopped or starved its steps run on. So the moment is kept by the kernel. It is a timer whose
//! descriptor the worker shares with every monitor; each answered heartbeat sets it anew for all of
//! them by one system call, and when it passes each monitor kills its step by itself. No message has
//! to arrive and nobody but the monitor has to be alive for that.
//!
//! What stops the monitors too helps nobody here, but it does not stop them alone: a whole control
//! group or machine that stands still has its steps standing still with it. The clock of the timer
//! runs on while the machine sleeps, so the first thing after that is the end of what is overdue.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::sys;

/// The time since this machine started, its sleep included. Never goes back.
///
/// # Errors
/// None on Linux.
pub fn since_boot() -> io::Result<Duration> {
    Ok(nix::time::ClockId::CLOCK_BOOTTIME.now()?.into())
}

/// The moment after which the processes of a [`Zygote`](super::Zygote) end. Cheap to clone; all clones
/// are one.
#[derive(Clone, Debug)]
pub struct Fence {
    timer: Arc<TimerFd>,
    watched: Arc<AsyncFd<OwnedFd>>,
}

impl Fence {
    /// A fence that never passes unless it is [set](Self::set).
    ///
    /// # Errors
    /// When the system has no descriptor left.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        let watched = sys::watch(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer: Arc::new(timer), watched: Arc::new(watched) })
    }

    /// Sets the moment, counted [since boot](since_boot), unless it has passed already; whether it
    /// has not.
    ///
    /// # Errors
    /// None on Linux for a time that people would name.
    pub fn set(&self, moment: Duration) -> io::Result<bool> {
        if self.has_passed() {
            return Ok(false);
        }
        let moment = Expiration::OneShot(TimeSpec::from_duration(moment));
        self.timer.set(moment, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(true)
    }

    /// Whether the moment has passed. Its processes may have been killed then.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        has_passed(self.as_fd())
    }

    /// Ends when the moment has passed.
    pub async fn passed(&self) {
        // Whatever fails here, the monitors see the moment for themselves.
        while let Ok(mut ready) = self.watched.readable().await {
            if self.has_passed() {
                return;
            }
            ready.clear_ready();
        }
    }
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Whether the moment of the fence behind a descriptor has passed.
pub(super) fn has_passed(fence: BorrowedFd<'_>) -> bool {
    let mut ready = [PollFd::new(fence, PollFlags::POLLIN)];
    // The timer is never read, so it stays readable.
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
