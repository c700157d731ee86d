//! The statements of a pass. It waits for nothing but its turn: rows that a batch has locked are passed
//! over, and the batch makes them due anew.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{AdmissionState, rate};
use crate::domain::admission::Rate;
use crate::store::{Store, StoreError};

/// A row that has to be looked at.
#[derive(Clone, Debug)]
pub struct DueAdmission {
    /// The operation.
    pub operation: Uuid,
    /// Its concurrency key.
    pub key: Option<String>,
    /// The key of its rate limit.
    pub rate_key: Option<String>,
    /// How far it has come.
    pub state: AdmissionState,
    /// Whether it is cancelled rather than that it waits.
    pub gives_way: bool,
    /// Whether others pass it by.
    pub paused: bool,
    /// When something was decided on it last.
    pub decided: DateTime<Utc>,
    /// The operation for which it is cancelled.
    pub loses_to: Option<Uuid>,
}

#[derive(FromRow)]
struct DueRow {
    operation: Uuid,
    key: Option<String>,
    rate_key: Option<String>,
    state: i16,
    gives_way: bool,
    paused: bool,
    decided: DateTime<Utc>,
    loses_to: Option<Uuid>,
}

/// One that waits for a place.
#[derive(Clone, Debug, FromRow)]
pub struct InLine {
    /// The operation.
    pub operation: Uuid,
    /// Its concurrency key.
    pub key: String,
    /// How many may have places, as it sees it.
    pub places: i32,
    /// The key of its rate limit.
    pub rate_key: Option<String>,
    /// How many have places.
    pub held: i64,
    /// The oldest of those.
    pub holder: Option<Uuid>,
}

/// One that waits for its turn under a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTurn {
    /// The operation.
    pub operation: Uuid,
    /// The key of its rate limit.
    pub key: String,
    /// How many may be admitted in which time, as it sees it.
    pub rate: Rate,
}

/// What was found out about a rate limit.
#[derive(Clone, Debug)]
pub struct RateChange {
    /// Its key.
    pub key: String,
    /// How many were admitted by this pass.
    pub admitted: usize,
    /// The largest limit among those that were looked at, and the longest time.
    pub most: Rate,
    /// When the first in line may be admitted; `None` if none waits.
    pub next: Option<DateTime<Utc>>,
}

/// What is decided on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The operation.
    pub operation: Uuid,
    /// How far it has come.
    pub state: AdmissionState,
    /// The operation for which it is cancelled.
    pub loses_to: Option<Uuid>,
    /// Whether it has to be told.
    pub is_due: bool,
}

