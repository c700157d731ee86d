//! What can be wrong with stamps, and with what should be one.

use std::fmt;

/// Why an operation on stamps is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Two ids that are to be joined own the same part of the interval, so one of the two stamps is a
    /// copy: the sum is defined for disjoint ids only (the paper, join).
    Overlap {
        /// The way from the root of the ids to the part, as `left.right`; empty for the root.
        place: String,
    },
    /// A stamp that owns nothing cannot have an event (the paper calls it anonymous).
    Anonymous,
    /// A tree would have more than [`DEPTH_MAX`](super::DEPTH_MAX) levels.
    TooDeep,
    /// A place would count more than [`COUNTER_MAX`](super::COUNTER_MAX) events.
    Overflow,
    /// A tree is not in normal form (the paper, normal form).
    NotNormal,
    /// Changes meet, and a node among them still has the conflict of an earlier meeting, of which one
    /// of three values would be lost.
    Unresolved {
        /// Whether it is the first of the two nodes that were to be joined.
        first: bool,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap { place } if place.is_empty() => f.write_str(
                "both stamps own the same part of the interval: all that one of them owns",
            ),
            Self::Overlap { place } => {
                write!(f, "both stamps own the same part of the interval: `{place}` of their ids")
            }
            Self::Anonymous => f.write_str("a stamp that owns nothing cannot have an event"),
            Self::TooDeep => {
                write!(f, "the tree would have more than {} levels", super::DEPTH_MAX)
            }
            Self::Overflow => {
                write!(f, "a place would count more than {} events", super::COUNTER_MAX)
            }
            Self::NotNormal => f.write_str("the tree is not in normal form"),
            Self::Unresolved { first } => {
                let which = if *first { "first" } else { "second" };
                write!(f, "the {which} node has a conflict that nobody has resolved")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What a [`DecodeError`] counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a text.
    Byte,
    /// Bits of the binary form, the highest bit of each byte first.
    Bit,
}

/// Why something is not the text or the binary form of a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Where the part begins that is wrong.
    pub position: usize,
    /// What `position` counts.
    pub unit: Unit,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Byte => "byte",
            Unit::Bit => "bit",
        };
        write!(f, "at {unit} {}: {}", self.position, self.message)
    }
}

impl std::error::Error for DecodeError {}
