//! The seats of workers that talk to this process from elsewhere.
//!
//! A seat is where its worker speaks: a server that is asked by a worker whose seat is elsewhere, or
//! was lost with the process that had it, takes the seat over. The database says who has it, and what
//! the other claims from then on is refused. Whoever takes over gives the worker everything again that
//! it holds; the worker knows what it has already.
//!
//! An attempt is given until the worker says that it was received, so an answer may be lost. What a
//! worker asks about an attempt is refused unless it holds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::command::{Ask, Command, Held, Report};
use super::error::EngineError;
use super::seat::Assignment;
use super::tokens::Secret;
use super::work::{SeatSpec, WorkerSeat};
use super::{Engine, lock};
use crate::domain::decide::Stale;
use crate::domain::{Incarnation, Jobset};
use crate::store::{AttemptKey, HeldBy, OutputPiece, SecretHash, WorkerView};

/// How often a worker that waits is looked after: whether its seat is here still.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Attempts of predecessors that are kept in mind.
const INHERITED_MAX: usize = 10_000;

/// What a worker is given.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What it is to run, all that it has not received yet.
    pub assignments: Vec<Assignment>,
    /// Whether there may be orders or mail for it.
    pub news: bool,
}

/// The seats of remote workers.
#[derive(Debug, Default)]
pub struct RemoteSeats {
    seats: Mutex<HashMap<Incarnation, Arc<RemoteSeat>>>,
    /// Held by who takes a seat over, so that no seat is made twice.
    taking: tokio::sync::Mutex<()>,
}

impl RemoteSeats {
    /// Registers a worker; answers its seat and what it proves with from now on that it is it.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn register(
        &self,
        engine: &Engine,
        spec: SeatSpec,
        drained: bool,
    ) -> Result<(Arc<RemoteSeat>, Secret), EngineError> {
        let secret = Secret::random("");
        let (hash, name) = (Secret::hash(secret.reveal()), spec.name.clone());
        let seat = engine.register(spec, Some(hash), drained).await?;
        let seat = Arc::new(RemoteSeat::new(seat, name, hash, Vec::new()));
        self.add(Arc::clone(&seat));
        Ok((seat, secret))
    }

    /// The seat of a worker that proves with `secret` who it is.
    ///
    /// # Errors
    /// [`EngineError::NoWorker`], [`EngineError::LeaseLost`], [`EngineError::NotTheWorker`];
    /// otherwise as for any question to the store.
    pub async fn seat(
        &self,
        engine: &Engine,
        worker: Incarnation,
        secret: &str,
    ) -> Result<Arc<RemoteSeat>, EngineError> {
        let secret = Secret::hash(secret);
        if let Some(seat) = self.seated(worker) {
            return seat.proven(&secret);
        }
        let _taking = self.taking.lock().await;
        if let Some(seat) = self.seated(worker) {
            return seat.proven(&secret);
        }
        let known = engine.store().known_worker(worker).await?.ok_or(EngineError::NoWorker)?;
        if !known.has_secret(&secret) {
            return Err(EngineError::NotTheWorker);
        }
        if !known.is_live {
            return Err(EngineError::LeaseLost);
        }
        let seat = Arc::new(RemoteSeat::take_over(engine, worker, secret).await?);
        self.add(Arc::clone(&seat));
        Ok(seat)
    }

    fn seated(&self, worker: Incarnation) -> Option<Arc<RemoteSeat>> {
        lock(&self.seats).get(&worker).filter(|seat| seat.is_here()).cloned()
    }

    /// Adds a seat and forgets those whose workers are gone.
    fn add(&self, seat: Arc<RemoteSeat>) {
        let mut seats = lock(&self.seats);
        seats.retain(|_, seat| seat.is_here());
        seats.insert(seat.seat.incarnation(), seat);
    }

    /// Gives a worker's lease back.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn leave(&self, seat: &RemoteSeat) -> Result<(), EngineError> {
        seat.seat.leave().await?;
        lock(&self.seats).remove(&seat.seat.incarnation());
        Ok(())
    }

    /// Vacates all seats: the process shuts down, others may take them over.
    pub fn vacate(&self) {
        for (_, seat) in lock(&self.seats).drain() {
            seat.seat.vacate();
        }
    }
}

/// What a worker was given.
#[derive(Debug)]
struct Given {
    jobset: Arc<Jobset>,
    /// Until it says that it was received.
    to_deliver: Option<Assignment>,
}

