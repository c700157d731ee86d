//! What an operation waits for, for people.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::{AdmissionState, rate};
use crate::domain::admission::Rate;
use crate::store::{Store, StoreError};

/// What an operation waits for before it may begin, for people.
#[derive(Clone, Debug)]
pub struct AdmissionView {
    /// How far it has come.
    pub state: AdmissionState,
    /// Its concurrency key and how many may have places.
    pub key: Option<(String, u32)>,
    /// The key of its rate limit, and that.
    pub rate: Option<(String, Rate)>,
    /// How many have places of the concurrency key.
    pub held: u32,
    /// The shown ids of some of them, oldest first.
    pub holders: Vec<String>,
    /// How many stand before it in the line that it waits in, of up to 1,000.
    pub ahead: u32,
    /// The last admissions under the rate limit, oldest first.
    pub admitted: Vec<DateTime<Utc>>,
}

#[derive(FromRow)]
struct ViewRow {
    state: i16,
    key: Option<String>,
    places: Option<i32>,
    rate_key: Option<String>,
    rate: Option<i32>,
    per: Option<i64>,
    held: i64,
    holders: Vec<String>,
    ahead: i64,
    admitted: Vec<DateTime<Utc>>,
}

impl Store {
    /// What an operation waits for before it may begin; `None` if it asks nothing, or has ended.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn admission(&self, operation: Uuid) -> Result<Option<AdmissionView>, StoreError> {
        let row: Option<ViewRow> = sqlx::query_as(
            r#"
            -- admission/view
            select a.state, a.key, a.places, a.rate_key, a.rate, a.per,
                (select count(*) from admission h where h.key = a.key and h.state in (1, 2)) as held,
                array(
                    select coalesce(o.alias, o.id::text)
                    from (
                        select h.operation
                        from admission h
                        where h.key = a.key and h.state in (1, 2)
                        order by h.operation
                        limit 5
                    ) h
                    join operation o on o.id = h.operation
                    order by o.id
                ) as holders,
                case when a.state = 0 then (
                    select count(*) from (
                        select from admission l
                        where l.key = a.key and l.state = 0 and not l.paused and l.loses_to is null
                            and (l.priority > a.priority
                                or l.priority = a.priority and l.operation < a.operation)
                        limit 1000
                    ) l
                ) else (
                    select count(*) from (
                        select from admission l
                        where l.rate_key = a.rate_key and l.state = 1 and not l.paused
                            and l.loses_to is null
                            and (l.priority > a.priority
                                or l.priority = a.priority and l.operation < a.operation)
                        limit 1000
                    ) l
                ) end as ahead,
                coalesce((select r.admitted from rate_key r where r.key = a.rate_key), '{}')
                    as admitted
            from admission a
            where a.operation = $1
            "#,
        )
        .bind(operation)
        .fetch_optional(&self.read)
        .await?;
        let read = |row: ViewRow| {
            let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
            let places = |places: i32| u32::try_from(places).unwrap_or(1);
            Ok(AdmissionView {
                state: AdmissionState::read(operation, row.state)?,
                key: row.key.zip(row.places.map(places)),
                rate: row.rate_key.zip(row.rate.zip(row.per).map(|(limit, per)| rate(limit, per))),
                held: count(row.held),
                holders: row.holders,
                ahead: count(row.ahead),
                admitted: row.admitted,
            })
        };
        row.map(read).transpose()
    }
}
