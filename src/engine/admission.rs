//! Admission: operations that share a concurrency key or a rate limit with others wait for it before
//! they begin.
//!
//! A submission that asks for something is stored gated, with a row that says what it asks, and the end
//! of an operation marks its row; both by the statement that stores the batch. A *pass* looks at the
//! rows that are due, gives places and turns away and stores what it decided. Only then are the lanes
//! told, which open the gates. Whatever is lost on the way, by a crash or a full lane, is still due in
//! the database, and the next pass of any server tells it once more: to open a gate twice is nothing.
//!
//! Passes are one at a time for all servers, by one advisory lock: so limits are exact, and nothing
//! has to be thought of about operations that wait in two lines, or batches with many keys. What comes
//! while a pass runs is dealt with by the next one, all together; a pass takes a few milliseconds.
//!
//! Rejected: a lock per key held by the server that runs the operation (it is lost with the server, or
//! outlives it); deciding in the lanes (two lanes cannot see each other's batches, and all operations
//! would pay for the look); cancelling from the database (a stop is the lane's to decide).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::command::{Admit, Ask, Command, StopAsked, Verdict};
use super::error::EngineError;
use super::jobsets::Compiled;
use super::lane::Cached;
use super::turn::Turn;
use super::{Engine, Shared};
use crate::domain::Stop;
use crate::domain::admission::{Rate, RateLog, Terms, places};
use crate::domain::explain::Gate;
use crate::store::{
    AdmissionState, AdmissionView, Decided, DueAdmission, InLine, InTurn, RateChange, Store,
    StoreError,
};

/// Rows that one pass looks at, and the first so many of each line.
const DUE_MAX: usize = 500;
const LINE_MAX: usize = 100;
/// Whoever decided something has so long to tell it before others do.
const TOLD_WITHIN: TimeDelta = TimeDelta::seconds(2);

/// What an operation of this jobset asks before it may begin.
///
/// # Errors
/// [`EngineError::Invalid`] if its labels and context do not make the keys.
pub(super) fn terms(
    jobset: &Compiled,
    labels: Option<&Value>,
    context: Option<&Value>,
) -> Result<Option<Terms>, EngineError> {
    Terms::of(&jobset.jobset.scheduling, labels, context).map_err(EngineError::Invalid)
}

/// Admits until the engine stops.
pub(super) async fn admit(shared: Arc<Shared>) {
    loop {
        let wait = match shared.admit_due().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "engine.admission.failed");
                shared.settings.poll_interval
            }
        };
        tokio::select! {
            () = shared.admission.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = shared.stopped.cancelled() => return,
        }
    }
}

/// Something that was decided and that a lane has to be told.
struct News {
    operation: Uuid,
    decided: DateTime<Utc>,
    what: What,
}

enum What {
    Admitted,
    /// The key is held by that one, and it does not wait.
    GivesWay(Uuid, String),
    /// That one takes its place.
    Superseded(Uuid, String),
}

/// What a pass leaves.
#[derive(Default)]
struct Passed {
    news: Vec<News>,
    /// The concurrency keys that may have places left for more than it looked at.
    more: BTreeSet<String>,
    /// Whether it had anything to do. Else what is due is locked by
    /// a batch, which says when it is stored.
    has_decided: bool,
}

impl Shared {
    /// Decides on all that is due; answers how long there will be nothing to do, unless somebody says.
    async fn admit_due(self: &Arc<Self>) -> Result<Duration, EngineError> {
        let mut more = BTreeSet::new();
        loop {
            let wait = self.store.next_admission(TOLD_WITHIN).await?;
            let wait = wait.unwrap_or(self.settings.poll_interval);
            if !wait.is_zero() && more.is_empty() {
                return Ok(wait.min(self.settings.poll_interval));
            }
            let passed = self.pass(more).await?;
            if !passed.has_decided {
                return Ok(self.settings.poll_interval);
            }
            if !passed.news.is_empty() {
                self.tasks.spawn(tell(Arc::clone(self), passed.news));
            }
            more = passed.more;
        }
    }

