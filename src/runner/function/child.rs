//! The process of a function: this program, executed again to call one function.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::{ANSWER, ARGUMENTS, Answer, MARK, PROGRAM};
use crate::functions::Functions;
use crate::runner::process::{run_if_zygote, take_passed};

/// The exit code of a process that could not give its answer.
const NO_ANSWER: i32 = 70;

/// Whether this program can be executed again.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether `main` has called [`run_if_child`].
pub(super) fn is_entered() -> bool {
    IS_ENTERED.load(Ordering::Relaxed)
}

/// Makes this process what it was started for, if it was started by this library: a zygote, or the
/// process of one of `functions`. It does not return then.
///
/// To be called first in `main`: the process must still have a single thread.
///
/// ```no_run
/// sutbot::run_if_child(|| sutbot::stock().register("answer", |()| Ok::<_, String>(42)));
/// // From here on this is the program itself.
/// ```
pub fn run_if_child(functions: impl FnOnce() -> Functions) {
    run_if_zygote();
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|program| program == PROGRAM)
        && arguments.next().is_some_and(|mark| mark == MARK)
    {
        let name = arguments.next().unwrap_or_default();
        let code = serve(&functions(), &name.to_string_lossy()).unwrap_or_else(|error| {
            eprintln!("{MARK}: the result cannot be given: {error}");
            NO_ANSWER
        });
        std::process::exit(code);
    }
    IS_ENTERED.store(true, Ordering::Relaxed);
}

/// Calls the function and gives its answer; answers with the exit code that belongs to it.
fn serve(functions: &Functions, name: &str) -> io::Result<i32> {
    // Closed by the end of the process: the function may have closed it before.
    let mut told = ManuallyDrop::new(File::from(take_passed(ANSWER)?));
    let mut arguments = Vec::new();
    File::from(take_passed(ARGUMENTS)?).read_to_end(&mut arguments)?;
    let answer = match functions.call(name, &arguments) {
        Ok(value) => Answer::Value(value),
        Err(exception) => Answer::Exception(exception),
    };
    told.write_all(&serde_json::to_vec(&answer)?)?;
    Ok(answer.exit_code())
}
