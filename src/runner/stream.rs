//! Pipes that are read piece by piece.

use std::io;

use tokio::net::unix::pipe;

/// A pipe that is read piece by piece.
pub(super) struct Stream {
    buffer: Vec<u8>,
    pub(super) is_closed: bool,
}

impl Stream {
    /// Reads up to `size` bytes at once.
    pub(super) fn new(size: usize) -> Self {
        Self { buffer: vec![0; size], is_closed: false }
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
            match pipe.try_read(&mut self.buffer) {
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

    /// What is in a pipe now that nobody writes to any more, although it is not closed; empty if
    /// nothing is.
    pub(super) fn rest(&mut self, pipe: &pipe::Receiver) -> &[u8] {
        // Asks the kernel: the runtime may not have heard yet that there is something to read.
        let read = nix::unistd::read(pipe, &mut self.buffer).unwrap_or(0);
        &self.buffer[..read]
    }
}
