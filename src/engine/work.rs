//! What a worker asks of the engine that gives it attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::command::{Ask, Command, Report};
use super::error::EngineError;
use super::seat::{Assignment, Seat};
use super::{Engine, Shared};
use crate::domain::profile::Profile;
use crate::domain::{Incarnation, LeaseTerms};
use crate::store::{Heartbeat, NewWorker, Order, OutputPiece, SecretHash};

/// What a worker that takes the seat is.
#[derive(Clone, Debug)]
pub struct SeatSpec {
    /// For people.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// How many attempts it runs at once; 0 for a process that only serves.
    pub slots: u32,
    /// How long it may act without a heartbeat.
    pub lease: Duration,
    /// What it offers.
    pub profile: Profile,
}

/// The seat of a worker: one incarnation, from its registration to its end. It is given nothing more
/// when it has lost its lease, has left, or its seat is dropped.
#[derive(Debug)]
pub struct WorkerSeat {
    pub(super) shared: Arc<Shared>,
    pub(super) seat: Arc<Seat>,
    terms: LeaseTerms,
    assignments: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<Assignment>>>,
}

impl Engine {
    /// Registers a worker incarnation and begins to claim for it, beside those that sit here already.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn open_seat(&self, spec: SeatSpec) -> Result<WorkerSeat, EngineError> {
        self.register(spec, None, false).await
    }

    /// As [`open_seat`](Self::open_seat), for a worker elsewhere that proves with a secret who it is
    /// and may have been told already to take nothing.
    pub(super) async fn register(
        &self,
        spec: SeatSpec,
        secret: Option<SecretHash>,
        drained: bool,
    ) -> Result<WorkerSeat, EngineError> {
        let SeatSpec { name, host, pid, slots, lease, profile } = spec;
        let terms = LeaseTerms { lease, requeue_after: self.shared.settings.requeue_after };
        let served_by = self.shared.name.to_string();
        let worker =
            NewWorker { name, host, pid, slots, terms, profile, served_by, secret, drained };
        let asked = Instant::now();
        let incarnation = self.shared.store.register(&worker).await?;
        let seat = self.sit(incarnation, worker.profile, slots, terms, asked + lease);
        if drained {
            seat.close();
        }
        seat.begin().await?;
        Ok(seat)
    }

    /// Puts a worker on a seat; its lease runs out at `lease_until`, at the latest.
    pub(super) fn sit(
        &self,
        incarnation: Incarnation,
        profile: Profile,
        slots: u32,
        terms: LeaseTerms,
        lease_until: Instant,
    ) -> WorkerSeat {
        let (sender, receiver) = mpsc::unbounded_channel();
        let slots = slots as usize;
        let seat = Arc::new(Seat::new(incarnation, profile, slots, lease_until, sender));
        self.shared.seats.add(Arc::clone(&seat));
        // From here on it is taken out again whatever happens.
        WorkerSeat {
            shared: Arc::clone(&self.shared),
            seat,
            terms,
            assignments: tokio::sync::Mutex::new(receiver),
        }
    }
}

impl Shared {
    /// Finds out whether workers sit elsewhere.
    async fn look_for_peers(&self) -> Result<(), EngineError> {
        let peers = self.store.peers(&self.seats.incarnations()).await?;
        self.news.set_peers(peers > 0);
        Ok(())
    }

    /// Closes the seats of workers whose incarnations are over or that sit elsewhere now, and lets
    /// those that have no lease claim nothing until they have one again.
    pub(super) async fn close_lost(&self) -> Result<(), EngineError> {
        let asked = self.seats.incarnations();
        let seated = self.store.seated(&asked, &self.name).await?;
        self.seats.retain(|seat| {
            if seated.get(&seat.incarnation) == Some(&false) {
                seat.renew(Instant::now());
            }
            seated.contains_key(&seat.incarnation) || !asked.contains(&seat.incarnation)
        });
        Ok(())
    }
}

impl Drop for WorkerSeat {
    fn drop(&mut self) {
        self.vacate();
    }
}

