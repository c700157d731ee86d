//! Control groups: the wall around the sweep.
//!
//! The kernel knows every member of a control group, whoever its parent is, and counts what they use
//! together. Where a host lets the worker make groups, all that it starts is in one, and an attempt
//! that asks for something that must be counted is in one of its own.
//!
//! ```text
//! group of the worker ── mother-PID-N ─┬─ common       zygote, monitors, steps without a group
//!                        (the ground)  ├─ step-PID     one attempt, named after its monitor
//!                                      └─ step-PID
//! ```
//!
//! - The worker makes the *ground* and holds a lock on it. The kernel gives the lock back when the
//!   worker dies, however it dies and whichever process id it had in whichever container. So whoever
//!   can lock a ground knows that its worker is dead, kills what is left in it and removes it: the
//!   next worker does at its start. This is what ends the steps of a worker that was killed together
//!   with its zygote and all its monitors.
//! - The zygote enters the common group once, and what it starts inherits it: a fork bomb hits the
//!   bound of that group before it fills the host's process table. Steps that must not suffer from
//!   one beside them name a limit of their own.
//! - The monitor makes the group of an attempt, its child enters it before it becomes the step, and
//!   the monitor, which stays outside, removes it once the sweep has proved it empty. What a killed
//!   monitor leaves, the zygote removes; what a killed zygote leaves, the worker.
//! - Version 2 kills a group with one write (`cgroup.kill`). In version 1 the monitor forbids new
//!   processes first, so that nothing can outrun the signals. Hosts that count with version 1 and
//!   have version 2 beside it get both.
//!
//! Rejected: a group for every attempt (measured: making, entering and removing one costs a third of
//! the rate at which steps start, and with version 1 two thirds), a group that the worker's process
//! makes (nobody would know of it after a crash between its making and the start), and moving the
//! monitor in and out again instead of a child (a limit or a kill in that moment would hit the one
//! process that must live).

mod find;
mod ground;
mod group;

pub(super) use ground::Ground;
pub use ground::{GroundChoice, GroundSettings};
pub(super) use group::{Group, discard};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::limits::Controllers;

/// A version of the kernel's interface, see `cgroups(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    One,
    Two,
}

/// A group in one hierarchy, and what the hierarchy counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hierarchy {
    folder: PathBuf,
    version: Version,
    controllers: Controllers,
}
