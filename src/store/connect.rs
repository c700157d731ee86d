//! How this process gets to its database: directly or through a pooler, and whether it may write.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};

use super::Store;
use super::error::StoreError;
use super::pool::Pool;

/// How long a first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A setting of a session that nobody else makes.
const MARK: (&str, &str) = ("mother.is_direct", "on");

/// Whether a pooler stands between this process and the database. It does if what a session was
/// opened with does not arrive, be it refused or passed over. One that keeps a session per client
/// is taken for one that does not: polling is right for it as well.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database cannot be reached, [`StoreError::Refused`] when it
/// refuses to be used.
pub(super) async fn is_pooled(options: &PgConnectOptions) -> Result<bool, StoreError> {
    let mut connection = match connect(&options.clone().options([MARK])).await {
        // It does not take such settings, or whatever is wrong is wrong without them too.
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "store.connect.refused");
            let plain = options.clone().extra_float_digits(None);
            return Ok(connect(&plain).await.map(|_| true)?);
        }
        other => other?,
    };
    let asked = sqlx::raw_sql("select current_setting('mother.is_direct', true)");
    let row = connection.fetch_one(asked).await?;
    let mark: Option<String> = row.try_get(0)?;
    _ = connection.close().await;
    Ok(mark.as_deref() != Some(MARK.1))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Why the database takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteBar {
    /// It repeats what another one does.
    #[error("it is a standby, which only repeats what its primary does: name the primary")]
    Standby,
    /// `default_transaction_read_only` is on.
    #[error(
        "`default_transaction_read_only` is on for it, this role or this database: turn that off, or \
         name another role"
    )]
    ReadOnly,
    /// It did not say why.
    #[error("it is read-only, or became a standby")]
    Unknown,
    /// The role lacks the right.
    #[error(
        "this role may not write: name one that owns the database, or grant it the right to create \
         and change tables"
    )]
    Role,
}

/// What keeps `pool` from writing, by its own account.
pub(super) async fn bar(pool: &Pool) -> Result<Option<WriteBar>, StoreError> {
    let (is_standby, is_read_only): (bool, bool) = sqlx::query_as(
        r#"
        -- connect/bar
        select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean
        "#,
    )
    .fetch_one(pool)
    .await?;
    Ok(match (is_standby, is_read_only) {
        (true, _) => Some(WriteBar::Standby),
        (false, true) => Some(WriteBar::ReadOnly),
        (false, false) => None,
    })
}

impl Store {
    /// Says whether the database takes writes. If it does not, or has not until now, the connections
    /// are made afresh: the address may lead to another one by then.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] if it does not; otherwise as for any statement.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        match bar(&self.read).await? {
            None => Ok(()),
            Some(bar) => {
                self.trust.end();
                Err(StoreError::ReadOnly(bar))
            }
        }
    }

    /// Whether a pooler stands between this process and the database, so that nothing is heard and
    /// each statement is a transaction.
    #[must_use]
    pub const fn is_pooled(&self) -> bool {
        self.read.is_pooled()
    }
}
