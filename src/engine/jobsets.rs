//! Compiled jobsets, cached by digest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::EngineError;
use super::lock;
use super::query::Found;
use crate::domain::{Definition, Jobset, Limits, OperationState};
use crate::store::{JobsetView, NewJobset, OperationView, Store};

/// Reads the stored form of a definition. The engine does not know JSON shapes, so whoever makes
/// the engine hands it the reader.
pub type DecodeDefinition = fn(&str) -> Result<Definition, String>;

const NOT_STORED: &str = "it is not stored";
/// How many steps the cached jobsets may have together.
const CACHED_STEPS_MAX: usize = 1_000_000;
/// How often it is noted that operations are made of a definition; those of which none is made any
/// more are forgotten some day.
const NOTED_EVERY: Duration = Duration::from_hours(1);

/// A jobset with what is needed to store it.
#[derive(Debug)]
pub struct Compiled {
    /// The checked and numbered form.
    pub jobset: Arc<Jobset>,
    /// As it is stored.
    pub record: NewJobset,
    /// When an operation of it was last stored together with it.
    stored: Mutex<Option<Instant>>,
}

impl Compiled {
    /// An operation that runs this and to which nothing has happened yet, without asking the store.
    #[must_use]
    pub fn fresh(self: &Arc<Self>, id: Uuid, at: DateTime<Utc>) -> Found {
        let view = OperationView {
            id,
            alias: None,
            jobset: self.record.id,
            state: OperationState::NotStarted,
            stop: None,
            version: 1,
            entered: at,
            steps: self.jobset.steps.iter().map(|step| step.initial).collect(),
            ended_as: None,
            labels: None,
            cancellation: None,
            stopped: None,
            results: None,
            paused: false,
            gated: self.jobset.scheduling.asks(),
            open: BTreeMap::new(),
            notes: BTreeMap::new(),
            forked_from: None,
        };
        Found { view, compiled: Arc::clone(self), failures: Vec::new() }
    }

    /// Whether the database is known to have it, and to keep it for an operation that is made now.
    pub(super) fn is_stored(&self) -> bool {
        lock(&self.stored).is_some_and(|stored| stored.elapsed() < NOTED_EVERY)
    }

    pub(super) fn set_stored(&self) {
        *lock(&self.stored) = Some(Instant::now());
    }
}

/// The cache.
#[derive(Debug)]
pub(super) struct Jobsets {
    limits: Limits,
    decode: DecodeDefinition,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    by_id: HashMap<Uuid, Arc<Compiled>>,
    steps: usize,
}

impl Jobsets {
    pub(super) fn new(limits: Limits, decode: DecodeDefinition) -> Self {
        Self { limits, decode, cache: Mutex::default() }
    }

    /// The compiled form of a definition whose canonical text is `document`.
    pub(super) fn compile(
        &self,
        document: String,
        definition: Definition,
    ) -> Result<Arc<Compiled>, EngineError> {
        let digest: [u8; 32] = Sha256::digest(&document).into();
        let id = id_of(&digest);
        if let Some(known) = self.cached(id) {
            return Ok(known);
        }
        let name = definition.name.clone();
        let jobset = Jobset::compile(definition, &self.limits).map_err(EngineError::Invalid)?;
        let record = NewJobset { id, digest, name, document };
        Ok(self.keep(jobset, record))
    }

    /// The jobset of that id, from memory or storage.
    pub(super) async fn get(&self, store: &Store, id: Uuid) -> Result<Arc<Compiled>, EngineError> {
        if let Some(known) = self.cached(id) {
            return Ok(known);
        }
        // In a box: what is rare takes no room in what asks.
        let view = Box::pin(store.jobset(id)).await?;
        self.read(view.ok_or_else(|| EngineError::BadJobset { id, reason: NOT_STORED.into() })?)
    }

    /// The same for many, by one question to the store at the most.
    pub(super) async fn get_all(
        &self,
        store: &Store,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, Arc<Compiled>>, EngineError> {
        let ids: BTreeSet<Uuid> = ids.into_iter().collect();
        let mut found: HashMap<Uuid, Arc<Compiled>> =
            ids.iter().filter_map(|id| Some((*id, self.cached(*id)?))).collect();
        let missing: Vec<Uuid> = ids.into_iter().filter(|id| !found.contains_key(id)).collect();
        if !missing.is_empty() {
            for view in store.jobsets(&missing).await? {
                found.insert(view.id, self.read(view)?);
            }
        }
        Ok(found)
    }

    fn read(&self, view: JobsetView) -> Result<Arc<Compiled>, EngineError> {
        let id = view.id;
        let bad = |reason: String| EngineError::BadJobset { id, reason };
        let definition = (self.decode)(&view.document).map_err(bad)?;
        let name = definition.name.clone();
        // It was within the limits when it was taken; limits that were lowered since do not
        // strand its operations.
        let limits = Limits { steps: usize::MAX, guard_terms: usize::MAX, ..self.limits };
        let jobset = Jobset::compile(definition, &limits)
            .map_err(|problems| bad(problems[0].to_string()))?;
        let digest = view.digest.try_into().map_err(|_| bad("its digest is too short".into()))?;
        let record = NewJobset { id, digest, name, document: view.document };
        Ok(self.keep(jobset, record))
    }

    fn cached(&self, id: Uuid) -> Option<Arc<Compiled>> {
        lock(&self.cache).by_id.get(&id).cloned()
    }

    fn keep(&self, jobset: Jobset, record: NewJobset) -> Arc<Compiled> {
        let (id, steps) = (record.id, jobset.steps.len());
        let compiled =
            Arc::new(Compiled { jobset: Arc::new(jobset), record, stored: Mutex::default() });
        let mut cache = lock(&self.cache);
        // Runs hold their jobset by themselves, so forgetting all is cheap and simple.
        if cache.steps + steps > CACHED_STEPS_MAX {
            *cache = Cache::default();
        }
        cache.steps += steps;
        cache.by_id.insert(id, Arc::clone(&compiled));
        compiled
    }
}

/// The first 16 bytes of the digest.
fn id_of(digest: &[u8; 32]) -> Uuid {
    let (head, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
    Uuid::from_bytes(*head)
}
