//! Why a command was not carried out.

use thiserror::Error;

use super::retention::Retention;
use crate::domain::Problem;
use crate::domain::decide::Stale;
use crate::domain::duration;
use crate::odata::ErrorKind;
use crate::store::{KeyKind, StoreError, WriteBar};

/// Why a command was not carried out. Nothing was changed then.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The database cannot be reached.
    #[error("the database does not answer; try again later")]
    Unavailable,
    /// The database takes no writes.
    #[error("the database takes no writes: {0}; try again later")]
    ReadOnly(WriteBar),
    /// More commands wait than are taken.
    #[error("too many requests wait for the database; try again later")]
    Overloaded,
    /// The process is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No operation has that id.
    #[error("no operation has that id")]
    NotFound,
    /// No operation has that id any more, if one ever had.
    #[error(
        "no operation has that id; one that ended is kept for {}, and its outline for {} more",
        duration::print(.0.whole), duration::print(.0.tombstones)
    )]
    Forgotten(Retention),
    /// The operation ended so long ago that only its outline is kept.
    #[error(
        "this operation ended so long ago that only its outline is kept: id, status and times, but \
         not its steps, events, output and context"
    )]
    Tombstone,
    /// The operation has another version than the client expects.
    #[error("the operation has changed: its version is {0} now")]
    VersionMismatch(i32),
    /// Its jobset does not allow that it is cancelled.
    #[error("the jobset of this operation says that it is not cancellable")]
    NotCancellable,
    /// The operation has ended and never changes again.
    #[error("the operation has ended")]
    Ended,
    /// The step never had that attempt.
    #[error("{}", no_attempt(*attempt, *last))]
    NoAttempt {
        /// The attempt that was asked for.
        attempt: u32,
        /// The last one that there is; 0 if there is none.
        last: u32,
    },
    /// The causal order of an operation from before stamps is not known.
    #[error(
        "event {seq} has no stamp, because it is from before stamps were kept or from a server that \
         keeps none (--no-stamps): its causal order is not known"
    )]
    Unstamped {
        /// The event.
        seq: i32,
    },
    /// The client used this key for another request before.
    #[error("this key stands for another request, which came before with another body or route")]
    KeyTaken(KeyKind),
    /// Of operations that were asked for together, those of these numbers are to have ids that stand
    /// for other requests.
    #[error("operations of these ids were asked for before, with another body or route")]
    IdsTaken(Vec<usize>),
    /// The attempt is not, or no longer, the worker's.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Nobody is that worker.
    #[error("no worker has that id")]
    NoWorker,
    /// The worker may not act any more: others get what it had.
    #[error("the worker has lost its lease; it has to register anew")]
    LeaseLost,
    /// Who asks cannot prove to be that worker.
    #[error("this is not the secret of that worker")]
    NotTheWorker,
    /// The server of a remote worker refused what it asked.
    #[error("{0}")]
    Refused(String),
    /// The jobset is not valid.
    #[error("the jobset is not valid")]
    Invalid(Vec<Problem>),
    /// The question has no answer: a division by zero, more time than is granted.
    #[error("{message}")]
    BadExpression {
        /// The class.
        kind: ErrorKind,
        /// A sentence for a person.
        message: String,
    },
    /// A stored jobset cannot be read: a bug, or a hand in the database.
    #[error("jobset {id} cannot be read: {reason}")]
    BadJobset {
        /// Its id.
        id: uuid::Uuid,
        /// Why not.
        reason: String,
    },
    /// The store refused.
    #[error("the store refused")]
    Store(#[source] StoreError),
}

impl EngineError {
    /// Whether the same command may be carried out once the database is what it was.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable | Self::ReadOnly(_))
    }
}

fn no_attempt(attempt: u32, last: u32) -> String {
    match last {
        0 => "the step has had no attempt yet".to_owned(),
        last => format!("the step has no attempt {attempt}; its last one is {last}"),
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) => {
                tracing::warn!(error = %source, "the database does not answer");
                Self::Unavailable
            }
            StoreError::ReadOnly(bar) => {
                tracing::debug!(reason = %bar, "the database takes no writes");
                Self::ReadOnly(bar)
            }
            StoreError::BadExpression { kind, message, source } => {
                tracing::debug!(error = ?source, "a question has no answer");
                Self::BadExpression { kind, message }
            }
            other => Self::Store(other),
        }
    }
}
