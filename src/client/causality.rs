//! Calls that ask what happened before what, and what ran meanwhile.

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};

use super::{Client, ClientError};
use crate::wire::graph::Format;
use crate::wire::{ConcurrentAttempt, Event, Page};

impl Client {
    /// One event.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such event.
    pub async fn event(&self, id: &str, seq: u32) -> Result<Event, ClientError> {
        self.get(&self.url(&["operations", id, "events", &seq.to_string()])).await
    }

    /// The events that happened before one, as far as it could know: its causal past.
    ///
    /// # Errors
    /// As for [`Client::event`]; 409 when the operation is from before stamps were kept.
    pub async fn causes(&self, id: &str, seq: u32) -> Result<Vec<Event>, ClientError> {
        let url = self.url(&["operations", id, "events", &seq.to_string(), "causes"]);
        self.collect(url, usize::MAX).await
    }

    /// The attempts that ran causally concurrent with one of a step, the latest one unless said
    /// otherwise; the one that began last comes first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such step or attempt, with 409 when the
    /// operation is from before stamps were kept.
    pub async fn concurrent(
        &self,
        id: &str,
        step: &str,
        attempt: Option<u32>,
    ) -> Result<Vec<ConcurrentAttempt>, ClientError> {
        let mut url = self.url(&["operations", id, "steps", step, "concurrent"]);
        if let Some(attempt) = attempt {
            url.query_pairs_mut().append_pair("attempt", &attempt.to_string());
        }
        self.collect(url, usize::MAX).await
    }

    /// The event by which an attempt of a step began, if it did.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn begin_of(
        &self,
        id: &str,
        step: &str,
        attempt: u32,
    ) -> Result<Option<Event>, ClientError> {
        let step = step.replace('\'', "''");
        let filter = format!("step eq '{step}' and attempt eq {attempt} and worker ne null");
        let mut url = self.url(&["operations", id, "events"]);
        url.query_pairs_mut().append_pair("$filter", &filter).append_pair("$top", "1");
        let page: Page<Event> = self.get(&url).await?;
        Ok(page.value.into_iter().next())
    }

    /// The causal order of the attempts as a drawing in `format`.
    ///
    /// # Errors
    /// As for [`Client::causes`], and 400 when there are too many attempts.
    pub async fn causality(&self, id: &str, format: Format) -> Result<Vec<u8>, ClientError> {
        let url = self.url(&["operations", id, "causality"]);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(format.media_type()));
        self.ask(&url, &headers, self.timeout).await?.bytes()
    }
}
