//! Subprocesses that can always be contained.
//!
//! # The problem
//!
//! A step runs a program of somebody else. When the step is over, timed out or cancelled, nothing
//! that it started may still run. A signal to its process group misses every descendant that called
//! `setsid`; a search by environment misses those that wiped it; both miss a descendant that forks
//! faster than one can look.
//!
//! # The design
//!
//! ```text
//! worker ── zygote ─┬─ monitor ── step ── ...      one step at a time: session leader, subreaper
//!    (subreapers)   └─ monitor ── step ── ...
//! ```
//!
//! - The **zygote** is this same executable, re-executed once. Small and single-threaded, it can
//!   fork quickly and safely. For each step that no idle monitor can take it forks one.
//! - The **monitor** starts the step, in a process group of its own, and waits: the wait status is
//!   the only authority on the step's end. An orphan is re-parented to its nearest subreaper, so a
//!   descendant cannot leave. The monitor therefore kills and reaps its children until `waitpid`
//!   knows of none: proof that no descendant is left. Only then it reports, and only then it gets
//!   another step (`berth`).
//! - Whoever dies takes everything below along. A monitor sees the worker's end and the zygote's
//!   end as sockets and pipes that close. What a killed monitor leaves falls to the zygote, what a
//!   killed zygote leaves falls to the worker; both sweep, and the step's end is [`Exit::Lost`]:
//!   an incident, because a step's own processes are the likeliest to have killed its monitor.
//! - Whoever stands still takes nothing along, so what runs has a time by which it ends (`fence`):
//!   every monitor kills its step by itself when the worker has not put that off.
//! - Worker and monitor talk over a socket pair of their own, over which a step's pipes are handed too.
//!   No message passes through the zygote but the one that starts a monitor, and the specification of
//!   a step lies in a file in memory, so its size is limited only by what the system can execute.
//!
//! # The ladder
//!
//! The sweep stands on every host. Around it stand further walls, where the host has them and
//! somebody wants them:
//!
//! | wall | what it adds | when |
//! |---|---|---|
//! | sweep | no descendant outlives its step | always |
//! | `cgroup` | limits that count the whole tree; its peak of memory; a kill of what outlived all of mother | where something that is asked for needs it |
//! | `sandbox` | own process ids, files that can only be read, no network, Landlock on top | where the step says so |
//!
//! A step with walls is forked instead of spawned: the child enters its walls while it still is this
//! program (`launch`), so nothing of the step ever runs outside. A limit or a wall that was asked for
//! and cannot be had fails the start, with its name ([`SpawnError::LimitUnavailable`],
//! [`SpawnError::ContainmentUnavailable`]): a step never runs with less than it asked for. What did
//! stand is in its record ([`Ended::walls`]), and [`examine`] tries all of it on a host.
//!
//! # Rejected
//!
//! - A hook between fork and exec in the worker: it forces `fork`, at a hundredth of the rate of
//!   `posix_spawn` from a large process.
//! - Executing a helper per step: the same guarantees at half the rate.
//! - Forking a monitor per step: to fork it and to let it end takes as long as a small program.
//! - Death signals (`PR_SET_PDEATHSIG`): bound to a thread, lost by `setuid`, and a monitor that is
//!   killed at once cannot sweep. A pipe that breaks has none of these.
//! - Stopping the tree before killing it: no quicker, and no surer, than killing until `ECHILD`.
//!
//! # Deliberately absent
//!
//! - A wall between steps of one user without a sandbox: such a step can signal the worker itself,
//!   and a set-user-id program can refuse the signals of an ordinary user (not those of its control
//!   group). `sandbox` is the answer to both.
//! - Filters of system calls (seccomp): they break programs in ways that their authors cannot see.
//! - Deadlines of steps and grace times: they are decisions of the caller, who asks for a signal, waits, and
//!   asks for [`Process::kill_tree`].
//! - Draining the pipes: [`Process::wait`] never reads them, and they close when the tree is gone. Only
//!   where the worker dies the monitor saves what is in them, if it is told where to ([`Rescue`]).

mod berth;
mod cgroup;
mod child;
mod error;
mod examine;
mod fence;
mod launch;
mod limits;
mod link;
mod monitor;
mod rescue;
mod sandbox;
mod spec;
mod sweep;
mod sys;
mod walls;
mod wire;
mod zygote;

pub use cgroup::{GroundChoice, GroundSettings};
pub use child::{Ended, Exit, Process};
pub use error::{SpawnError, StartError};
pub use examine::{Rung, examine};
pub use fence::{Fence, since_boot};
pub use limits::Limit;
pub use link::Zygote;
pub use nix::sys::signal::Signal;
pub use rescue::Rescue;
pub use sandbox::Sandbox;
pub use spec::{ProcessSpec, Stdin};
pub use walls::{Confinement, Walls};
pub use zygote::run_if_zygote;

pub(super) use sys::take_passed;

/// How many descriptors a process can be given beside its 0, 1 and 2.
pub const PASSED_MAX: usize = 4;
