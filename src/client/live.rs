//! Calls whose answers go on while something happens.
//!
//! A stream that breaks off is taken up again after the last event that came, a few times in a row
//! and longer while it had gone well, so that a server may be started again meanwhile.

use std::time::Duration;

use futures_util::Stream;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::answer::{Answer, retry_after};
use super::sse::{Parser, StreamEvent};
use super::transport::ANSWER_TIMEOUT;
use super::{Client, ClientError, lost};
use crate::wire::{Event, OperationEvent, OutputPiece};

/// A stream that is silent for so long is broken: the server shows every now and then that it is
/// there, every 15 seconds if it was not told otherwise.
const SILENCE_MAX: Duration = Duration::from_mins(2);
/// How long a stream may take as a whole; there is no such thing as no limit.
const STREAM_MAX: Duration = Duration::from_hours(24 * 365);
/// How often in a row a stream is taken up at the most, without an event in between.
const TRIES_MAX: u32 = 10;
/// The wait before the first of these; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The header that names the place after which a stream goes on.
const LAST_EVENT_ID: &str = "last-event-id";

impl Client {
    /// The events of an operation after the event number `after`: those that there are, then those
    /// that come, until the operation has ended.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation, with 429 when too many
    /// follow already; [`ClientError::Unreachable`] when the stream broke and cannot be taken up.
    pub fn follow_events(
        &self,
        id: &str,
        after: u32,
    ) -> impl Stream<Item = Result<Event, ClientError>> + Send + use<> {
        let url = self.url(&["operations", id, "events"]);
        self.documents(url, Some(after.to_string()))
    }

    /// The events of all operations from now on that meet a condition (`$filter`), for ever. When
    /// events may be missing, that is an error ([`ClientError::EventsLost`]), and the stream goes on
    /// after it.
    ///
    /// # Errors
    /// As for [`Client::follow_events`].
    pub fn follow_all(
        &self,
        filter: Option<&str>,
    ) -> impl Stream<Item = Result<OperationEvent, ClientError>> + Send + use<> {
        let mut url = self.url(&["events"]);
        if let Some(filter) = filter {
            url.query_pairs_mut().append_pair("$filter", filter);
        }
        self.documents(url, None)
    }

    /// What an attempt of a step writes, as it comes, until the attempt has ended: the latest one,
    /// or the first one to come, and both streams, unless said otherwise.
    ///
    /// # Errors
    /// As for [`Client::follow_events`].
    pub fn follow_output(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
        stream: Option<&str>,
    ) -> impl Stream<Item = Result<OutputPiece, ClientError>> + Send + use<> {
        let mut url = self.output_url(id, step, attempt, stream);
        url.query_pairs_mut().append_pair("follow", "true");
        self.documents(url, None)
    }

    /// The documents that the events of a stream carry.
    fn documents<T: DeserializeOwned + Send>(
        &self,
        url: Url,
        place: Option<String>,
    ) -> impl Stream<Item = Result<T, ClientError>> + Send + use<T> {
        let following = Following::new(self.clone(), url, place);
        futures_util::stream::unfold(Some(following), async |following| {
            let mut following = following?;
            match following.next().await {
                Ok(None) => None,
                Ok(Some(event)) => Some((following.document(&event), Some(following))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// A stream under way.
struct Following {
    client: Client,
    url: Url,
    response: Option<Response>,
    parser: Parser,
    /// Events that were read and not handed out.
    ready: std::collections::VecDeque<StreamEvent>,
    /// Where to take it up.
    place: Option<String>,
    tries: u32,
    wait: Duration,
}

impl Following {
    fn new(client: Client, url: Url, place: Option<String>) -> Self {
        Self {
            client,
            url,
            response: None,
            parser: Parser::default(),
            ready: std::collections::VecDeque::new(),
            place,
            tries: 0,
            wait: FIRST_WAIT,
        }
    }

    /// The next event; `None` when the server says that none will come.
    async fn next(&mut self) -> Result<Option<StreamEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event).filter(|event| event.name != "end"));
            }
            let Some(response) = &mut self.response else {
                self.open().await?;
                continue;
            };
            let cut = match timeout(SILENCE_MAX, response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.ready.extend(self.parser.take(&bytes));
                    if !self.parser.place().is_empty() {
                        self.place = Some(self.parser.place().to_owned());
                    }
                    if !self.ready.is_empty() {
                        (self.tries, self.wait) = (0, FIRST_WAIT);
                    }
                    continue;
                }
                Ok(Err(error)) => Some(lost(&self.url, self.client.socket.as_deref(), error)),
                Ok(Ok(None)) | Err(_) => None,
            };
            self.response = None;
            self.parser = Parser::default();
            self.pause(cut, None).await?;
        }
    }

    async fn open(&mut self) -> Result<(), ClientError> {
        let request = self.client.request(Method::GET, &self.url).timeout(STREAM_MAX);
        let mut request = request.header(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(place) = &self.place {
            request = request.header(LAST_EVENT_ID, place);
        }
        let sent = match timeout(ANSWER_TIMEOUT, request.send()).await {
            Ok(Ok(response)) if response.status().is_success() => {
                self.response = Some(response);
                return Ok(());
            }
            Ok(sent) => sent,
            Err(_) => return self.pause(None, None).await,
        };
        let (error, wait) = match sent {
            Ok(response) => {
                let wait = retry_after(response.headers());
                (self.refusal(response).await, wait)
            }
            Err(error) => (lost(&self.url, self.client.socket.as_deref(), error), None),
        };
        if !error.is_temporary() {
            return Err(error);
        }
        self.pause(Some(error), wait).await
    }

    /// Waits before the next try, or gives up.
    async fn pause(
        &mut self,
        error: Option<ClientError>,
        wait: Option<Duration>,
    ) -> Result<(), ClientError> {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            let url = self.url.origin().ascii_serialization();
            return Err(error.unwrap_or(ClientError::StreamCut { url }));
        }
        sleep(wait.unwrap_or(self.wait).min(WAIT_MAX)).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        Ok(())
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let url = &self.url;
        let (status, headers) = (response.status(), response.headers().clone());
        match timeout(ANSWER_TIMEOUT, response.bytes()).await {
            Ok(Ok(body)) => {
                Answer { url: url.clone(), status, headers, body: body.into() }.refusal()
            }
            Ok(Err(error)) => lost(url, self.client.socket.as_deref(), error),
            Err(_) => ClientError::StreamCut { url: url.origin().ascii_serialization() },
        }
    }

    fn document<T: DeserializeOwned>(&self, event: &StreamEvent) -> Result<T, ClientError> {
        let malformed = |source| ClientError::Malformed {
            url: self.url.to_string(),
            status: reqwest::StatusCode::OK,
            source,
        };
        match event.name.as_str() {
            "reset" => Err(ClientError::EventsLost),
            "fault" => {
                let envelope = serde_json::from_str(&event.data).map_err(malformed)?;
                let status = reqwest::StatusCode::INTERNAL_SERVER_ERROR;
                Err(ClientError::Refused(status, Box::new(envelope)))
            }
            _ => serde_json::from_str(&event.data).map_err(malformed),
        }
    }
}
