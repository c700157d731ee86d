//! Pipes that are read piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, SpliceFFlags, fallocate, splice};
use nix::unistd::read;
use tokio::net::unix::pipe;

use super::process::Process;

/// Bytes read from a pipe at once.
const READ: usize = 64 * 1024;
/// How many of the last bytes that were taken are kept: more than is ever read at once and held back.
const KEPT: u64 = 1024 * 1024;

/// A pipe that is read piece by piece.
pub(super) struct Stream {
    /// Made when there is something to read: most steps write little or nothing.
    buffer: Vec<u8>,
    size: usize,
    pub(super) is_closed: bool,
    taken: Option<Taken>,
}

impl Stream {
    /// Reads up to `size` bytes at once.
    pub(super) fn new(size: usize) -> Self {
        Self { buffer: Vec::new(), size, is_closed: false, taken: None }
    }

    /// The next piece; empty at the end, and never after it. Safe to be dropped while it waits.
    pub(super) async fn read(&mut self, pipe: &pipe::Receiver) -> &[u8] {
        if self.is_closed {
            std::future::pending::<()>().await;
        }
        loop {
            if pipe.readable().await.is_err() {
                break;
            }
            match pipe.try_io(|| self.take(pipe)) {
                Ok(0) => break,
                Ok(read) => return &self.buffer[..read],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "runner.pipe.broken");
                    break;
                }
            }
        }
        self.is_closed = true;
        &[]
    }

    /// Reads what there is.
    fn take(&mut self, pipe: &pipe::Receiver) -> io::Result<usize> {
        if let Some(taken) = &mut self.taken {
            match taken.take(pipe, &mut self.buffer, self.size) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    // Out of memory, perhaps; what is read from here on is safe once it is spooled.
                    tracing::warn!(%error, "runner.pipe.unguarded");
                    self.taken = None;
                }
                outcome => return outcome,
            }
        }
        self.buffer.resize(self.size, 0);
        Ok(read(pipe, &mut self.buffer)?)
    }

    /// What is in a pipe now that nobody writes to any more, although it is not closed; empty if
    /// nothing is.
    pub(super) fn rest(&mut self, pipe: &pipe::Receiver) -> &[u8] {
        // Asks the kernel: the runtime may not have heard yet that there is something to read.
        self.buffer.resize(self.size, 0);
        let read = read(pipe, &mut self.buffer).unwrap_or(0);
        &self.buffer[..read]
    }
}

/// What was taken from a pipe: a file in memory that others can hold too. Its length is the number of
/// bytes that were ever taken; the last of them are there to be read ([`spool`](super::spool)).
#[derive(Debug)]
struct Taken {
    file: Arc<File>,
    length: u64,
    /// Where the bytes begin that are kept.
    kept: u64,
}

impl Taken {
    /// Begins with an empty file.
    const fn new(file: Arc<File>) -> Self {
        Self { file, length: 0, kept: 0 }
    }

    /// Moves what is in the pipe here, up to `size` bytes in one system call, and reads it.
    fn take(
        &mut self,
        pipe: &pipe::Receiver,
        buffer: &mut Vec<u8>,
        size: usize,
    ) -> io::Result<usize> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        // Not where the file stands: that is where somebody else has left it.
        let mut end = i64::try_from(self.length).unwrap_or(i64::MAX);
        let read = loop {
            match splice(pipe, None, &*self.file, Some(&mut end), size, flags) {
                Err(Errno::EINTR) => {}
                read => break read?,
            }
        };
        if read == 0 {
            return Ok(0);
        }
        buffer.resize(size, 0);
        self.file.read_exact_at(&mut buffer[..read], self.length)?;
        self.length += read as u64;
        self.forget();
        Ok(read)
    }

    /// Gives the memory of what is not kept back.
    fn forget(&mut self) {
        if self.length - self.kept < 2 * KEPT {
            return;
        }
        let forgotten = self.length - KEPT - self.kept;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let offset = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match fallocate(&*self.file, flags, offset(self.kept), offset(forgotten)) {
            Ok(()) => self.kept += forgotten,
            Err(error) => tracing::debug!(%error, "runner.pipe.kept"),
        }
    }
}

/// stdout and stderr of a process.
pub(super) struct Pipes {
    out: Stream,
    err: Stream,
}

impl Pipes {
    /// Reads them through the files in memory that the monitor holds too.
    pub(super) fn of(process: &Process) -> Self {
        let [out, err] = process
            .taken()
            .map(|file| Stream { taken: Some(Taken::new(file)), ..Stream::new(READ) });
        Self { out, err }
    }

    /// What is taken from here on need not be kept.
    pub(super) fn let_go(&mut self) {
        (self.out.taken, self.err.taken) = (None, None);
    }

    /// Whether both have ended.
    pub(super) fn are_closed(&self) -> bool {
        self.out.is_closed && self.err.is_closed
    }

    /// The next piece of one of them (1 stdout, 2 stderr); empty at its end. Waits for ever when both
    /// have ended. Safe to be dropped while it waits.
    pub(super) async fn read(&mut self, process: &Process) -> (i16, &[u8]) {
        tokio::select! {
            read = self.out.read(&process.stdout) => (1, read),
            read = self.err.read(&process.stderr) => (2, read),
        }
    }
}
