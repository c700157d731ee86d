//! What steps ask of people, and what people tell steps.

use super::{Client, ClientError};
use crate::wire::{MessageRequest, MessageSent, Prompt, ReplyRequest};

impl Client {
    /// Sends a message to the running steps that `request` chooses.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn send_message(
        &self,
        id: &str,
        request: &MessageRequest,
    ) -> Result<MessageSent, ClientError> {
        self.post(&self.url(&["operations", id, "messages"]), request).await?.document()
    }

    /// What the steps of an operation ask and nobody has replied to.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation.
    pub async fn waiting(&self, id: &str) -> Result<Vec<Prompt>, ClientError> {
        self.collect(self.url(&["operations", id, "waiting"]), usize::MAX).await
    }

    /// What all operations ask and nobody has replied to.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server may not or cannot answer now.
    pub async fn waiting_everywhere(&self) -> Result<Vec<Prompt>, ClientError> {
        self.collect(self.url(&["waiting"]), usize::MAX).await
    }

    /// Replies to a prompt, which is possible once.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such prompt, with 409 when it was replied
    /// to before, with 410 when the attempt that asked has ended, and with 422 when the value does
    /// not fit its schema.
    pub async fn reply(
        &self,
        id: &str,
        prompt: &str,
        reply: &ReplyRequest,
    ) -> Result<Prompt, ClientError> {
        let url = self.url(&["operations", id, "prompts", prompt, "reply"]);
        self.post(&url, reply).await?.document()
    }
}