impl WorkerSeat {
    /// The incarnation that sits here.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.seat.incarnation
    }

    /// The terms of its lease.
    #[must_use]
    pub const fn terms(&self) -> LeaseTerms {
        self.terms
    }

    /// Makes known that it sits here, and looks for what it can be given.
    pub(super) async fn begin(&self) -> Result<(), EngineError> {
        self.shared.look_for_peers().await?;
        self.shared.news.join();
        self.shared.look();
        Ok(())
    }

    /// Claims nothing more for it and tells it nothing more.
    pub(super) fn vacate(&self) {
        self.shared.seats.retain(|seat| !std::ptr::eq(seat, &raw const *self.seat));
    }

    /// The next attempts to run; waits until there are some.
    pub async fn assignments(&self) -> Vec<Assignment> {
        let mut receiver = self.assignments.lock().await;
        match receiver.recv().await {
            Some(assignments) => assignments,
            // The sender lives as long as the seat.
            None => std::future::pending().await,
        }
    }

    /// Attempts to run that are there already.
    pub(super) fn assigned_already(&self) -> Option<Vec<Assignment>> {
        self.assignments.try_lock().ok()?.try_recv().ok()
    }

    /// Whether the worker sits here still.
    pub(super) fn is_seated(&self) -> bool {
        self.shared.seats.all().iter().any(|seat| Arc::ptr_eq(seat, &self.seat))
    }

    /// Reports how attempts ended; each frees a slot. When this answers, it is durable.
    ///
    /// # Errors
    /// Each report has its own answer: [`EngineError::Stale`] when the attempt is not this worker's
    /// any more, [`EngineError::Unavailable`] when it should be reported again by
    /// [`settle_again`](Self::settle_again).
    pub async fn settle(&self, reports: Vec<Report>) -> Vec<Result<(), EngineError>> {
        self.seat.give_ended(reports.iter().map(Report::key));
        self.settle_again(reports).await
    }

    /// As [`settle`](Self::settle), for reports that were made before without success.
    ///
    /// # Errors
    /// As there.
    pub async fn settle_again(&self, reports: Vec<Report>) -> Vec<Result<(), EngineError>> {
        let mut answers = Vec::with_capacity(reports.len());
        for report in reports {
            let (ask, answer) = Ask::new(report);
            answers.push(self.shared.send(Command::Settle(ask)).await.map(|()| answer));
        }
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(match answer {
                Ok(answer) => answer.await.unwrap_or(Err(EngineError::ShuttingDown)),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Renews the lease, also one that ran out, and asks for orders; one that was told to drain is
    /// given nothing more. `None`: the incarnation is over; all its attempts are given to others, so
    /// their processes must be ended at once.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn heartbeat(&self) -> Result<Option<Heartbeat>, EngineError> {
        let store = &self.shared.store;
        let asked = Instant::now();
        let (worker, running) = (self.seat.incarnation, self.seat.running());
        let heard = store.heartbeat(worker, self.terms.lease, running).await?;
        match &heard {
            None => self.vacate(),
            Some(heard) => {
                self.seat.renew(asked + self.terms.lease);
                if heard.drained {
                    self.close();
                }
            }
        }
        let asked = Instant::now();
        self.shared.clock.set(store.now().await?, asked);
        self.shared.look_for_peers().await?;
        Ok(heard)
    }

    /// Ends when orders for this worker may have been stored.
    pub async fn ordered(&self) {
        self.seat.ordered.notified().await;
    }

    /// The orders that were not carried out yet.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn orders(&self) -> Result<Vec<Order>, EngineError> {
        Ok(self.shared.store.orders(self.seat.incarnation).await?)
    }

    /// Stores output. Sending a piece again changes nothing.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn append_output(&self, pieces: &[OutputPiece]) -> Result<(), EngineError> {
        self.shared.store.append_output(pieces).await?;
        self.shared.live.wrote(pieces);
        self.shared.news.tell_output(pieces);
        Ok(())
    }

    /// The context of an operation: an object, empty if it has none.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn context(&self, operation: Uuid) -> Result<Value, EngineError> {
        let view = self.shared.store.context(operation).await?;
        Ok(view.map_or_else(|| Value::Object(serde_json::Map::new()), |view| view.context))
    }

    /// The results of some steps of an operation, by number.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn results(
        &self,
        operation: Uuid,
        steps: &[i32],
    ) -> Result<Vec<(i32, Value)>, EngineError> {
        Ok(self.shared.store.results(operation, steps).await?)
    }

    /// What clients edited for attempts of an operation, by step number.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn edits(&self, operation: Uuid) -> Result<Value, EngineError> {
        Ok(self.shared.store.edits(operation).await?.unwrap_or(Value::Null))
    }

    /// Those of some operations that ended longer ago than `age`, or that nobody knows.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn ended(
        &self,
        operations: &[Uuid],
        age: Duration,
    ) -> Result<Vec<Uuid>, EngineError> {
        Ok(self.shared.store.ended(operations, age).await?)
    }

    /// The time by the clock of the database.
    #[must_use]
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.shared.clock.now()
    }

    /// Claims nothing more.
    pub fn close(&self) {
        self.seat.close();
    }

    /// Ends the incarnation. What it still holds (claimed just before it closed, or given to it and
    /// never begun) is then taken from it like from a lost one.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn leave(&self) -> Result<(), EngineError> {
        self.vacate();
        Ok(self.shared.store.give_back(self.seat.incarnation).await?)
    }
}
