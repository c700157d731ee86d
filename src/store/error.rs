//! What can go wrong between this process and the database.

use std::fmt;

use thiserror::Error;

/// Why a store command did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or refused to serve; worth another try later.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// Another writer changed a row in between: load it again and decide again.
    #[error("another writer was faster")]
    Conflict(#[source] sqlx::Error),
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
    /// The database refused a statement: a bug.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema of the database could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// Raised by the function `require_rows` of the schema.
const LOST_RACE: &str = "SB001";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code =
            error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned));
        match code.as_deref() {
            Some(LOST_RACE | SERIALIZATION_FAILURE | DEADLOCK) => Self::Conflict(error),
            // Classes: connection exception, insufficient resources, operator intervention, system
            // error. 25006: the server became a read-only standby.
            Some(code)
                if ["08", "53", "57", "58"].contains(&&code[..2.min(code.len())])
                    || code == "25006" =>
            {
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

impl StoreError {
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
