//! Why a call did not succeed, and what to do about it.

use reqwest::StatusCode;
use thiserror::Error;

use crate::wire::ErrorEnvelope;

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address of the server cannot be used.
    #[error("`{text}` is not the address of a server; write for example http://127.0.0.1:8080")]
    BadAddress {
        /// What was given.
        text: String,
    },
    /// No answer: nobody listens there, or the connection broke.
    #[error("cannot reach {url}: is `mother serve` running? give its address with {option}")]
    Unreachable {
        /// The server: its URL, or `unix:` and the path of its socket.
        url: String,
        /// What of the command line says where the server is.
        option: &'static str,
        /// What happened on the way.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// The key of a submission cannot be sent.
    #[error("`{}` cannot be a key: it takes printable ASCII", key.escape_debug())]
    BadKey {
        /// What was given.
        key: String,
    },
    /// The server understood and said no.
    #[error("{}", .1.error.message)]
    Refused(StatusCode, Box<ErrorEnvelope>),
    /// The answer is not one that the service gives.
    #[error(
        "{url} answered {status} with something unexpected: is it the address of a `mother serve` \
         of this version?"
    )]
    Malformed {
        /// What was asked for.
        url: String,
        /// The status of the answer.
        status: StatusCode,
        /// What is wrong with its body.
        #[source]
        source: serde_json::Error,
    },
    /// A stream broke off again and again.
    #[error("the stream from {url} breaks off again and again; is there a proxy that cuts it?")]
    StreamCut {
        /// The server.
        url: String,
    },
    /// The stream goes on, but events may be missing.
    #[error("events may be missing here: list the operations anew")]
    EventsLost,
    /// The server named a next page that cannot be asked for.
    #[error("the server gave the link `{link}`, which leads nowhere; please report this")]
    BadLink {
        /// The link.
        link: String,
    },
}

impl ClientError {
    /// Whether the server answered that the request itself is wrong.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(
            self,
            Self::Refused(
                StatusCode::BAD_REQUEST
                    | StatusCode::PAYLOAD_TOO_LARGE
                    | StatusCode::UNPROCESSABLE_ENTITY,
                _
            )
        )
    }

    /// Whether the same question may be answered a little later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Refused(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _)
        )
    }
}