    async fn pass(&self, more: BTreeSet<String>) -> Result<Passed, EngineError> {
        let mut connection = self.store.writer().await?;
        let mut transaction = connection.begin().await.map_err(StoreError::from)?;
        let now = self.store.begin_admission(&mut transaction).await?;
        let mut pass = Pass::new(&self.store, now, more);
        let due = pass.take_due(&mut transaction).await?;
        pass.give_places(&mut transaction, &due).await?;
        pass.give_turns(&mut transaction).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(pass.passed)
    }
}

/// One pass.
struct Pass<'a> {
    store: &'a Store,
    now: DateTime<Utc>,
    /// The concurrency keys and the rate limits that are looked at.
    keys: BTreeSet<String>,
    rate_keys: BTreeSet<String>,
    passed: Passed,
}

impl<'a> Pass<'a> {
    fn new(store: &'a Store, now: DateTime<Utc>, keys: BTreeSet<String>) -> Self {
        Self { store, now, keys, rate_keys: BTreeSet::new(), passed: Passed::default() }
    }

    fn tell(&mut self, operation: Uuid, what: What) {
        self.passed.news.push(News { operation, decided: self.now, what });
    }

    /// Takes what is due: keeps the keys, tells once more what was not told, and answers what has to
    /// be decided on.
    async fn take_due(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<DueAdmission>, EngineError> {
        let told_since = self.now - TOLD_WITHIN;
        let mut due = self.store.take_due_admissions(connection, told_since, DUE_MAX).await?;
        self.passed.has_decided = !due.is_empty() || !self.keys.is_empty();
        self.keys.extend(due.iter().filter_map(|row| row.key.clone()));
        for row in &due {
            let DueAdmission { operation, decided, .. } = *row;
            let what = match (row.state, row.loses_to, &row.key) {
                (AdmissionState::Ended, ..) => continue,
                (AdmissionState::Waits, Some(winner), Some(key)) if row.gives_way => {
                    What::GivesWay(winner, key.clone())
                }
                (_, Some(winner), Some(key)) => What::Superseded(winner, key.clone()),
                (AdmissionState::Admitted, ..) => What::Admitted,
                (AdmissionState::Waits | AdmissionState::Placed, ..) => continue,
            };
            self.passed.news.push(News { operation, decided, what });
        }
        due.retain(|row| row.state < AdmissionState::Admitted && row.loses_to.is_none());
        Ok(due)
    }

    /// Decides who loses, who gets a place and who gives way.
    async fn give_places(
        &mut self,
        connection: &mut PgConnection,
        due: &[DueAdmission],
    ) -> Result<(), EngineError> {
        let new: BTreeSet<&str> = due.iter().filter_map(|row| row.key.as_deref()).collect();
        let new: Vec<&str> = new.into_iter().collect();
        let mut lost = BTreeSet::new();
        if !new.is_empty() {
            for (operation, winner, key) in self.store.supersede(connection, &new, self.now).await?
            {
                lost.insert(operation);
                self.tell(operation, What::Superseded(winner, key));
            }
        }
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let line = if keys.is_empty() {
            Vec::new()
        } else {
            self.store.lines(connection, &keys, LINE_MAX).await?
        };
        let mut decided = Vec::new();
        let mut placed = BTreeSet::new();
        // Who has to be named to those that give way.
        let mut holders: BTreeMap<&str, Uuid> = BTreeMap::new();
        for line in line.chunk_by(|a, b| a.key == b.key) {
            let (first, count) = (&line[0], line_places(line));
            holders.insert(&first.key, first.holder.unwrap_or(first.operation));
            if count == LINE_MAX {
                self.passed.more.insert(first.key.clone());
            }
            for row in &line[..count] {
                placed.insert(row.operation);
                decided.push(self.placed(row.operation, row.rate_key.as_deref()));
            }
        }
        for row in due
            .iter()
            .filter(|row| !placed.contains(&row.operation) && !lost.contains(&row.operation))
        {
            decided.push(match (row.state, row.key.as_deref()) {
                (AdmissionState::Waits, Some(key)) => {
                    if self.passed.more.contains(key) {
                        continue; // Not reached yet: it stays due.
                    }
                    let holder = holders.get(key).filter(|_| row.gives_way && !row.paused);
                    if let Some(holder) = holder {
                        self.tell(row.operation, What::GivesWay(*holder, key.to_owned()));
                    }
                    Decided { loses_to: holder.copied(), is_due: holder.is_some(), ..waits(row) }
                }
                _ => self.placed(row.operation, row.rate_key.as_deref()),
            });
        }
        Ok(self.store.store_admissions(connection, &decided, self.now).await?)
    }

    /// It has its place: it may begin, unless it has to wait for its turn.
    fn placed(&mut self, operation: Uuid, rate_key: Option<&str>) -> Decided {
        if let Some(key) = rate_key {
            self.rate_keys.insert(key.to_owned());
            return Decided {
                operation,
                state: AdmissionState::Placed,
                loses_to: None,
                is_due: false,
            };
        }
        self.admitted(operation)
    }

    fn admitted(&mut self, operation: Uuid) -> Decided {
        self.tell(operation, What::Admitted);
        Decided { operation, state: AdmissionState::Admitted, loses_to: None, is_due: true }
    }

    /// Decides whose turn it is under the rate limits.
    async fn give_turns(&mut self, connection: &mut PgConnection) -> Result<(), EngineError> {
        let keys: Vec<&str> = self.rate_keys.iter().map(String::as_str).collect();
        let logs = self.store.rates(connection, &keys, self.now, DUE_MAX).await?;
        if logs.is_empty() {
            return Ok(());
        }
        self.passed.has_decided = true;
        let keys: Vec<&str> = logs.iter().map(|(key, _)| key.as_str()).collect();
        let waiting = self.store.turns(connection, &keys, LINE_MAX).await?;
        let mut lines: HashMap<&str, &[InTurn]> = HashMap::new();
        lines.extend(waiting.chunk_by(|a, b| a.key == b.key).map(|line| (&*line[0].key, line)));
        let (mut decided, mut changes) = (Vec::new(), Vec::new());
        for (key, log) in logs {
            let line = lines.get(key.as_str()).copied().unwrap_or_default();
            if line.is_empty() && log.is_empty() {
                continue; // Nobody waits, and there is nothing to remember.
            }
            let rates = line.iter().map(|row| row.rate);
            let (admitted, next) = RateLog::new(log).admit(rates.clone(), self.now);
            decided.extend(line[..admitted].iter().map(|row| self.admitted(row.operation)));
            let most = Rate {
                limit: rates.clone().map(|rate| rate.limit).max().unwrap_or(1),
                per: rates.map(|rate| rate.per).max().unwrap_or_default(),
            };
            // One of which all were admitted may have more.
            let next = next.or((admitted == LINE_MAX).then_some(self.now));
            changes.push(RateChange { key, admitted, most, next });
        }
        self.store.store_admissions(connection, &decided, self.now).await?;
        Ok(self.store.store_rates(connection, &changes, self.now).await?)
    }
}

/// How many of the first in line get a place.
fn line_places(line: &[InLine]) -> usize {
    let held = line.first().map_or(0, |first| usize::try_from(first.held).unwrap_or(usize::MAX));
    places(held, line.iter().map(|row| usize::try_from(row.places).unwrap_or(0)))
}

const fn waits(row: &DueAdmission) -> Decided {
    let state = AdmissionState::Waits;
    Decided { operation: row.operation, state, loses_to: None, is_due: false }
}

/// Tells the lanes what was decided, and takes note of those that did it. The others are told again.
async fn tell(shared: Arc<Shared>, news: Vec<News>) {
    if let Err(error) = shared.tell_all(news).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "engine.admission.untold");
    }
}

