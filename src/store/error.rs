//! What can go wrong between this process and the database.

use std::fmt;

use sqlx::migrate::MigrateError;
use thiserror::Error;

use super::connect::WriteBar;
use crate::odata::ErrorKind;

/// Why a store command did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or refused to serve; worth another try later.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// The database takes no writes; worth another try later.
    #[error("the database takes no writes: {0}")]
    ReadOnly(WriteBar),
    /// Another writer changed a row in between: load it again and decide again.
    #[error("another writer was faster")]
    Conflict(#[source] sqlx::Error),
    /// A worker that was to get attempts has no lease any more: decide again without it.
    #[error("a worker has lost its lease")]
    LeaseLost(#[source] sqlx::Error),
    /// A row holds something that cannot be. A bug, or a hand in the database.
    #[error("table {table}, column {column}, row {row}: {found}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The key of the row.
        row: String,
        /// What was found there.
        found: String,
    },
    /// The question of a client has no answer: a division by zero, a property that the database does
    /// not know, more time than is granted.
    #[error("{message}")]
    BadExpression {
        /// The class, as for errors that are found before.
        kind: ErrorKind,
        /// A sentence for a person.
        message: String,
        /// What the database said, if it was asked.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// The database refused a statement: a bug.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema of the database could not be brought up to date")]
    Migrate(#[source] MigrateError),
}

/// Raised by the function `require_rows` of the schema.
const LOST_RACE: &str = "SB001";
/// Raised by the function `require_leases` of the schema.
const LOST_LEASE: &str = "SB002";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
const UNIQUE_VIOLATION: &str = "23505";
const READ_ONLY_TRANSACTION: &str = "25006";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Whether somebody else stored the same key of a client: that can be decided again. A row of any
/// other table that is there already is a bug.
fn is_about_keys(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::table) == Some("idempotency_key")
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code =
            error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned));
        match code.as_deref() {
            Some(LOST_RACE | SERIALIZATION_FAILURE | DEADLOCK) => Self::Conflict(error),
            Some(LOST_LEASE) => Self::LeaseLost(error),
            Some(UNIQUE_VIOLATION) if is_about_keys(&error) => Self::Conflict(error),
            Some(READ_ONLY_TRANSACTION) => Self::ReadOnly(WriteBar::Unknown),
            Some(INSUFFICIENT_PRIVILEGE) => Self::ReadOnly(WriteBar::Role),
            // Classes: connection exception, insufficient resources, operator intervention, system
            // error.
            Some(code) if ["08", "53", "57", "58"].contains(&&code[..2.min(code.len())]) => {
                Self::Unavailable(error)
            }
            Some(_) => Self::Refused(error),
            None => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                other => Self::Refused(other),
            },
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                match Self::from(error) {
                    Self::Refused(error) => Self::Migrate(MigrateError::Execute(error)),
                    other => other,
                }
            }
            other => Self::Migrate(other),
        }
    }
}

impl StoreError {
    /// An error of a statement that carries an expression of a client.
    pub(super) fn of_question(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let (kind, message) = match code.as_deref().unwrap_or_default() {
            "22012" => (ErrorKind::DivisionByZero, "division by zero"),
            "22003" | "22008" | "22015" => {
                (ErrorKind::OutOfRange, "a result is out of the range of its type")
            }
            "2201B" => (ErrorKind::Argument, "the pattern is too complex"),
            "22P02" | "22007" | "22021" => {
                (ErrorKind::Argument, "a value does not have the form of its type")
            }
            "57014" => (ErrorKind::Limit, "the answer takes too long; ask for less"),
            code if code.starts_with("54") => (ErrorKind::Limit, "the question is too complex"),
            _ => return error.into(),
        };
        Self::BadExpression { kind, message: message.to_owned(), source: Some(error) }
    }

    /// A row that cannot be.
    pub(super) fn corrupt(
        table: &'static str,
        column: &'static str,
        row: &dyn fmt::Display,
        found: &dyn fmt::Display,
    ) -> Self {
        Self::Corrupt { table, column, row: row.to_string(), found: found.to_string() }
    }
}
