//! Monitors as the worker holds them, and those of them that have nothing to do.
//!
//! A monitor runs one step after the other: to fork it, to let it end, and to make what it shares with
//! the worker takes longer than a small step. Nothing of a step is left when the next one begins. The
//! monitor reports the end when `waitpid` knows of no child, so there is no process; the specification
//! is written over, and what was taken from the pipes is cut off. One that has entered a namespace for
//! its step gets no other.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link::Link;
use super::wire::{self, Report, Request};
use super::{ProcessSpec, SpawnError, sys};

/// How many monitors are kept that have nothing to do: some hundred kilobytes each.
const IDLE_MAX: usize = 32;

/// A monitor and the worker's way to it. Dropping it ends the monitor and the step that it runs.
#[derive(Debug)]
pub(super) struct Berth {
    channel: AsyncFd<OwnedFd>,
    /// The zygote that forked it.
    pub(super) link: Arc<Link>,
    /// The specification of the step, in memory.
    spec: File,
    /// What the worker takes from 1 and 2 of the step, in memory.
    taken: [Arc<File>; 2],
}

/// A berth whose monitor is still to be forked.
pub(super) struct Vacancy {
    channel: AsyncFd<OwnedFd>,
    /// The monitor's end.
    theirs: OwnedFd,
    spec: File,
    taken: [Arc<File>; 2],
}

impl Vacancy {
    pub(super) fn new() -> io::Result<Self> {
        let memory = || io::Result::Ok(File::from(memfd_create(c"step", MFdFlags::MFD_CLOEXEC)?));
        let (channel, theirs) = wire::pair()?;
        let taken = [Arc::new(memory()?), Arc::new(memory()?)];
        Ok(Self { channel: sys::watch(channel)?, theirs, spec: memory()?, taken })
    }

    /// What the monitor is given.
    pub(super) fn descriptors<'a>(
        &'a self,
        fence: BorrowedFd<'a>,
    ) -> [BorrowedFd<'a>; wire::MONITOR_DESCRIPTORS] {
        let [out, err] = &self.taken;
        [self.theirs.as_fd(), fence, self.spec.as_fd(), out.as_fd(), err.as_fd()]
    }

    /// This zygote was asked for it. The monitor alone holds its end from here on, so that it
    /// closes when it dies.
    pub(super) fn filled(self, link: Arc<Link>) -> Berth {
        let Self { channel, theirs: _, spec, taken } = self;
        Berth { channel, link, spec, taken }
    }
}

impl Berth {
    /// Has a step started: its specification, and its descriptors as the monitor expects them.
    pub(super) async fn begin(
        &self,
        spec: &ProcessSpec,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SpawnError> {
        spec.write_to(&self.spec)?;
        let send = |fd: &OwnedFd| Ok(wire::send_start(fd.as_fd(), descriptors)?);
        match self.channel.async_io(Interest::WRITABLE, send).await {
            // That the monitor could not be forked, or has died, is told by the report that comes.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(SpawnError::Host { action: "pass descriptors".into(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// Asks something about the step. An error says that the monitor has gone, and with it the step.
    pub(super) fn ask(&self, request: &Request) -> nix::Result<()> {
        wire::send_message(&self.channel, request)
    }

    /// The next report; `None`: the monitor has gone.
    pub(super) async fn report(&self) -> io::Result<Option<Report>> {
        self.channel.async_io(Interest::READABLE, |fd| Ok(wire::receive_message(fd)?)).await
    }

    /// What is taken from 1 and 2 of the step.
    pub(super) fn taken(&self) -> [Arc<File>; 2] {
        self.taken.clone()
    }

    /// Whether the monitor waits for a step: it has not died, which it would tell.
    fn is_ready(&self) -> bool {
        let silent = wire::receive_message::<Report>(&self.channel);
        !self.link.is_over() && matches!(silent, Err(Errno::EAGAIN))
    }

    /// Gives up what was taken from the pipes of the step: the monitor finds nothing to save.
    pub(super) fn clear(&self) -> io::Result<()> {
        let has_some = |file: &&Arc<File>| file.metadata().map_or(true, |of| of.len() > 0);
        self.taken.iter().filter(has_some).try_for_each(|file| file.set_len(0))
    }
}

/// The berths whose monitors have nothing to do.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<Berth>>);

impl Idle {
    fn berths(&self) -> MutexGuard<'_, Vec<Berth>> {
        // A list is whole after every panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last.
    pub(super) fn take(&self) -> Option<Berth> {
        loop {
            let berth = self.berths().pop()?;
            if berth.is_ready() {
                return Some(berth);
            }
        }
    }

    /// Keeps a berth whose step is over, and cleared.
    pub(super) fn put(&self, berth: Berth) {
        let mut berths = self.berths();
        if berths.len() < IDLE_MAX {
            berths.push(berth);
        }
    }

    /// Ends them all.
    pub(super) fn clear(&self) {
        self.berths().clear();
    }
}