impl Shared {
    async fn tell_all(&self, news: Vec<News>) -> Result<(), EngineError> {
        let winners: Vec<Uuid> = news
            .iter()
            .filter_map(|news| match &news.what {
                What::Admitted => None,
                What::GivesWay(winner, _) | What::Superseded(winner, _) => Some(*winner),
            })
            .collect();
        let shown = match winners.as_slice() {
            [] => HashMap::new(),
            winners => self.store.shown_ids(winners).await?,
        };
        let mut answers = Vec::with_capacity(news.len());
        for News { operation, decided, what } in news {
            let verdict = verdict(&what, decided, &shown);
            let (ask, answer) = Ask::new(Admit { operation, verdict });
            self.send(Command::Admit(ask)).await?;
            answers.push((operation, decided, answer));
        }
        let (mut told, mut times) = (Vec::new(), Vec::new());
        for (operation, decided, answer) in answers {
            // One that is gone needs not be told.
            if let Ok(Ok(()) | Err(EngineError::NotFound)) = answer.await {
                told.push(operation);
                times.push(decided);
            }
        }
        Ok(self.store.admissions_told(&told, &times).await?)
    }
}

/// What a lane is told. Why an operation is cancelled stands in its cancellation record.
fn verdict(what: &What, decided: DateTime<Utc>, shown: &HashMap<Uuid, String>) -> Verdict {
    let id = |id: &Uuid| shown.get(id).cloned().unwrap_or_else(|| id.to_string());
    let (key, by, other, reason) = match what {
        What::Admitted => return Verdict::Admitted(decided),
        What::GivesWay(holder, key) => {
            let other = id(holder);
            let reason = format!("the concurrency key `{key}` is held by {other}");
            (key, "heldBy", other, reason)
        }
        What::Superseded(winner, key) => {
            let other = id(winner);
            let reason = format!("{other} with the concurrency key `{key}` takes its place");
            (key, "supersededBy", other, reason)
        }
    };
    let at = decided.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut record = json!({"requestedDateTime": at, "code": "ConcurrencyConflict"});
    record["reason"] = reason.into();
    record["key"] = key.as_str().into();
    record[by] = other.into();
    Verdict::Cancelled(record)
}

