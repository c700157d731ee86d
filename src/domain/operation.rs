//! The states of an operation and what each means to a poller.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// The full life of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum OperationState {
    /// Durable; no step has begun.
    NotStarted = 0,
    /// Steps run, or can.
    Running = 1,
    /// Every attempt that could move it on is Unresponsive.
    Zombie = 2,
    /// A client cancelled it; processes are being ended.
    Cancelling = 3,
    /// A client forced the cancellation.
    Aborting = 4,
    /// Its retention is over and its data is being removed.
    Deleting = 5,
    /// Ended well.
    Succeeded = 6,
    /// Ended with a failure that no failure branch handled.
    Failed = 7,
    /// Its deadline passed.
    Timeout = 8,
    /// Cancelled, and none of its processes is left.
    Cancelled = 9,
    /// Cancelled by force.
    Aborted = 10,
    /// Ended; only its outline is kept.
    Tombstone = 11,
    /// Ended; nothing is kept.
    Deleted = 12,
}

/// What a poller needs to know. Stock pollers stop on the last three and on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// No step has begun.
    NotStarted,
    /// Not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Stopped by a client.
    Canceled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::NotStarted, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "notstarted",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl OperationState {
    /// Every state, in the order of its code.
    pub const ALL: [Self; 13] = [
        Self::NotStarted,
        Self::Running,
        Self::Zombie,
        Self::Cancelling,
        Self::Aborting,
        Self::Deleting,
        Self::Succeeded,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
        Self::Aborted,
        Self::Tombstone,
        Self::Deleted,
    ];

    /// The number that stands for this state in storage.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The state that a stored number stands for, if any does.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Running => "Running",
            Self::Zombie => "Zombie",
            Self::Cancelling => "Cancelling",
            Self::Aborting => "Aborting",
            Self::Deleting => "Deleting",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
            Self::Aborted => "Aborted",
            Self::Tombstone => "Tombstone",
            Self::Deleted => "Deleted",
        }
    }

    /// Whether an operation in this state never changes again (but for its retention).
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::NotStarted
            | Self::Running
            | Self::Zombie
            | Self::Cancelling
            | Self::Aborting
            | Self::Deleting => false,
            Self::Succeeded
            | Self::Failed
            | Self::Timeout
            | Self::Cancelled
            | Self::Aborted
            | Self::Tombstone
            | Self::Deleted => true,
        }
    }

    /// What a poller needs to know of an operation in this state. A tombstone's status is the one
    /// it had when it ended, so there is none here for it.
    #[must_use]
    pub const fn status(self) -> Option<Status> {
        match self {
            Self::NotStarted => Some(Status::NotStarted),
            Self::Running | Self::Zombie | Self::Cancelling | Self::Aborting | Self::Deleting => {
                Some(Status::Running)
            }
            Self::Succeeded => Some(Status::Succeeded),
            Self::Failed | Self::Timeout => Some(Status::Failed),
            Self::Cancelled | Self::Aborted => Some(Status::Canceled),
            Self::Tombstone | Self::Deleted => None,
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an operation is being stopped before its natural end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Stop {
    /// A client's DELETE.
    Cancel = 0,
    /// Its deadline passed.
    Deadline = 1,
    /// A client's DELETE by force: nothing runs any more, not even what always runs.
    Abort = 2,
}

impl Stop {
    /// The number that stands for it in storage.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// What a stored number stands for.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Cancel),
            1 => Some(Self::Deadline),
            2 => Some(Self::Abort),
            _ => None,
        }
    }

    /// The state while processes are being ended. A passed deadline is told only when they are
    /// gone, so until then the operation is plainly Running.
    #[must_use]
    pub const fn stopping(self) -> OperationState {
        match self {
            Self::Cancel => OperationState::Cancelling,
            Self::Deadline => OperationState::Running,
            Self::Abort => OperationState::Aborting,
        }
    }

    /// The state once they are gone.
    #[must_use]
    pub const fn stopped(self) -> OperationState {
        match self {
            Self::Cancel => OperationState::Cancelled,
            Self::Deadline => OperationState::Timeout,
            Self::Abort => OperationState::Aborted,
        }
    }
}

/// When the operation of that id was made, in milliseconds.
#[must_use]
pub fn created_at(id: Uuid) -> DateTime<Utc> {
    let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
    DateTime::UNIX_EPOCH
        + TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0))
        + TimeDelta::milliseconds(i64::from(nanos / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_and_final_states_have_a_final_status() {
        for (code, state) in (0_i16..).zip(OperationState::ALL) {
            assert_eq!(state.code(), code);
            assert_eq!(OperationState::from_code(code), Some(state));
            let stops_pollers = state.status().is_none_or(|status| {
                matches!(status, Status::Succeeded | Status::Failed | Status::Canceled)
            });
            assert_eq!(state.is_final(), stops_pollers, "{state}");
        }
        for stop in [Stop::Cancel, Stop::Deadline, Stop::Abort] {
            assert_eq!(Stop::from_code(stop.code()), Some(stop));
        }
    }
}
