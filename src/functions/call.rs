//! Calls that always come back.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Exception;

/// Calls a function and never unwinds: an error and a panic both come back as an [`Exception`].
///
/// `Ok` is the pair `(value, None)` of the original, `Err` its `(None, exception)`. The error may be
/// any error, a text, or an `Exception` with a type of its own.
///
/// As after [`std::thread::JoinHandle::join`], data that the function was changing when it panicked
/// may be left half changed. A program that is built with `panic = "abort"` ends at a panic: there a
/// function is only safe in a process of its own.
///
/// # Errors
/// The exception.
///
/// ```
/// use sutbot::{Exception, exception_safe_call};
///
/// assert_eq!(exception_safe_call(|| "42".parse::<i32>()), Ok(42));
///
/// let exception = exception_safe_call(|| "x".parse::<i32>()).unwrap_err();
/// assert_eq!(exception.kind, Exception::ERROR);
///
/// let exception = exception_safe_call(|| -> Result<i32, String> { panic!("boom") }).unwrap_err();
/// assert_eq!(exception, Exception::new(Exception::PANIC, "boom"));
/// ```
pub fn exception_safe_call<T, E>(function: impl FnOnce() -> Result<T, E>) -> Result<T, Exception>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // The error is read in here too: its texts are somebody else's code and may panic.
    let call = || function().map_err(|error| Exception::of_error(error.into()));
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(Exception::of_panic(payload)))
}

/// Wraps a function so that each call of it is an [`exception_safe_call`]. Several arguments are
/// given as a tuple.
///
/// ```
/// let divide = |(a, b): (i32, i32)| Ok::<_, std::convert::Infallible>(a / b);
/// let divide = sutbot::make_exception_safe(divide);
/// assert_eq!(divide((6, 3)), Ok(2));
/// assert_eq!(divide((6, 0)).unwrap_err().message, "attempt to divide by zero");
/// assert_eq!(divide((6, 2)), Ok(3));
/// ```
pub fn make_exception_safe<A, T, E>(
    function: impl Fn(A) -> Result<T, E>,
) -> impl Fn(A) -> Result<T, Exception>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    move |arguments| exception_safe_call(|| function(arguments))
}

/// Calls a function and gives what it returns to `callback`.
///
/// Nothing is caught here. With an [`exception_safe_call`] for the function the callback is called in
/// any case:
///
/// ```
/// use sutbot::{call_with_result_callback, exception_safe_call};
///
/// let mut results = Vec::new();
/// call_with_result_callback(
///     || exception_safe_call(|| "x".parse::<i32>()),
///     |result| results.push(result),
/// );
/// assert!(results[0].is_err());
/// ```
pub fn call_with_result_callback<T>(function: impl FnOnce() -> T, callback: impl FnOnce(T)) {
    callback(function());
}
