//! What went wrong in a function, as data.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;

use serde::{Deserialize, Serialize};

/// The longest type in bytes; the rest is cut off.
const KIND_BYTES_MAX: usize = 200;
/// The longest message in bytes; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Why a function has no value: the second half of the pair `(value, exception)`.
///
/// As JSON `{"type": "Panic", "message": "..."}`, which is also the `exception` of an attempt.
///
/// The types that are given here are the constants below; a function gives types of its own by
/// failing with an `Exception`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Exception {
    /// What kind of thing went wrong, as a word for programs.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// What went wrong, for people.
    pub message: String,
}

impl Exception {
    /// The function returned an error. The message is that of the error and of all its causes.
    pub const ERROR: &str = "Error";
    /// The function panicked.
    pub const PANIC: &str = "Panic";
    /// No function is registered by this name.
    pub const UNKNOWN_FUNCTION: &str = "UnknownFunction";
    /// The arguments are not what the function takes.
    pub const BAD_ARGUMENTS: &str = "BadArguments";
    /// The result cannot be written as JSON, or what came in its place is no JSON.
    pub const BAD_RESULT: &str = "BadResult";
    /// The result is larger than the limit.
    pub const RESULT_TOO_LARGE: &str = "ResultTooLarge";
    /// The process of the function exited by itself, or without a result.
    pub const EXIT: &str = "Exit";
    /// A signal killed the process of the function: its own `abort`, an overflown stack, the kernel
    /// that ran out of memory, somebody.
    pub const SIGNAL: &str = "Signal";
    /// The process of the function was ended because its handle was told to, or was dropped.
    pub const TERMINATED: &str = "Terminated";
    /// What watched over the process was killed, so how it ended is unknown. It has ended.
    pub const LOST: &str = "Lost";
    /// The process could not be started.
    pub const NOT_STARTED: &str = "NotStarted";

    /// An exception. Texts of absurd length are cut off, and NUL characters replaced: not everything
    /// that keeps texts can keep those.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut kind = kind.into();
        if kind.len() > KIND_BYTES_MAX || kind.contains('\0') {
            kind = tidied(kind.into_owned(), KIND_BYTES_MAX).into();
        }
        Self { kind, message: tidied(message.into(), MESSAGE_BYTES_MAX) }
    }

    /// An error with all its causes; one that is an exception stays what it is.
    pub(crate) fn of_error(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(exception) => Self::new(exception.kind, exception.message),
            Err(error) => Self::new(Self::ERROR, with_causes(&*error)),
        }
    }

    /// A panic by what it carries.
    pub(super) fn of_panic(payload: Box<dyn Any + Send>) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic with something that is no text".to_owned());
        // Dropping what a panic carries may panic again; leaking it cannot.
        std::mem::forget(payload);
        Self::new(Self::PANIC, message)
    }
}

/// The message of an error, followed by those of its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

fn tidied(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text += "...";
    }
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}
