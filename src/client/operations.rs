//! Calls about operations.

use std::time::Duration;

use reqwest::header::{
    CONTENT_TYPE, ETAG, FROM, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, InvalidHeaderValue,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::answer::{Answer, retry_after};
use super::{Client, ClientError};
use crate::wire::{BatchAccepted, BatchRequest, Jobset, JobsetDocument, Operation};

const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const OPERATION_ID: HeaderName = HeaderName::from_static("operation-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A jobset was accepted: durable, and run from now on.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The operation that runs it.
    pub operation: Operation,
    /// Where to poll that operation.
    pub operation_location: Option<String>,
    /// How long to wait before the first poll.
    pub retry_after: Option<Duration>,
}

/// What a client calls a submission, so that it may be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmissionKeys {
    /// Names the request; any text of printable ASCII that nobody else comes up with.
    pub idempotency_key: Option<String>,
    /// The id that the operation is to have.
    pub operation_id: Option<String>,
}

impl SubmissionKeys {
    fn headers(&self) -> Result<HeaderMap, ClientError> {
        let quoted =
            |key: &String| format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
        let keys = [
            (IDEMPOTENCY_KEY, self.idempotency_key.as_ref().map(quoted)),
            (OPERATION_ID, self.operation_id.clone()),
        ];
        let mut headers = HeaderMap::new();
        for (name, key) in keys {
            let Some(key) = key else { continue };
            let value = HeaderValue::from_str(&key).map_err(|_| ClientError::BadKey { key })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// The answer to a poll.
#[derive(Clone, Debug)]
pub struct Polled {
    /// The operation; `None` when it has not changed since the poll that gave `etag`.
    pub operation: Option<Operation>,
    /// Its version, for the next poll.
    pub etag: Option<String>,
    /// How long to wait before the next poll; absent once the operation has ended.
    pub retry_after: Option<Duration>,
}

/// Which operations are wanted, in the query language of the service.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// `$filter`: a condition on their properties.
    pub filter: Option<String>,
    /// `$orderby`; without one those come first that have not ended, the oldest first.
    pub order: Option<String>,
    /// `$search`: words to look for in name, labels and error.
    pub search: Option<String>,
    /// How many at the most; all of them without a number.
    pub top: Option<usize>,
}

impl Answer {
    /// The operation that the request started.
    pub(super) fn submitted(self) -> Result<Submitted, ClientError> {
        Ok(Submitted {
            operation_location: self.header(&OPERATION_LOCATION),
            retry_after: retry_after(&self.headers),
            operation: self.document()?,
        })
    }
}

impl Client {
    /// Submits a jobset.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with a detail per problem when it is not valid.
    pub async fn submit(&self, document: &JobsetDocument) -> Result<Submitted, ClientError> {
        let json = serde_json::to_vec(document).expect("a document of strings and numbers is JSON");
        self.submit_json(json).await
    }

    /// Submits a jobset as it was written.
    ///
    /// # Errors
    /// As for [`Client::submit`].
    pub async fn submit_json(&self, json: Vec<u8>) -> Result<Submitted, ClientError> {
        self.submit_once(json, &SubmissionKeys::default()).await
    }

    /// Submits a jobset as it was written, under keys by which the server knows a repetition: with
    /// one of them this tries again while the server cannot be reached or is busy, and whoever calls
    /// may do so again. However often, it makes one operation.
    ///
    /// # Errors
    /// [`ClientError::BadKey`]; [`ClientError::Refused`] with 409 or 422 when a key stands for
    /// another jobset; otherwise as for [`Client::submit`].
    pub async fn submit_once(
        &self,
        json: Vec<u8>,
        keys: &SubmissionKeys,
    ) -> Result<Submitted, ClientError> {
        self.post_once(&["jobsets"], &json, &keys.headers()?).await?.submitted()
    }

    /// Submits many jobsets: all of them, or none. With a key, by which the server knows a repetition,
    /// this tries again as [`Client::submit_once`] does.
    ///
    /// # Errors
    /// [`ClientError::BadKey`]; [`ClientError::Refused`] with a detail per member or run that is not
    /// valid.
    pub async fn submit_batch(
        &self,
        batch: &BatchRequest,
        idempotency_key: Option<&str>,
    ) -> Result<BatchAccepted, ClientError> {
        let json = serde_json::to_vec(batch).expect("documents of strings and numbers are JSON");
        let idempotency_key = idempotency_key.map(str::to_owned);
        let keys = SubmissionKeys { idempotency_key, ..SubmissionKeys::default() };
        self.post_once(&["jobsets:batch"], &json, &keys.headers()?).await?.document()
    }

    /// Posts a document, again and again if the headers name the request.
    async fn post_once(
        &self,
        path: &[&str],
        json: &[u8],
        names: &HeaderMap,
    ) -> Result<Answer, ClientError> {
        let url = self.url(path);
        let request = || {
            let request = self.request(Method::POST, &url).header(CONTENT_TYPE, "application/json");
            request.headers(names.clone()).body(json.to_vec())
        };
        if names.is_empty() {
            self.send(&url, request()).await
        } else {
            self.send_again(&url, request).await
        }
    }

    /// One operation.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is none of that id.
    pub async fn operation(&self, id: &str) -> Result<Operation, ClientError> {
        self.get(&self.url(&["operations", id])).await
    }

    /// One operation, as soon as it differs from the version `etag`, or after `wait`.
    ///
    /// # Errors
    /// As for [`Client::operation`].
    pub async fn poll(
        &self,
        id: &str,
        etag: Option<&str>,
        wait: Duration,
    ) -> Result<Polled, ClientError> {
        let url = self.url(&["operations", id]);
        let headers = poll_headers(etag, wait).expect("an ETag came as a header");
        let answer = self.ask(&url, &headers, wait + self.timeout).await?;
        let etag = answer.header(&ETAG).or_else(|| etag.map(str::to_owned));
        let retry_after = retry_after(&answer.headers);
        let operation = match answer.status {
            StatusCode::NOT_MODIFIED => None,
            _ => Some(answer.document()?),
        };
        Ok(Polled { operation, etag, retry_after })
    }

    /// Cancels an operation; harmless when it has been cancelled or has ended already.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 405 when its jobset does not allow it.
    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> Result<Operation, ClientError> {
        self.stop(id, reason, false).await
    }

    /// Aborts an operation: everything is killed at once, what would clean up too.
    ///
    /// # Errors
    /// As for [`Client::cancel`].
    pub async fn abort(&self, id: &str, reason: Option<&str>) -> Result<Operation, ClientError> {
        self.stop(id, reason, true).await
    }

    async fn stop(
        &self,
        id: &str,
        reason: Option<&str>,
        force: bool,
    ) -> Result<Operation, ClientError> {
        let mut url = self.url(&["operations", id]);
        if let Some(reason) = reason {
            url.query_pairs_mut().append_pair("reason", reason);
        }
        if force {
            url.query_pairs_mut().append_pair("force", "true");
        }
        let mut request = self.request(Method::DELETE, &url);
        if let Some(person) = &self.person {
            request = request.header(FROM, &**person);
        }
        self.send(&url, request).await?.document()
    }

    /// The operations that a question asks for.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 when the question cannot be understood.
    pub async fn list(&self, question: &Question) -> Result<Vec<Operation>, ClientError> {
        let mut url = self.url(&["operations"]);
        let top = question.top.map(|top| top.to_string());
        let options = [
            ("$filter", &question.filter),
            ("$orderby", &question.order),
            ("$search", &question.search),
            ("$top", &top),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.collect(url, question.top.unwrap_or(usize::MAX)).await
    }

    /// The jobset that an operation runs.
    ///
    /// # Errors
    /// As for [`Client::operation`].
    pub async fn jobset(&self, id: &str) -> Result<Jobset, ClientError> {
        self.get(&self.url(&["jobsets", id])).await
    }

    /// The shared data of an operation.
    ///
    /// # Errors
    /// As for [`Client::operation`].
    pub async fn context(&self, id: &str) -> Result<Value, ClientError> {
        self.get(&self.url(&["operations", id, "context"])).await
    }
}

fn poll_headers(etag: Option<&str>, wait: Duration) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(PREFER, HeaderValue::from_str(&format!("wait={}", wait.as_secs()))?);
    if let Some(etag) = etag {
        headers.insert(IF_NONE_MATCH, HeaderValue::from_str(etag)?);
    }
    Ok(headers)
}
