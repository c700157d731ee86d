//! Calls that ask why.

use super::{Client, ClientError};
use crate::wire::{OperationExplanation, StepExplanation};

impl Client {
    /// Why an operation has not ended, or ended as it did.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation.
    pub async fn explain_operation(&self, id: &str) -> Result<OperationExplanation, ClientError> {
        self.get(&self.url(&["operations", id, "explain"])).await
    }

    /// Why a step does not move.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such step.
    pub async fn explain_step(&self, id: &str, name: &str) -> Result<StepExplanation, ClientError> {
        self.get(&self.url(&["operations", id, "steps", name, "explain"])).await
    }
}
