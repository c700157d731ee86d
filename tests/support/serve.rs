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
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line)?;
    // It stays open: a server that cannot tell where else it listens ends.
    std::mem::forget(stdout);
    if let Some(url) = line.trim().strip_prefix("listening on ") {
        return Ok((child, url.to_owned()));
    }
    child.kill()?;
    let ended = child.wait()?;
    Err(io::Error::other(format!("it said {line:?} and ended: {ended}")))
}
