//! Sending requests, and asking again where that is harmless.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use tokio::time::sleep;

use super::answer::{Answer, retry_after};
use super::{Client, ClientError, lost};

/// How long an answer may take to a client that was not told otherwise.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a question is asked at the most.
const TRIES_MAX: u32 = 4;
/// The wait before the second try; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// The longest wait that a busy server is granted between two tries.
const WAIT_MAX: Duration = Duration::from_secs(10);

impl Client {
    /// A request with the token and the time limit of all requests.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self.http.request(method, url.clone()).timeout(self.timeout);
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    /// One try.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let lost = |source| lost(url, self.socket.as_deref(), source);
        let response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(lost)?.into();
        Ok(Answer { url: url.clone(), status, headers, body })
    }

    /// A question with these headers: tried again while the server cannot be reached or is busy.
    pub(super) async fn ask(
        &self,
        url: &Url,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let request = || self.request(Method::GET, url).headers(headers.clone()).timeout(timeout);
        self.send_again(url, request).await
    }

    /// A request that may arrive twice: tried again while the server cannot be reached or is busy.
    pub(super) async fn send_again(
        &self,
        url: &Url,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let outcome = self.send(url, request()).await;
            let pause = match &outcome {
                Ok(answer) if is_busy(answer.status) => retry_after(&answer.headers),
                Err(ClientError::Unreachable { source, .. }) if !source.is_timeout() => None,
                Ok(_) | Err(_) => return outcome,
            };
            if tries == TRIES_MAX {
                return outcome;
            }
            sleep(pause.unwrap_or(wait).min(WAIT_MAX)).await;
            wait *= 2;
            tries += 1;
        }
    }

    /// A change that is sent with a document.
    pub(super) async fn post<B: serde::Serialize + ?Sized>(
        &self,
        url: &Url,
        body: &B,
    ) -> Result<Answer, ClientError> {
        self.send(url, self.request(Method::POST, url).json(body)).await
    }

    /// A question whose answer is a document.
    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        url: &Url,
    ) -> Result<T, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/json".parse().expect("ASCII"));
        self.ask(url, &headers, self.timeout).await?.document()
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
