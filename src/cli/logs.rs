//! Logs go to stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::args::{Cli, Command};
use super::error::CliError;

/// Starts logging.
///
/// # Errors
/// The filter cannot be read.
pub(super) fn start(cli: &Cli) -> Result<(), CliError> {
    let default = match cli.command {
        Command::Serve(_) | Command::Worker(_) => "info",
        Command::Run(_)
        | Command::Check(_)
        | Command::Workers(_)
        | Command::Op(_)
        | Command::Interactive(_)
        | Command::Token(_)
        | Command::Db(_)
        | Command::Doctor(_)
        | Command::Completions(_) => "warn",
    };
    let text = cli.global.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        CliError::BadSetting(format!("--log: `{text}` is not a filter ({error}); try `info`"))
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if cli.global.json {
        logs.json().init();
    } else {
        logs.with_ansi(io::stderr().is_terminal()).init();
    }
    Ok(())
}
