//! What clients called their submissions.
//!
//! A key is stored by the statement that stores its operation, so there is never one without the
//! other, and of two that race for a key the later one fails on the primary key and decides again.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Store;
use super::error::StoreError;

/// Which header a key came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `Operation-Id`: also the id that the operation shows.
    OperationId,
    /// `Repeatability-Request-ID`.
    RequestId,
    /// `Idempotency-Key`.
    IdempotencyKey,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::OperationId, Self::RequestId, Self::IdempotencyKey];

    const fn code(self) -> i16 {
        match self {
            Self::OperationId => 0,
            Self::RequestId => 1,
            Self::IdempotencyKey => 2,
        }
    }

    fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What a client called a submission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubmissionKey {
    /// Where it said so.
    pub kind: KeyKind,
    /// The key.
    pub text: String,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The operation that was made.
    pub operation: Uuid,
    /// When, as it was told.
    pub at: DateTime<Utc>,
    /// SHA-256 of what was asked for.
    pub digest: [u8; 32],
}

/// The id that the service itself gave, if `text` is one: a UUID of version 7 in its one spelling.
/// Anything else can only be an alias.
#[must_use]
pub fn own_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.get_version_num() == 7 && id.to_string() == text).then_some(id)
}

/// Keys, column by column, as a batch stores them.
#[derive(Debug, Default)]
pub(super) struct NewKeys {
    pub(super) kind: Vec<i16>,
    pub(super) text: Vec<String>,
    pub(super) digest: Vec<Vec<u8>>,
    pub(super) operation: Vec<Uuid>,
    pub(super) at: Vec<DateTime<Utc>>,
}

impl NewKeys {
    pub(super) fn push(&mut self, key: &SubmissionKey, known: &KnownKey) {
        self.kind.push(key.kind.code());
        self.text.push(key.text.clone());
        self.digest.push(known.digest.to_vec());
        self.operation.push(known.operation);
        self.at.push(known.at);
    }
}

impl Store {
    /// What these keys stand for; those that are free are left out.
    ///
    /// Keys from before `expired`, and aliases of operations that are gone, are free again and
    /// forgotten on the way.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a row that cannot be; otherwise as for any statement.
    pub async fn known_keys<'a>(
        &self,
        connection: &mut PgConnection,
        keys: impl Iterator<Item = &'a SubmissionKey>,
        expired: DateTime<Utc>,
    ) -> Result<HashMap<SubmissionKey, KnownKey>, StoreError> {
        type Row = (i16, String, Uuid, DateTime<Utc>, Vec<u8>);
        let (kinds, texts): (Vec<i16>, Vec<&str>) =
            keys.map(|key| (key.kind.code(), key.text.as_str())).unzip();
        let rows: Vec<Row> = sqlx::query_as(
            r#"
            -- idempotency/known_keys
            with asked as materialized (
                select k.kind, k.key, k.operation, k.at, k.digest,
                    case when k.kind = 0
                        then not exists (select from operation o where o.id = k.operation)
                        else k.at < $3
                    end as is_free
                from unnest($1::smallint[], $2::text[]) as u (kind, key)
                join idempotency_key k on k.kind = u.kind and k.key = u.key
            ), freed as (
                delete from idempotency_key k
                using asked a
                where a.is_free and k.kind = a.kind and k.key = a.key and k.operation = a.operation
            )
            select kind, key, operation, at, digest from asked where not is_free
            "#,
        )
        .bind(kinds)
        .bind(texts)
        .bind(expired)
        .fetch_all(connection)
        .await?;
        rows.into_iter().map(read).collect()
    }

    /// The operation that a client gave this id.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn operation_called(&self, alias: &str) -> Result<Option<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- idempotency/operation_called
            select operation from idempotency_key where kind = 0 and key = $1
            "#,
        )
        .bind(alias)
        .fetch_optional(&self.read)
        .await?)
    }

    /// Forgets up to `limit` keys from before `expired`; answers how many there were. Aliases stay.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_keys(&self, expired: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
        let forgotten = sqlx::query(
            r#"
            -- idempotency/forget_keys
            delete from idempotency_key
            where ctid = any (array(
                select ctid
                from idempotency_key
                where kind > 0 and at < $1
                order by at
                limit $2
                for update skip locked))
            "#,
        )
        .bind(expired)
        .bind(limit)
        .execute(&self.write)
        .await?;
        Ok(forgotten.rows_affected())
    }

    /// Forgets up to `limit` aliases of operations that are older than all that are there. One
    /// that is left over is forgotten when somebody asks for it.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn forget_aliases(&self, limit: i64) -> Result<u64, StoreError> {
        let forgotten = sqlx::query(
            r#"
            -- idempotency/forget_aliases
            delete from idempotency_key
            where ctid = any (array(
                select ctid
                from idempotency_key
                where kind = 0
                    and operation < (select id from operation order by id limit 1)
                order by operation
                limit $1
                for update skip locked))
            "#,
        )
        .bind(limit)
        .execute(&self.write)
        .await?;
        Ok(forgotten.rows_affected())
    }
}

fn read(
    (kind, text, operation, at, digest): (i16, String, Uuid, DateTime<Utc>, Vec<u8>),
) -> Result<(SubmissionKey, KnownKey), StoreError> {
    let corrupt = |column, found: &dyn std::fmt::Display| {
        StoreError::corrupt("idempotency_key", column, &text, found)
    };
    let kind = KeyKind::from_code(kind).ok_or_else(|| corrupt("kind", &kind))?;
    let digest = digest.try_into().map_err(|bytes: Vec<u8>| corrupt("digest", &bytes.len()))?;
    Ok((SubmissionKey { kind, text }, KnownKey { operation, at, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_of_version_7_is_an_own_id() {
        let own = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";
        assert_eq!(own_id(own).map(|id| id.to_string()).as_deref(), Some(own));
        for other in [
            "019A2B3C-4D5E-7F60-8A9B-0C1D2E3F4A5B",
            "019a2b3c4d5e7f608a9b0c1d2e3f4a5b",
            "019a2b3c-4d5e-4f60-8a9b-0c1d2e3f4a5b",
            "my-op-1",
            "",
        ] {
            assert_eq!(own_id(other), None, "{other}");
        }
    }
}
