//! States of a step, one byte each.
//!
//! The low half of the byte is one of the states of the default machine, the *class* of the state;
//! the high half tells the states of a user's machine apart, and is 0 for the default machine's own.
//! So whoever has only the byte (a count, a query, the roll-up) knows what the state means without
//! knowing the machine. Codes never change once they have landed in a database.

use std::fmt;

/// The state of one step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepState(u8);

/// How far a step in some state is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An automatic transition may still move it.
    Pending,
    /// An attempt of it is in the hands of a worker, or will be.
    Active,
    /// Only a person moves it on; keeps the operation open.
    Held,
    /// Nothing automatic ever moves it again.
    Ended,
}

impl StepState {
    /// Made, but the operation was not started yet (`"start": "manual"`).
    pub const READY: Self = Self(0);
    /// Waits for its guard to hold, for its back-off to pass or for a worker.
    pub const WAITING: Self = Self(1);
    /// An attempt is in the hands of a worker.
    pub const RUNNING: Self = Self(2);
    /// The worker of the attempt lost its lease; nobody knows whether it still runs.
    pub const UNRESPONSIVE: Self = Self(3);
    /// Held by an operator.
    pub const PAUSED: Self = Self(4);
    /// Stopped by an operator while it ran.
    pub const INTERRUPTED: Self = Self(5);
    /// Failed with the policy `hold`: an operator decides how it goes on.
    pub const ERROR: Self = Self(6);
    /// Will be skipped when the execution reaches it.
    pub const TO_SKIP: Self = Self(7);
    /// Was skipped; satisfies a success pair.
    pub const SKIPPED: Self = Self(8);
    /// Taken out of the run by an operator; counts as ended.
    pub const BLOCKED: Self = Self(9);
    /// Its guard can never hold any more.
    pub const UNREACHABLE: Self = Self(10);
    /// Ended well.
    pub const SUCCEEDED: Self = Self(11);
    /// Ended badly, after all its attempts.
    pub const FAILED: Self = Self(12);
    /// Its last attempt ran out of time.
    pub const TIMED_OUT: Self = Self(13);
    /// Stopped, or never begun, because the operation was stopped.
    pub const CANCELLED: Self = Self(14);

    /// The states of the default machine, in the order of their codes.
    pub const DEFAULT: [Self; 15] = [
        Self::READY,
        Self::WAITING,
        Self::RUNNING,
        Self::UNRESPONSIVE,
        Self::PAUSED,
        Self::INTERRUPTED,
        Self::ERROR,
        Self::TO_SKIP,
        Self::SKIPPED,
        Self::BLOCKED,
        Self::UNREACHABLE,
        Self::SUCCEEDED,
        Self::FAILED,
        Self::TIMED_OUT,
        Self::CANCELLED,
    ];

    /// How many states of one class a user's machine may have.
    pub const OWN_PER_CLASS: u8 = 15;

    /// State number `index` (from 1 to [`OWN_PER_CLASS`](Self::OWN_PER_CLASS)) of that class in a
    /// user's machine.
    #[must_use]
    pub const fn own(class: Self, index: u8) -> Self {
        Self(index << 4 | class.0 & 15)
    }

    /// The byte that stands for this state in storage.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The state that a stored byte stands for, if any does.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if (code & 15) as usize >= Self::DEFAULT.len() { None } else { Some(Self(code)) }
    }

    /// The state of the default machine that this one counts as.
    #[must_use]
    pub const fn class(self) -> Self {
        Self(self.0 & 15)
    }

    /// Whether it belongs to a user's machine.
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.0 > 15
    }

    /// The name of its class on the wire; that of a user's state knows only its machine.
    #[must_use]
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; 15] = [
            "Ready",
            "Waiting",
            "Running",
            "Unresponsive",
            "Paused",
            "Interrupted",
            "Error",
            "ToSkip",
            "Skipped",
            "Blocked",
            "Unreachable",
            "Succeeded",
            "Failed",
            "TimedOut",
            "Cancelled",
        ];
        NAMES[(self.0 & 15) as usize]
    }

    /// The state of the default machine of that name; case is ignored, as everywhere on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::DEFAULT.into_iter().find(|state| state.name().eq_ignore_ascii_case(name))
    }

    /// How far a step in this state is from its end.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self.class() {
            // One to be skipped moves by itself as well: its guard will hold, or never.
            Self::WAITING | Self::TO_SKIP => Phase::Pending,
            Self::RUNNING | Self::UNRESPONSIVE => Phase::Active,
            Self::READY | Self::PAUSED | Self::INTERRUPTED | Self::ERROR => Phase::Held,
            _ => Phase::Ended,
        }
    }

    /// Whether a step in this state counts as ended.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self.phase(), Phase::Ended)
    }
}

impl fmt::Debug for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if self.is_own() { write!(f, "#{}", self.0 >> 4) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        for (index, state) in StepState::DEFAULT.into_iter().enumerate() {
            assert_eq!(usize::from(state.code()), index);
            assert_eq!(StepState::from_code(state.code()), Some(state));
            assert_eq!(StepState::parse(&state.name().to_lowercase()), Some(state));
            let own = StepState::own(state, 3);
            assert_eq!(StepState::from_code(own.code()), Some(own));
            assert_eq!((own.class(), own.phase(), own.is_own()), (state, state.phase(), true));
        }
        assert_eq!(StepState::from_code(15), None);
        assert_eq!(StepState::from_code(255), None);
    }
}
