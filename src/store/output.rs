//! What steps wrote.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::batch::int;
use super::error::StoreError;
use super::message::AttemptKey;

/// A piece of output as it was read from a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPiece {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The order in which pieces were read, over both streams, from 1.
    pub seq: u32,
    /// When it was read.
    pub at: DateTime<Utc>,
    /// 1 stdout, 2 stderr, 0 a remark of the worker.
    pub stream: i16,
    /// Where it begins.
    pub start: OutputStart,
    /// The bytes.
    pub data: Vec<u8>,
}

impl OutputPiece {
    /// Names the attempt.
    #[must_use]
    pub const fn of(&self) -> AttemptKey {
        AttemptKey { operation: self.operation, step: self.step, attempt: self.attempt }
    }
}

/// How many bytes of an attempt's output are before a place: of all of it, and of each stream as it
/// is shown alone. A remark of the worker belongs to both streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputStart {
    /// Of both streams and remarks.
    pub all: u64,
    /// Of stdout and remarks.
    pub stdout: u64,
    /// Of stderr and remarks.
    pub stderr: u64,
}

impl OutputStart {
    /// The place after a piece of `stream` with so many bytes that begins here.
    #[must_use]
    pub const fn after(self, stream: i16, bytes: usize) -> Self {
        let bytes = bytes as u64;
        Self {
            all: self.all + bytes,
            stdout: if stream == 2 { self.stdout } else { self.stdout + bytes },
            stderr: if stream == 1 { self.stderr } else { self.stderr + bytes },
        }
    }
}

/// The output of an attempt, or one stream of it with the remarks of the worker.
#[derive(Clone, Copy, Debug)]
pub struct OutputOf {
    /// The operation.
    pub operation: Uuid,
    /// The number of the step.
    pub step: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// 1 stdout, 2 stderr, both without.
    pub stream: Option<i16>,
}