/// The seat of a remote worker.
#[derive(Debug)]
pub struct RemoteSeat {
    seat: WorkerSeat,
    name: String,
    secret: SecretHash,
    /// What it holds.
    given: Mutex<BTreeMap<AttemptKey, Given>>,
    /// The attempts of its predecessor whose output it may store.
    inherited: Mutex<HashSet<AttemptKey>>,
}

impl RemoteSeat {
    fn new(seat: WorkerSeat, name: String, secret: SecretHash, held: Vec<Assignment>) -> Self {
        let new = Self { seat, name, secret, given: Mutex::default(), inherited: Mutex::default() };
        new.note(held);
        new
    }

    async fn take_over(
        engine: &Engine,
        worker: Incarnation,
        secret: SecretHash,
    ) -> Result<Self, EngineError> {
        let (shared, asked) = (&engine.shared, Instant::now());
        let taken = shared.store.take_seat(worker, &shared.name).await?;
        let taken = taken.ok_or(EngineError::LeaseLost)?;
        // Nothing is claimed for it before it is known what it holds.
        let seat = engine.sit(worker, taken.profile, taken.slots, taken.terms, asked.into());
        let mut held = Vec::new();
        for operation in shared.store.held_by(worker).await? {
            let (ask, answer) = Ask::new(Held { operation, worker });
            shared.send(Command::Held(ask)).await?;
            held.extend(answer.await.map_err(|_| EngineError::ShuttingDown)??);
        }
        tracing::info!(worker, name = taken.name, held = held.len(), "engine.seat.taken");
        if taken.drained {
            seat.close();
        }
        seat.seat.hold(held.len());
        seat.seat.renew((asked + taken.left).into());
        let seat = Self::new(seat, taken.name, secret, held);
        seat.seat.begin().await?;
        Ok(seat)
    }

    fn proven(self: Arc<Self>, secret: &SecretHash) -> Result<Arc<Self>, EngineError> {
        if self.secret == *secret { Ok(self) } else { Err(EngineError::NotTheWorker) }
    }

    /// Whether the worker is given attempts here still.
    fn is_here(&self) -> bool {
        self.seat.is_seated()
    }

    /// What does all that needs no care because the worker is remote.
    #[must_use]
    pub const fn inner(&self) -> &WorkerSeat {
        &self.seat
    }

    /// Notes what the worker is given from now on.
    fn note(&self, assignments: Vec<Assignment>) {
        let mut given = lock(&self.given);
        for assignment in assignments {
            let jobset = Arc::clone(&assignment.jobset);
            given.insert(assignment.key(), Given { jobset, to_deliver: Some(assignment) });
        }
    }

    fn to_deliver(&self) -> Vec<Assignment> {
        lock(&self.given).values().filter_map(|given| given.to_deliver.clone()).collect()
    }

    /// What the worker has not `received` yet and what may be told to it; waits until there is
    /// something, or `patience` is over, or its seat is elsewhere. Those that are `resting` give their
    /// slots back.
    pub async fn poll(
        &self,
        received: &[AttemptKey],
        resting: &[AttemptKey],
        patience: Instant,
    ) -> Polled {
        {
            let mut given = lock(&self.given);
            for key in received {
                if let Some(given) = given.get_mut(key) {
                    given.to_deliver = None;
                }
            }
        }
        for key in resting.iter().filter(|key| self.holds(key)) {
            self.seat.rest(*key);
        }
        loop {
            // What has come already is delivered in one answer.
            while let Some(assignments) = self.seat.assigned_already() {
                self.note(assignments);
            }
            let assignments = self.to_deliver();
            if !assignments.is_empty() || !self.is_here() || patience <= Instant::now() {
                return Polled { assignments, news: false };
            }
            let look_at = patience.min(Instant::now() + LOOK_EVERY);
            tokio::select! {
                assignments = self.seat.assignments() => self.note(assignments),
                () = self.seat.ordered() => return Polled { assignments: Vec::new(), news: true },
                () = sleep_until(look_at) => {}
            }
        }
    }

