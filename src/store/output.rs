//! What steps wrote.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use super::batch::int;
use super::error::StoreError;

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
    /// The bytes.
    pub data: Vec<u8>,
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
        let mut connection = self.writer().await?;
        sqlx::query(
            r#"
            -- output/append
            insert into output (operation, step, attempt, seq, at, stream, data)
            select * from unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::timestamptz[],
                $6::smallint[], $7::bytea[])
            on conflict do nothing
            "#,
        )
        .bind(pieces.iter().map(|piece| piece.operation).collect::<Vec<_>>())
        .bind(column(|piece| int(piece.step)))
        .bind(column(|piece| int(piece.attempt)))
        .bind(column(|piece| int(piece.seq)))
        .bind(pieces.iter().map(|piece| piece.at).collect::<Vec<_>>())
        .bind(pieces.iter().map(|piece| piece.stream).collect::<Vec<_>>())
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
}
