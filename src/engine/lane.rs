//! A lane: decides on the operations whose ids fall to it, one batch at a time.
//!
//! While one batch is being committed the next one gathers (group commit without added delay).
//! Memory is a cache: a decision is made on runs in memory, stored by a statement that compares
//! their versions, and published only after the commit. When the versions do not match, or the
//! database fails, the runs concerned are dropped, loaded afresh and the commands decided again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::Shared;
use super::command::Command;
use super::deal::{Found, Fronts};
use super::doubt::Doubts;
use super::error::EngineError;
use super::idempotency::Keys;
use super::turn::Turn;
use crate::domain::Run;
use crate::store::{Claimable, Offer, StoreError};

/// Commands per batch.
const BATCH_MAX: usize = 500;
/// How often a batch is decided again because others were faster.
const CONFLICTS_MAX: u32 = 50;
/// How often a batch is tried again because the database failed, and the wait between.
const FAILURES_MAX: u32 = 4;
const FAILURE_WAIT: Duration = Duration::from_millis(200);
/// After so long no further try is begun: those who wait are told to come again.
const FAILURE_PATIENCE: Duration = Duration::from_secs(4);
/// Runs kept in memory between batches, at most.
const CACHED_RUNS_MAX: usize = 20_000;

/// A run in memory as it was last seen in the database.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) run: Run,
    /// The id of what it runs.
    pub(super) jobset: Uuid,
    pub(super) flags: i16,
    /// The version that the database has.
    pub(super) version: i32,
    /// When it was last given a slot, or was made.
    pub(super) since: DateTime<Utc>,
    /// Whether it may stand in the queue.
    pub(super) queued: bool,
}

/// The way to a lane.
#[derive(Debug)]
pub(super) struct LaneHandle {
    pub(super) sender: mpsc::Sender<Command>,
    /// There may be something to claim in the `ready` table.
    ready: AtomicBool,
    /// The time of something may have come that could not be claimed before.
    due: AtomicBool,
    /// What the other lanes should know of this one.
    pub(super) fronts: Mutex<Fronts>,
    wake: Notify,
}

impl LaneHandle {
    pub(super) fn new(sender: mpsc::Sender<Command>) -> Self {
        let (ready, due) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { sender, ready, due, fronts: Mutex::default(), wake: Notify::new() }
    }

    /// There may be something to claim.
    pub(super) fn look(&self) {
        self.ready.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// There may be something to claim whose time has come.
    pub(super) fn look_for_due(&self) {
        self.due.store(true, Ordering::Relaxed);
        self.look();
    }

    /// Whether operations may wait for a free slot.
    pub(super) fn has_backlog(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// The lane itself: owned by one task.
pub(super) struct Lane {
    shared: Arc<Shared>,
    index: usize,
    inbox: mpsc::Receiver<Command>,
    runs: HashMap<Uuid, Cached>,
    connection: Option<PoolConnection<Postgres>>,
    doubts: Doubts,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, index: usize, inbox: mpsc::Receiver<Command>) -> Self {
        Self {
            shared,
            index,
            inbox,
            runs: HashMap::new(),
            connection: None,
            doubts: Doubts::default(),
        }
    }

    /// Works until the engine is dropped.
    pub(super) async fn work(mut self) {
        let shared = Arc::clone(&self.shared);
        let handle = &shared.lanes[self.index];
        let mut commands = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                received = self.inbox.recv_many(&mut commands, 1) => {
                    if received == 0 {
                        return;
                    }
                }
                () = handle.wake.notified() => {}
                () = shared.stopped.cancelled() => return,
            }
            // Whoever was told of the last batch and has something for this one gives it first; where
            // nobody has, this takes no time.
            tokio::task::yield_now().await;
            while commands.len() < BATCH_MAX
                && let Ok(command) = self.inbox.try_recv()
            {
                commands.push(command);
            }
            self.batch(std::mem::take(&mut commands)).await;
        }
    }

