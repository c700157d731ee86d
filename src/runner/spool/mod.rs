//! Output on disk until it is stored, so that the death of a worker loses none of it.
//!
//! # The problem
//!
//! What a step wrote is, for a while, nowhere but in the worker: read from the pipe and gathered to be
//! stored with the output of others, or held back as the possible beginning of a secret. And what the
//! worker has not read yet is in pipes that die with their last reader. A worker that is killed must
//! lose neither.
//!
//! # The design
//!
//! - The worker appends each piece to the **spool** of its attempt ([`Spool`]), a file that begins with
//!   the first byte of output and is removed when everything is stored. Nothing is synced to the disk:
//!   the spool outlives the process, not the machine.
//! - Bytes go from a pipe to the worker through a file in memory ([`Stream`](super::stream::Stream))
//!   that the step's monitor holds too. They are moved by one system call, and the length of that file
//!   says how many were taken. A frame of the spool says how many of them it covers, so there is no
//!   moment at which a byte is known to nobody, or to two without it being known which.
//! - A worker that has everything cuts that file off. When it is gone before that, the **monitor**
//!   appends what was taken and not spooled, and what is left in the pipes
//!   ([`rescue`](super::process)).
//! - Another incarnation on the same folder **recovers** ([`recover`](mod@recover)): it stores the
//!   pieces of spools whose owner is gone. A piece is stored under its number, so it does not matter
//!   which of them had been stored before.
//!
//! The spools of an incarnation are in a folder of their own that is [held](super::held) as long as
//! somebody may write there: by the worker, its zygote and the monitors.
//!
//! # Rejected
//!
//! - Process ids and start times as a sign of the owner: they say nothing about the monitors, which
//!   write after the worker has died, and nothing across containers.
//! - Reading and spooling without the file in memory: a worker that is killed between the two calls
//!   loses up to 64 KiB of a step that writes fast, and that is where it spends its time.

mod frame;
mod recover;

pub(super) use frame::{Frame, Spooled};
pub(super) use recover::Recovery;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::held::Held;
use crate::engine::AttemptKey;

/// What the file of a spool ends with.
const EXTENSION: &str = "spool";

/// Whose spool it is, and what one has to know who recovers it.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    operation: Uuid,
    step: u32,
    attempt: u32,
    /// The names of the secrets to be masked.
    secrets: Vec<String>,
    /// The output that is kept of the attempt, in bytes.
    cap: u64,
}

/// The folder of all spools on this work folder.
fn root(work_dir: &Path) -> PathBuf {
    work_dir.join("spools")
}

/// The spools of one incarnation.
#[derive(Debug)]
pub(super) struct Spools(Held);

impl Spools {
    /// Makes the folder.
    pub(super) fn open(work_dir: &Path) -> io::Result<Self> {
        let root = root(&std::path::absolute(work_dir)?);
        fs::create_dir_all(&root)?;
        Held::make(&root).map(Self)
    }

    /// Another hold on the lock, for those that may write when the worker is gone.
    pub(super) fn hold(&self) -> io::Result<OwnedFd> {
        self.0.hold()
    }

    /// The spool of an attempt.
    pub(super) fn spool(&self, of: AttemptKey, secrets: &[String], cap: u64) -> Spool {
        let AttemptKey { operation, step, attempt } = of;
        let head = Head { operation, step, attempt, secrets: secrets.to_vec(), cap };
        let head = serde_json::to_string(&head).expect("names and numbers are JSON");
        let name = format!("{operation}-{step}-{attempt}.{EXTENSION}");
        Spool { path: self.0.folder().join(name), head, state: State::Silent }
    }
}

/// An orderly end leaves nothing. Spools that could not be stored stay, and with them the folder.
impl Drop for Spools {
    fn drop(&mut self) {
        _ = self.0.remove_empty();
    }
}

/// The spool of an attempt.
#[derive(Debug)]
pub(super) struct Spool {
    /// Where it is, or will be.
    pub(super) path: PathBuf,
    /// The line that it begins with.
    pub(super) head: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The step has written nothing yet.
    Silent,
    Open(File),
    /// It could not be written to.
    Broken,
}

impl Spool {
    /// Appends a piece. A plain write to a file that nobody waits for: it takes microseconds. An
    /// attempt goes on without its spool where there is no room for it.
    pub(super) fn append(&mut self, frame: &Frame<'_>) {
        if let Err(error) = self.try_append(frame) {
            tracing::warn!(%error, file = %self.path.display(), "runner.spool.broken");
            self.state = State::Broken;
        }
    }

    fn try_append(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(frame.data.len() + self.head.len() + 64);
        if matches!(self.state, State::Silent) {
            bytes.extend_from_slice(self.head.as_bytes());
            bytes.push(b'\n');
            let mut options = File::options();
            let file = options.append(true).create_new(true).mode(0o600).open(&self.path)?;
            self.state = State::Open(file);
        }
        frame.write(&mut bytes);
        match &mut self.state {
            State::Open(file) => file.write_all(&bytes),
            State::Silent | State::Broken => Ok(()),
        }
    }

    /// Everything is stored.
    pub(super) fn remove(&self) {
        if let State::Open(_) | State::Broken = self.state
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %self.path.display(), "runner.spool.left");
        }
    }
}
