//! Runs the helper programs of PostgreSQL: `initdb`, `pg_ctl`, single-user mode.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio::io::AsyncWriteExt;

use super::error::ClusterError;

/// Runs a helper program to its end and hands back its standard output.
///
/// # Errors
/// It could not be started, or ended with anything but success; with what it said.
pub(super) async fn run(command: Command, input: &str) -> Result<String, ClusterError> {
    let program = PathBuf::from(command.get_program());
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(ClusterError::io("run", &program))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails before it reads breaks the pipe; its own words say more than that.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(ClusterError::io("wait for", &program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ClusterError::Tool { program, status: output.status, output: said })
}
