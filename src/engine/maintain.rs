//! What has to be done from time to time: lost workers, time that is up, partitions, keys of clients
//! that are free again, and a look at the queue in case news was lost.
//!
//! Every process does it. All of it is idempotent and guarded by versions, so that two doing the
//! same thing at once is harmless.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Shared;
use super::command::{Ask, Command, Expire, Lease};
use super::error::EngineError;
use crate::domain::Incarnation;
use crate::store::{LostWorker, Standing};

const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// Deadlines dealt with at once.
const OVERDUE_MAX: i64 = 500;

/// Maintains until the engine stops.
pub(super) async fn maintain(shared: Arc<Shared>) {
    let mut often = tokio::time::interval(shared.settings.poll_interval);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rarely = tokio::time::interval(PARTITIONS_EVERY);
    rarely.tick().await; // The first tick comes at once; start-up has just done it.
    loop {
        let done = tokio::select! {
            _ = often.tick() => shared.look_after().await,
            _ = rarely.tick() => shared.look_ahead().await,
            () = shared.stopped.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(error = &error as &dyn std::error::Error, "engine.maintain.failed");
        }
    }
}

impl Shared {
    async fn look_after(self: &Arc<Self>) -> Result<(), EngineError> {
        self.rescue().await?;
        self.expire().await?;
        self.forget_keys().await?;
        match self.store.next_ready().await? {
            Some(due) if due <= self.clock.now() => self.look(),
            Some(_) | None => {}
        }
        Ok(())
    }

    async fn look_ahead(&self) -> Result<(), EngineError> {
        self.store.ensure_partitions().await?;
        self.forget_aliases().await
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
