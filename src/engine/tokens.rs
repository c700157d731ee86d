//! Who may call: bearer tokens.
//!
//! Every request asks, so the answer comes from memory: all tokens that can be used, read anew at most
//! every [`TOKENS_FRESH`]. A token that is revoked is refused by all servers after that time. A token
//! that is not known is looked for, because it may be new; a flood of wrong ones waits, and causes no
//! more than one question to the database per [`ASK_AGAIN`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::crypto::ring;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::error::EngineError;
use super::{Engine, Shared, lock};
use crate::domain::access::Role;
use crate::store::{NewToken, SecretHash, Store, StoreError};

/// How long what was read of tokens is believed.
pub const TOKENS_FRESH: Duration = Duration::from_secs(2);
/// Tokens that can be used at once, at the most: all of them are kept in memory.
pub const TOKENS_MAX: u32 = 1_000;
/// The shortest time between two questions for tokens that are not known.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How exactly it is noted when a token was used last.
const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// So many random characters of [`ALPHABET`] have 190 bits.
const SECRET_LENGTH: usize = 32;

/// A text that must not be known to others: a token, or what a remote worker proves with who it is.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new one that nobody can guess.
    #[must_use]
    pub fn random(prefix: &str) -> Self {
        let random = ring::default_provider().secure_random;
        let mut text = prefix.to_owned();
        let end = text.len() + SECRET_LENGTH;
        while text.len() < end {
            let mut bytes = [0; SECRET_LENGTH];
            random.fill(&mut bytes).expect("the operating system has random numbers");
            // The bytes above the last multiple of 62 would make some characters more likely.
            let fair = bytes.iter().filter(|byte| usize::from(**byte) < 4 * ALPHABET.len());
            let characters =
                fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            let missing = end - text.len();
            text.extend(characters.take(missing));
        }
        Self(text)
    }

    /// The text itself, to be told once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of a secret.
    #[must_use]
    pub fn hash(text: &str) -> SecretHash {
        Sha256::digest(text).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Makes a token; answers its id and the token itself, which cannot be had again. `None`: there are
/// [`TOKENS_MAX`] already.
///
/// # Errors
/// As for any question to the store.
pub async fn create_token(
    store: &Store,
    role: Role,
    name: String,
    lifetime: Option<Duration>,
) -> Result<Option<(i64, Secret)>, StoreError> {
    let token = Secret::random(&format!("sut_{role}_"));
    let new = NewToken { name, role, hash: Secret::hash(token.reveal()), lifetime };
    Ok(store.add_token(&new, TOKENS_MAX.into()).await?.map(|id| (id, token)))
}

/// A token that can be used.
#[derive(Clone, Copy, Debug)]
struct Usable {
    id: i64,
    role: Role,
    expires: Option<DateTime<Utc>>,
    last_used: Option<DateTime<Utc>>,
}

/// The tokens as they were read at some time.
#[derive(Debug)]
struct Known {
    by_hash: HashMap<SecretHash, Usable>,
    asked: Instant,
}

/// What is known of tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: RwLock<Option<Arc<Known>>>,
    /// Held by the one who asks for all.
    asking: tokio::sync::Mutex<()>,
    used: Mutex<BTreeSet<i64>>,
}

impl Tokens {
    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known that answers for the token with this hash, to one who asked at `came`.
    fn known_of(&self, hash: &SecretHash, came: Instant) -> Option<Arc<Known>> {
        self.known().filter(|known| {
            let is_fresh = known.asked.elapsed() < TOKENS_FRESH;
            known.asked >= came || is_fresh && known.by_hash.contains_key(hash)
        })
    }

    async fn answer_for(&self, hash: &SecretHash, store: &Store) -> Result<Arc<Known>, StoreError> {
        let came = Instant::now();
        if let Some(known) = self.known_of(hash, came) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.known_of(hash, came) {
            return Ok(known); // Somebody else has asked meanwhile.
        }
        if let Some(before) = self.known() {
            tokio::time::sleep_until(before.asked + ASK_AGAIN).await;
        }
        let asked = Instant::now();
        let tokens = store.usable_tokens().await?;
        let usable = tokens.iter().filter_map(|token| {
            let (id, expires, last_used) = (token.id, token.expires, token.last_used);
            Some((token.hash()?, Usable { id, role: token.role()?, expires, last_used }))
        });
        let known = Arc::new(Known { by_hash: usable.collect(), asked });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }
}

impl Engine {
    /// What the holder of the token with this hash is. `None`: the token is unknown, revoked or
    /// expired.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn role_of(&self, hash: &SecretHash) -> Result<Option<Role>, EngineError> {
        let Shared { tokens, store, clock, .. } = &*self.shared;
        let known = tokens.answer_for(hash, store).await?;
        let now = clock.now();
        let usable = known.by_hash.get(hash);
        let Some(token) = usable.filter(|token| token.expires.is_none_or(|expires| now < expires))
        else {
            return Ok(None);
        };
        if token.last_used.is_none_or(|used| now - used > USED_EVERY) {
            lock(&tokens.used).insert(token.id);
        }
        Ok(Some(token.role))
    }
}

impl Shared {
    /// Stores which tokens were used.
    pub(super) async fn note_used_tokens(&self) -> Result<(), EngineError> {
        let used: Vec<i64> = std::mem::take(&mut *lock(&self.tokens.used)).into_iter().collect();
        if used.is_empty() {
            return Ok(());
        }
        Ok(self.store.tokens_used(&used).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_differ_and_are_not_shown() {
        let (one, other) = (Secret::random("sut_client_"), Secret::random("sut_client_"));
        assert_ne!(one.reveal(), other.reveal());
        let secret = one.reveal().strip_prefix("sut_client_").unwrap();
        assert_eq!(secret.len(), SECRET_LENGTH);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(format!("{one:?}"), "Secret");
    }
}
