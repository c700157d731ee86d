//! Tokens: who may call the API.
//!
//! Only the hash of a token is stored, and tokens are found by it, so how long a comparison takes tells
//! nothing about a token. They are random and long, so there is nothing to guess that a slow hash would
//! have to protect.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::Store;
use super::error::StoreError;
use super::lease::interval;
use crate::domain::access::Role;

/// The SHA-256 of a secret.
pub type SecretHash = [u8; 32];

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// What its holder is.
    pub role: Role,
    /// What it is found by.
    pub hash: SecretHash,
    /// How long it is good for; `None` for ever.
    pub lifetime: Option<Duration>,
}

/// A stored token.
#[derive(Clone, Debug, FromRow)]
pub struct TokenView {
    /// Names it where the token itself must not be shown.
    pub id: i64,
    /// For people.
    pub name: String,
    #[sqlx(rename = "role")]
    role_code: i16,
    hash: Vec<u8>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// From when on it is refused.
    pub expires: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used: Option<DateTime<Utc>>,
}

impl TokenView {
    /// What its holder is. `None` for a role that this version does not know.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        Role::from_code(self.role_code)
    }

    /// What it is found by.
    #[must_use]
    pub fn hash(&self) -> Option<SecretHash> {
        self.hash.as_slice().try_into().ok()
    }
}

impl Store {
    /// Stores a token and answers its id. `None`: there are `limit` that can be used already.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn add_token(&self, token: &NewToken, limit: i64) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- token/add
            insert into token (name, role, hash, expires)
            select $1, $2, $3, clock_timestamp() + $4
            where (
                select count(*)
                from token
                where revoked is null and coalesce(expires > clock_timestamp(), true)
            ) < $5
            returning id
            "#,
        )
        .bind(&token.name)
        .bind(token.role.code())
        .bind(&token.hash[..])
        .bind(token.lifetime.map(interval))
        .bind(limit)
        .fetch_optional(&self.read)
        .await?)
    }

    /// All tokens, those that are refused too, in the order in which they were made.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, StoreError> {
        Ok(sqlx::query_as("select * from token order by id").fetch_all(&self.read).await?)
    }

    /// The tokens that can be used.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn usable_tokens(&self) -> Result<Vec<TokenView>, StoreError> {
        Ok(sqlx::query_as(
            r#"
            -- token/usable
            select *
            from token
            where revoked is null and coalesce(expires > clock_timestamp(), true)
            "#,
        )
        .fetch_all(&self.read)
        .await?)
    }

    /// Revokes a token. `false`: there is none with that id. Doing it again changes nothing.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn revoke_token(&self, id: i64) -> Result<bool, StoreError> {
        let revoked = sqlx::query(
            "update token set revoked = coalesce(revoked, clock_timestamp()) where id = $1",
        )
        .bind(id)
        .execute(&self.read)
        .await?;
        Ok(revoked.rows_affected() > 0)
    }

    /// Notes that tokens were used just now.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn tokens_used(&self, ids: &[i64]) -> Result<(), StoreError> {
        sqlx::query("update token set last_used = clock_timestamp() where id = any($1)")
            .bind(ids)
            .execute(&self.read)
            .await?;
        Ok(())
    }
}
