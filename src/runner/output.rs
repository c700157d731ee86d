//! What steps write, on its way to storage.
//!
//! Pieces of all attempts are gathered for a moment and stored together. An attempt is reported only
//! after its output is stored, so that an outcome never comes without its reasons. Secrets are masked
//! ([`mask`](super::mask)) before anything is kept, and what is not stored yet is in the attempt's
//! [`spool`](super::spool).
//!
//! The pieces of one stream are in the order of writing. Between stdout and stderr the order is that of
//! reading: two pipes cannot tell which was written to first, so what is written to both within some
//! milliseconds may change places. A step that needs one order writes to one of them (`2>&1`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::mask::{Mask, Masking};
use super::source::WorkSource;
use super::spool::{Frame, Spool};
use crate::domain::duration;
use crate::engine::{AttemptKey, EngineError, OutputPiece, OutputStart};

/// How long pieces are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// Pieces stored at once, at most.
const PIECES_MAX: usize = 500;
const BYTES_MAX: usize = 1024 * 1024;
/// How long the end of what was read is held back when it may be the beginning of a secret.
const HOLD: Duration = Duration::from_millis(500);
/// The wait before output is sent again to a database that is away.
const RETRY: Duration = Duration::from_millis(250);

enum Letter {
    Piece(OutputPiece),
    /// Everything sent before is to be stored, then this is told whether it is.
    Flush(oneshot::Sender<bool>),
}

/// The way of output to storage. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Letter>,
    given_up: CancellationToken,
}

impl Outbox {
    /// Starts the task that stores; it ends when the last outbox is dropped.
    pub(super) fn start<S: WorkSource>(source: Arc<S>) -> Self {
        let (sender, inbox) = mpsc::channel(256);
        let given_up = CancellationToken::new();
        tokio::spawn(store(source, inbox, given_up.clone()));
        Self { sender, given_up }
    }

    /// Stores nothing more: the incarnation is over. What is not stored yet stays in the spools, for
    /// the next one.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    async fn send(&self, piece: OutputPiece) {
        // The task lives as long as an outbox does.
        let _alive = self.sender.send(Letter::Piece(piece)).await;
    }

    /// Ends when everything sent before is stored, or is given up; whether it is stored.
    async fn flush(&self) -> bool {
        let (told, stored) = oneshot::channel();
        let _alive = self.sender.send(Letter::Flush(told)).await;
        stored.await.unwrap_or(false)
    }
}

async fn store<S: WorkSource>(
    source: Arc<S>,
    mut inbox: mpsc::Receiver<Letter>,
    given_up: CancellationToken,
) {
    while let Some(first) = inbox.recv().await {
        let (mut pieces, mut flushes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let gathered = Instant::now() + GATHER;
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
        if given_up.run_until_cancelled(append(&*source, &pieces)).await == Some(false) {
            given_up.cancel();
        }
        for told in flushes {
            let _gone = told.send(!given_up.is_cancelled());
        }
    }
}

/// Stores pieces, however long the database is away. `false`: the incarnation is over, so that others
/// have to.
async fn append<S: WorkSource>(source: &S, pieces: &[OutputPiece]) -> bool {
    if pieces.is_empty() {
        return true;
    }
    loop {
        match source.append_output(pieces).await {
            Ok(()) => return true,
            Err(EngineError::LeaseLost) => return false,
            Err(error) if error.is_outage() => tokio::time::sleep(RETRY).await,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "runner.output.lost");
                return true;
            }
        }
    }
}

/// The output of one attempt: masked, numbered in the order of reading, cut off at a limit.
pub(super) struct Capture {
    outbox: Outbox,
    of: AttemptKey,
    /// `None` when it comes from a spool itself.
    spool: Option<Spool>,
    mask: Arc<Mask>,
    stdout: Source,
    stderr: Source,
    /// From when on what is held back is not held any longer.
    hold_until: Option<Instant>,
    seq: u32,
    start: OutputStart,
    left: u64,
    cap: u64,
    is_cut: bool,
    dropped: u64,
}

/// A stream that a step writes to.
#[derive(Default)]
struct Source {
    masking: Masking,
    /// How many bytes were read from it.
    read: u64,
}

impl Source {
    /// How many bytes of it were told.
    fn told(&self) -> u64 {
        self.read - self.masking.held() as u64
    }
}

/// Remarks of the worker.
pub(super) const REMARK: i16 = 0;
const STDOUT: i16 = 1;
const STDERR: i16 = 2;

impl Capture {
    pub(super) fn new(
        outbox: Outbox,
        of: AttemptKey,
        mask: Arc<Mask>,
        spool: Option<Spool>,
        cap: u64,
    ) -> Self {
        Self {
            outbox,
            of,
            spool,
            mask,
            stdout: Source::default(),
            stderr: Source::default(),
            hold_until: None,
            seq: 0,
            start: OutputStart::default(),
            left: cap,
            cap,
            is_cut: false,
            dropped: 0,
        }
    }

