//! Functions in processes of their own: contained, and with exactly one answer.
//!
//! # The design
//!
//! ```text
//! program ── zygote ── monitor ── program mother-function NAME      3: arguments, 4: answer
//! ```
//!
//! - The process is this same program, executed again by the zygote: it has the same functions, and
//!   it finds the one that is meant by its name. So `main` has to call [`run_if_child`] first.
//! - It is a process like that of any step: when it has ended, nothing that it started is left, and
//!   when this program dies, so does it ([`process`](super::process)).
//! - The arguments lie in a file in memory, the answer comes by a pipe. Both are private, and the
//!   function's own children do not get them: what the function prints is output and nothing else.
//! - The wait status is the authority. An answer counts when the process has ended as one does that
//!   gave it; everything else is an [`Exception`](crate::Exception) whose type says what happened.
//!   The pipe is read all the time, so a large result keeps nobody waiting, and not beyond the limit.
//! - There is one answer per call, kept where everybody can look again ([`ResultQueue`]). A call has
//!   a place of its own for it, so a second start cannot give the answer of the first.
//!
//! # Rejected
//!
//! - A message that says "done" while the process goes on: what a process does after its answer is
//!   not contained by anybody who believes the answer. `is_alive` is false and the result is there at
//!   the same moment, when the last process is gone.
//! - A start that ends the call before it: it would throw away work that somebody may wait for. It
//!   is refused, and who means it calls `terminate` first.
//!
//! # What it asks of a program
//!
//! That `main` begins with [`run_if_child`], and what every [`Zygote`](super::process::Zygote) asks:
//! the first call makes the program a subreaper, and it must not start sessions of its own, because a
//! zygote that was killed leaves it to the program to find what was in its care.
//!
//! # Deliberately absent
//!
//! - A time limit: wait with one's own patience, then `terminate`.

mod background;
mod call;
mod child;
mod handle;
mod subprocess;

pub use child::run_if_child;
pub use handle::{ExceptionSafeSubProcessFunction, HandleError};
pub use subprocess::{
    FunctionProcess, Outcome, ResultQueue, SubProcessSettings,
    run_function_as_exception_safe_subprocess,
};

pub(super) use call::{AnswerPipe, Call, Delivery};
