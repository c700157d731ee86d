//! The rules of the house, without the house: what a jobset is, what may happen to a run of it and
//! what follows from what happened.
//!
//! Everything here is pure: data in, data out. No clock, no input or output, no chance; time comes
//! as a parameter and jitter is derived from the names of the attempt. So every decision can be
//! tested in memory, decided again after a lost race, and replayed from the history.
//!
//! A [`Definition`] is what a client wrote. [`Jobset::compile`] checks it and numbers the steps. A
//! [`Run`] is one execution: a byte of state per step, a few open attempts, and counters that make
//! the cost of a transition depend on the neighbours of the step only (see [`guard`]). Commands on
//! a run stand in [`decide`].
//!
//! Considered and rejected: a row per step with the guard evaluated in SQL. It was measured at a
//! third of the throughput, and its rules could be tested only against a database.

pub mod access;
pub mod action;
pub mod admission;
pub mod decide;
pub mod definition;
pub mod duration;
pub mod explain;
pub mod guard;
pub mod limits;
pub mod machine;
pub mod operation;
pub mod problem;
pub mod profile;
pub mod rollup;
pub mod scheduling;
pub mod schema;
pub mod size;
pub mod state;

mod analysis;
mod changes;
mod declared;
mod follow;
mod jobset;
mod lease;
mod order;
mod queue;
mod resource;
mod run;
mod stamps;
#[cfg(test)]
mod testing;
mod validate;

pub use action::{Action, Actor};
pub use changes::{Changes, Cut, Event, Expired, Fact, GivenUp, Kill, KillHow, Timeout};
pub use definition::Definition;
pub use jobset::{Jobset, Role, Step};
pub use lease::LeaseTerms;
pub use limits::Limits;
pub use operation::{OperationState, Status, Stop};
pub use problem::Problem;
pub use resource::resources;
pub use run::{Incarnation, Note, OpenAttempt, Run, Snapshot};
pub use stamps::{Branch, Stamped, Stamps};
pub use state::{Phase, StepState};
