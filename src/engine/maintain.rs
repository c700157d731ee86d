//! What has to be done from time to time: lost workers, time that is up, partitions, keys of clients
//! that are free again, and a look at the queue in case news was lost.
//!
//! Every process does it. All of it is idempotent and guarded by versions, so that two doing the
//! same thing at once is harmless.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Shared;
use super::command::{Ask, Command, Expire, Lose};
use super::error::EngineError;

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
        if self.store.put_due().await? {
            self.look();
        }
        Ok(())
    }

    async fn look_ahead(&self) -> Result<(), EngineError> {
        self.store.ensure_partitions().await?;
        self.forget_aliases().await
    }

    /// Tells what workers had whose leases ran out and, a while later, gives it to others.
    async fn rescue(&self) -> Result<(), EngineError> {
        for worker in self.store.revoke_expired(self.settings.requeue_after).await? {
            // First, so that the attempts that follow find every reply that was taken.
            self.store.close_prompts_of(worker.id).await?;
            let operations = self.store.held_by(worker.id).await?;
            let (count, is_over) = (operations.len(), worker.is_over);
            if count > 0 && is_over {
                tracing::warn!(worker = worker.id, name = worker.name, count, "engine.worker.lost");
            }
            let mut answers = Vec::with_capacity(count);
            for operation in operations {
                let (ask, answer) = Ask::new(Lose { operation, worker: worker.id, is_over });
                self.send(Command::Lose(ask)).await?;
                answers.push(answer);
            }
            for answer in answers {
                answer.await.map_err(|_| EngineError::ShuttingDown)??;
            }
            if is_over || count == 0 {
                self.store.forget_worker(worker.id).await?;
            }
        }
        Ok(())
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
