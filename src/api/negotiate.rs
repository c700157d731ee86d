//! What a client accepts (RFC 9110, 12.5.1), as far as we have a choice.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// The media ranges of the `Accept` header that are not excluded by `q=0`.
fn accepted(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .filter(|range| {
            let mut parameters = range.split(';').skip(1).map(str::trim);
            let weight = parameters.find_map(|parameter| parameter.strip_prefix("q="));
            weight.and_then(|q| q.parse::<f32>().ok()).is_none_or(|q| q > 0.0)
        })
        .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .collect()
}

/// Server-sent events (WHATWG HTML, 9.2).
pub(super) const EVENT_STREAM: &str = "text/event-stream";

fn is_json(range: &str) -> bool {
    range == "application/json" || (range.starts_with("application/") && range.ends_with("+json"))
}

/// Whether JSON is asked for by name.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    accepted(headers).iter().any(|range| is_json(range))
}

/// Whether a stream of events is asked for by name, where JSON is no choice.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    accepted(headers).iter().any(|range| range == EVENT_STREAM)
}

/// Whether a stream of events is asked for: by name, and before JSON.
pub(super) fn prefers_events(headers: &HeaderMap) -> bool {
    let ranges = accepted(headers);
    let mut named = ranges.iter().filter(|range| *range == EVENT_STREAM || is_json(range));
    named.next().is_some_and(|range| range == EVENT_STREAM)
}

/// Refuses requests whose `Accept` excludes everything that we could answer.
pub(super) async fn refuse_foreign(request: Request, next: Next) -> Response {
    let accepted = accepted(request.headers());
    let path = request.uri().path();
    let other: &[&str] = if path.ends_with("/output") {
        &["text/plain", "text/*", "application/octet-stream", EVENT_STREAM]
    } else if path.ends_with("/events") {
        &[EVENT_STREAM]
    } else if path.ends_with("/$count") {
        &["text/plain", "text/*"]
    } else {
        &[]
    };
    let is_served = !request.headers().contains_key(header::ACCEPT)
        || accepted.iter().any(|range| {
            range == "*/*"
                || range == "application/*"
                || is_json(range)
                || other.contains(&range.as_str())
        });
    if is_served {
        return next.run(request).await;
    }
    let message = "the answer would be application/json, which `Accept` excludes";
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
        .target("Accept")
        .into_response()
}
