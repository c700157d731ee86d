//! Polling an operation and its history.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Client, ClientError};
use crate::wire::{Event, Operation};

/// How long the server may hold a poll back while nothing changes.
const WAIT: Duration = Duration::from_secs(20);
/// The least time between two polls: an operation with many short steps changes all the time.
const POLL_GAP: Duration = Duration::from_millis(100);
/// How long a server that answered before may be silent, as while it is started again.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is asked meanwhile.
const RETRY_GAP: Duration = Duration::from_secs(1);
/// Updates that wait for a slow terminal.
const BACKLOG: usize = 4;

/// What is new.
#[derive(Debug)]
pub(in crate::cli) enum Update {
    /// These events, in order.
    Events(Vec<Event>),
    /// The operation has changed.
    Operation(Operation),
    /// The operation has ended and all its events were told.
    Ended(Operation),
    /// The server does not answer for the moment.
    Silence,
}

/// Why watching ends early.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    Error(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

type Updates = mpsc::Sender<Result<Update, ClientError>>;

/// Watches an operation until it has ended or the receiver is dropped.
pub(in crate::cli) fn watch(
    client: Client,
    id: String,
) -> mpsc::Receiver<Result<Update, ClientError>> {
    let (updates, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let watcher = Watcher { client, id, updates: updates.clone(), etag: None, seen: 0 };
        if let Err(Stop::Error(error)) = watcher.watch().await {
            // If nobody listens any more, nobody misses it.
            _ = updates.send(Err(error)).await;
        }
    });
    receiver
}

struct Watcher {
    client: Client,
    id: String,
    updates: Updates,
    /// The version of the operation that was told last.
    etag: Option<String>,
    /// The event that was told last.
    seen: u32,
}

impl Watcher {
    async fn watch(mut self) -> Result<(), Stop> {
        let mut heard: Option<Instant> = None;
        let mut silent = false;
        loop {
            let asked = Instant::now();
            match self.round().await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    heard = Some(Instant::now());
                    silent = false;
                    sleep_until(asked + POLL_GAP).await;
                }
                Err(Stop::Error(error))
                    if error.is_temporary() && heard.is_some_and(|at| at.elapsed() < PATIENCE) =>
                {
                    if !std::mem::replace(&mut silent, true) {
                        self.tell(Update::Silence).await?;
                    }
                    sleep(RETRY_GAP).await;
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Waits for a change and tells it: first the events, then the operation. True at its end.
    async fn round(&mut self) -> Result<bool, Stop> {
        // The first look is not held back: there is nothing yet that it could differ from.
        let wait = if self.etag.is_some() { WAIT } else { Duration::ZERO };
        let polled = self.client.poll(&self.id, self.etag.as_deref(), wait).await?;
        let Some(operation) = polled.operation else { return Ok(false) };
        loop {
            let page = self.client.events(&self.id, self.seen).await?;
            let Some(last) = page.value.last() else { break };
            self.seen = last.seq;
            self.tell(Update::Events(page.value)).await?;
            if page.next_link.is_none() {
                break;
            }
        }
        self.etag = polled.etag;
        let ended = operation.has_ended();
        let update = if ended { Update::Ended } else { Update::Operation };
        self.tell(update(operation)).await?;
        Ok(ended)
    }

    async fn tell(&self, update: Update) -> Result<(), Stop> {
        self.updates.send(Ok(update)).await.map_err(|_| Stop::Unheard)
    }
}
