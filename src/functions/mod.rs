//! Functions that always come back: with a value, or with what went wrong.
//!
//! # The problem
//!
//! A function of somebody else returns an error, panics, exits, aborts, runs out of memory, never
//! returns, or returns what nobody can read. Whoever called it must get exactly one answer, and in
//! time. Where a function may end the process it runs in, it has to run in one of its own.
//!
//! # The design
//!
//! - An answer is a `Result<T, Exception>`. The system that this surface comes from answers with a
//!   pair `(value, exception)`: `Ok(value)` is `(value, None)` and `Err(exception)` is
//!   `(None, exception)`. The other two pairs mean nothing, so no type should be able to hold them;
//!   and a `Result` must be looked at, can be passed on with `?` and is what Rust code expects.
//! - An [`Exception`] is data: a type for programs and a message for people. It crosses processes,
//!   and is kept with an attempt as it is.
//! - A function that is called in another process has a name ([`Functions`]), because a process that
//!   is executed anew has no closures of its caller. Arguments and result are JSON, so that a jobset
//!   can hold them.
//! - This room knows no process. [`runner::function`](crate::runner::function) starts them.
//!
//! # Rejected
//!
//! - A pair of two `Option`s, for the two of its four values that mean nothing.
//! - To fork and call the function at once, without executing the program again: a process with
//!   several threads cannot go on after a fork, as locks may be held by threads that it lacks. And
//!   what the zygote would fork has not the memory that a closure of the caller points into.
//! - The type of an error as the type of its exception: names of types are for people, change with
//!   compilers, and are lost where errors are boxed. A function that has types to tell says them.
//!
//! # Deliberately absent
//!
//! - Where a panic happened: the message on the standard error, which a step's output has, says it.

mod call;
mod exception;
mod registry;
mod stock;

pub use call::{call_with_result_callback, exception_safe_call, make_exception_safe};
pub use exception::Exception;
pub use registry::Functions;
pub use stock::stock;

pub(crate) use exception::with_causes;
