//! The time after which nothing may run any more, whatever has become of the worker.
//!
//! A worker that was stopped, or that the host gives no time, cannot end its processes, and others may
//! have been given its work meanwhile. The zygote can: worker and zygote share one timer of the kernel,
//! which the worker puts off as long as it may act. It counts the time that the host sleeps too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The worker's side of the timer. It can be read once it has run out, and nobody reads it.
#[derive(Debug)]
pub(super) struct Fuse(TimerFd);

impl Fuse {
    /// One that does not burn yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC)?))
    }

    /// It runs out in so long, counted from now.
    pub(super) fn burn_for(&self, left: Duration) -> io::Result<()> {
        // No time at all would put it out.
        let left = TimeSpec::from(left.max(Duration::from_nanos(1)));
        Ok(self.0.set(Expiration::OneShot(left), TimerSetTimeFlags::empty())?)
    }
}

impl AsFd for Fuse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
