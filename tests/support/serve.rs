//! Servers as users start them.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Starts a server and waits until it listens; answers it and the base of its URLs.
///
/// # Errors
/// When it cannot be started, or ends before it listens.
pub(crate) fn listening(command: &mut Command) -> io::Result<(Child, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line)?;
    if let Some(url) = line.trim().strip_prefix("listening on ") {
        return Ok((child, url.to_owned()));
    }
    child.kill()?;
    let ended = child.wait()?;
    Err(io::Error::other(format!("it said {line:?} and ended: {ended}")))
}
