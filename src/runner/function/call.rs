//! A call of a function in a process of its own: how it gets there, and what its end means.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::functions::Exception;
use crate::runner::process::Exit;

/// The program: this one, also after its file was replaced.
pub(super) const PROGRAM: &str = "/proc/self/exe";
/// The first argument, by which a process knows that it is to call a function.
pub(super) const MARK: &str = "mother-function";
/// The descriptor of the arguments.
pub(super) const ARGUMENTS: i32 = 3;
/// The descriptor of the answer.
pub(super) const ANSWER: i32 = 4;

/// What an answer has beside its value.
const ENVELOPE_BYTES: usize = r#"{"value":}"#.len();
/// The longest answer with an exception, in bytes.
const EXCEPTION_BYTES_MAX: usize = 64 * 1024;

/// What the process answers, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// The function returned.
    Value(Value),
    /// It did not.
    Exception(Exception),
}

impl Answer {
    /// The exit code of the process that gives this answer.
    pub(super) const fn exit_code(&self) -> i32 {
        match self {
            Self::Value(_) => 0,
            Self::Exception(_) => 1,
        }
    }
}

/// A call to be made.
#[derive(Debug)]
pub(in crate::runner) struct Call {
    /// The command.
    pub(in crate::runner) argv: Vec<OsString>,
    /// What is passed to it.
    pub(in crate::runner) passed: Vec<OwnedFd>,
    /// Where its answer comes from.
    pub(in crate::runner) answer: AnswerPipe,
}

impl Call {
    /// Prepares a call. A result may have `result_bytes_max` bytes as JSON.
    pub(in crate::runner) fn new(
        name: &str,
        arguments: &Value,
        result_bytes_max: usize,
    ) -> io::Result<Self> {
        // A file in memory, so that nobody has to write while the process reads.
        let mut file = File::from(memfd_create(c"arguments", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(arguments.to_string().as_bytes())?;
        file.rewind()?;
        let (ours, theirs) = io::pipe()?;
        let pipe = pipe::Receiver::from_owned_fd(ours.into())?;
        Ok(Self {
            argv: [PROGRAM, MARK, name].map(OsString::from).into(),
            passed: vec![file.into(), theirs.into()],
            answer: AnswerPipe { pipe, result_bytes_max },
        })
    }
}

/// The caller's end of the pipe that the answer comes by.
#[derive(Debug)]
pub(in crate::runner) struct AnswerPipe {
    pipe: pipe::Receiver,
    result_bytes_max: usize,
}

/// What came by the pipe.
#[derive(Debug)]
pub(in crate::runner) struct Delivery {
    bytes: Vec<u8>,
    result_bytes_max: usize,
}

impl AnswerPipe {
    /// Reads until the pipe is closed, or more than any answer came: then the writer finds it closed.
    pub(in crate::runner) async fn read(self) -> Delivery {
        let Self { pipe, result_bytes_max } = self;
        let bytes_max = result_bytes_max.max(EXCEPTION_BYTES_MAX) + ENVELOPE_BYTES;
        let mut bytes = Vec::new();
        // What could not be read is missed as the rest of an answer.
        let _ = pipe.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await;
        Delivery { bytes, result_bytes_max }
    }
}

impl Delivery {
    /// What the end of the process and its answer mean together. The end is the authority: an answer
    /// counts only from a process that ended as one does that gave it.
    pub(in crate::runner) fn judge(self, status: Exit) -> Result<Value, Exception> {
        let code = match status {
            Exit::Code(code) => code,
            Exit::Signal(number) => return Err(signalled(number)),
            Exit::Lost => {
                let message = "what watched over the function's process was killed, so how it \
                               ended is unknown; everything it started was killed";
                return Err(Exception::new(Exception::LOST, message));
            }
        };
        if self.bytes.is_empty() {
            let message = format!("the function's process exited with code {code} and no result");
            return Err(Exception::new(Exception::EXIT, message));
        }
        let most = self.result_bytes_max;
        let is_too_large = self.bytes.len() > most + ENVELOPE_BYTES;
        let too_large = || {
            let message = format!("the result has more than {most} bytes as JSON");
            Err(Exception::new(Exception::RESULT_TOO_LARGE, message))
        };
        match serde_json::from_slice::<Answer>(&self.bytes) {
            Ok(answer) if answer.exit_code() != code => {
                let message = format!("the function's process exited with code {code}");
                Err(Exception::new(Exception::EXIT, message))
            }
            Ok(Answer::Value(_)) | Err(_) if is_too_large => too_large(),
            Ok(Answer::Value(value)) => Ok(value),
            Ok(Answer::Exception(exception)) => {
                Err(Exception::new(exception.kind, exception.message))
            }
            Err(error) => {
                let message = format!("what came as the result cannot be read: {error}");
                Err(Exception::new(Exception::BAD_RESULT, message))
            }
        }
    }
}

fn signalled(number: i32) -> Exception {
    let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
    let perhaps = if number == libc::SIGKILL { "; a host out of memory does this too" } else { "" };
    let message = format!("the function's process ended by signal {number} ({name}){perhaps}");
    Exception::new(Exception::SIGNAL, message)
}
