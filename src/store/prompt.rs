//! What steps ask of people.
//!
//! A prompt is open while it has no reply and its attempt goes on. Both ends of it are decided by one
//! row: of two replies, or of a reply and the end of the attempt, exactly one comes first.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::Store;
use super::batch::int;
use super::error::StoreError;
use super::known::Known;
use crate::domain::Incarnation;

/// A question that a step puts to people.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPrompt {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// Its number within the attempt, from 1.
    pub seq: u32,
    /// Who runs the attempt.
    pub worker: Incarnation,
    /// The name of the step.
    pub step_name: String,
    /// Whether the step itself is done by people; otherwise a running program asks.
    pub is_instruction: bool,
    /// What the program calls it.
    pub own_id: Option<String>,
    /// What is asked or to be done.
    pub text: String,
    /// Who is meant.
    pub who: Option<String>,
    /// A JSON Schema.
    pub schema: Option<Value>,
    /// What the attempt knew when it asked.
    pub stamp: Option<Known>,
}

/// A stored prompt.
#[derive(Clone, Debug, FromRow)]
pub struct PromptView {
    /// The operation.
    pub operation: Uuid,
    /// The id that the client of the operation chose.
    pub alias: Option<String>,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// Its number within the attempt.
    pub seq: i32,
    /// The name of the step.
    pub step_name: String,
    /// 0 an instruction, 1 a prompt of a running program.
    pub kind: i16,
    /// What is asked or to be done.
    pub text: String,
    /// Who is meant.
    pub who: Option<String>,
    /// A JSON Schema.
    pub schema: Option<Value>,
    /// When it was asked.
    pub asked: DateTime<Utc>,
    /// What was replied.
    pub reply: Option<Value>,
    /// When it was replied to.
    pub replied: Option<DateTime<Utc>>,
    /// When its attempt ended.
    pub closed: Option<DateTime<Utc>>,
    /// What the attempt knew when it asked.
    pub stamp: Option<Known>,
    /// What who replied knew.
    pub reply_stamp: Option<Known>,
}

/// Names a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptKey {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// Its number within the attempt.
    pub seq: i32,
}

/// Where a page of prompts begins: behind the one with this time and this key.
pub type PromptPlace = (DateTime<Utc>, Uuid, i32, i32, i32);

/// Which prompts are asked for.
#[derive(Clone, Debug, Default)]
pub struct PromptsAsked {
    /// Those of one operation.
    pub operation: Option<Uuid>,
    /// Those that are meant for somebody.
    pub who: Option<String>,
    /// Also those that are not open any more.
    pub all: bool,
    /// Behind which one to begin.
    pub after: Option<PromptPlace>,
    /// How many at the most.
    pub limit: i64,
}

/// A reply that a worker has to pass on.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct ReplyView {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// The number of the prompt within the attempt.
    pub seq: i32,
    /// What the program calls the prompt.
    pub own_id: Option<String>,
    /// `{status, value?, comment?}`.
    pub reply: Value,
    /// What who replied knew.
    pub reply_stamp: Option<Known>,
}

const COLUMNS: &str = "operation, step, attempt, seq, step_name, kind, text, who, schema, asked, \
                       reply, replied, closed, stamp, reply_stamp, \
                       (select o.alias from operation o where o.id = prompt.operation) as alias";