    /// Reports how attempts ended. A report that was made before is answered as it was then.
    pub async fn settle(&self, reports: Vec<Report>) -> Vec<Result<(), EngineError>> {
        let keys: Vec<AttemptKey> = reports.iter().map(Report::key).collect();
        let ended: Vec<AttemptKey> = {
            let mut given = lock(&self.given);
            keys.iter().copied().filter(|key| given.remove(key).is_some()).collect()
        };
        self.seat.seat.give_ended(ended.into_iter());
        let mut answers = self.seat.settle_again(reports).await;
        let is_stale = |answer: &Result<(), EngineError>| {
            matches!(answer, Err(EngineError::Stale(_) | EngineError::NotFound))
        };
        let stale: Vec<AttemptKey> = keys
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| is_stale(answer))
            .map(|(key, _)| *key)
            .collect();
        if stale.is_empty() {
            return answers;
        }
        match self.seat.shared.store.settled_by(self.seat.incarnation(), &stale).await {
            Ok(settled) => {
                for (key, answer) in keys.iter().zip(&mut answers) {
                    if is_stale(answer) && settled.contains(key) {
                        *answer = Ok(());
                    }
                }
            }
            // It is not known, so it is asked again.
            Err(_) => {
                for answer in answers.iter_mut().filter(|answer| is_stale(answer)) {
                    *answer = Err(EngineError::Unavailable);
                }
            }
        }
        answers
    }

    /// The jobset of an attempt that the worker holds.
    ///
    /// # Errors
    /// [`EngineError::Stale`] when it does not.
    pub fn held(&self, key: &AttemptKey) -> Result<Arc<Jobset>, EngineError> {
        let given = lock(&self.given);
        let held = given.get(key).map(|given| Arc::clone(&given.jobset));
        held.ok_or_else(|| self.stale(key))
    }

    fn holds(&self, key: &AttemptKey) -> bool {
        lock(&self.given).contains_key(key)
    }

    fn stale(&self, key: &AttemptKey) -> EngineError {
        let (step, attempt, worker) = (key.step, key.attempt, self.seat.incarnation());
        Stale { step, attempt, worker }.into()
    }

    /// Refuses unless the worker holds an attempt of the operation.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn works_on(&self, operation: Uuid) -> Result<(), EngineError> {
        let first = AttemptKey { operation, step: 0, attempt: 0 };
        let last = AttemptKey { operation, step: u32::MAX, attempt: u32::MAX };
        let works = lock(&self.given).range(first..=last).next().is_some();
        if works { Ok(()) } else { Err(EngineError::NotFound) }
    }

    /// Stores output of attempts that the worker holds, and of those that nobody holds but perhaps
    /// its predecessor, a worker of the same name: what that had not stored was left to it.
    ///
    /// # Errors
    /// [`EngineError::Stale`]; otherwise as for any question to the store.
    pub async fn append_output(&self, pieces: &[OutputPiece]) -> Result<(), EngineError> {
        let others: HashSet<AttemptKey> = {
            let (given, inherited) = (lock(&self.given), lock(&self.inherited));
            let keys = pieces.iter().map(OutputPiece::of);
            keys.filter(|key| !given.contains_key(key) && !inherited.contains(key)).collect()
        };
        if !others.is_empty() {
            let asked: Vec<AttemptKey> = others.iter().copied().collect();
            let begun = self.seat.shared.store.begun(&asked).await?;
            if let Some(unknown) = asked.iter().find(|key| !begun.contains(key)) {
                return Err(self.stale(unknown));
            }
            let operations: Vec<Uuid> = others.iter().map(|key| key.operation).collect();
            let holders = self.seat.shared.store.holders(&operations).await?;
            let is_foreign =
                |held: &&HeldBy| others.contains(&held.attempt) && held.name != self.name;
            if let Some(foreign) = holders.iter().find(is_foreign) {
                return Err(self.stale(&foreign.attempt));
            }
            let mut inherited = lock(&self.inherited);
            if inherited.len() > INHERITED_MAX {
                inherited.clear(); // They are asked about again.
            }
            inherited.extend(others);
        }
        self.seat.append_output(pieces).await
    }
}

impl Engine {
    /// The workers that have slots: all, or the one with that id.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn workers(&self, id: Option<Incarnation>) -> Result<Vec<WorkerView>, EngineError> {
        Ok(self.shared.store.workers(id).await?)
    }

    /// Tells a worker, wherever it is, to take nothing new. It hears of it with its next heartbeat.
    /// Doing it again changes nothing.
    ///
    /// # Errors
    /// [`EngineError::NoWorker`]; otherwise as for any question to the store.
    pub async fn drain_worker(&self, id: Incarnation) -> Result<WorkerView, EngineError> {
        self.shared.store.drain_worker(id).await?;
        self.workers(Some(id)).await?.pop().ok_or(EngineError::NoWorker)
    }

    /// The definition of a jobset as it is stored.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; otherwise as for any question to the store.
    pub async fn jobset_document(&self, id: Uuid) -> Result<String, EngineError> {
        let view = self.shared.store.jobset(id).await?;
        view.map(|view| view.document).ok_or(EngineError::NotFound)
    }
}
