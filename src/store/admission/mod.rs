//! What operations ask before they begin, and what they were granted.
//!
//! A row is written and ended by the statements that store its operation. All else is decided in
//! *passes* ([`pass`]), of which one runs at a time, whatever the number of servers.

mod pass;
mod view;

pub use pass::{Decided, DueAdmission, InLine, InTurn, RateChange};
pub use view::AdmissionView;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Store;
use super::columns::Admissions;
use super::error::StoreError;
use super::view::shown_id;
use crate::domain::Run;
use crate::domain::admission::{Rate, Terms};
use crate::domain::scheduling::OnConflict;

/// What a rule for conflicts is stored as.
const fn code(rule: OnConflict) -> i16 {
    match rule {
        OnConflict::Queue => 0,
        OnConflict::CancelRunning => 1,
        OnConflict::CancelNew => 2,
    }
}

impl Admissions {
    /// Stores what a new operation asks.
    pub(super) fn ask(&mut self, run: &Run, terms: Terms) {
        let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (key, places, rule) = terms.concurrency.map_or((None, None, None), |asked| {
            (Some(asked.key), Some(int(asked.limit)), Some(code(asked.on_conflict)))
        });
        let (rate_key, rate, per) = terms.rate_limit.map_or((None, None, None), |asked| {
            let per = i64::try_from(asked.per.as_micros()).unwrap_or(i64::MAX);
            (Some(asked.key), Some(int(asked.limit)), Some(per.max(1)))
        });
        let (priority, cancellable) = (run.jobset().scheduling.priority, run.jobset().cancellable);
        self.asked.push(run.id(), key, places, rule, rate_key, rate, per, priority, cancellable);
    }
}

/// How far an operation has come with what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdmissionState {
    /// It waits for a place under its concurrency key.
    Waits,
    /// It has its place, if it needs one, and waits for its turn under its rate limit.
    Placed,
    /// It may begin.
    Admitted,
    /// It has ended.
    Ended,
}

impl AdmissionState {
    const ALL: [Self; 4] = [Self::Waits, Self::Placed, Self::Admitted, Self::Ended];

    const fn code(self) -> i16 {
        match self {
            Self::Waits => 0,
            Self::Placed => 1,
            Self::Admitted => 2,
            Self::Ended => 3,
        }
    }

    fn read(operation: Uuid, code: i16) -> Result<Self, StoreError> {
        let state = Self::ALL.into_iter().find(|state| state.code() == code);
        state.ok_or_else(|| StoreError::corrupt("admission", "state", &operation, &code))
    }
}

fn rate(limit: i32, per: i64) -> Rate {
    Rate { limit: usize::try_from(limit).unwrap_or(1), per: TimeDelta::microseconds(per) }
}

impl Store {
    /// Takes note that operations were told what was decided on them at `decided`. One that is being
    /// changed is told once more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn admissions_told(
        &self,
        operations: &[Uuid],
        decided: &[DateTime<Utc>],
    ) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- admission/told
            with told as (
                select a.operation
                from unnest($1::uuid[], $2::timestamptz[]) as u (operation, decided)
                join admission a on a.operation = u.operation
                where a.decided = u.decided and a.state < 3
                for update of a skip locked
            )
            update admission a set is_due = false from told t where a.operation = t.operation
            "#,
        )
        .bind(operations)
        .bind(decided)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// How long a pass has nothing to do; `None` if nothing is due and nobody waits for a time.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn next_admission(
        &self,
        told_within: TimeDelta,
    ) -> Result<Option<Duration>, StoreError> {
        let wait: Option<i64> = sqlx::query_scalar(
            r#"
            -- admission/next
            select case
                when exists (
                    select from admission
                    where is_due
                        and (state = 3 or state < 2 and loses_to is null
                            or decided < clock_timestamp() - $1 * interval '1 microsecond'))
                then 0
                else (
                    select ceil(extract(epoch from min(next) - clock_timestamp()) * 1000000)::bigint
                    from rate_key
                    where next is not null)
            end
            "#,
        )
        .bind(told_within.num_microseconds().unwrap_or(i64::MAX))
        .fetch_one(&self.read)
        .await?;
        Ok(wait.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    }

    /// The ids of operations as clients are shown them.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn shown_ids(
        &self,
        operations: &[Uuid],
    ) -> Result<HashMap<Uuid, String>, StoreError> {
        let rows: Vec<(Uuid, Option<String>)> = sqlx::query_as(
            r#"
            -- admission/shown_ids
            select id, alias from operation where id = any ($1)
            "#,
        )
        .bind(operations)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id, alias)| (id, shown_id(id, alias.as_deref()))).collect())
    }

    /// Forgets up to `limit` rate limits that say nothing any more.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_rates(&self, limit: i64) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- admission/forget_rates
            delete from rate_key
            where key = any (array(
                select key
                from rate_key
                where until < clock_timestamp() and next is null
                order by until
                limit $1
                for update skip locked))
            "#,
        )
        .bind(limit)
        .execute(&self.write)
        .await?;
        Ok(())
    }
}
