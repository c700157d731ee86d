//! What the causal order is asked with: stamps, the events of attempts, operations that share a
//! resource and what they knew of each other.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::clock::unpack_stamp;
use super::error::StoreError;
use super::operation::state;
use super::read::{EventRow, EventView};
use crate::domain::OperationState;
use crate::itc::Stamp;

/// An operation that shares a resource with another one.
#[derive(Clone, Debug)]
pub struct Sharer {
    /// Its id.
    pub id: Uuid,
    /// The id that its client chose.
    pub alias: Option<String>,
    /// What it runs.
    pub jobset: Uuid,
    /// Its state.
    pub state: OperationState,
    /// When it entered its state.
    pub entered: DateTime<Utc>,
    /// Its labels.
    pub labels: Value,
}

/// Which operations are looked for.
#[derive(Clone, Debug)]
pub struct SharersAsked {
    /// The operation that they share a resource with.
    pub operation: Uuid,
    /// What was made before this moment may have a tie to it.
    pub until: DateTime<Utc>,
    /// What was made between these moments may share a resource without a tie.
    pub moment: (DateTime<Utc>, DateTime<Utc>),
    /// It does if one of these is among its labels: each an object of one label.
    pub labels: Vec<Value>,
    /// How many at the most; the newest ones.
    pub limit: i64,
}

/// All events of `other` up to number `seen` had happened when `operation` was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Tie {
    /// Who knew.
    pub operation: Uuid,
    /// Of whom.
    pub other: Uuid,
    /// Up to where.
    pub seen: i32,
}

#[derive(FromRow)]
struct SharerRow {
    id: Uuid,
    alias: Option<String>,
    jobset: Uuid,
    state: i16,
    entered: DateTime<Utc>,
    labels: Value,
}

#[derive(FromRow)]
struct MoveRow {
    operation: Uuid,
    #[sqlx(flatten)]
    event: EventRow,
}

impl Store {
    /// The stamps of some events, in the order of their numbers; `None` for events from before
    /// stamps, nothing for events that there are not.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn stamps(
        &self,
        operation: Uuid,
        events: &[i32],
    ) -> Result<Vec<(i32, Option<Stamp>)>, StoreError> {
        let rows: Vec<(i32, Option<Vec<u8>>)> = sqlx::query_as(
            r#"
            -- causality/stamps
            select seq, stamp
            from event
            where operation = $1 and seq = any ($2)
            order by seq
            "#,
        )
        .bind(operation)
        .bind(events)
        .fetch_all(&self.read)
        .await?;
        let read = |(seq, stamp): (i32, Option<Vec<u8>>)| {
            let row = format!("{operation}/{seq}");
            let stamp = stamp.map(|bytes| unpack_stamp("event", &row, &bytes)).transpose()?;
            Ok((seq, stamp))
        };
        rows.into_iter().map(read).collect()
    }

    /// The events that tell of attempts, and the submissions: up to `limit` of them, operation by
    /// operation in the order in which these are given.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn attempt_events(
        &self,
        operations: &[Uuid],
        with_stamps: bool,
        limit: i64,
    ) -> Result<Vec<(Uuid, EventView)>, StoreError> {
        let rows: Vec<MoveRow> = sqlx::query_as(
            r#"
            -- causality/attempt_events
            select u.operation, e.seq, e.at, e.kind, e.step, e.attempt, e.action, e.from_state,
                e.to_state, e.state, e.worker, case when $2 then e.stamp end as stamp
            from unnest($1::uuid[]) with ordinality as u (operation, place)
            cross join lateral (
                select *
                from event
                where operation = u.operation and (seq = 1 or kind = 7 or kind = 1 and attempt > 0)
                order by seq
                limit $3) e
            order by u.place, e.seq
            limit $3
            "#,
        )
        .bind(operations)
        .bind(with_stamps)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let read = |row: MoveRow| Ok((row.operation, row.event.into_view(row.operation)?));
        rows.into_iter().map(read).collect()
    }

    /// The operations that share a resource with another one and may have run while it did, the
    /// newest first.
    ///
    /// Those that ran when it was submitted are told by its ties, those that were submitted while it
    /// ran by theirs. Both may be missing for two that were submitted at the same moment: of that
    /// time, labels are looked at.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn sharers(&self, asked: &SharersAsked) -> Result<Vec<Sharer>, StoreError> {
        let rows: Vec<SharerRow> = sqlx::query_as(
            r#"
            -- causality/sharers
            select o.id, o.alias, o.jobset, o.state, o.entered, o.labels
            from (
                select other as id from tie where operation = $1
                union
                select operation from tie
                where other = $1 and operation > $1 and operation < first_id_at($2)
                union
                select l.id
                from unnest($5::jsonb[]) as u (label)
                cross join lateral (
                    select id
                    from operation
                    where labels @> u.label and id >= first_id_at($3) and id < first_id_at($4)
                    order by id desc
                    limit $6 + 1) l) s
            join operation o on o.id = s.id
            where o.id <> $1 and o.labels is not null and o.state <> 11
            order by o.id desc
            limit $6
            "#,
        )
        .bind(asked.operation)
        .bind(asked.until)
        .bind(asked.moment.0)
        .bind(asked.moment.1)
        .bind(&asked.labels)
        .bind(asked.limit)
        .fetch_all(&self.read)
        .await?;
        let read = |row: SharerRow| {
            let SharerRow { id, alias, jobset, entered, labels, .. } = row;
            Ok(Sharer { id, alias, jobset, state: state(id, row.state)?, entered, labels })
        };
        rows.into_iter().map(read).collect()
    }

    /// What an operation knew of others, and they of it.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn ties(&self, operation: Uuid, others: &[Uuid]) -> Result<Vec<Tie>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- causality/ties
            select t.operation, t.other, t.seen
            from unnest($2::uuid[]) as u (other)
            cross join lateral (
                select operation, other, seen from tie where operation = $1 and other = u.other
                union all
                select operation, other, seen from tie where operation = u.other and other = $1) t
            "#,
        )
        .bind(operation)
        .bind(others)
        .fetch_all(&self.read)
        .await?)
    }

    /// Several stored definitions.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn jobsets(&self, ids: &[Uuid]) -> Result<Vec<super::JobsetView>, StoreError> {
        Ok(sqlx::query_as(
            "select id, digest, document from jobset where id = any ($1) order by id",
        )
        .bind(ids)
        .fetch_all(&self.read)
        .await?)
    }
}
