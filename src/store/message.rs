//! What steps are told while they run, and what they tell.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection, FromRow};
use uuid::Uuid;

use super::Store;
use super::batch::int;
use super::error::StoreError;
use super::known::Known;

/// To a step.
pub const TO_STEP: i16 = 0;
/// From a step.
pub const FROM_STEP: i16 = 1;

/// An attempt of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
}

/// What a step told.
#[derive(Clone, Debug, PartialEq)]
pub struct StepMessage {
    /// Who tells it.
    pub from: AttemptKey,
    /// Its number within the attempt, from 1.
    pub seq: u32,
    /// Any JSON.
    pub body: Value,
    /// What the attempt knew.
    pub stamp: Option<Known>,
}

/// A message that a worker has to pass on.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct DueMessage {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// Its number within the attempt.
    pub seq: i32,
    /// Any JSON.
    #[sqlx(json)]
    pub body: Value,
    /// What the sender knew.
    pub stamp: Option<Known>,
}

/// A stored message.
#[derive(Clone, Debug, FromRow)]
pub struct MessageView {
    /// The number of the attempt.
    pub attempt: i32,
    /// [`TO_STEP`] or [`FROM_STEP`].
    pub direction: i16,
    /// Its number within the attempt and direction.
    pub seq: i32,
    /// When it was stored.
    pub at: DateTime<Utc>,
    /// Any JSON.
    #[sqlx(json)]
    pub body: Value,
    /// When it was written to the stdin of the step.
    pub acknowledged: Option<DateTime<Utc>>,
    /// What the sender knew.
    pub stamp: Option<Known>,
}

/// Where a page of messages begins: behind the one with this attempt, time, direction and number.
pub type MessagePlace = (i32, DateTime<Utc>, i16, i32);

pub(super) fn columns(attempts: &[AttemptKey]) -> (Vec<Uuid>, Vec<i32>, Vec<i32>) {
    let operations = attempts.iter().map(|key| key.operation).collect();
    let steps = attempts.iter().map(|key| int(key.step)).collect();
    (operations, steps, attempts.iter().map(|key| int(key.attempt)).collect())
}

fn encoded(known: Option<&Known>) -> Option<Vec<u8>> {
    known.map(|known| known.stamp().encode())
}

impl Store {
    /// Stores one message, of who knew that much, for each of these attempts of `operation`; answers
    /// its number in each, 0 where there are `limit` messages already.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn tell(
        &self,
        operation: Uuid,
        attempts: &[AttemptKey],
        body: &Value,
        known: Option<&Known>,
        limit: u32,
    ) -> Result<Vec<u32>, StoreError> {
        let (operations, steps, numbers) = columns(attempts);
        let mut connection = self.read.acquire().await?;
        let mut transaction = connection.begin().await?;
        // Numbers are given one sender after the other, so that none is given twice and a later one
        // is never seen before an earlier one.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('sutbot.message', 0) # $1)")
            .bind(operation.as_u64_pair().1.cast_signed())
            .execute(&mut *transaction)
            .await?;
        let told: Vec<(i32, i32)> = sqlx::query_as(
            r#"
            -- message/tell
            insert into message (operation, step, attempt, direction, seq, body, stamp)
            select u.operation, u.step, u.attempt, 0, coalesce(last.seq, 0) + 1, $4, $6
            from unnest($1::uuid[], $2::int[], $3::int[]) as u (operation, step, attempt)
            left join lateral (
                select m.seq
                from message m
                where m.operation = u.operation and m.step = u.step and m.attempt = u.attempt
                    and m.direction = 0
                order by m.seq desc
                limit 1
            ) last on true
            where coalesce(last.seq, 0) < $5
            returning step, seq
            "#,
        )
        .bind(operations)
        .bind(steps)
        .bind(numbers)
        .bind(Json(body))
        .bind(int(limit))
        .bind(known)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let told: HashMap<i32, i32> = told.into_iter().collect();
        let seq = |key: &AttemptKey| {
            told.get(&int(key.step)).and_then(|seq| u32::try_from(*seq).ok()).unwrap_or(0)
        };
        Ok(attempts.iter().map(seq).collect())
    }

    /// Stores what steps told. Storing it again changes nothing.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn append_messages(&self, messages: &[StepMessage]) -> Result<(), StoreError> {
        let keys: Vec<AttemptKey> = messages.iter().map(|message| message.from).collect();
        let (operations, steps, attempts) = columns(&keys);
        sqlx::query(
            r#"
            -- message/append
            insert into message (operation, step, attempt, direction, seq, body, stamp)
            select operation, step, attempt, 1, seq, body, stamp
            from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::jsonb[], $6::bytea[])
                as u (operation, step, attempt, seq, body, stamp)
            on conflict do nothing
            "#,
        )
        .bind(operations)
        .bind(steps)
        .bind(attempts)
        .bind(messages.iter().map(|message| int(message.seq)).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| Json(&message.body)).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| encoded(message.stamp.as_ref())).collect::<Vec<_>>())
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// The messages to these attempts that were not passed on yet, in order, so many of each.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn due_messages(
        &self,
        attempts: &[AttemptKey],
        limit: i64,
    ) -> Result<Vec<DueMessage>, StoreError> {
        let (operations, steps, numbers) = columns(attempts);
        Ok(sqlx::query_as(
            r#"
            -- message/due
            select m.operation, m.step, m.attempt, m.seq, m.body, m.stamp
            from unnest($1::uuid[], $2::int[], $3::int[]) as u (operation, step, attempt)
            cross join lateral (
                select *
                from message m
                where m.operation = u.operation and m.step = u.step and m.attempt = u.attempt
                    and m.direction = 0 and m.acknowledged is null
                order by m.seq
                limit $4
            ) m
            order by m.operation, m.step, m.attempt, m.seq
            "#,
        )
        .bind(operations)
        .bind(steps)
        .bind(numbers)
        .bind(limit)
        .fetch_all(&self.read)
        .await?)
    }

    /// Notes that the messages to an attempt up to number `seq` were written to its stdin.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn acknowledge(&self, to: AttemptKey, seq: i32) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- message/acknowledge
            update message
            set acknowledged = clock_timestamp()
            where operation = $1 and step = $2 and attempt = $3 and seq <= $4 and direction = 0
                and acknowledged is null
            "#,
        )
        .bind(to.operation)
        .bind(int(to.step))
        .bind(int(to.attempt))
        .bind(seq)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// A page of the messages to and from a step, attempt by attempt as they came.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn messages(
        &self,
        operation: Uuid,
        step: i32,
        after: Option<MessagePlace>,
        limit: i64,
    ) -> Result<Vec<MessageView>, StoreError> {
        let (attempt, at, direction, seq) = after.unwrap_or((0, DateTime::<Utc>::UNIX_EPOCH, 0, 0));
        Ok(sqlx::query_as(
            r#"
            -- message/list
            select attempt, direction, seq, at, body, acknowledged, stamp
            from message
            where operation = $1 and step = $2 and (attempt, at, direction, seq) > ($3, $4, $5, $6)
            order by attempt, at, direction, seq
            limit $7
            "#,
        )
        .bind(operation)
        .bind(step)
        .bind(attempt)
        .bind(at)
        .bind(direction)
        .bind(seq)
        .bind(limit)
        .fetch_all(&self.read)
        .await?)
    }
}
