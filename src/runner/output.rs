//! What steps write, on its way to storage.
//!
//! Pieces of all attempts are gathered for a moment and stored together. An attempt is reported only
//! after its output is stored, so that an outcome never comes without its reasons.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::source::WorkSource;
use crate::engine::{EngineError, OutputPiece, OutputStart};

/// How long pieces are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Pieces stored at once, at most.
const PIECES_MAX: usize = 500;
const BYTES_MAX: usize = 1024 * 1024;
/// The wait before output is sent again to a database that is away.
const RETRY: Duration = Duration::from_millis(250);

enum Letter {
    Piece(OutputPiece),
    /// Everything sent before is to be stored, then this is told.
    Flush(oneshot::Sender<()>),
}

/// The way of output to storage. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Letter>,
}

impl Outbox {
    /// Starts the task that stores; it ends when the last outbox is dropped.
    pub(super) fn start<S: WorkSource>(source: Arc<S>) -> Self {
        let (sender, inbox) = mpsc::channel(256);
        tokio::spawn(store(source, inbox));
        Self { sender }
    }

    async fn send(&self, piece: OutputPiece) {
        // The task lives as long as an outbox does.
        let _alive = self.sender.send(Letter::Piece(piece)).await;
    }

    /// Ends when everything sent before is stored.
    async fn flush(&self) {
        let (told, stored) = oneshot::channel();
        let _alive = self.sender.send(Letter::Flush(told)).await;
        let _alive = stored.await;
    }
}

async fn store<S: WorkSource>(source: Arc<S>, mut inbox: mpsc::Receiver<Letter>) {
    while let Some(first) = inbox.recv().await {
        let (mut pieces, mut flushes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let gathered = tokio::time::Instant::now() + GATHER;
        let mut next = Some(first);
        while let Some(letter) = next {
            match letter {
                Letter::Piece(piece) => {
                    bytes += piece.data.len();
                    pieces.push(piece);
                }
                Letter::Flush(told) => flushes.push(told),
            }
            let is_full = pieces.len() >= PIECES_MAX || bytes >= BYTES_MAX;
            next = if is_full {
                None
            } else if flushes.is_empty() {
                tokio::time::timeout_at(gathered, inbox.recv()).await.ok().flatten()
            } else {
                inbox.try_recv().ok() // Somebody waits: only what is there already.
            };
        }
        append(&*source, &pieces).await;
        for told in flushes {
            let _gone = told.send(());
        }
    }
}

async fn append<S: WorkSource>(source: &S, pieces: &[OutputPiece]) {
    if pieces.is_empty() {
        return;
    }
    loop {
        match source.append_output(pieces).await {
            Ok(()) => return,
            Err(EngineError::Unavailable) => tokio::time::sleep(RETRY).await,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::error!(error, "runner.output.lost");
            }
        }
    }
}

/// The output of one attempt: numbered in the order of reading, cut off at a limit.
#[derive(Debug)]
pub(super) struct Capture {
    outbox: Outbox,
    operation: Uuid,
    step: u32,
    attempt: u32,
    seq: u32,
    start: OutputStart,
    left: u64,
    cap: u64,
    dropped: u64,
}

/// Remarks of the worker.
pub(super) const REMARK: i16 = 0;

impl Capture {
    pub(super) fn new(outbox: Outbox, operation: Uuid, step: u32, attempt: u32, cap: u64) -> Self {
        let start = OutputStart::default();
        Self { outbox, operation, step, attempt, seq: 0, start, left: cap, cap, dropped: 0 }
    }

    /// Takes what was read from a stream (1 stdout, 2 stderr) at `at`.
    pub(super) async fn take(
        &mut self,
        stream: i16,
        data: &[u8],
        at: chrono::DateTime<chrono::Utc>,
    ) {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
        if fits > 0 {
            self.left -= fits as u64;
            self.send(stream, data[..fits].to_vec(), at).await;
        }
        let rest = (data.len() - fits) as u64;
        if rest > 0 && self.dropped == 0 {
            let cap = self.cap;
            self.remark(&format!("[output cut off here: more than {cap} bytes]"), at).await;
        }
        self.dropped += rest;
    }

    /// Writes a line of the worker's own.
    pub(super) async fn remark(&mut self, text: &str, at: chrono::DateTime<chrono::Utc>) {
        self.send(REMARK, format!("{text}\n").into_bytes(), at).await;
    }

    /// Ends when everything is stored.
    pub(super) async fn finish(mut self, at: chrono::DateTime<chrono::Utc>) {
        if self.dropped > 0 {
            self.remark(&format!("[{} bytes were left out]", self.dropped), at).await;
        }
        if self.seq > 0 {
            self.outbox.flush().await;
        }
    }

    async fn send(&mut self, stream: i16, data: Vec<u8>, at: chrono::DateTime<chrono::Utc>) {
        self.seq += 1;
        let Self { operation, step, attempt, seq, start, .. } = *self;
        self.start = start.after(stream, data.len());
        let piece = OutputPiece { operation, step, attempt, seq, at, stream, start, data };
        self.outbox.send(piece).await;
    }
}
