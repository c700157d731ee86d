//! A database that was made from a copy.

use super::Store;
use super::error::StoreError;

impl Store {
    /// Whether the database has nothing of ours yet, nor of anybody else in our schema.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- anew/is_empty
            select not exists (
                select from pg_class
                where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p'))
            "#,
        )
        .fetch_one(&self.read)
        .await?)
    }

    /// Makes a database from a copy fit to go on: the workers and the duties that it tells of belong
    /// to another time, so their leases are over, and the planner gets its figures.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn begin_anew(&self) -> Result<(), StoreError> {
        let mut transaction = self.write.begin().await?;
        for statement in [
            "set local statement_timeout = 0",
            "update worker set lease_until = '-infinity'",
            "update lease set until = '-infinity'",
            "analyze",
        ] {
            sqlx::raw_sql(statement).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}
