//! Calls about the steps of an operation, what they wrote and what happened to them.

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};

use super::{Client, ClientError};
use crate::wire::graph::Format;
use crate::wire::{Event, OutputPiece, Page, Step};

/// A part of what an attempt wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputPart {
    /// The bytes from this number on, counted from 0.
    From(u64),
    /// So many bytes at the end.
    Last(u64),
}

impl Client {
    /// All steps in topological order.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation.
    pub async fn steps(&self, id: &str) -> Result<Vec<Step>, ClientError> {
        self.collect(self.url(&["operations", id, "steps"]), usize::MAX).await
    }

    /// One step with its attempts.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such step.
    pub async fn step(&self, id: &str, name: &str) -> Result<Step, ClientError> {
        self.get(&self.url(&["operations", id, "steps", name])).await
    }

    /// The bytes that an attempt of a step wrote: the latest attempt and both streams in the order
    /// of writing, unless said otherwise.
    ///
    /// # Errors
    /// As for [`Client::step`].
    pub async fn output(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
        stream: Option<&str>,
    ) -> Result<Vec<u8>, ClientError> {
        let url = self.output_url(id, step, attempt, stream);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/octet-stream, */*"));
        self.ask(&url, &headers, self.timeout).await?.bytes()
    }

    /// A part of the same bytes; empty where there are none, perhaps not yet.
    ///
    /// # Errors
    /// As for [`Client::step`].
    pub async fn output_part(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
        stream: Option<&str>,
        part: OutputPart,
    ) -> Result<Vec<u8>, ClientError> {
        let range = match part {
            OutputPart::From(first) => format!("bytes={first}-"),
            OutputPart::Last(count) => format!("bytes=-{count}"),
        };
        let url = self.output_url(id, step, attempt, stream);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/octet-stream, */*"));
        headers.insert(RANGE, HeaderValue::from_str(&range).expect("ASCII"));
        let answer = self.ask(&url, &headers, self.timeout).await?;
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(Vec::new());
        }
        answer.bytes()
    }

    /// The same in pieces as they were read, each with its time and stream.
    ///
    /// # Errors
    /// As for [`Client::step`].
    pub async fn output_pieces(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
        stream: Option<&str>,
    ) -> Result<Vec<OutputPiece>, ClientError> {
        self.collect(self.output_url(id, step, attempt, stream), usize::MAX).await
    }

    /// One page of the history after the event number `after`; it has a link when there are more.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn events(&self, id: &str, after: u32) -> Result<Page<Event>, ClientError> {
        let mut url = self.url(&["operations", id, "events"]);
        url.query_pairs_mut().append_pair("after", &after.to_string());
        self.get(&url).await
    }

    /// How many events there are so far: as they are numbered without gaps, the number of the latest.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn event_count(&self, id: &str) -> Result<u32, ClientError> {
        let mut url = self.url(&["operations", id, "events"]);
        url.query_pairs_mut().append_pair("$top", "1").append_pair("$count", "true");
        let page: Page<Event> = self.get(&url).await?;
        Ok(page.count.and_then(|count| count.try_into().ok()).unwrap_or_default())
    }

    /// The steps and their guards as a drawing in `format`, with their present states.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn graph(&self, id: &str, format: Format) -> Result<Vec<u8>, ClientError> {
        let url = self.url(&["operations", id, "graph"]);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(format.media_type()));
        self.ask(&url, &headers, self.timeout).await?.bytes()
    }

    pub(super) fn output_url(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
        stream: Option<&str>,
    ) -> Url {
        let mut url = self.url(&["operations", id, "steps", step, "output"]);
        let attempt = attempt.map(|number| ("attempt", number.to_string()));
        let stream = stream.map(|name| ("stream", name.to_owned()));
        for (name, value) in attempt.into_iter().chain(stream) {
            url.query_pairs_mut().append_pair(name, &value);
        }
        url
    }
}
