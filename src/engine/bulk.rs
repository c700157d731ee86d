//! Many operations that are asked for together: all of them are made, or none.
//!
//! They are stored by one statement in a transaction of its own, beside the lanes. Nobody knows of them
//! before its commit, so nobody else writes them, and a lane is not kept from the operations of
//! others while thousands are stored. What can be claimed of them goes to the queue, as it does
//! wherever there is a backlog, and the lanes are told to look there.
//!
//! Their ids follow each other, so the first tells all. It is what a key of the request stands for: a
//! repetition is answered from it and from the request. Operations of which clients chose the ids
//! are known one by one, and those that were made before are not made again.
//!
//! An outage is not waited for, as it is in the lanes: what is sent here is large, and its sender
//! knows better how long to keep it.
//!
//! Rejected: a command for a lane (all that came after it would wait, and all the operations would have
//! to belong to that lane); several transactions (a crash between two of them leaves a part).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::admission::terms;
use super::command::Submit;
use super::deal::rank;
use super::error::EngineError;
use super::idempotency::{Identity, Keys};
use super::jobsets::Compiled;
use super::live::{Span, Spans};
use super::submit::Begun;
use super::{Engine, Shared};
use crate::store::{Batch, KeyKind, StoreError, SubmissionKey};

/// How often all is decided again because others were faster.
const CONFLICTS_MAX: u32 = 50;

/// One of the operations that are asked for together.
#[derive(Debug)]
pub struct RunAsked(pub(super) Submit);

impl RunAsked {
    /// A run of a jobset, under the id that the client chose, if it did. `route` is that of the
    /// request.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if labels and context do not make the keys that the jobset asks for.
    pub fn new(
        jobset: Arc<Compiled>,
        labels: Option<Value>,
        context: Option<Value>,
        operation_id: Option<String>,
        route: &str,
    ) -> Result<Self, EngineError> {
        let terms = terms(&jobset, labels.as_ref(), context.as_ref())?;
        let identity = operation_id.map(|text| {
            let keys = vec![SubmissionKey { kind: KeyKind::OperationId, text }];
            Identity::new(keys, route, &jobset, labels.as_ref(), context.as_ref())
        });
        // It gets its id with the others.
        let id = Uuid::nil();
        Ok(Self(Submit { id, jobset, labels, context, fork: None, terms, identity }))
    }

    /// The id that the client chose.
    #[must_use]
    pub fn operation_id(&self) -> Option<&str> {
        self.0.identity.as_ref()?.alias()
    }
}

/// Operations that were made together, now or by an earlier try of the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllAccepted {
    first: Uuid,
    /// How many of them this request made.
    pub made: usize,
}

impl AllAccepted {
    /// The id of the operation number `index` of those that were asked for, if its client chose none.
    #[must_use]
    pub fn id(&self, index: usize) -> Uuid {
        Uuid::from_u128(self.first.as_u128() + index as u128)
    }
}

/// What is stored.
struct Decided {
    batch: Batch,
    spans: Spans,
    /// Whether something can be claimed.
    is_ready: bool,
}

impl Engine {
    /// Makes operations, all or none, unless an earlier request of the same identity made them; those
    /// under an id that the client chose, unless an earlier request made that one. When this answers,
    /// they are durable.
    ///
    /// # Errors
    /// [`EngineError::KeyTaken`] if a key stands for another request; [`EngineError::IdsTaken`];
    /// [`EngineError::Overloaded`]; [`EngineError::Unavailable`].
    pub async fn submit_all(
        &self,
        asked: Vec<RunAsked>,
        identity: Option<Identity>,
    ) -> Result<AllAccepted, EngineError> {
        let all = AllAccepted { first: self.shared.clock.new_ids(), made: 0 };
        let with_id = |(index, run): (usize, RunAsked)| Submit { id: all.id(index), ..run.0 };
        let asked: Arc<[Submit]> = asked.into_iter().enumerate().map(with_id).collect();
        let shared = Arc::clone(&self.shared);
        // Carried through even if whoever asked is gone.
        let made = self.shared.tasks.spawn(async move { shared.make_all(asked, identity).await });
        made.await.map_err(|_| EngineError::ShuttingDown)?
    }
}