impl Store {
    /// Waits until no other pass runs, and answers the time. Ends a pass whose server stops half way.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn begin_admission(
        &self,
        connection: &mut PgConnection,
    ) -> Result<DateTime<Utc>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- admission/begin
            with turn as materialized (
                select set_config('idle_in_transaction_session_timeout', '5s', true),
                    pg_advisory_xact_lock(hashtext('sutbot.admission'))
            )
            select clock_timestamp() from turn
            "#,
        )
        .fetch_one(connection)
        .await?)
    }

    /// Up to `limit` rows that have to be looked at; those of operations that have ended are gone
    /// then. What was decided after `told_since` is being told by whoever decided it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn take_due_admissions(
        &self,
        connection: &mut PgConnection,
        told_since: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<DueAdmission>, StoreError> {
        let rows: Vec<DueRow> = sqlx::query_as(
            r#"
            -- admission/take_due
            with due as (
                select * from admission
                where is_due
                    and (state = 3 or state < 2 and loses_to is null or decided < $1)
                order by operation
                limit $2
                for update skip locked
            ), gone as (
                delete from admission a using due d
                where d.state = 3 and a.operation = d.operation
            )
            select operation, key, rate_key, state, coalesce(on_conflict = 2, false) as gives_way,
                paused, decided, loses_to
            from due
            "#,
        )
        .bind(told_since)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        let read = |row: DueRow| {
            let DueRow { operation, key, rate_key, gives_way, paused, decided, loses_to, .. } = row;
            let state = AdmissionState::read(operation, row.state)?;
            Ok(DueAdmission {
                operation,
                key,
                rate_key,
                state,
                gives_way,
                paused,
                decided,
                loses_to,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Of each key the newest operation for which older ones are cancelled needs a place: with those
    /// after it and as many before it as have places beside it, it stays; what is older loses. Answers
    /// who loses to whom, and the key.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn supersede(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        now: DateTime<Utc>,
    ) -> Result<Vec<(Uuid, Uuid, String)>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/supersede
            with winner as (
                select k.key, w.operation, stays.operation as first
                from unnest($1::text[]) as k (key)
                cross join lateral (
                    select a.operation, a.places
                    from admission a
                    where a.key = k.key and a.on_conflict = 1 and a.loses_to is null and a.state < 3
                    order by a.operation desc
                    limit 1
                ) w
                cross join lateral (
                    select a.operation
                    from admission a
                    where a.key = k.key and a.operation <= w.operation and a.loses_to is null
                        and a.state < 3
                    order by a.operation desc
                    offset w.places - 1
                    limit 1
                ) stays
            ), loser as (
                select a.operation, w.operation as winner
                from winner w
                join admission a on a.key = w.key and a.operation < w.first
                where a.loses_to is null and a.state < 3 and a.cancellable
                for update of a skip locked
            )
            update admission a
            set loses_to = l.winner, is_due = true, decided = $2
            from loser l
            where a.operation = l.operation
            returning a.operation, a.loses_to, a.key
            "#,
        )
        .bind(keys)
        .bind(now)
        .fetch_all(connection)
        .await?)
    }

    /// The first `limit` in the line of each key.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn lines(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        limit: usize,
    ) -> Result<Vec<InLine>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/lines
            select a.operation, a.key, a.places, a.rate_key, h.held, h.holder
            from unnest($1::text[]) as k (key)
            cross join lateral (
                select a.operation, a.key, a.places, a.rate_key, a.priority
                from admission a
                where a.key = k.key and a.state = 0 and not a.paused and a.loses_to is null
                order by a.priority desc, a.operation
                limit $2
                for update skip locked
            ) a
            cross join lateral (
                select count(*) as held, (array_agg(h.operation order by h.operation))[1] as holder
                from admission h
                where h.key = k.key and h.state in (1, 2)
            ) h
            order by a.key, a.priority desc, a.operation
            "#,
        )
        .bind(keys)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?)
    }

    /// The rate limits of these keys, and of those whose time has come, with their last admissions.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn rates(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<DateTime<Utc>>)>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- admission/rates
            select k.key, coalesce(r.admitted, '{}')
            from (
                select unnest($1::text[])
                union
                (select key from rate_key where next <= $2 order by next limit $3)
            ) as k (key)
            left join rate_key r on r.key = k.key
            "#,
        )
        .bind(keys)
        .bind(now)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?)
    }

    /// The first `limit` that wait for a turn under each of these rate limits.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn turns(
        &self,
        connection: &mut PgConnection,
        keys: &[&str],
        limit: usize,
    ) -> Result<Vec<InTurn>, StoreError> {
        let rows: Vec<(Uuid, String, i32, i64)> = sqlx::query_as(
            r#"
            -- admission/turns
            select a.operation, a.rate_key, a.rate, a.per
            from unnest($1::text[]) as k (key)
            cross join lateral (
                select a.operation, a.rate_key, a.rate, a.per, a.priority
                from admission a
                where a.rate_key = k.key and a.state = 1 and not a.paused and a.loses_to is null
                order by a.priority desc, a.operation
                limit $2
                for update skip locked
            ) a
            order by a.rate_key, a.priority desc, a.operation
            "#,
        )
        .bind(keys)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
        let read = |(operation, key, limit, per)| InTurn { operation, key, rate: rate(limit, per) };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Stores what was decided on operations.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn store_admissions(
        &self,
        connection: &mut PgConnection,
        decided: &[Decided],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let operations: Vec<Uuid> = decided.iter().map(|one| one.operation).collect();
        let states: Vec<i16> = decided.iter().map(|one| one.state.code()).collect();
        let winners: Vec<Option<Uuid>> = decided.iter().map(|one| one.loses_to).collect();
        let due: Vec<bool> = decided.iter().map(|one| one.is_due).collect();
        sqlx::query(
            r#"
            -- admission/store
            update admission a
            set state = u.state, loses_to = u.loses_to, is_due = u.is_due, decided = $5
            from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::boolean[])
                as u (operation, state, loses_to, is_due)
            where a.operation = u.operation
            "#,
        )
        .bind(operations)
        .bind(states)
        .bind(winners)
        .bind(due)
        .bind(now)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Stores what was found out about rate limits.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn store_rates(
        &self,
        connection: &mut PgConnection,
        changes: &[RateChange],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let admitted: Vec<i32> = changes.iter().map(|change| int(change.admitted)).collect();
        let kept: Vec<i32> = changes.iter().map(|change| int(change.most.limit).max(1)).collect();
        let next: Vec<Option<DateTime<Utc>>> = changes.iter().map(|change| change.next).collect();
        let until = |change: &RateChange| {
            now.checked_add_signed(change.most.per).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        let until: Vec<DateTime<Utc>> = changes.iter().map(until).collect();
        sqlx::query(
            r#"
            -- admission/store_rates
            insert into rate_key as r (key, admitted, kept, next, until)
            select key, array_fill($6::timestamptz, array[admitted]), kept, next, until
            from unnest($1::text[], $2::int[], $3::int[], $4::timestamptz[], $5::timestamptz[])
                as u (key, admitted, kept, next, until)
            on conflict (key) do update
            set admitted = (r.admitted || excluded.admitted)[greatest(1,
                    cardinality(r.admitted) + cardinality(excluded.admitted)
                    - greatest(r.kept, excluded.kept) + 1):],
                kept = greatest(r.kept, excluded.kept),
                next = excluded.next,
                until = greatest(r.until, excluded.until)
            "#,
        )
        .bind(keys)
        .bind(admitted)
        .bind(kept)
        .bind(next)
        .bind(until)
        .bind(now)
        .execute(connection)
        .await?;
        Ok(())
    }
}
