//! What is common to the command lines of all commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use nix::unistd::{Uid, User, gethostname};
use serde_json::Value;

use super::check::CheckArgs;
use super::completions::CompletionsArgs;
use super::db::DbArgs;
use super::doctor::DoctorArgs;
use super::error::CliError;
use super::interactive::InteractiveArgs;
use super::op::OpArgs;
use super::run::RunArgs;
use super::serve::ServeArgs;
use super::token::TokenArgs;
use super::worker::WorkerCommandArgs;
use super::workers::WorkersArgs;
use crate::client::{Client, Token};
use crate::postgres;
use crate::wire::graph::Format;

/// The server that is meant where none is named.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

const AFTER_HELP: &str = "\
Start here:
  mother run FILE        runs a jobset with everything that it needs; no set-up
  mother serve           serves the API on http://127.0.0.1:8080, with its reference at /docs
  mother COMMAND --help  more about a command

Exit codes:
  0    done; for `run` and `op watch`: the operation succeeded
  1    the operation ended without success; for `interactive`: a line of a script failed
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

impl Cli {
    /// The command line of this process; one that is wrong ends it with the reason.
    pub(super) fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.global.address_flags = AddressFlags::of(&matches);
        cli
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a jobset and follow it to its end
    Run(RunArgs),
    /// Say everything that is wrong with jobset files, without running them
    Check(CheckArgs),
    /// Serve the API, with a worker in the same process
    Serve(ServeArgs),
    /// Run steps for a server, from this machine
    ///
    /// With --server or --socket it talks to that server. Without, it works for all servers on the
    /// same database.
    Worker(WorkerCommandArgs),
    /// List the workers, or tell one to take nothing new
    Workers(WorkersArgs),
    /// Look at operations, watch them, steer them, cancel them
    Op(OpArgs),
    /// Steer an operation from a prompt that shows live what happens
    Interactive(InteractiveArgs),
    /// Make, list and revoke the tokens that let clients and workers in
    ///
    /// Works on the database itself, like a server on it: whoever can read that needs no token, so
    /// this makes the first one too.
    Token(TokenArgs),
    /// The private PostgreSQL that is used when no database is given
    Db(DbArgs),
    /// Try what this host offers to contain steps with, and say what is missing
    ///
    /// Each part is tried for real. The exit code is 0 when steps can run at all, whatever else is
    /// missing, and 3 when they cannot.
    Doctor(DoctorArgs),
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
    /// The Unix socket to ask in place of a URL; for `serve`: to listen on
    #[arg(long, global = true, value_name = "PATH", env = "MOTHER_SOCKET", hide_env_values = true)]
    socket: Option<OsString>,
    /// A token for the server; other users of this machine see it here, so better in the variable
    /// or a file
    #[arg(long, global = true, env = "MOTHER_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// A file with the token
    #[arg(long, global = true, value_name = "FILE", env = "MOTHER_TOKEN_FILE")]
    #[arg(hide_env_values = true)]
    token_file: Option<PathBuf>,
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
    #[arg(skip)]
    address_flags: AddressFlags,
}

/// Which addresses stand on the command line: those go before the ones of the environment.
#[derive(Clone, Copy, Debug, Default)]
struct AddressFlags {
    server: bool,
    socket: bool,
}

impl AddressFlags {
    fn of(matches: &ArgMatches) -> Self {
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        Self { server: is_flag("server"), socket: is_flag("socket") }
    }
}

/// The address of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Address<'a> {
    Url(&'a str),
    Socket(&'a Path),
}

impl Global {
    /// A client of the server that was named, if one was.
    pub(super) fn named_client(&self) -> Result<Option<Client>, CliError> {
        self.address()?.map(|address| self.client_of(address)).transpose()
    }

    /// A client of the server that was named, or of the one on this machine.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        self.client_of(self.address()?.unwrap_or(Address::Url(DEFAULT_SERVER)))
    }

    fn client_of(&self, address: Address<'_>) -> Result<Client, CliError> {
        let token = self.token()?;
        let client = match address {
            Address::Url(url) => Client::new(url, token)?,
            Address::Socket(path) => Client::over_socket(path, token)?,
        };
        Ok(match person() {
            Some(person) => client.acting_for(&person),
            None => client,
        })
    }

    /// The token that was given, if one was.
    fn token(&self) -> Result<Option<Token>, CliError> {
        let given = self.token.clone().filter(|token| !token.is_empty());
        let file = self.token_file.as_deref().filter(|file| !file.as_os_str().is_empty());
        match (given, file) {
            (Some(_), Some(_)) => Err(CliError::BadSetting(
                "a token and a file with one are given (--token or MOTHER_TOKEN, --token-file or \
                 MOTHER_TOKEN_FILE); give one"
                    .to_owned(),
            )),
            (Some(token), None) => Ok(Some(token)),
            (None, Some(file)) => {
                let unreadable =
                    |source| CliError::Unreadable { file: file.display().to_string(), source };
                let text = std::fs::read_to_string(file).map_err(unreadable)?;
                Ok(Some(Token::from(text.trim())))
            }
            // The name that programs know which steps start.
            (None, None) => Ok(std::env::var("SUT_TOKEN")
                .ok()
                .filter(|text| !text.is_empty())
                .map(|text| Token::from(text.as_str()))),
        }
    }

    /// Where the server is that was named.
    fn address(&self) -> Result<Option<Address<'_>>, CliError> {
        let url = given(self.server.as_deref());
        let AddressFlags { server, socket } = self.address_flags;
        match (url, self.socket()) {
            (Some(_), Some(_)) if server == socket => Err(CliError::BadSetting(
                "a URL and a socket are given (--server or MOTHER_SERVER, --socket or \
                 MOTHER_SOCKET); name one server"
                    .to_owned(),
            )),
            (Some(url), Some(_)) if server => Ok(Some(Address::Url(url))),
            (_, Some(path)) => Ok(Some(Address::Socket(path))),
            (url, None) => Ok(url.map(Address::Url)),
        }
    }

    /// The socket that was named, if one was.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// The database that was named, if one was.
    pub(super) fn database_url(&self) -> Option<&str> {
        given(self.database_url.as_deref())
    }

    /// The folder of PostgreSQL's programs, if it was named.
    pub(super) fn pg_bin(&self) -> Option<PathBuf> {
        self.pg_bin.clone()
    }

    /// The private database.
    pub(super) fn cluster_settings(&self) -> postgres::Settings {
        postgres::Settings { bin_dir: self.pg_bin(), ..postgres::Settings::new(self.data_dir()) }
    }

    /// The folder of the private database.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(postgres::default_data_dir)
    }
}

/// `KEY=VALUE` of a command line.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

/// What a graph is written in.
pub(super) fn graph_format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

/// JSON, or text where it is none.
pub(super) fn json_or_text(value: String) -> Value {
    serde_json::from_str(&value).unwrap_or(Value::String(value))
}

/// An empty variable of the environment is as good as none.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Who calls, as `name@host`, where that can be told in a header.
fn person() -> Option<String> {
    let user = User::from_uid(Uid::current()).ok().flatten()?.name;
    let host = gethostname().ok()?.into_string().ok()?;
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && c != '@');
    (is_plain(&user) && is_plain(&host)).then(|| format!("{user}@{host}"))
}