    /// Carries a batch through, however often it takes.
    async fn batch(&mut self, mut commands: Vec<Command>) {
        let (mut conflicts, mut failures) = (0, 0);
        let began = tokio::time::Instant::now();
        loop {
            match self.attempt(&mut commands, failures + conflicts > 0).await {
                Ok(()) => {
                    if failures > 0 {
                        // A commit whose answer was lost was told to nobody.
                        self.shared.look_again();
                    }
                    return;
                }
                Err(EngineError::Store(
                    StoreError::Conflict(error) | StoreError::LeaseLost(error),
                )) => {
                    conflicts += 1;
                    tracing::debug!(%error, conflicts, "engine.lane.conflict");
                    if conflicts > CONFLICTS_MAX {
                        return fail(commands, || EngineError::Overloaded);
                    }
                }
                Err(error) if error.is_outage() => {
                    self.connection = None;
                    self.runs.clear();
                    failures += 1;
                    if failures > FAILURES_MAX || began.elapsed() > FAILURE_PATIENCE {
                        self.shared.lanes[self.index].look();
                        self.shared.look_again();
                        return fail(commands, || outage(&error));
                    }
                    tokio::time::sleep(FAILURE_WAIT).await;
                }
                Err(error) => {
                    self.runs.clear();
                    if commands.len() > 1 {
                        // One of them is at fault: each gets its own batch.
                        for command in commands {
                            Box::pin(self.batch(vec![command])).await;
                        }
                        return;
                    }
                    tracing::error!(error = &error as &dyn std::error::Error, "engine.lane.failed");
                    let mut error = Some(error);
                    return fail(commands, || error.take().unwrap_or(EngineError::Unavailable));
                }
            }
        }
    }

