//! Questions about operations, answered with the jobset they run.

use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use super::error::EngineError;
use super::jobsets::Compiled;
use super::retention::Retention;
use crate::domain::operation::created_at;
use crate::domain::rollup::unhandled_among;
use crate::domain::{OperationState, Run, Snapshot};
use crate::store::{AttemptView, FindAsked, Keyset, OperationView};

/// An operation and what it runs.
#[derive(Clone, Debug)]
pub struct Found {
    /// The operation.
    pub view: OperationView,
    /// What it runs.
    pub compiled: Arc<Compiled>,
    /// For one that failed: the last attempts of the steps that made it fail, up to
    /// [`FAILURES_MAX`] of them.
    pub failures: Vec<AttemptView>,
}

impl Found {
    /// The operation as a run in memory, to ask it what may be done.
    #[must_use]
    pub fn run(&self) -> Run {
        let view = &self.view;
        let snapshot = Snapshot {
            state: view.state,
            stop: view.stop,
            version: view.version,
            entered: view.entered,
            last: view.entered,
            steps: view.steps.clone(),
            open: view.open.clone(),
            notes: view.notes.clone(),
            paused: view.paused,
            gated: view.gated,
            stamps: None,
        };
        Run::restore(view.id, Arc::clone(&self.compiled.jobset), snapshot)
    }
}

/// How many failed steps are told of one operation.
pub const FAILURES_MAX: usize = 20;

impl Engine {
    /// One operation.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Forgotten`]; otherwise as for any question to the
    /// store.
    pub async fn operation(&self, id: Uuid) -> Result<Found, EngineError> {
        let view = self.shared.lookups.operation(id).await?.ok_or_else(|| self.unknown(id))?;
        let mut found = self.with_jobset(view).await?;
        if found.view.state == OperationState::Failed {
            // What is rare is in a box, so that all others carry no room for it along.
            Box::pin(self.add_failures(std::slice::from_mut(&mut found))).await?;
        }
        Ok(found)
    }

    /// One operation of which more than its outline is kept.
    ///
    /// # Errors
    /// [`EngineError::Tombstone`]; otherwise as [`operation`](Self::operation).
    pub async fn whole_operation(&self, id: Uuid) -> Result<Found, EngineError> {
        let found = self.operation(id).await?;
        if found.view.state == OperationState::Tombstone {
            return Err(EngineError::Tombstone);
        }
        Ok(found)
    }

    /// Why there is no operation of that id.
    fn unknown(&self, id: Uuid) -> EngineError {
        let is_past = |kept: &Retention| kept.is_past(created_at(id), self.now());
        let retention = self.shared.settings.retention.filter(is_past);
        retention.map_or(EngineError::NotFound, EngineError::Forgotten)
    }

    /// A page of the operations that meet a question, and where the next one begins.
    ///
    /// # Errors
    /// [`EngineError::BadExpression`] when the question has no answer; otherwise as for any question
    /// to the store.
    pub async fn find(
        &self,
        asked: &FindAsked,
    ) -> Result<(Vec<Found>, Option<Keyset>), EngineError> {
        let page = self.shared.store.find(asked).await?;
        let mut found = Vec::with_capacity(page.operations.len());
        for view in page.operations {
            found.push(self.with_jobset(view).await?);
        }
        self.add_failures(&mut found).await?;
        Ok((found, page.next))
    }

    async fn with_jobset(&self, view: OperationView) -> Result<Found, EngineError> {
        let compiled = self.shared.jobsets.get(&self.shared.store, view.jobset).await?;
        Ok(Found { view, compiled, failures: Vec::new() })
    }

    /// One question to the store for all operations that failed.
    async fn add_failures(&self, found: &mut [Found]) -> Result<(), EngineError> {
        let (mut operations, mut steps) = (Vec::new(), Vec::new());
        for found in found.iter().filter(|found| found.view.state == OperationState::Failed) {
            for n in unhandled_among(&found.compiled.jobset, &found.view.steps).take(FAILURES_MAX) {
                operations.push(found.view.id);
                steps.push(i32::try_from(n).unwrap_or(i32::MAX));
            }
        }
        if operations.is_empty() {
            return Ok(());
        }
        let attempts = self.shared.store.last_attempts_of(&operations, &steps).await?;
        for (operation, attempt) in attempts {
            if let Some(found) = found.iter_mut().find(|found| found.view.id == operation) {
                found.failures.push(attempt);
            }
        }
        Ok(())
    }
}