    /// Where the output is kept until it is stored.
    pub(super) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Whether everything that comes is left out.
    pub(super) fn is_full(&self) -> bool {
        self.is_cut
    }

    /// When [`idle`](Self::idle) is to be called, unless something is read before.
    pub(super) fn hold_until(&self) -> Instant {
        self.hold_until.unwrap_or_else(|| Instant::now() + duration::DURATION_MAX)
    }

    fn source(&mut self, stream: i16) -> &mut Source {
        if stream == STDOUT { &mut self.stdout } else { &mut self.stderr }
    }

    /// Takes what was read from a stream (1 stdout, 2 stderr) at `at`.
    pub(super) async fn take(&mut self, stream: i16, data: &[u8], at: DateTime<Utc>) {
        if self.is_cut {
            self.dropped += data.len() as u64;
            return;
        }
        let mask = Arc::clone(&self.mask);
        let source = self.source(stream);
        source.read += data.len() as u64;
        let masked = source.masking.take(&mask, data);
        let holds = self.stdout.masking.held() + self.stderr.masking.held() > 0;
        self.hold_until = holds.then(|| Instant::now() + HOLD);
        self.keep(stream, masked, at).await;
    }

    /// Tells what is held back, because nothing follows it.
    pub(super) async fn idle(&mut self, at: DateTime<Utc>) {
        self.hold_until = None;
        let mask = Arc::clone(&self.mask);
        for stream in [STDOUT, STDERR] {
            let held = self.source(stream).masking.idle(&mask);
            self.keep(stream, held.into(), at).await;
        }
    }

    /// Keeps what fits.
    async fn keep(&mut self, stream: i16, data: Cow<'_, [u8]>, at: DateTime<Utc>) {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
        let rest = (data.len() - fits) as u64;
        if fits > 0 {
            self.left -= fits as u64;
            let mut data = data.into_owned();
            data.truncate(fits);
            self.send(stream, data, at).await;
        }
        if rest > 0 && !self.is_cut {
            self.is_cut = true;
            self.remark(&cut_mark(self.cap), at).await;
        }
        self.dropped += rest;
    }

    /// Writes a line of the worker's own.
    pub(super) async fn remark(&mut self, text: &str, at: DateTime<Utc>) {
        let text = format!("{text}\n").into_bytes();
        let masked = self.mask.bytes(&text).into_owned();
        self.send(REMARK, masked, at).await;
    }

    /// Takes a line of the worker's own that a step may cause at will: it counts like its output.
    pub(super) async fn take_remark(&mut self, text: &[u8], at: DateTime<Utc>) {
        let masked = self.mask.bytes(text).into_owned();
        self.keep(REMARK, masked.into(), at).await;
    }

    /// Takes a piece that was kept in a spool: as it is, and with the number that it had.
    pub(super) async fn replay(&mut self, stream: i16, data: &[u8], at: DateTime<Utc>) {
        self.is_cut |= stream == REMARK && data.starts_with(cut_mark(self.cap).as_bytes());
        if stream != REMARK {
            self.left = self.left.saturating_sub(data.len() as u64);
        }
        self.send(stream, data.to_vec(), at).await;
    }

    /// Ends when everything is stored, or is left to another incarnation; whether it is stored.
    pub(super) async fn finish(mut self, at: DateTime<Utc>) -> bool {
        self.idle(at).await;
        if self.dropped > 0 {
            // A worker that died has told nobody how many it had left out.
            let at_least = if self.spool.is_none() { "at least " } else { "" };
            self.remark(&format!("[{at_least}{} bytes were left out]", self.dropped), at).await;
        }
        let is_stored = self.seq == 0 || self.outbox.flush().await;
        if let Some(spool) = self.spool.as_ref().filter(|_| is_stored) {
            spool.remove();
        }
        is_stored
    }

    async fn send(&mut self, stream: i16, data: Vec<u8>, at: DateTime<Utc>) {
        let AttemptKey { operation, step, attempt } = self.of;
        let upto = if stream == REMARK { 0 } else { self.source(stream).told() };
        if let Some(spool) = &mut self.spool {
            let (at, data) = (at.timestamp_micros(), data.as_slice());
            let stream = u8::try_from(stream).unwrap_or(0);
            spool.append(&Frame { stream, is_raw: false, at, upto, data });
        }
        self.seq += 1;
        let (seq, start) = (self.seq, self.start);
        self.start = start.after(stream, data.len());
        let piece = OutputPiece { operation, step, attempt, seq, at, stream, start, data };
        self.outbox.send(piece).await;
    }
}

/// The line that stands where the output was cut off.
fn cut_mark(cap: u64) -> String {
    format!("[output cut off here: more than {cap} bytes]")
}
