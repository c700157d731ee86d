//! Workers: what people ask about them, and what a remote one asks.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::{Client, ClientError, Token};
use crate::wire::{
    AskRequest, AttemptRef, DataAnswer, DataRequest, EndedAnswer, EndedRequest, HeartbeatAnswer,
    MailAnswer, MailRequest, MessagesRequest, OutputRequest, PassedOn, PollRequest, Polled,
    RegisteredWorker, Replies, SettleAnswer, SettleRequest, StoredJobset, WORKER_SECRET, Worker,
    WorkerRegistration, Workers,
};

/// The shortest time that the answer to a heartbeat is waited for.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

impl Client {
    /// The workers that the servers know.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn workers(&self) -> Result<Vec<Worker>, ClientError> {
        Ok(self.get::<Workers>(&self.url(&["workers"])).await?.value)
    }

    /// Tells a worker to take nothing new; what it runs goes on. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn drain_worker(&self, id: &str) -> Result<Worker, ClientError> {
        let url = self.url(&["workers", id, "drain"]);
        self.send_again(&url, || self.request(Method::POST, &url)).await?.document()
    }

    /// Registers a worker incarnation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_worker(
        &self,
        worker: &WorkerRegistration,
    ) -> Result<RegisteredWorker, ClientError> {
        self.post(&self.url(&["workers"]), worker).await?.document()
    }
}

/// A client that acts for a worker incarnation. Nothing is tried again here: the worker knows how
/// long it may.
#[derive(Clone, Debug)]
pub struct WorkerClient {
    client: Client,
    id: String,
    secret: Token,
    heartbeat: Duration,
}

impl WorkerClient {
    /// Acts for an incarnation that was registered by `client`.
    #[must_use]
    pub fn new(client: Client, registered: &RegisteredWorker) -> Self {
        let secret = Token::from(registered.secret.as_str());
        let heartbeat = Duration::try_from_secs_f64(registered.heartbeat_seconds);
        let heartbeat = heartbeat.unwrap_or_default().max(HEARTBEAT_MIN);
        Self { client, id: registered.id.clone(), secret, heartbeat }
    }

    /// Asks for attempts and waits for some.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn poll(
        &self,
        asked: &PollRequest,
        patience: Duration,
    ) -> Result<Polled, ClientError> {
        self.call_within(&["poll"], asked, patience).await
    }

    /// Renews the lease and asks for orders. It is better to ask anew soon than to wait for an answer
    /// that may never come, so this waits no longer than the time between two heartbeats.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heartbeat(&self) -> Result<HeartbeatAnswer, ClientError> {
        self.call_within(&["heartbeat"], &json!({}), self.heartbeat).await
    }

    /// Reports how attempts ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn settle(&self, reports: &SettleRequest) -> Result<SettleAnswer, ClientError> {
        self.call(&["settle"], reports).await
    }

    /// Stores what steps wrote.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_output(&self, pieces: &OutputRequest) -> Result<(), ClientError> {
        self.call::<_, Value>(&["output"], pieces).await.map(drop)
    }

    /// Stores what steps told.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_messages(&self, messages: &MessagesRequest) -> Result<(), ClientError> {
        self.call::<_, Value>(&["messages"], messages).await.map(drop)
    }

    /// Puts a question to people.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, prompt: &AskRequest) -> Result<(), ClientError> {
        self.call::<_, Value>(&["prompts"], prompt).await.map(drop)
    }

    /// The reply to an instruction that an earlier attempt was given after its worker was lost.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reply_before(&self, of: AttemptRef) -> Result<Replies, ClientError> {
        self.call(&["prompts", "before"], &of).await
    }

    /// Closes the questions of an attempt that ends; answers the replies that came before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close_prompts(&self, of: AttemptRef) -> Result<Replies, ClientError> {
        self.call(&["prompts", "close"], &of).await
    }

    /// What was not passed on yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mail(&self, listening: Vec<AttemptRef>) -> Result<MailAnswer, ClientError> {
        self.call(&["mail"], &MailRequest { listening }).await
    }

    /// Notes that mail was passed on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn passed_on(&self, mail: PassedOn) -> Result<(), ClientError> {
        self.call::<_, Value>(&["mail", "passed"], &mail).await.map(drop)
    }

    /// What an attempt needs of its operation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn data(&self, asked: &DataRequest) -> Result<DataAnswer, ClientError> {
        self.call(&["data"], asked).await
    }

    /// Those of some operations that ended.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ended(&self, asked: &EndedRequest) -> Result<Vec<Uuid>, ClientError> {
        Ok(self.call::<_, EndedAnswer>(&["ended"], asked).await?.value)
    }

    /// The definition of a jobset.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn jobset(&self, id: Uuid) -> Result<StoredJobset, ClientError> {
        let url = self.client.url(&["workers", &self.id, "jobsets", &id.to_string()]);
        let request = self.client.request(Method::GET, &url);
        let request = request.header(WORKER_SECRET, self.secret.reveal());
        self.client.send(&url, request).await?.document()
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn leave(&self) -> Result<(), ClientError> {
        self.call::<_, Value>(&["leave"], &json!({})).await.map(drop)
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        what: &[&str],
        body: &B,
    ) -> Result<T, ClientError> {
        self.call_within(what, body, self.client.timeout).await
    }

    async fn call_within<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        what: &[&str],
        body: &B,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let url = self.client.url(&[&["workers", self.id.as_str()], what].concat());
        let request = self.client.request(Method::POST, &url).timeout(patience).json(body);
        let request = request.header(WORKER_SECRET, self.secret.reveal());
        self.client.send(&url, request).await.and_then(Answer::document)
    }
}
