//! How workers stand, and what follows for the operations of which they have attempts.

use std::collections::HashMap;

use uuid::Uuid;

use super::command::{Ask, Lease};
use super::error::EngineError;
use super::lane::Cached;
use super::turn::Turn;
use crate::domain::Incarnation;
use crate::store::Standing;

impl Turn {
    /// Tells an operation how the worker of some of its attempts stands. That it is lost or back is
    /// told only while it is so: the news may have been overtaken.
    pub(super) async fn lease(
        &mut self,
        ask: &mut Ask<Lease, usize>,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> Result<(), EngineError> {
        let Lease { operation, worker, standing } = ask.input;
        ask.answer(Ok(0));
        let is_over = standing == Standing::Over;
        let Some(cached) = runs.get_mut(&operation) else { return Ok(()) };
        if !is_over && self.standing(worker).await? != standing {
            return Ok(());
        }
        let before = cached.run.version();
        let held = match standing {
            Standing::Lost => cached.run.lose(worker, self.now),
            Standing::Holds => cached.run.recover(worker, self.now),
            Standing::Over => {
                cached.run.rescue(worker, self.shared.settings.infra_retries, self.now)
            }
        };
        ask.answer(Ok(held));
        if cached.run.version() != before {
            self.touched.insert(operation);
            if !is_over {
                self.batch.require_lost(worker, standing == Standing::Lost);
            }
        }
        Ok(())
    }

    /// Whether what a worker says of an attempt that is Unresponsive counts. If so, the batch is stored
    /// only while it does.
    pub(super) async fn may_speak(&mut self, worker: Incarnation) -> Result<bool, EngineError> {
        let may = self.standing(worker).await? != Standing::Over;
        if may {
            self.batch.require_not_over(worker);
        }
        Ok(may)
    }

    /// How a worker stands, asked once per turn.
    pub(super) async fn standing(&mut self, worker: Incarnation) -> Result<Standing, EngineError> {
        if let Some(standing) = self.standings.get(&worker) {
            return Ok(*standing);
        }
        let standing = self.shared.store.standing(worker).await?;
        self.standings.insert(worker, standing);
        Ok(standing)
    }
}
