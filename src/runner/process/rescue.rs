//! What a step wrote is saved by its monitor when the worker does not live to do it.
//!
//! The design is that of the [spool](crate::runner::spool). The monitor holds the worker's ends of the
//! step's pipes too: a pipe lives as long as somebody can read it.

use std::ffi::{CStr, OsStr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

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
}

/// The monitor's part.
pub(super) struct Rescuer<'a> {
    spool: PathBuf,
    head: Vec<u8>,
    /// stdout and stderr.
    sources: [Source<'a>; 2],
}

struct Source<'a> {
    stream: u8,
    /// What the worker took from the pipe.
    taken: &'a File,
    /// The rest.
    pipe: File,
}

impl<'a> Rescuer<'a> {
    /// Takes hold of what the worker reads: its ends of the pipes, and what it takes from them.
    pub(super) fn new(
        (spool, head): (&CStr, &CStr),
        [out, err]: [OwnedFd; 2],
        [out_taken, err_taken]: &'a [File; 2],
    ) -> Self {
        let sources = [
            Source { stream: 1, taken: out_taken, pipe: out.into() },
            Source { stream: 2, taken: err_taken, pipe: err.into() },
        ];
        let spool = Path::new(OsStr::from_bytes(spool.to_bytes())).to_owned();
        Self { spool, head: head.to_bytes().to_owned(), sources }
    }

    /// Appends what the spool does not have. To be called when the step and all its descendants are
    /// gone, and the worker too. A worker that had everything has left nothing of it.
    pub(super) fn save(mut self) -> io::Result<()> {
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

impl Source<'_> {
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