/// A stored piece of output.
#[derive(Clone, Debug, FromRow)]
pub struct OutputView {
    /// The order in which pieces were read.
    pub seq: i32,
    /// When it was read.
    pub at: DateTime<Utc>,
    /// 1 stdout, 2 stderr, 0 a remark of the worker.
    pub stream: i16,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Store {
    /// Appends pieces. Sending a piece again changes nothing.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn append_output(&self, pieces: &[OutputPiece]) -> Result<(), StoreError> {
        let column = |of: fn(&OutputPiece) -> i32| pieces.iter().map(of).collect::<Vec<_>>();
        let start = |of: fn(OutputStart) -> u64| {
            pieces.iter().map(|piece| long(of(piece.start))).collect::<Vec<_>>()
        };
        let mut connection = self.writer().await?;
        sqlx::query(
            r#"
            -- output/append
            insert into output (operation, step, attempt, seq, at, stream, start, start_stdout,
                start_stderr, data)
            select * from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::timestamptz[],
                $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[])
            on conflict do nothing
            "#,
        )
        .bind(pieces.iter().map(|piece| piece.operation).collect::<Vec<_>>())
        .bind(column(|piece| int(piece.step)))
        .bind(column(|piece| int(piece.attempt)))
        .bind(column(|piece| int(piece.seq)))
        .bind(pieces.iter().map(|piece| piece.at).collect::<Vec<_>>())
        .bind(pieces.iter().map(|piece| piece.stream).collect::<Vec<_>>())
        .bind(start(|start| start.all))
        .bind(start(|start| start.stdout))
        .bind(start(|start| start.stderr))
        .bind(pieces.iter().map(|piece| piece.data.as_slice()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    /// The pieces of an attempt after number `after`, up to `limit`.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn output(
        &self,
        operation: Uuid,
        step: i32,
        attempt: i32,
        after: i32,
        limit: i64,
    ) -> Result<Vec<OutputView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- output/read
            select seq, at, stream, data
            from output
            where operation = $1 and step = $2 and attempt = $3 and seq > $4
            order by seq
            limit $5
            "#,
        )
        .bind(operation)
        .bind(step)
        .bind(attempt)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?)
    }

    /// How many bytes there are by now.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn output_length(&self, of: OutputOf) -> Result<u64, StoreError> {
        let length: i64 = sqlx::query_scalar(
            r#"
            -- output/length
            select coalesce(
                (
                    select case $4 when 1 then start_stdout when 2 then start_stderr else start end
                        + case when stream = 0 or $4 in (0, stream) then length(data) else 0 end
                    from output
                    where operation = $1 and step = $2 and attempt = $3
                    order by seq desc
                    limit 1
                ),
                -- Pieces from before offsets, or none.
                (
                    select sum(length(data))
                    from output
                    where operation = $1 and step = $2 and attempt = $3
                        and (stream = 0 or $4 in (0, stream))
                ),
                0)::bigint
            "#,
        )
        .bind(of.operation)
        .bind(of.step)
        .bind(of.attempt)
        .bind(of.stream.unwrap_or(0))
        .fetch_one(&self.read)
        .await?;
        Ok(u64::try_from(length).unwrap_or(0))
    }

    /// The bytes from number `first` up to and without number `end`, as far as there are any. Costs as
    /// much as there is to read, wherever it begins.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn output_part(
        &self,
        of: OutputOf,
        first: u64,
        end: u64,
    ) -> Result<Vec<u8>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            start: Option<i64>,
            data: Vec<u8>,
        }
        let low = self.output_piece_at(of, first).await?;
        let high = self.output_piece_at(of, end.saturating_sub(1)).await?;
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- output/part
            select case $4 when 1 then start_stdout when 2 then start_stderr else start end as start,
                data
            from output
            where operation = $1 and step = $2 and attempt = $3 and seq >= $5
                and (seq <= $6 or start is null)
                and (stream = 0 or $4 in (0, stream))
            order by seq
            "#,
        )
        .bind(of.operation)
        .bind(of.step)
        .bind(of.attempt)
        .bind(of.stream.unwrap_or(0))
        .bind(low)
        .bind(high)
        .fetch_all(&self.read)
        .await?;
        let mut part = Vec::new();
        let mut at = 0_u64;
        for Row { start, data } in rows {
            // Without offsets the first row is the first piece.
            at = start.and_then(|start| u64::try_from(start).ok()).unwrap_or(at);
            let place =
                |number: u64| usize::try_from(number.saturating_sub(at)).unwrap_or(usize::MAX);
            let (from, to) = (place(first).min(data.len()), place(end).min(data.len()));
            part.extend_from_slice(&data[from..to]);
            at += data.len() as u64;
        }
        Ok(part)
    }

    /// The number of the last piece that begins at `offset` or before it; of the first piece where
    /// there are no offsets.
    ///
    /// Pieces begin in the order of their numbers, so the primary key is searched by halves: a piece
    /// needs no second index, and all three offsets are found in the same way.
    async fn output_piece_at(&self, of: OutputOf, offset: u64) -> Result<i32, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- output/piece_at
            with recursive bounds (low, high) as (
                select 1, coalesce(max(seq), 1)
                from output
                where operation = $1 and step = $2 and attempt = $3
                union all
                select coalesce(middle.seq, low),
                    case when middle.seq is null then (low + high + 1) / 2 - 1 else high end
                from bounds
                left join lateral (
                    select seq, start, start_stdout, start_stderr
                    from output
                    where operation = $1 and step = $2 and attempt = $3
                        and seq between (low + high + 1) / 2 and high
                    order by seq
                    limit 1
                ) middle
                    on case $4 when 1 then start_stdout when 2 then start_stderr else start end <= $5
                where low < high
            )
            select low from bounds where low >= high limit 1
            "#,
        )
        .bind(of.operation)
        .bind(of.step)
        .bind(of.attempt)
        .bind(of.stream.unwrap_or(0))
        .bind(long(offset))
        .fetch_one(&self.read)
        .await?)
    }
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
