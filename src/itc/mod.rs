//! Interval tree clocks: logical time for participants that come and go.
//!
//! The paper is P. S. Almeida, C. Baquero, V. Fonte, *Interval Tree Clocks: A Logical Clock for
//! Dynamic Systems*, OPODIS 2008. A version vector needs a name for each participant and never
//! forgets one. A [`Stamp`] needs none: it owns a part of the interval `[0, 1)` (its [`Id`]) and knows
//! a number of events at each place of it (its [`Event`] tree). [`Stamp::fork`] splits what is owned,
//! [`Stamp::join`] puts it together again, and both trees shrink when that is possible.
//!
//! Trees are kept in the normal form of the paper, so equal knowledge is equal trees. Nothing here can
//! be built that is not in normal form, or that exceeds these limits:
//!
//! - [`DEPTH_MAX`]: how deep a tree may be. Operations descend into trees by recursion, and this bounds
//!   their stack (`tests/itc/limits.rs` holds it below half of what a thread has); the decoders do not
//!   recurse. Only a fork can make a tree deeper than the trees it came from (an event
//!   tree grows along the id), so a fork is the one operation that is refused for it. Use
//!   [`Stamp::fork_many`] for a fan-out: its ids are as shallow as they can be.
//! - [`COUNTER_MAX`]: how many events may be counted at one place. The event that would be one more is
//!   refused; a counter never wraps around and never stands still. It is 2^53 - 1, what every JSON
//!   parser keeps exactly (RFC 7493, 2.2), so that a stamp survives a client in any language.
//!
//! Forms: [`Stamp::parse`] and `Display` have the text of the paper, [`Stamp::decode`] and
//! [`Stamp::encode`] its bits. Both decoders take exactly what is written by the encoders, name the
//! place of the first mistake, and stop at a number of nodes that the caller sets.
//!
//! [`Node`] puts a value beside a stamp and says what becomes of it when changes meet.
//!
//! ```
//! use sutbot::itc::{Causality, Stamp};
//!
//! # fn main() -> Result<(), sutbot::itc::Error> {
//! let (ours, theirs) = Stamp::seed().fork()?;
//! let (ours, theirs) = (ours.event()?, theirs.event()?);
//! assert_eq!(ours.compare(&theirs), Causality::Concurrent);
//! let both = ours.join(&theirs)?;
//! assert_eq!(ours.compare(&both), Causality::Before);
//! assert_eq!(both.to_string(), "(1,1)");
//! # Ok(())
//! # }
//! ```
//!
//! Considered and rejected: trees in one flat array, which need no recursion. Fill, grow and norm
//! replace subtrees by others of another size, so each would copy the array at each level. Saturating
//! counters: an event must be strictly after what was before it (the paper, fork-event-join model).
//! Deliberately absent: `send`, `receive` and `sync`, which are compositions of the others.

mod bits;
mod error;
mod event;
mod id;
mod node;
mod stamp;
mod text;
mod twig;

pub use error::{DecodeError, Error, Unit};
pub use event::Event;
pub use id::Id;
pub use node::{Content, Node};
pub use stamp::{Causality, Stamp};
pub use twig::Twig;

/// How many levels may be below the root of a tree.
pub const DEPTH_MAX: usize = 1_000;
/// The most events that can be counted at one place.
pub const COUNTER_MAX: u64 = (1 << 53) - 1;
/// How many nodes a stamp may have that is read by `FromStr`: both trees together, each leaf and each
/// branch being one.
pub const NODES_MAX: usize = 100_000;