impl Shared {
    async fn make_all(
        self: &Arc<Self>,
        asked: Arc<[Submit]>,
        identity: Option<Identity>,
    ) -> Result<AllAccepted, EngineError> {
        self.define(&asked).await?;
        let mut conflicts = 0;
        loop {
            match self.try_all(&asked, identity.as_ref()).await {
                Err(EngineError::Store(StoreError::Conflict(error))) => {
                    conflicts += 1;
                    tracing::debug!(%error, conflicts, "engine.bulk.conflict");
                    if conflicts > CONFLICTS_MAX {
                        return Err(EngineError::Overloaded);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Stores the definitions, beforehand: a lane that stores one of them at the same time waits for
    /// this short transaction only. One that is never run is forgotten some day.
    async fn define(&self, asked: &[Submit]) -> Result<(), EngineError> {
        let all = asked.iter().map(|submit| (submit.jobset.record.id, &submit.jobset));
        let new: BTreeMap<Uuid, &Arc<Compiled>> =
            all.filter(|(_, jobset)| !jobset.is_stored()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for jobset in new.values() {
            batch.add_jobset(&jobset.record);
        }
        let mut connection = self.store.writer().await?;
        let mut transaction = self.store.begin(&mut connection).await?;
        batch.apply(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        for jobset in new.values() {
            jobset.set_stored();
        }
        Ok(())
    }

    /// One try. On an error nothing was stored, or (when the connection broke) it is unknown.
    async fn try_all(
        self: &Arc<Self>,
        asked: &Arc<[Submit]>,
        identity: Option<&Identity>,
    ) -> Result<AllAccepted, EngineError> {
        let mut connection = self.store.writer().await?;
        let mut transaction = self.store.begin(&mut connection).await?;
        let chosen = asked.iter().filter_map(|submit| submit.identity.as_ref());
        let keys = Keys::of(chosen.chain(identity), self, &mut transaction).await?;
        if let Some(answer) = identity.and_then(|identity| keys.answer(identity)) {
            return Ok(AllAccepted { first: answer?.id, made: 0 });
        }
        let first = asked.first().map_or_else(Uuid::nil, |submit| submit.id);
        let (shared, all, identity) = (Arc::clone(self), Arc::clone(asked), identity.cloned());
        let decided = move || decide(&shared, &all, identity.as_ref(), keys);
        let decided = tokio::task::spawn_blocking(decided).await;
        let Decided { batch, spans, is_ready } =
            decided.map_err(|_| EngineError::ShuttingDown)??;
        batch.apply(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        self.live.changed(&spans);
        self.news.tell(&spans, is_ready, false);
        if batch.stirs_admission() {
            self.admission.notify_one();
        }
        if is_ready {
            self.look();
        }
        Ok(AllAccepted { first, made: spans.len() })
    }
}

/// Decides what is made. Takes its time: milliseconds for thousands.
fn decide(
    shared: &Shared,
    asked: &[Submit],
    identity: Option<&Identity>,
    mut keys: Keys,
) -> Result<Decided, EngineError> {
    let (now, settings) = (shared.clock.now(), &shared.settings);
    let mut decided = Decided { batch: Batch::default(), spans: Spans::new(), is_ready: false };
    let batch = &mut decided.batch;
    let mut taken = Vec::new();
    for (index, submit) in asked.iter().enumerate() {
        if let Some(identity) = &submit.identity {
            match keys.answer(identity) {
                None => keys.take(identity, submit.id, now, batch),
                Some(Ok(_made_before)) => continue,
                Some(Err(_)) => {
                    taken.push(index);
                    continue;
                }
            }
        }
        let Begun { mut cached, new, data } = submit.begin(settings.stamps, now);
        let rank = rank(&cached.run, now, settings.ageing);
        decided.is_ready |= batch.add_new(&mut cached.run, cached.flags, rank, new);
        if let Some(data) = data {
            batch.add_data(submit.id, data);
        }
        let (to, ended) = (cached.run.version(), cached.run.state().is_final());
        decided.spans.insert(submit.id, Span { before: 0, to, ended });
    }
    if !taken.is_empty() {
        return Err(EngineError::IdsTaken(taken));
    }
    if let (Some(identity), Some(first)) = (identity, asked.first()) {
        keys.take(identity, first.id, now, batch);
    }
    Ok(decided)
}
