//! Brings the schema up to date.

use chrono::{Days, NaiveDate};
use sqlx::migrate::Migrator;

use super::Store;
use super::error::StoreError;

static MIGRATOR: Migrator = sqlx::migrate!();

/// For how many days ahead partitions are kept ready.
const DAYS_AHEAD: u64 = 2;

impl Store {
    /// Runs the migrations that were not run yet. Many servers may do so at once: the migrator holds
    /// an advisory lock.
    ///
    /// # Errors
    /// [`StoreError::Migrate`]; [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Connects first, so that an unreachable database is told as such.
        drop(self.read.acquire().await?);
        MIGRATOR.run(&self.read).await.map_err(StoreError::Migrate)?;
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
