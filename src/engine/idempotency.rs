//! Submissions that a client may repeat: however often one comes, and to whichever server, it makes
//! one operation.
//!
//! A lane looks the keys of a batch up before it decides, and stores new ones by the statement that
//! stores their operations. Two batches that race for a key cannot both succeed: the later one fails
//! as a whole, which costs the others in it a second try and nothing else, looks again and finds what
//! the first one made. An answer to a repetition is built from the key and the request, so that it is
//! the first answer again whatever has become of the operation, even if it is gone.
//!
//! Rejected: a lock per key, which would have to be held until the commit and given back after a
//! crash; and a look at the keys before the lane, which would be a second one in every case that
//! matters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::admission::terms;
use super::bulk::RunAsked;
use super::command::{Ask, Command, Submit};
use super::error::EngineError;
use super::jobsets::Compiled;
use super::{Engine, Shared};
use crate::store::{Batch, KeyKind, KnownKey, SubmissionKey, own_id};

/// So far ahead of the database's clock the clock of a client may be.
pub const CLIENT_AHEAD_MAX: Duration = Duration::from_mins(5);
/// Keys forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;

/// What tells a repeated submission from a new one.
#[derive(Clone, Debug)]
pub struct Identity {
    keys: Vec<SubmissionKey>,
    digest: [u8; 32],
}

impl Identity {
    /// The identity of a submission that the client gave these keys. Two are the same request if
    /// they go the same `route` and ask for an equal jobset with equal labels and context, under the
    /// same id if they name one.
    #[must_use]
    pub fn new(
        keys: Vec<SubmissionKey>,
        route: &str,
        jobset: &Compiled,
        labels: Option<&Value>,
        context: Option<&Value>,
    ) -> Self {
        Self { digest: digest(route, alias(&keys), jobset, labels, context), keys }
    }

    /// The identity of a submission of all of these together. Two are the same request if each
    /// member of the one is the same as the member of the other at its place.
    #[must_use]
    pub fn of_all(keys: Vec<SubmissionKey>, route: &str, asked: &[RunAsked]) -> Self {
        let mut all = Sha256::new();
        for Submit { jobset, labels, context, identity, .. } in asked.iter().map(|run| &run.0) {
            let alias = identity.as_ref().and_then(Self::alias);
            all.update(digest(route, alias, jobset, labels.as_ref(), context.as_ref()));
        }
        Self { digest: all.finalize().into(), keys }
    }

    /// The id that the client chose.
    pub(super) fn alias(&self) -> Option<&str> {
        alias(&self.keys)
    }
}

/// What tells a submission from any other one.
fn digest(
    route: &str,
    alias: Option<&str>,
    jobset: &Compiled,
    labels: Option<&Value>,
    context: Option<&Value>,
) -> [u8; 32] {
    // JSON has no NUL characters, so the parts cannot run into each other.
    let json = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    let mut digest = Sha256::new();
    digest.update(jobset.record.digest);
    for part in [route, alias.unwrap_or_default(), &json(labels), &json(context)] {
        digest.update(part);
        digest.update([0]);
    }
    digest.finalize().into()
}

fn alias(keys: &[SubmissionKey]) -> Option<&str> {
    keys.iter().find(|key| key.kind == KeyKind::OperationId).map(|key| key.text.as_str())
}

/// An operation that was made, now or by an earlier try of the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The operation.
    pub id: Uuid,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Whether an earlier request made it.
    pub is_repeated: bool,
}

/// The keys that a turn knows.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<SubmissionKey, KnownKey>);

