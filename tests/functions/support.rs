//! What the tests share.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::Serialize;
use serde_json::{Value, json};
use sutbot::{Outcome, SubProcessSettings, run_function_as_exception_safe_subprocess};

/// Calls a function in a process of its own and waits for its result.
pub(crate) fn call(name: &str, arguments: &(impl Serialize + ?Sized)) -> Outcome {
    call_with(name, arguments, &SubProcessSettings::default())
}

pub(crate) fn call_with(
    name: &str,
    arguments: &(impl Serialize + ?Sized),
    settings: &SubProcessSettings,
) -> Outcome {
    let (process, results) = run_function_as_exception_safe_subprocess(name, arguments, settings);
    process.join();
    assert!(!process.is_alive());
    results.get().expect("the result is there when the process is gone").clone()
}

/// A short time between SIGTERM and SIGKILL.
pub(crate) fn impatient() -> SubProcessSettings {
    SubProcessSettings { grace: Duration::from_millis(50), ..SubProcessSettings::default() }
}

/// What this program does in the roles of a child: one call, whose result it prints.
pub(crate) fn print_result(name: &str) {
    match call(name, &json!("text")) {
        Ok(value) => println!("value {value}"),
        Err(exception) => println!("exception {exception}"),
    }
}

/// A named pipe that processes hold for writing: it ends when the last of them is dead.
pub(crate) struct Sign {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Sign {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sign");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        Self { _folder: folder, path }
    }

    /// What a function needs to hold it.
    pub(crate) fn argument(&self) -> Value {
        json!(self.path)
    }

    /// Nobody holds it.
    pub(crate) fn assert_dead(&self) {
        // Opened without waiting, it has an end only while nobody writes.
        let mut pipe = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        pipe.as_mut().unwrap().read_to_end(&mut Vec::new()).expect("nobody is alive");
    }

    /// Waits until somebody holds it and has written a line.
    pub(crate) fn wait_for_life(&self) -> Life {
        let mut pipe = BufReader::new(File::open(&self.path).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        Life { pipe }
    }
}

/// Processes that live.
pub(crate) struct Life {
    pipe: BufReader<File>,
}

impl Life {
    /// Waits until all of them are dead.
    pub(crate) fn wait_for_death(mut self) {
        self.pipe.read_to_end(&mut Vec::new()).unwrap();
    }
}
