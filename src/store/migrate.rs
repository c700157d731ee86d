//! Brings the schema up to date.

use std::sync::LazyLock;

use chrono::{Days, NaiveDate};
use sqlx::migrate::Migrator;

use super::Store;
use super::error::StoreError;

/// Its own lock belongs to a session, which poolers share out.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_locking(false);
    migrator
});

/// For how many days ahead partitions are kept ready.
const DAYS_AHEAD: u64 = 2;

impl Store {
    /// Runs the migrations that were not run yet, all or none. Many servers may do so at once: one
    /// after the other.
    ///
    /// # Errors
    /// [`StoreError::Migrate`]; [`StoreError::Unavailable`] when the database cannot be reached;
    /// [`StoreError::ReadOnly`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut transaction = self.read.begin().await?;
        sqlx::query("select pg_advisory_xact_lock(hashtext('sutbot.migrate'))")
            .execute(&mut *transaction)
            .await?;
        // Not `run`: a future that calls that with a connection cannot be sent to another thread.
        MIGRATOR.run_direct(None, &mut *transaction, false).await?;
        transaction.commit().await?;
        self.ensure_partitions().await
    }

    /// Makes the partitions for yesterday (clocks may be set back) up to the days ahead.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn ensure_partitions(&self) -> Result<(), StoreError> {
        let today: NaiveDate = self.now().await?.date_naive();
        sqlx::query("call ensure_partitions($1, $2)")
            .bind(today - Days::new(1))
            .bind(today + Days::new(DAYS_AHEAD))
            .execute(&self.write)
            .await?;
        Ok(())
    }
}
