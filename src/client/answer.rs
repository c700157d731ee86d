//! What came back.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;

use super::ClientError;

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body of a success.
    pub(super) fn bytes(self) -> Result<Vec<u8>, ClientError> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// The document in the body of a success.
    pub(super) fn document<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        if self.status.is_success() { self.read() } else { Err(self.refusal()) }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    pub(super) fn refusal(&self) -> ClientError {
        match self.read() {
            Ok(envelope) => ClientError::Refused(self.status, Box::new(envelope)),
            Err(error) => error,
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|source| ClientError::Malformed {
            url: self.url.to_string(),
            status: self.status,
            source,
        })
    }
}

/// `Retry-After` in seconds, the form that the service uses.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
