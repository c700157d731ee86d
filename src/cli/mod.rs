//! The command line.
//!
//! Each command is a file with its arguments and its function. What a command prints for people
//! goes to stdout as text; with `--json` everything on stdout is JSON: one document, or one line
//! per event where the command follows something. Logs and errors go to stderr, and an error is on
//! stdout too with `--json`, in the envelope of the API.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | it was done; for `run` and `op watch`: the operation succeeded |
//! | 1 | the operation ended without success; for `interactive`: a line of a script failed |
//! | 2 | the input was rejected: a bad flag, an unreadable file, a jobset that is not valid |
//! | 3 | it could not be done: no server, no database, no such operation |
//! | 130 | interrupted by Ctrl-C |

mod args;
mod backup;
mod causality;
mod check;
mod completions;
mod db;
mod doctor;
mod document;
mod error;
mod follow;
mod host;
mod interactive;
mod limits;
mod logs;
mod op;
mod output;
mod people;
mod retention;
mod run;
mod serve;
mod signals;
mod socket;
mod steer;
mod table;
mod tail;
mod token;
mod why;
mod worker;
mod workers;

use std::process::ExitCode;

use args::{Cli, Command};
use error::CliError;
pub use host::{Host, HostError, HostSettings, TokenRule};
use output::Output;
pub use socket::SocketError;

/// Reads the command line, does what it says and hands back the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let output = Output::new(cli.global.json);
    let outcome = logs::start(&cli).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(dispatch(cli, output));
        // Whoever is interrupted twice does not wait for anything.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| error.report(output))
}

async fn dispatch(cli: Cli, output: Output) -> Result<ExitCode, CliError> {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(&global, args, output).await,
        Command::Check(args) => check::check(&args, output),
        Command::Serve(args) => serve::serve(&global, args, output).await,
        Command::Worker(args) => worker::worker(&global, args, output).await,
        Command::Workers(args) => workers::workers(&global, args, output).await,
        Command::Op(args) => op::op(&global, args, output).await,
        Command::Interactive(args) => interactive::interactive(&global, args, output).await,
        Command::Token(args) => token::token(&global, args, output).await,
        Command::Db(args) => db::db(&global, &args, output).await,
        Command::Backup(args) => backup::backup(&global, &args, output).await,
        Command::Restore(args) => backup::restore(&global, &args, output).await,
        Command::Doctor(args) => doctor::doctor(&global, &args, output).await,
        Command::Completions(args) => completions::completions(&args),
    }
}
