//! What a step wrote is saved by its monitor when the worker does not live to do it.
//!
//! The design is that of the [spool](crate::runner::spool). The monitor opens the read ends of the
//! step's pipes for itself, by their names below `/proc/self/fd`: a pipe lives as long as somebody can
//! read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::wire::{self, Request};
use crate::runner::spool::{Frame, Spooled};

/// Bytes of a frame, at the most.
const FRAME: usize = 64 * 1024;

/// What becomes of the output of a process if the worker dies before it has called
/// [`Process::release`](super::Process::release).
#[derive(Debug, Clone)]
pub struct Rescue {
    /// The file that gets it; an absolute path.
    pub spool: PathBuf,
    /// The line that the file begins with if the worker has not begun it. No NUL, no line break.
    pub head: String,
    /// What the worker took from stdout and stderr: files in memory.
    pub taken: [Arc<File>; 2],
}

/// The monitor's part.
pub(super) struct Rescuer {
    spool: PathBuf,
    head: Vec<u8>,
    /// stdout and stderr.
    sources: [Source; 2],
}

struct Source {
    stream: u8,
    /// What the worker took from the pipe.
    taken: File,
    /// The rest.
    pipe: File,
}

impl Rescuer {
    /// Takes hold of the pipes whose write ends are given, before the step has them alone.
    pub(super) fn new(
        spool: &Path,
        head: &[u8],
        pipes: [&OwnedFd; 2],
        taken: [OwnedFd; 2],
    ) -> io::Result<Self> {
        let open = |stream, pipe: &OwnedFd, taken: OwnedFd| {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            let pipe = options.open(format!("/proc/self/fd/{}", pipe.as_raw_fd()))?;
            io::Result::Ok(Source { stream, taken: taken.into(), pipe })
        };
        let ([out, err], [out_taken, err_taken]) = (pipes, taken);
        let sources = [open(1, out, out_taken)?, open(2, err, err_taken)?];
        Ok(Self { spool: spool.to_owned(), head: head.to_owned(), sources })
    }

    /// Waits until the worker says that it has everything, or is gone and has not; saves it then. To
    /// be called when the step and all its descendants are gone.
    pub(super) fn finish(self, channel: &OwnedFd) -> io::Result<()> {
        loop {
            match wire::receive_message(channel) {
                Ok(Some(Request::Release)) => return Ok(()),
                Ok(None) => return self.save(),
                Ok(Some(Request::Signal(_) | Request::KillTree)) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let mut ready =
                        [PollFd::new(std::os::fd::AsFd::as_fd(channel), PollFlags::POLLIN)];
                    let _ = poll(&mut ready, PollTimeout::NONE);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Appends what the spool does not have.
    fn save(mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        let existing = options.open(&self.spool);
        if let Ok(file) = &existing {
            let mut file = file;
            file.read_to_end(&mut bytes)?;
        }
        let spooled = Spooled::read(&bytes);
        let mut rest = Vec::new();
        for source in &mut self.sources {
            source.rest(spooled.upto(source.stream), &mut rest)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        if spooled.length == 0 {
            self.head.push(b'\n');
            rest.splice(0..0, self.head);
        }
        let mut file = existing.or_else(|_| options.create(true).open(&self.spool))?;
        // A last frame that is torn would tear all that follow.
        file.set_len(spooled.length as u64)?;
        file.write_all(&rest)
    }
}

impl Source {
    /// Appends a frame for each piece after the first `upto` bytes of the stream.
    fn rest(&mut self, mut upto: u64, to: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = vec![0; FRAME];
        loop {
            let read = match self.taken.read_at(&mut buffer, upto)? {
                // No process is left that could write, so after the rest comes the end.
                0 => self.pipe.read(&mut buffer).or_else(end)?,
                read => read,
            };
            if read == 0 {
                return Ok(());
            }
            upto += read as u64;
            let data = &buffer[..read];
            Frame { stream: self.stream, is_raw: true, at: now(), upto, data }.write(to);
        }
    }
}

/// A pipe that somebody else could still write to is left as it is.
fn end(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
}

/// Microseconds since 1970. The clock of the host: the database is not asked from here.
fn now() -> i64 {
    let elapsed = UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
