//! Questions about operations, answered with the jobset they run.

use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use super::error::EngineError;
use super::jobsets::Compiled;
use crate::store::{OperationView, Position};

/// An operation and what it runs.
#[derive(Clone, Debug)]
pub struct Found {
    /// The operation.
    pub view: OperationView,
    /// What it runs.
    pub compiled: Arc<Compiled>,
}

impl Engine {
    /// One operation.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; otherwise as for any question to the store.
    pub async fn operation(&self, id: Uuid) -> Result<Found, EngineError> {
        let view = self.shared.store.operation(id).await?.ok_or(EngineError::NotFound)?;
        self.with_jobset(view).await
    }

    /// Up to `limit` operations in the default order, and where the next page begins.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn operations(
        &self,
        from: Position,
        skip: i64,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<Position>), EngineError> {
        let page = self.shared.store.list(from, skip, limit).await?;
        let mut found = Vec::with_capacity(page.operations.len());
        for view in page.operations {
            found.push(self.with_jobset(view).await?);
        }
        Ok((found, page.next))
    }

    async fn with_jobset(&self, view: OperationView) -> Result<Found, EngineError> {
        let compiled = self.shared.jobsets.get(&self.shared.store, view.jobset).await?;
        Ok(Found { view, compiled })
    }
}
