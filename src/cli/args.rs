//! What is common to the command lines of all commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::check::CheckArgs;
use super::completions::CompletionsArgs;
use super::db::DbArgs;
use super::error::CliError;
use super::op::OpArgs;
use super::run::RunArgs;
use super::serve::{ServeArgs, WorkerArgs};
use crate::client::Client;
use crate::postgres;

/// The server that is meant where none is named.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

const AFTER_HELP: &str = "\
Start here:
  mother run FILE        runs a jobset with everything that it needs; no set-up
  mother serve           serves the API on http://127.0.0.1:8080, with its reference at /docs
  mother COMMAND --help  more about a command

Exit codes:
  0    done; for `run` and `op watch`: the operation succeeded
  1    the operation ended without success
  2    rejected: a bad flag, an unreadable file, a jobset that is not valid
  3    not possible: no server, no database, no such operation
  130  interrupted";

/// Runs sets of steps that test a system, concurrently, and repair it when a test fails
#[derive(Debug, Parser)]
#[command(name = "mother", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a jobset and follow it to its end
    Run(RunArgs),
    /// Say everything that is wrong with jobset files, without running them
    Check(CheckArgs),
    /// Serve the API, with a worker in the same process
    Serve(ServeArgs),
    /// Run steps for the servers on the same database
    Worker(WorkerArgs),
    /// Look at operations, watch them, cancel them
    Op(OpArgs),
    /// The private PostgreSQL that is used when no database is given
    Db(DbArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
}

/// The flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Print JSON on stdout
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The server to ask [default: port 8080 of this machine; `run` starts one of its own]
    #[arg(long, global = true, value_name = "URL", env = "MOTHER_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// A bearer token for the server
    #[arg(long, global = true, env = "MOTHER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The folder of the private PostgreSQL [default: `mother` in the user's data folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MOTHER_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
    /// A PostgreSQL to use instead of a private one
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The folder of PostgreSQL's programs [default: found in PATH and the usual places]
    #[arg(long, global = true, value_name = "DIR", env = "MOTHER_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// What to log on stderr: `info`, `debug`, `sutbot::engine=trace`... [default: warn; info for
    /// `serve` and `worker`]
    #[arg(long, global = true, value_name = "FILTER", env = "MOTHER_LOG", hide_env_values = true)]
    pub(super) log: Option<String>,
}

impl Global {
    /// A client of the server that was named, if one was.
    pub(super) fn named_client(&self) -> Result<Option<Client>, CliError> {
        given(self.server.as_deref()).map(|server| self.client_of(server)).transpose()
    }

    /// A client of the server that was named, or of the one on this machine.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        self.client_of(given(self.server.as_deref()).unwrap_or(DEFAULT_SERVER))
    }

    fn client_of(&self, server: &str) -> Result<Client, CliError> {
        Ok(Client::new(server, given(self.token.as_deref()).map(str::to_owned))?)
    }

    /// The database that was named, if one was.
    pub(super) fn database_url(&self) -> Option<&str> {
        given(self.database_url.as_deref())
    }

    /// The folder of PostgreSQL's programs, if it was named.
    pub(super) fn pg_bin(&self) -> Option<PathBuf> {
        self.pg_bin.clone()
    }

    /// The folder of the private database.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(postgres::default_data_dir)
    }
}

/// An empty variable of the environment is as good as none.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
