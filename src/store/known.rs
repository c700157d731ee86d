//! What somebody knew: the stamps of messages, prompts and replies.

use std::fmt;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};
use uuid::Uuid;

use super::Store;
use super::clock::NODES_MAX;
use super::error::StoreError;
use crate::itc::Stamp;

/// What somebody knew of an operation: a stamp that owns nothing ([`Stamp::peek`]), as columns have
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known(Stamp);

impl Known {
    /// What the owner of a stamp knows.
    #[must_use]
    pub fn of(stamp: &Stamp) -> Self {
        Self(stamp.peek())
    }

    /// The stamp, which owns nothing.
    #[must_use]
    pub const fn stamp(&self) -> &Stamp {
        &self.0
    }

    /// What one of both knew.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        // Stamps that own nothing cannot own the same.
        self.0.join(&other.0).map_or_else(|_| self.clone(), Self)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Type<Postgres> for Known {
    fn type_info() -> PgTypeInfo {
        <Vec<u8> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Known {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Vec<u8> as Encode<'_, Postgres>>::encode_by_ref(&self.0.encode(), buffer)
    }
}

impl Decode<'_, Postgres> for Known {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let bytes = <&[u8] as Decode<'_, Postgres>>::decode(value)?;
        Ok(Self::of(&Stamp::decode(bytes, NODES_MAX)?))
    }
}

impl Store {
    /// What is known by who has seen event `seq` of an operation. `None`: there is no such event, or
    /// it has no stamp.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn known_at(&self, operation: Uuid, seq: i32) -> Result<Option<Known>, StoreError> {
        let stamp: Option<Option<Known>> = sqlx::query_scalar(
            r#"
            -- known/at
            select stamp from event where operation = $1 and seq = $2
            "#,
        )
        .bind(operation)
        .bind(seq)
        .fetch_optional(&self.read)
        .await?;
        Ok(stamp.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_knew_is_known_and_nothing_is_owned() {
        let (ours, theirs) = Stamp::seed().fork().unwrap();
        let (ours, theirs) = (ours.event().unwrap(), theirs.event().unwrap());
        let both = Known::of(&ours).and(&Known::of(&theirs));
        assert!(ours.happened_before(both.stamp()) && theirs.happened_before(both.stamp()));
        assert_eq!(both.to_string(), "(0,1)");
        assert_eq!(both.and(&Known::of(&ours)), both);
    }
}
