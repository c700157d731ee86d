//! Control groups: the wall around the sweep.
//!
//! The kernel knows every member of a control group, whoever its parent is, and counts what they use
//! together. Where a host lets the worker make groups, each attempt runs in one of its own; the
//! monitor stays outside, so that neither a limit nor the killing of the group hits it.
//!
//! ```text
//! group of the worker ── mother-PID-N ─┬─ step-PID      one per attempt, named after its monitor
//!                        (the ground)   └─ step-PID
//! ```
//!
//! - The worker makes the *ground* and holds a lock on it. The kernel gives the lock back when the
//!   worker dies, however it dies and whichever process id it had in whichever container. So whoever
//!   can lock a ground knows that its worker is dead, kills what is left in it and removes it: the
//!   next worker does at its start. This is what ends the steps of a worker that was killed together
//!   with its zygote and all its monitors.
//! - The monitor makes the group, its child enters it before it becomes the step, and the monitor
//!   removes it once the sweep has proved it empty. What a killed monitor leaves, the zygote removes;
//!   what a killed zygote leaves, the worker.
//! - Version 2 kills a group with one write (`cgroup.kill`). In version 1 the monitor forbids new
//!   processes first, so that nothing can outrun the signals. Hosts that count with version 1 and
//!   have version 2 beside it get both.
//!
//! Rejected: a group that the worker's process makes (nobody would know of it after a crash between
//! its making and the start), and moving the monitor in and out again instead of a child (a limit
//! or a kill in that moment would hit the one process that must live).

mod find;
mod ground;
mod group;

pub(super) use ground::Ground;
pub use ground::GroundChoice;
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