impl Turn {
    /// Opens the gate of an operation, or cancels it, whatever its jobset says of clients that cancel.
    pub(super) fn admit(&mut self, ask: &mut Ask<Admit, ()>, runs: &mut HashMap<Uuid, Cached>) {
        let Admit { operation, verdict } = &ask.input;
        let Some(cached) = runs.get_mut(operation) else {
            return ask.answer(Err(EngineError::NotFound));
        };
        match verdict {
            Verdict::Admitted(at) => {
                let before = cached.run.version();
                cached.run.ungate(*at);
                if cached.run.version() != before {
                    self.touched.insert(*operation);
                }
            }
            Verdict::Cancelled(record) => {
                let (reason, cancellation) = (Stop::Cancel, Some(record.clone()));
                let (operation, expected) = (*operation, None);
                let asked = StopAsked { operation, reason, expected, cancellation };
                self.stop_run(&asked, cached);
            }
        }
        ask.answer(Ok(()));
    }
}

impl Engine {
    /// What an operation waits for before it may begin; `None` if it does not, or not any more.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn gate(&self, operation: Uuid) -> Result<Option<Gate>, EngineError> {
        let Some(view) = self.shared.store.admission(operation).await? else { return Ok(None) };
        let AdmissionView { state, held, holders, ahead, .. } = view;
        Ok(match (state, view.key, view.rate) {
            (AdmissionState::Waits, Some((key, limit)), _) => {
                Some(Gate::Place { key, limit, held, holders, ahead })
            }
            (AdmissionState::Placed, _, Some((key, rate))) => {
                let log = RateLog::new(view.admitted);
                let at = log.earliest(rate, ahead as usize, self.now());
                Some(Gate::Turn { key, rate, at, ahead })
            }
            (AdmissionState::Waits | AdmissionState::Placed, ..)
            | (AdmissionState::Admitted | AdmissionState::Ended, ..) => None,
        })
    }
}