impl Store {
    /// Stores a prompt. `false`: the worker's incarnation is over, so nothing was stored. Storing it again
    /// changes nothing.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn ask(&self, prompt: &NewPrompt) -> Result<bool, StoreError> {
        // The lock keeps the incarnation from being ended in between: who ends it closes the prompts.
        Ok(sqlx::query_scalar(
            r#"
            -- prompt/ask
            with holder as materialized (
                select id from worker where id = $5 and over is null for share
            ), asked as (
                insert into prompt (operation, step, attempt, seq, worker, step_name, kind, own_id,
                    text, who, schema, stamp)
                select $1, $2, $3, $4, holder.id, $6, $7, $8, $9, $10, $11, $12 from holder
                on conflict do nothing
            )
            select exists (select from holder)
            "#,
        )
        .bind(prompt.operation)
        .bind(int(prompt.step))
        .bind(int(prompt.attempt))
        .bind(int(prompt.seq))
        .bind(prompt.worker)
        .bind(&prompt.step_name)
        .bind(i16::from(!prompt.is_instruction))
        .bind(&prompt.own_id)
        .bind(&prompt.text)
        .bind(&prompt.who)
        .bind(prompt.schema.as_ref().map(Json))
        .bind(&prompt.stamp)
        .fetch_one(&self.read)
        .await?)
    }

    /// Replies to an open prompt, by who knew that much. `None`: it is not open, or not there.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn reply(
        &self,
        key: PromptKey,
        reply: &Value,
        known: Option<&Known>,
    ) -> Result<Option<PromptView>, StoreError> {
        let query = format!(
            r#"
            -- prompt/reply
            update prompt
            set reply = $5, replied = clock_timestamp(), reply_stamp = $6
            where operation = $1 and step = $2 and attempt = $3 and seq = $4
                and reply is null and closed is null
            returning {COLUMNS}
            "#
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key.operation)
            .bind(key.step)
            .bind(key.attempt)
            .bind(key.seq)
            .bind(Json(reply))
            .bind(known)
            .fetch_optional(&self.read)
            .await?)
    }

    /// One prompt.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn prompt(&self, key: PromptKey) -> Result<Option<PromptView>, StoreError> {
        let query = format!(
            r#"
            -- prompt/read
            select {COLUMNS}
            from prompt
            where operation = $1 and step = $2 and attempt = $3 and seq = $4
            "#
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(key.operation)
            .bind(key.step)
            .bind(key.attempt)
            .bind(key.seq)
            .fetch_optional(&self.read)
            .await?)
    }

    /// A page of prompts, oldest first.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn prompts(&self, asked: &PromptsAsked) -> Result<Vec<PromptView>, StoreError> {
        let mut query = QueryBuilder::new("-- prompt/list\nselect ");
        query.push(COLUMNS).push(" from prompt where ");
        query.push(if asked.all { "true" } else { "reply is null and closed is null" });
        if let Some(operation) = asked.operation {
            query.push(" and operation = ").push_bind(operation);
        }
        if let Some(who) = &asked.who {
            query.push(" and who = ").push_bind(who);
        }
        if let Some((at, operation, step, attempt, seq)) = asked.after {
            query.push(" and (asked, operation, step, attempt, seq) > (").push_bind(at);
            query.push(", ").push_bind(operation).push(", ").push_bind(step);
            query.push(", ").push_bind(attempt).push(", ").push_bind(seq).push(")");
        }
        query.push(" order by asked, operation, step, attempt, seq limit ").push_bind(asked.limit);
        Ok(query.build_query_as().fetch_all(&self.read).await?)
    }

    /// The replies that a worker has not passed on yet.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn replies(&self, worker: Incarnation) -> Result<Vec<ReplyView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- prompt/replies
            select operation, step, attempt, seq, own_id, reply, reply_stamp
            from prompt
            where worker = $1 and heard is null and closed is null and reply is not null
            order by replied
            "#,
        )
        .bind(worker)
        .fetch_all(&self.read)
        .await?)
    }

    /// Notes that a step was given a reply.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn heard(&self, key: PromptKey) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- prompt/heard
            update prompt
            set heard = clock_timestamp()
            where operation = $1 and step = $2 and attempt = $3 and seq = $4 and heard is null
            "#,
        )
        .bind(key.operation)
        .bind(key.step)
        .bind(key.attempt)
        .bind(key.seq)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// The reply to an instruction of an earlier attempt that nobody took: its worker was lost, and
    /// no attempt has ended since.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn reply_before(
        &self,
        operation: Uuid,
        step: u32,
        attempt: u32,
    ) -> Result<Option<ReplyView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- prompt/reply_before
            select p.operation, p.step, p.attempt, p.seq, p.own_id, p.reply, p.reply_stamp
            from prompt p
            where p.operation = $1 and p.step = $2 and p.attempt < $3 and p.kind = 0
                and p.reply is not null
                and not exists (
                    select from attempt a
                    where a.operation = $1 and a.step = $2 and a.attempt >= p.attempt)
            order by p.attempt desc
            limit 1
            "#,
        )
        .bind(operation)
        .bind(int(step))
        .bind(int(attempt))
        .fetch_optional(&self.read)
        .await?)
    }

    /// Closes the prompts of an attempt that ends; answers the replies that came before.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn close_prompts(
        &self,
        operation: Uuid,
        step: u32,
        attempt: u32,
    ) -> Result<Vec<ReplyView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- prompt/close
            with ended as (
                update prompt
                set closed = coalesce(closed, clock_timestamp())
                where operation = $1 and step = $2 and attempt = $3
                returning operation, step, attempt, seq, own_id, reply, reply_stamp
            )
            select * from ended where reply is not null order by seq
            "#,
        )
        .bind(operation)
        .bind(int(step))
        .bind(int(attempt))
        .fetch_all(&self.read)
        .await?)
    }

    /// Closes the prompts of a worker whose incarnation is over.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn close_prompts_of(&self, worker: Incarnation) -> Result<u64, StoreError> {
        let closed = sqlx::query(
            r#"
            -- prompt/close_of
            update prompt
            set closed = clock_timestamp()
            where worker = $1 and heard is null and closed is null
            "#,
        )
        .bind(worker)
        .execute(&self.read)
        .await?;
        Ok(closed.rows_affected())
    }
}
