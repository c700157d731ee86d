//! SUT Bot runs *jobsets*: sets of steps that test a system under test concurrently and repair it
//! when a test fails. `mother` is its one binary: a REST service that follows the long-running-
//! operations guidelines, workers that run the steps in processes that can always be contained, and
//! PostgreSQL that keeps everything.
//!
//! # Rooms
//!
//! Each module is a room with one job; its documentation opens with the design and what was rejected.
//! `tests/layering.rs` holds which room may name which.
//!
//! | room | what lives there |
//! |---|---|
//! | [`domain`] | pure: machine, guards, jobset, run, decisions, roll-up |
//! | [`itc`] | pure: interval tree clocks, which tell what knew of what |
//! | [`odata`] | pure: the query language, its check and its evaluation in memory |
//! | [`wire`] | the shapes of the API and their conversion to and from the domain |
//! | [`store`] | the only SQL |
//! | [`postgres`] | finds or starts the private PostgreSQL |
//! | [`engine`] | load, decide, store, in batches |
//! | [`functions`] | calls that always come back: with a value or with what went wrong |
//! | [`runner`] | the only place that starts step processes |
//! | [`remote`] | a worker's way to a server on another machine |
//! | [`api`] | the HTTP surface |
//! | [`client`] | a typed client of it |
//! | [`cli`] | the command line, and all rooms put together |
//!
//! # Functions in processes of their own
//!
//! The crate is a library too. A program that calls [`run_if_child`] first in its `main` can call its
//! own functions in contained processes: by hand ([`ExceptionSafeSubProcessFunction`]), and as steps
//! of jobsets (`"run": {"function": {"name": ..., "arguments": ...}}`) where it works for a
//! [`Host`](cli::Host). `examples/functions.rs` is a small one.
//!
//! # Invariants
//!
//! 1. Decisions are pure: [`domain`] gets data and returns data. No clock, no I/O, no chance in it.
//! 2. Only [`store`] knows SQL, only [`api`] and [`wire`] know HTTP and JSON shapes, only [`runner`]
//!    starts step processes.
//! 3. A transition is one compare-and-set on the operation's version in one transaction with its
//!    events; side effects happen only after that commit. Of two racing commands one wins, the other
//!    decides again or is refused with the reason.
//! 4. Every write by a worker carries its incarnation and attempt number. A stale one changes nothing
//!    and is reported as stale.
//! 5. A `202` is sent only after the operation is durable. Nothing acknowledged is ever lost.
//! 6. The batch is the unit: every hot command takes many items and costs one transaction of a
//!    constant number of statements. Concurrent single requests are joined without added delay.
//! 7. The database's clock decides leases, due times and timestamps; workers use monotonic time with
//!    a margin.
//! 8. Notify to be quick, poll to be right.
//! 9. The cost of one transition depends on the step's neighbours, not on the size of the operation.
//!    State in memory is a cache.
//! 10. Safe by default: the API listens on loopback only, and asks for tokens where others reach it.
//! 11. Everything has a limit that is configured, documented and answered with a clear error.

pub mod api;
pub mod cli;
pub mod client;
pub mod domain;
pub mod engine;
pub mod functions;
pub mod itc;
pub mod odata;
pub mod postgres;
pub mod remote;
pub mod runner;
pub mod store;
pub mod wire;

pub use functions::{
    Exception, Functions, call_with_result_callback, exception_safe_call, make_exception_safe,
    stock,
};
pub use runner::function::{
    ExceptionSafeSubProcessFunction, FunctionProcess, HandleError, Outcome, ResultQueue,
    SubProcessSettings, run_function_as_exception_safe_subprocess, run_if_child,
};