impl Keys {
    /// What the keys of these submissions stand for. Asks nothing if there are none.
    pub(super) async fn of<'a>(
        identities: impl Iterator<Item = &'a Identity>,
        shared: &Shared,
        connection: &mut PgConnection,
    ) -> Result<Self, EngineError> {
        let mut keys = identities.flat_map(|identity| &identity.keys);
        let Some(first) = keys.next() else { return Ok(Self::default()) };
        let keys = std::iter::once(first).chain(keys);
        Ok(Self(shared.store.known_keys(connection, keys, shared.keys_expired()).await?))
    }

    /// The answer to a submission that was made before, or whose keys stand for something else;
    /// `None` for a new one.
    pub(super) fn answer(&self, identity: &Identity) -> Option<Result<Accepted, EngineError>> {
        let known = |key| Some((key, self.0.get(key)?));
        let mut found = identity.keys.iter().filter_map(known);
        let (_, first) = found.clone().next()?;
        let taken = found.find(|(_, known)| {
            known.digest != identity.digest || known.operation != first.operation
        });
        Some(match taken {
            Some((key, _)) => Err(EngineError::KeyTaken(key.kind)),
            None => Ok(Accepted { id: first.operation, at: first.at, is_repeated: true }),
        })
    }

    /// Keeps the keys of a new operation, also for the rest of the turn.
    pub(super) fn take(
        &mut self,
        identity: &Identity,
        operation: Uuid,
        at: DateTime<Utc>,
        batch: &mut Batch,
    ) {
        let known = KnownKey { operation, at, digest: identity.digest };
        for key in &identity.keys {
            batch.add_key(key, &known);
            self.0.insert(key.clone(), known.clone());
        }
    }
}

impl Shared {
    /// Keys from before this time are free again. A request may say that it was first sent a little
    /// later than it came.
    fn keys_expired(&self) -> DateTime<Utc> {
        let kept = self.settings.repeatability_window.saturating_add(CLIENT_AHEAD_MAX);
        let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
        self.clock.now().checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Forgets some of the keys that are free again.
    pub(super) async fn forget_keys(&self) -> Result<(), EngineError> {
        let count = self.store.forget_keys(self.keys_expired(), FORGOTTEN_MAX).await?;
        if count > 0 {
            tracing::debug!(count, "engine.keys.forgotten");
        }
        Ok(())
    }

    /// Forgets some of the aliases of operations that are gone.
    pub(super) async fn forget_aliases(&self) -> Result<(), EngineError> {
        self.store.forget_aliases(FORGOTTEN_MAX).await?;
        Ok(())
    }
}

impl Engine {
    /// Makes an operation, unless an earlier request of the same identity made it. When this
    /// answers, the operation and the keys are durable.
    ///
    /// # Errors
    /// [`EngineError::KeyTaken`] if a key stands for another request; [`EngineError::Invalid`] if its
    /// labels and context do not make the keys that the jobset asks for; otherwise as
    /// [`submit`](Self::submit).
    pub async fn submit_once(
        &self,
        jobset: Arc<Compiled>,
        labels: Option<Value>,
        context: Option<Value>,
        identity: Option<Identity>,
    ) -> Result<Accepted, EngineError> {
        self.submit_as(self.new_id(), jobset, labels, context, identity).await
    }

    /// As [`submit_once`](Self::submit_once), for an operation that has its id already, so that it may
    /// be watched from before its beginning. One that an earlier request made has another.
    ///
    /// # Errors
    /// As [`submit_once`](Self::submit_once).
    pub async fn submit_as(
        &self,
        id: Uuid,
        jobset: Arc<Compiled>,
        labels: Option<Value>,
        context: Option<Value>,
        identity: Option<Identity>,
    ) -> Result<Accepted, EngineError> {
        let terms = terms(&jobset, labels.as_ref(), context.as_ref())?;
        let submit = Submit { id, jobset, labels, context, fork: None, terms, identity };
        let (ask, answer) = Ask::new(submit);
        self.shared.try_send(Command::Submit(ask))?;
        answer.await.map_err(|_| EngineError::ShuttingDown)?
    }

    /// The operation that clients know by this id: its own, or the one that its client chose.
    ///
    /// # Errors
    /// As for any question to the store. Nothing is asked about an id that the service gave.
    pub async fn operation_called(&self, id: &str) -> Result<Option<Uuid>, EngineError> {
        match own_id(id) {
            Some(own) => Ok(Some(own)),
            // In a box: what is rare takes no room in each request.
            None => Ok(Box::pin(self.shared.store.operation_called(id)).await?),
        }
    }

    /// How long keys are remembered.
    #[must_use]
    pub fn repeatability_window(&self) -> Duration {
        self.shared.settings.repeatability_window
    }
}
