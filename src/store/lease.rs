//! Duties that one process at a time has.

use std::time::Duration;

use sqlx::FromRow;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;

/// How a duty stands after it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tenure {
    /// Whether who asked has it.
    pub is_held: bool,
    /// How long whoever has it keeps it without a renewal.
    pub left: Duration,
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

impl Store {
    /// Takes a duty that nobody has, or renews it, by the clock of the database.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn take_lease(
        &self,
        name: &str,
        holder: Uuid,
        lease: Duration,
    ) -> Result<Tenure, StoreError> {
        #[derive(FromRow)]
        struct Row {
            is_held: bool,
            left: f64,
        }
        let row: Row = sqlx::query_as(
            r#"
            -- lease/take
            with taken as (
                insert into lease as l (name, holder, until)
                values ($1, $2, clock_timestamp() + $3)
                on conflict (name) do update
                set holder = excluded.holder, until = excluded.until
                where l.holder = excluded.holder or l.until <= clock_timestamp()
                returning until
            ), had as (
                select until from taken
                union all
                select until from lease where name = $1 and not exists (select from taken)
            )
            select exists (select from taken) as is_held,
                coalesce((select greatest(extract(epoch from until - clock_timestamp()), 0)
                          from had where until > '-infinity'), 0)::float8 as left
            "#,
        )
        .bind(name)
        .bind(holder)
        .bind(interval(lease))
        .fetch_one(&self.read)
        .await?;
        Ok(Tenure { is_held: row.is_held, left: Duration::from_secs_f64(row.left) })
    }

    /// Gives a duty back, so that another process need not wait for its lease to run out.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn give_lease_back(&self, name: &str, holder: Uuid) -> Result<(), StoreError> {
        sqlx::query("update lease set until = '-infinity' where name = $1 and holder = $2")
            .bind(name)
            .bind(holder)
            .execute(&self.read)
            .await?;
        Ok(())
    }
}
