//! Streams: answers that go on while something happens.
//!
//! Most are server-sent events (WHATWG HTML, 9.2), which any client can read line by line and a
//! browser reads by itself. A stream begins with `retry:`, tells everything after `Last-Event-ID`,
//! shows every now and then that it is alive, and says by an event named `end` that nothing more
//! comes, because a connection may end for other reasons. An error that comes up on the way is told by
//! an event named `fault`, with the envelope of all errors as data.
//!
//! A follower costs a task that sleeps and a channel, so thousands may follow; how many is limited,
//! because each also holds a connection.

pub(super) mod all;
pub(super) mod events;
pub(super) mod output;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::collection::{read, refused};
use super::error::ApiError;
use super::negotiate::EVENT_STREAM;
use super::query::Query;
use super::state::ApiState;
use crate::odata::{self, Expr, Model, Row};

/// The parameter for clients that cannot set the header.
pub(super) const LAST_EVENT_ID: &str = "lastEventId";
const LAST_EVENT_ID_HEADER: HeaderName = HeaderName::from_static("last-event-id");
/// What a client is told to wait before it comes back to a stream that was cut, in milliseconds.
const RETRY_MILLISECONDS: u32 = 2_000;
/// When one who may not follow now should try again.
const RETRY_SECONDS: u32 = 5;

/// What comes next in a stream.
struct Told {
    bytes: Vec<u8>,
    is_last: bool,
}

impl Told {
    const fn more(bytes: Vec<u8>) -> Self {
        Self { bytes, is_last: false }
    }

    const fn last(bytes: Vec<u8>) -> Self {
        Self { bytes, is_last: true }
    }

    /// The end of a stream that cannot go on.
    fn fault(error: impl Into<ApiError>) -> Self {
        let mut bytes = Vec::new();
        frame(&mut bytes, None, "fault", &json(&error.into().into_envelope()));
        Self::last(bytes)
    }
}

/// Who tells what comes next.
trait Follower: Send + 'static {
    /// Waits for what comes next. May be dropped while it waits, without loss.
    fn next(&mut self) -> impl Future<Output = Told> + Send;

    /// What shows that the stream is alive.
    fn beat(&self) -> Vec<u8> {
        b":\n\n".to_vec()
    }
}

/// A stream under way.
struct Stream<F> {
    follower: F,
    begin: Option<Vec<u8>>,
    /// How long it is silent at the most; `None` where nothing can be said.
    keep_alive: Option<Duration>,
    draining: CancellationToken,
    /// Others may follow when this is dropped.
    _permit: OwnedSemaphorePermit,
}

impl<F: Follower> Stream<F> {
    async fn next(&mut self) -> Option<Told> {
        if let Some(begin) = self.begin.take() {
            return Some(Told::more(begin));
        }
        let silence = self.keep_alive;
        let silence = async {
            match silence {
                Some(silence) => tokio::time::sleep(silence).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            told = self.follower.next() => Some(told),
            () = silence => Some(Told::more(self.follower.beat())),
        }
    }

    fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(Some(self), async |stream| {
            let mut stream = stream?;
            let told = stream.next().await?;
            let bytes = Bytes::from(told.bytes);
            Some((Ok::<_, Infallible>(bytes), (!told.is_last).then_some(stream)))
        }))
    }
}

/// The right to follow.
fn admit(state: &ApiState) -> Result<OwnedSemaphorePermit, ApiError> {
    state.followers.clone().try_acquire_owned().map_err(|_| {
        let most = state.settings.max_followers;
        let message = format!("{most} follow already, and no more may (--max-followers)");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyFollowers", message)
            .header(header::RETRY_AFTER, RETRY_SECONDS.into())
    })
}

/// A stream of events that begins at `place`, if that has a name.
fn stream(
    state: &ApiState,
    permit: OwnedSemaphorePermit,
    place: Option<String>,
    follower: impl Follower,
) -> Response {
    let place = place.map(|place| format!("id: {place}\n")).unwrap_or_default();
    let stream = Stream {
        follower,
        begin: Some(format!("retry: {RETRY_MILLISECONDS}\n{place}\n").into_bytes()),
        keep_alive: Some(state.settings.keep_alive),
        draining: state.draining.clone(),
        _permit: permit,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Asks a proxy to hand on each event at once.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, stream.into_body()).into_response()
}

/// The place after which a client wants to go on.
fn last_event_id<'a>(query: &'a Query, headers: &'a HeaderMap) -> Option<&'a str> {
    // The header is newer: a browser that comes back asks for the URL that it was given.
    let header = headers.get(LAST_EVENT_ID_HEADER).and_then(|value| value.to_str().ok());
    header.or_else(|| query.get(LAST_EVENT_ID)).filter(|id| !id.is_empty())
}

fn foreign_id(id: &str, form: &str) -> ApiError {
    let message = format!("`{}` is no id of an event of this stream: {form}", id.escape_debug());
    ApiError::bad_request("InvalidParameter", message).target("Last-Event-ID")
}

/// Appends an event.
fn frame(out: &mut Vec<u8>, id: Option<&str>, name: &str, data: &str) {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON on one line has no line ends, which would have to be spelled out.
    out.extend_from_slice(format!("{id}event: {name}\ndata: {data}\n\n").as_bytes());
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Which events a stream tells.
struct Filter {
    condition: Option<Expr>,
    now: DateTime<Utc>,
}

impl Filter {
    fn of(query: &Query, state: &ApiState, model: &Model) -> Result<Self, ApiError> {
        let limits = &state.settings.query_limits;
        let condition = read(query, "$filter", |text| odata::filter(text, model, limits))?;
        Ok(Self { condition, now: state.engine.now() })
    }

    /// Whether it is told; `row` is asked for only if that depends on it.
    fn admits<R: Row>(&self, row: impl FnOnce() -> R) -> Result<bool, ApiError> {
        let Some(condition) = &self.condition else { return Ok(true) };
        odata::eval::matches(condition, &row(), self.now).map_err(|error| refused("$filter", error))
    }
}
