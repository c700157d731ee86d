//! What has to be done from time to time: lost workers, time that is up, partitions, keys of clients
//! that are free again, and a look at the queue in case news was lost.
//!
//! Every process looks at the queue, since its own slots may be what is free. All the rest is the
//! duty of one of them, however many there are: what would be done more often is not done better.
//! It is idempotent and guarded by versions all the same (see [`duty`](super::duty)).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use super::command::{Ask, Command, Expire, Lease};
use super::duty::Duty;
use super::error::EngineError;
use crate::domain::Incarnation;
use crate::store::{LostWorker, Standing};

/// What the duty is called in the database.
pub(super) const MAINTENANCE: &str = "maintenance";

const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// Rate limits forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;
/// Deadlines dealt with at once.
const OVERDUE_MAX: i64 = 500;
/// A queue with so many dead rows is made anew. Vacuum keeps it below that where it can.
const DEAD_MIN: i64 = 200_000;
/// How often that is looked at.
const COMPACTED_EVERY: Duration = Duration::from_secs(2);
/// The longest wait before it is tried again while somebody who has read a queue keeps a transaction
/// open. All others wait along with who waits for the lock, so it is tried less and less often.
const COMPACTED_EVERY_MAX: Duration = Duration::from_mins(2);

/// Maintains until the engine stops.
pub(super) async fn maintain(shared: Arc<Shared>, duty: Arc<Duty>) {
    let mut rarely = tokio::time::interval(PARTITIONS_EVERY);
    rarely.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rarely.tick().await; // The first tick comes at once; start-up has just done it.
    let mut next = Instant::now();
    let mut compaction = (next, COMPACTED_EVERY);
    loop {
        let done = tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let done = shared.look_after(&duty).await;
                next = Instant::now() + *done.as_ref().unwrap_or(&shared.settings.poll_interval);
                done.map(drop)
            }
            _ = rarely.tick(), if duty.is_held() => {
                shared.look_ahead().await
            }
            () = tokio::time::sleep_until(compaction.0), if duty.is_held() => {
                let done = shared.store.compact_queues(DEAD_MIN).await;
                let wait = match done {
                    Ok(true) => COMPACTED_EVERY,
                    Ok(false) | Err(_) => (compaction.1 * 2).min(COMPACTED_EVERY_MAX),
                };
                compaction = (Instant::now() + wait, wait);
                done.map(drop).map_err(EngineError::from)
            }
            () = shared.stopped.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(error = &error as &dyn std::error::Error, "engine.maintain.failed");
        }
    }
}

impl Shared {
    /// Does what is to be done now; answers when to look again.
    async fn look_after(self: &Arc<Self>, duty: &Duty) -> Result<Duration, EngineError> {
        // Also finds out that the address leads to another database now.
        self.store.check_writable().await?;
        if self.store.put_due().await? {
            self.look();
        }
        self.note_used_tokens().await?;
        let usual = self.settings.poll_interval;
        if !duty.is_held() {
            return Ok(usual);
        }
        self.rescue().await?;
        self.expire().await?;
        self.forget_keys().await?;
        // A worker is lost the moment its lease runs out, and over as soon as it may be.
        let expiry = self.store.next_expiry().await?.map(|left| left + Duration::from_millis(1));
        Ok(expiry.map_or(usual, |expiry| expiry.min(usual)))
    }

    async fn look_ahead(&self) -> Result<(), EngineError> {
        self.store.ensure_partitions().await?;
        Ok(self.store.forget_rates(FORGOTTEN_MAX).await?)
    }

    /// Tells what workers had whose leases ran out and, a while later, gives it to others; or tells
    /// that they are back.
    async fn rescue(&self) -> Result<(), EngineError> {
        for worker in self.store.lost_workers().await? {
            let LostWorker { id, name, revoked, is_back } = worker;
            if is_back {
                self.tell(id, Standing::Holds).await?;
                self.store.recovered(id, revoked).await?;
                continue;
            }
            self.tell(id, Standing::Lost).await?;
            // Only when all that it has is Unresponsive: its word is asked for from then on.
            if self.store.end_incarnation(id).await? {
                // First, so that the attempts that follow find every reply that was taken.
                self.store.close_prompts_of(id).await?;
                let count = self.tell(id, Standing::Over).await?;
                if count > 0 {
                    tracing::warn!(worker = id, name, count, "engine.worker.lost");
                }
                self.store.forget_worker(id).await?;
            }
        }
        Ok(())
    }

    /// Tells the operations of which a worker has attempts how it stands; answers how many attempts
    /// those are.
    async fn tell(&self, worker: Incarnation, standing: Standing) -> Result<usize, EngineError> {
        let operations = self.store.held_by(worker).await?;
        let mut answers = Vec::with_capacity(operations.len());
        for operation in operations {
            let (ask, answer) = Ask::new(Lease { operation, worker, standing });
            self.send(Command::Lease(ask)).await?;
            answers.push(answer);
        }
        let mut count = 0;
        for answer in answers {
            count += answer.await.map_err(|_| EngineError::ShuttingDown)??;
        }
        Ok(count)
    }

    /// Ends what has run out of time.
    async fn expire(&self) -> Result<(), EngineError> {
        let overdue = self.store.overdue(OVERDUE_MAX).await?;
        if overdue.is_empty() {
            return Ok(());
        }
        let mut answers = Vec::with_capacity(overdue.len());
        for operation in &overdue {
            let (ask, answer) = Ask::new(Expire { operation: *operation });
            self.send(Command::Expire(ask)).await?;
            answers.push(answer);
        }
        let mut over = Vec::new();
        for (operation, answer) in overdue.into_iter().zip(answers) {
            match answer.await.map_err(|_| EngineError::ShuttingDown)? {
                Ok(Some(_)) => {} // Stored with the answer.
                Ok(None) | Err(EngineError::NotFound) => over.push(operation),
                Err(error) => return Err(error),
            }
        }
        Ok(self.store.forget_deadlines(&over).await?)
    }
}
