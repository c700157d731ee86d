//! What all handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;
use super::metrics::Metrics;
use crate::engine::{Engine, RemoteSeats};
use crate::itc;
use crate::odata;

/// How the API answers.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The address under which clients see the service: `https://ci.example`. Without it links carry
    /// the request's `Host`.
    pub public_url: Option<String>,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// How many operations one request may make.
    pub max_batch: usize,
    /// How many steps they may have together.
    pub max_batch_steps: usize,
    /// The largest page of a collection.
    pub max_page_size: usize,
    /// How much a `$filter`, `$orderby`, `$search` or `$select` may ask for.
    pub query_limits: odata::Limits,
    /// What a client is told to wait between two polls, in seconds.
    pub retry_after_seconds: u32,
    /// Origins of web pages that may call the API.
    pub cors_origins: Vec<String>,
    /// How many may follow events or output at once.
    pub max_followers: usize,
    /// How many nodes the trees of a stamp may have.
    pub max_stamp_nodes: usize,
    /// How long a stream of events is silent at the most.
    pub keep_alive: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            public_url: None,
            max_body_bytes: 16 * 1024 * 1024,
            max_batch: 10_000,
            max_batch_steps: 1_000_000,
            max_page_size: 1_000,
            query_limits: odata::Limits::default(),
            retry_after_seconds: 1,
            cors_origins: Vec::new(),
            max_followers: 10_000,
            max_stamp_nodes: itc::NODES_MAX,
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Batches that are read and stored at once: one is read while another one is stored.
const BATCHES_AT_ONCE: usize = 2;

/// The members of a page when the client does not say.
pub(super) const DEFAULT_PAGE_SIZE: usize = 100;

/// What all handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState(Arc<Shared>);

/// See [`ApiState`].
#[derive(Clone, Debug)]
pub struct Shared {
    pub(super) engine: Engine,
    pub(super) settings: Arc<ApiSettings>,
    pub(super) metrics: Arc<Metrics>,
    /// One permit for each follower that there may be.
    pub(super) followers: Arc<Semaphore>,
    /// One permit for each batch that is read and stored.
    pub(super) batches: Arc<Semaphore>,
    /// The workers that talk to this server from elsewhere.
    pub(super) remote: Arc<RemoteSeats>,
    /// Set when the server shuts down: waits end, `readyz` says so.
    pub(super) draining: CancellationToken,
    /// Whether a client has to show a token.
    pub(super) needs_token: bool,
}

impl ApiState {
    /// The state of an API over `engine` that ends its waits when `draining` is cancelled.
    #[must_use]
    pub fn new(engine: Engine, settings: ApiSettings, draining: CancellationToken) -> Self {
        let followers = Arc::new(Semaphore::new(settings.max_followers));
        let settings = Arc::new(settings);
        Self(Arc::new(Shared {
            engine,
            settings,
            metrics: Arc::default(),
            followers,
            batches: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            remote: Arc::default(),
            draining,
            needs_token: false,
        }))
    }

    /// The same for a listener whose clients have to show a token, or need not.
    #[must_use]
    pub fn needing_token(self, needs_token: bool) -> Self {
        Self(Arc::new(Shared { needs_token, ..Shared::clone(&self.0) }))
    }
}

impl Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The address under which this client sees the service, without a slash at its end.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl(String);

impl BaseUrl {
    pub(super) fn operation(&self, id: impl std::fmt::Display) -> String {
        format!("{}/v1.0/operations/{id}", self.0)
    }

    pub(super) fn jobset(&self, id: impl std::fmt::Display) -> String {
        format!("{}/v1.0/jobsets/{id}", self.0)
    }

    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// Whether this can stand in a link: a name or an address and perhaps a port.
fn is_host(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_known) && text.parse::<Authority>().is_ok()
}

impl FromRequestParts<ApiState> for BaseUrl {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        if let Some(url) = &state.settings.public_url {
            return Ok(Self(url.trim_end_matches('/').to_owned()));
        }
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
        let (code, message) = match host {
            Some(host) if is_host(host) => return Ok(Self(format!("http://{host}"))),
            Some(host) if !host.is_empty() => {
                ("InvalidHost", "the Host header is none, so no link can be made")
            }
            Some(_) | None => {
                ("MissingHost", "the request has no Host header, so no link can be made")
            }
        };
        Err(ApiError::bad_request(code, message).target("Host"))
    }
}
