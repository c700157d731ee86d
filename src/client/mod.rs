//! A typed client of the service.
//!
//! One method per call of the API; each hands back a shape of [`crate::wire`]. Collections are read
//! to their end (or to a limit) by following `@odata.nextLink`.
//!
//! Reading is retried for a short while when the server cannot be reached or says that it is busy
//! (429, 503, honouring `Retry-After`), because asking twice changes nothing. Writing is not
//! retried: whoever submits must know whether to submit again. Every error says what to do next.
//!
//! A token is sent to the server that was configured and to nobody else: links are followed on that
//! server, whatever host they name, which also makes them work through a tunnel.

mod answer;
mod error;
mod explain;
mod operations;
mod pages;
mod steps;
mod transport;

use std::time::Duration;

use reqwest::Url;

pub use error::ClientError;
pub use operations::{Polled, Question, Submitted};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    /// A client of the server at `base_url`, which may have a path before `/v1.0`.
    ///
    /// The TLS provider of the process must be installed before.
    ///
    /// # Errors
    /// [`ClientError::BadAddress`] when that is not an `http` or `https` URL.
    pub fn new(base_url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress { text: base_url.to_owned() };
        let base = Url::parse(base_url).map_err(|_| bad())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("mother/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| ClientError::unreachable(&base, source))?;
        Ok(Self { http, base, token })
    }

    /// The address of the server, as `--server` takes it.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
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
    fn addresses_that_are_none_are_refused() {
        for text in ["", "localhost:8080", "ftp://host", "http://", "8080"] {
            let error = Client::new(text, None).unwrap_err();
            assert!(matches!(error, ClientError::BadAddress { .. }), "{text}: {error:?}");
        }
    }
}
