//! A worker's way to a server on another machine.
//!
//! [`RemotePlace`] is a [`WorkPlace`](crate::runner::WorkPlace) over HTTP, so that all that a worker
//! does is the same code as in the server's own process. What it asks is asked again by the worker
//! until it is answered; here are only the questions, and the poll that never stops: it brings
//! attempts, and says when there may be orders or mail.
//!
//! An answer may be lost, so the server gives what it does not know to be received again, and every
//! attempt that was seen once is known here. While no server answers, what runs goes on until the lease
//! is nearly over; a server that is started again, or another one on the same database, goes on with
//! the same incarnation.

mod clock;
mod convert;
mod place;
mod seen;
mod source;

pub use place::{RemotePlace, Told};
pub use source::RemoteSource;
