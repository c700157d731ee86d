//! A typed client of the service.
//!
//! One method per call of the API; each hands back a shape of [`crate::wire`]. Collections are read
//! to their end (or to a limit) by following `@odata.nextLink`.
//!
//! Reading is retried for a short while when the server cannot be reached or says that it is busy
//! (429, 503, honouring `Retry-After`), because asking twice changes nothing. Writing is not
//! retried: whoever submits must know whether to submit again; a submission with a key is, because
//! the server knows its repetition. Every error says what to do next.
//!
//! A token is sent to the server that was configured and to nobody else: links are followed on that
//! server, whatever host they name, which also makes them work through a tunnel.
//!
//! [`Client::over_socket`] asks over a Unix socket; all else is the same. [`make_api_client`] puts
//! the calls of the handler API that older tools know on top of it.

mod answer;
mod causality;
mod error;
mod explain;
mod filters;
mod handler;
mod live;
mod operations;
mod pages;
mod people;
mod sse;
mod steer;
mod steps;
mod token;
mod transport;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{ClientBuilder, Url};

pub use error::ClientError;
pub use filters::{
    StepId, extract_step_ids, filter_steps_by_action, filter_steps_by_states, filter_steps_by_tags,
};
pub use handler::{ApiClient, OperationHandler, Reran, StatusField, StepStatus, make_api_client};
pub use operations::{Polled, Question, SubmissionKeys, Submitted};
pub use steer::{SteerOutcome, Verb};
pub use steps::OutputPart;
pub use token::Token;
use transport::ANSWER_TIMEOUT;
pub use workers::WorkerClient;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Token>,
    /// For whom, in the records of the server.
    person: Option<Arc<str>>,
    /// Where the server is asked, if not at `base`.
    socket: Option<Arc<Path>>,
    /// How long an answer may take, beside what the request asks to wait.
    timeout: Duration,
}

impl Client {
    /// A client of the server at `base_url`, which may have a path before `/v1.0`.
    ///
    /// The TLS provider of the process must be installed before.
    ///
    /// # Errors
    /// [`ClientError::BadAddress`] when that is not an `http` or `https` URL.
    pub fn new(base_url: &str, token: Option<Token>) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress { text: base_url.to_owned() };
        let base = Url::parse(base_url).map_err(|_| bad())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad());
        }
        let mut builder = builder();
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        Self::with(builder, base, None, token)
    }

    /// A client of the server that listens on the Unix socket `path`.
    ///
    /// Nothing is connected yet: whether a server is there shows the first call.
    ///
    /// # Errors
    /// Only when no client can be made at all.
    pub fn over_socket(path: &Path, token: Option<Token>) -> Result<Self, ClientError> {
        // The name says what such a connection is; the path of the socket is no name for a host.
        let base = Url::parse("http://localhost/").expect("it is a URL");
        let builder = builder().no_proxy().unix_socket(path).tls_backend_preconfigured(no_tls());
        Self::with(builder, base, Some(path.into()), token)
    }

    fn with(
        builder: ClientBuilder,
        base: Url,
        socket: Option<Arc<Path>>,
        token: Option<Token>,
    ) -> Result<Self, ClientError> {
        let http = builder.build().map_err(|source| lost(&base, socket.as_deref(), source))?;
        Ok(Self { http, base, token, person: None, socket, timeout: ANSWER_TIMEOUT })
    }

    /// The same client, with another limit for how long an answer may take; 1 minute without it.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same client, acting for that person: `name@host` stands in the record of what it cancels.
    #[must_use]
    pub fn acting_for(self, person: &str) -> Self {
        Self { person: Some(person.into()), ..self }
    }

    /// The address of the server, as `--server` takes it.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Where the server is, for people: its URL, or `unix:` and the path of its socket.
    #[must_use]
    pub fn place(&self) -> String {
        match self.socket() {
            Some(path) => format!("unix:{}", path.display()),
            None => self.server().to_owned(),
        }
    }

    /// The socket of the server, as `--socket` takes it, if it is asked over one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The address of an operation, for people to open.
    #[must_use]
    pub fn operation_url(&self, id: &str) -> String {
        self.url(&["operations", id]).into()
    }

    /// `{base}/v1.0/{segments}`, each segment percent-encoded.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .push("v1.0")
            .extend(segments);
        url
    }

    /// Where a link of the server leads, on the server that was configured.
    fn follow(&self, link: &str) -> Result<Url, ClientError> {
        let strange = |_| ClientError::BadLink { link: link.to_owned() };
        let target = self.base.join(link).map_err(strange)?;
        let mut url = self.base.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        Ok(url)
    }
}

/// A TLS configuration that trusts nobody. There is no TLS on a socket, and without this the process
/// would have to have a TLS provider all the same.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are thought to be safe")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn builder() -> ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("mother/", env!("CARGO_PKG_VERSION")))
}

/// No answer came from this server.
fn lost(url: &Url, socket: Option<&Path>, source: reqwest::Error) -> ClientError {
    let (url, option) = match socket {
        Some(path) => (format!("unix:{}", path.display()), "--socket"),
        None => (url.origin().ascii_serialization(), "--server"),
    };
    ClientError::Unreachable { url, option, source: Box::new(source.without_url()) }
}

/// A proxy of the environment is not meant for this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Client {
        _ = rustls::crypto::ring::default_provider().install_default();
        Client::new(base, None).unwrap()
    }

    #[test]
    fn names_stand_in_urls_as_one_segment() {
        let url = client("http://localhost:8080").url(&["operations", "1", "steps", "a b?c#d/é"]);
        assert_eq!(url.path(), "/v1.0/operations/1/steps/a%20b%3Fc%23d%2F%C3%A9");
        let url = client("https://example.org/mother/?x=1").url(&["operations"]);
        assert_eq!(url.as_str(), "https://example.org/mother/v1.0/operations");
    }

    #[test]
    fn links_are_followed_on_the_configured_server() {
        let client = client("http://localhost:9999");
        let url = client.follow("https://elsewhere.example/v1.0/operations?$top=1").unwrap();
        assert_eq!(url.as_str(), "http://localhost:9999/v1.0/operations?$top=1");
        let url = client.follow("/v1.0/operations?$skip=2").unwrap();
        assert_eq!(url.as_str(), "http://localhost:9999/v1.0/operations?$skip=2");
    }

    #[test]
    fn links_are_followed_on_the_socket() {
        let client = Client::over_socket(Path::new("/run/mother.sock"), None).unwrap();
        let url = client.follow("http://elsewhere.example:81/v1.0/operations?$skip=2").unwrap();
        assert_eq!(url.as_str(), "http://localhost/v1.0/operations?$skip=2");
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for text in ["", "localhost:8080", "ftp://host", "http://", "8080"] {
            let error = Client::new(text, None).unwrap_err();
            assert!(matches!(error, ClientError::BadAddress { .. }), "{text}: {error:?}");
        }
    }
}