    /// One try: load, decide, store, publish. On an error nothing was stored, or (when the
    /// connection broke) it is unknown; `again` makes new operations be looked for.
    async fn attempt(
        &mut self,
        commands: &mut Vec<Command>,
        again: bool,
    ) -> Result<(), EngineError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.shared.store.writer().await?,
        };
        let shared = Arc::clone(&self.shared);
        let handle = &shared.lanes[self.index];
        let has_backlog = handle.has_backlog();
        let offers = if has_backlog { shared.seats.offers(BATCH_MAX) } else { Vec::new() };
        if commands.is_empty() && offers.is_empty() && self.doubts.is_empty() {
            self.connection = Some(connection);
            return Ok(());
        }
        // A slot that became free just now is for the next turn, which looks who is first.
        let nothing = (!has_backlog).then(Found::default);
        let outcome = if offers.is_empty() && !shared.store.is_pooled() {
            let turn = self.decide(commands, nothing, &mut connection, again).await?;
            match turn.store(&mut connection).await {
                Ok(()) => Ok(turn),
                Err(error) => Err((turn, error)),
            }
        } else {
            let mut transaction = shared.store.begin(&mut connection).await?;
            let found = if offers.is_empty() {
                nothing
            } else {
                Some(self.look_for(offers, &mut transaction).await?)
            };
            let turn = self.decide(commands, found, &mut transaction, again).await?;
            match turn.store(&mut transaction).await {
                Ok(()) => match transaction.commit().await {
                    Ok(()) => Ok(turn),
                    Err(error) => Err((turn, StoreError::from(error))),
                },
                Err(error) => Err((turn, error)),
            }
        };
        match outcome {
            Ok(turn) => {
                self.connection = Some(connection);
                self.keep(&turn);
                turn.publish(&self.shared);
                for command in commands.drain(..) {
                    command.publish();
                }
                Ok(())
            }
            Err((turn, error)) => {
                for id in turn.touched.iter().chain(&turn.looked_at) {
                    self.runs.remove(id);
                }
                let is_in_doubt = matches!(error, StoreError::Unavailable(_));
                if is_in_doubt {
                    self.doubts.add(turn.places);
                } else {
                    turn.undo();
                }
                if matches!(error, StoreError::LeaseLost(_)) {
                    self.shared.close_lost().await?;
                }
                Err(error.into())
            }
        }
    }

    /// What the queue has for the free slots.
    async fn look_for(
        &self,
        offers: Vec<Offer>,
        connection: &mut sqlx::PgConnection,
    ) -> Result<Found, EngineError> {
        let (store, lanes) = (&self.shared.store, &self.shared.lanes);
        let handle = &lanes[self.index];
        if handle.due.swap(false, Ordering::Relaxed) {
            store.put_due().await?;
        }
        let part = (self.index, lanes.len());
        let claimable = store.lock_claimable(connection, part, &offers).await?;
        let found = Found { offers, claimable };
        handle.ready.store(found.is_full(), Ordering::Relaxed);
        Ok(found)
    }

    /// Decides on the commands, and on what to claim: of what they change, and of what was `found` in
    /// the queue; nothing where that has to be looked at first.
    async fn decide(
        &mut self,
        commands: &mut [Command],
        found: Option<Found>,
        connection: &mut sqlx::PgConnection,
        again: bool,
    ) -> Result<Turn, EngineError> {
        let claimable = found.as_ref().map_or([].as_slice(), |found| &found.claimable);
        self.load(commands, claimable, connection, again).await?;
        self.doubts.settle(&self.runs);
        let identities = commands.iter().filter_map(Command::identity);
        let keys = Keys::of(identities, &self.shared, connection).await?;
        let mut turn = Turn::new(&self.shared, self.index, keys);
        for command in commands {
            turn.carry_out(command, &mut self.runs).await?;
        }
        if let Some(found) = found {
            turn.claim(found, &mut self.runs);
        }
        turn.gather(&mut self.runs);
        Ok(turn)
    }

    /// Brings the runs that the batch is about into memory.
    async fn load(
        &mut self,
        commands: &[Command],
        claimable: &[Claimable],
        connection: &mut sqlx::PgConnection,
        again: bool,
    ) -> Result<(), EngineError> {
        for claimable in claimable {
            if self.runs.get(&claimable.id).is_some_and(|c| c.version != claimable.version) {
                self.runs.remove(&claimable.id);
            }
        }
        // A change to an old copy is refused, because the versions differ. That nothing is to be changed
        // is compared with nothing, so whatever may find that is decided on what is stored now.
        for command in commands.iter().filter(|command| command.may_change_nothing()) {
            self.runs.remove(&command.operation());
        }
        let in_doubt = self.doubts.operations();
        if !in_doubt.is_empty() {
            self.shared.store.await_writers(connection, &in_doubt).await?;
            self.runs.retain(|id, _| !in_doubt.contains(id));
        }
        let missing: HashSet<Uuid> = commands
            .iter()
            .filter(|command| again || !matches!(command, Command::Submit(_)))
            .map(Command::operation)
            .chain(claimable.iter().map(|claimable| claimable.id))
            .chain(in_doubt)
            .filter(|id| !self.runs.contains_key(id))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<Uuid> = missing.into_iter().collect();
        for stored in self.shared.store.load(connection, &missing).await? {
            let compiled = self.shared.jobsets.get(&self.shared.store, stored.jobset).await?;
            let version = stored.snapshot.version;
            let run = Run::restore(stored.id, Arc::clone(&compiled.jobset), stored.snapshot);
            self.runs.insert(
                stored.id,
                Cached {
                    since: run.last_given(),
                    run,
                    jobset: stored.jobset,
                    flags: stored.flags,
                    version,
                    queued: true,
                },
            );
        }
        Ok(())
    }

    /// Keeps what will be asked for again: runs with attempts under way.
    fn keep(&mut self, turn: &Turn) {
        for id in &turn.touched {
            let Some(cached) = self.runs.get_mut(id) else { continue };
            let is_active = cached.run.in_hands() > 0;
            if cached.run.state().is_final() || !is_active {
                self.runs.remove(id);
            } else {
                cached.version = cached.run.version();
            }
        }
        // Runs that were only looked at.
        if self.runs.len() > CACHED_RUNS_MAX {
            self.runs.clear();
        }
    }
}

/// The same outage, for each of many.
pub(super) fn outage(error: &EngineError) -> EngineError {
    if let EngineError::ReadOnly(bar) = error {
        return EngineError::ReadOnly(*bar);
    }
    EngineError::Unavailable
}

fn fail(commands: Vec<Command>, mut error: impl FnMut() -> EngineError) {
    for command in commands {
        command.fail(error());
    }
}
