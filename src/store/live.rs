//! What followers are shown: one question for everything that is new.

use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::output::OutputView;
use super::read::{EventRow, EventView};

/// An event, with the operation that it is about and what that runs.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The operation.
    pub operation: Uuid,
    /// The id that its client chose.
    pub alias: Option<String>,
    /// The jobset of the operation.
    pub jobset: Uuid,
    /// The event.
    pub event: EventView,
}

/// A place in the output of a step.
#[derive(Clone, Copy, Debug)]
pub struct OutputPlace {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// The number of the piece.
    pub seq: i32,
}

/// A piece of output with its place.
#[derive(Clone, Debug, FromRow)]
pub struct NewOutput {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// The piece.
    #[sqlx(flatten)]
    pub piece: OutputView,
}

impl Store {
    /// The events of each of these operations after a number, in order, up to `limit` of each.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn events_after(
        &self,
        after: &[(Uuid, i32)],
        limit: i64,
    ) -> Result<Vec<NewEvent>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            operation: Uuid,
            alias: Option<String>,
            jobset: Uuid,
            #[sqlx(flatten)]
            event: EventRow,
        }
        let (operations, after): (Vec<Uuid>, Vec<i32>) = after.iter().copied().unzip();
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- live/events_after
            select u.operation, o.alias, o.jobset, e.seq, e.at, e.kind, e.step, e.attempt, e.action,
                e.from_state, e.to_state, e.state, e.worker, e.stamp
            from unnest($1::uuid[], $2::int[]) as u (operation, after)
            join operation o on o.id = u.operation
            cross join lateral (
                select *
                from event
                where event.operation = u.operation and event.seq > u.after
                order by event.seq
                limit $3
            ) e
            order by u.operation, e.seq
            "#,
        )
        .bind(operations)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter()
            .map(|Row { operation, alias, jobset, event }| {
                Ok(NewEvent { operation, alias, jobset, event: event.into_view(operation)? })
            })
            .collect()
    }

    /// The pieces of output of each of these steps after a place, in order, up to `limit` of each.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn output_after(
        &self,
        places: &[OutputPlace],
        limit: i64,
    ) -> Result<Vec<NewOutput>, StoreError> {
        let column = |of: fn(&OutputPlace) -> i32| places.iter().map(of).collect::<Vec<_>>();
        Ok(sqlx::query_as(
            r#"
            -- live/output_after
            select u.operation, u.step, p.attempt, p.seq, p.at, p.stream, p.data
            from unnest($1::uuid[], $2::int[], $3::int[], $4::int[])
                as u (operation, step, attempt, seq)
            cross join lateral (
                select *
                from output
                where output.operation = u.operation and output.step = u.step
                    and (output.attempt, output.seq) > (u.attempt, u.seq)
                order by output.attempt, output.seq
                limit $5
            ) p
            order by u.operation, u.step, p.attempt, p.seq
            "#,
        )
        .bind(places.iter().map(|place| place.operation).collect::<Vec<_>>())
        .bind(column(|place| place.step))
        .bind(column(|place| place.attempt))
        .bind(column(|place| place.seq))
        .bind(limit)
        .fetch_all(&self.read)
        .await?)
    }

    /// The last attempt of a step that began by the event of number `upto`; 0 if none had.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn last_attempt(
        &self,
        operation: Uuid,
        step: i32,
        upto: i32,
    ) -> Result<i32, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- live/last_attempt
            select coalesce(max(attempt), 0)
            from event
            where operation = $1 and kind = 1 and step = $2 and seq <= $3
            "#,
        )
        .bind(operation)
        .bind(step)
        .bind(upto)
        .fetch_one(&self.read)
        .await?)
    }
}
