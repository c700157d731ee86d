//! Why a command failed, and how that is told.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use thiserror::Error;

use super::HostError;
use super::output::Output;
use crate::client::ClientError;
use crate::domain::Problem;
use crate::engine::StoreError;
use crate::postgres::{ClusterError, FetchError};
use crate::wire::{Detail, ErrorBody, ErrorEnvelope};

/// The input was rejected.
pub(super) const REJECTED: u8 = 2;
/// It could not be done.
pub(super) const NOT_POSSIBLE: u8 = 3;
/// What shells report for a program that Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 130;

const ALARM: Style = AnsiColor::Red.on_default().bold();

/// Why a command failed.
#[derive(Debug, Error)]
pub(super) enum CliError {
    #[error("{}", lines(.file, .problems))]
    Invalid { file: String, problems: Vec<Problem> },
    #[error("cannot read {file}")]
    Unreadable { file: String, source: io::Error },
    #[error("{0}")]
    BadSetting(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    #[error("there is no private PostgreSQL in {0} yet: `mother serve` or `mother run` makes one")]
    NoCluster(String),
    #[error("the server ended before the operation did; nothing is lost: start `mother serve`")]
    HostEnded,
    #[error("interrupted")]
    Interrupted,
    #[error("cannot write or wait for signals")]
    Io(#[from] io::Error),
}

impl CliError {
    /// Tells the error on stderr, and on stdout with `--json`.
    pub(super) fn report(&self, output: Output) -> ExitCode {
        if matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read the output has seen enough.
            return ExitCode::SUCCESS;
        }
        let mut text = match self {
            Self::Invalid { .. } | Self::Interrupted => self.to_string(),
            other => format!("{ALARM}error:{ALARM:#} {other}"),
        };
        let causes = std::iter::successors(self.source(), |error| (*error).source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        if !causes.is_empty() {
            text = format!("{text}\n  because: {}", causes.join(": "));
        }
        let said = output
            .complain(&text)
            .and_then(|()| if output.is_json() { output.json(&self.envelope()) } else { Ok(()) });
        // There is nobody left to tell that telling failed.
        _ = said;
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid { .. }
            | Self::Unreadable { .. }
            | Self::BadSetting(_)
            | Self::Client(ClientError::BadAddress { .. } | ClientError::BadKey { .. }) => REJECTED,
            Self::Client(error) if error.is_rejection() => REJECTED,
            Self::Interrupted => INTERRUPTED,
            Self::Client(_)
            | Self::Cluster(_)
            | Self::Fetch(_)
            | Self::Host(_)
            | Self::Store(_)
            | Self::NoCluster(_)
            | Self::HostEnded
            | Self::Io(_) => NOT_POSSIBLE,
        }
    }

    fn envelope(&self) -> ErrorEnvelope {
        if let Self::Client(ClientError::Refused(_, envelope)) = self {
            return ErrorEnvelope::clone(envelope);
        }
        let (code, target, details) = match self {
            Self::Invalid { file, problems } => {
                ("InvalidJobset", Some(file.clone()), details("InvalidValue", problems))
            }
            Self::Unreadable { file, .. } => ("UnreadableFile", Some(file.clone()), Vec::new()),
            Self::BadSetting(_) => ("BadSetting", None, Vec::new()),
            Self::Client(_) | Self::HostEnded => ("Unreachable", None, Vec::new()),
            Self::Cluster(_)
            | Self::Fetch(_)
            | Self::Host(_)
            | Self::Store(_)
            | Self::NoCluster(_) => ("CannotStart", None, Vec::new()),
            Self::Interrupted => ("Interrupted", None, Vec::new()),
            Self::Io(_) => ("InputOutput", None, Vec::new()),
        };
        let message = self.to_string();
        ErrorEnvelope { error: ErrorBody { code: code.to_owned(), message, target, details } }
    }
}

/// Problems as the details of an envelope.
pub(super) fn details(code: &str, problems: &[Problem]) -> Vec<Detail> {
    let detail = |problem: &Problem| Detail {
        code: code.to_owned(),
        message: problem.message.clone(),
        target: (!problem.path.is_empty()).then(|| problem.path.clone()),
    };
    problems.iter().map(detail).collect()
}

/// `FILE: path: message`, a line per problem.
pub(super) fn lines(file: &str, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.path.as_str() {
        "" => format!("{file}: {}", problem.message),
        path => format!("{file}: {path}: {}", problem.message),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
