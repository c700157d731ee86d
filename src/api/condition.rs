//! Conditional requests (RFC 9110, 13): a condition that is not looked at is refused, because a
//! client that set one must not be told that it held.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::error::ApiError;

/// The conditions that a request can have. `If-Modified-Since` is not among them: it must be ignored
/// where there is no date of modification.
const CONDITIONS: [HeaderName; 3] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];

/// The condition that a handler evaluates.
fn evaluated(method: &Method, path: &str) -> Option<HeaderName> {
    let is_operation = path.ends_with("/operations/{id}");
    let is_context = path.ends_with("/operations/{id}/context");
    let is_graph = ["/operations/{id}/graph", "/operations/{id}/causality"]
        .iter()
        .any(|route| path.ends_with(route));
    let is_verb = path.ends_with("/operations/{id}/{verb}");
    match *method {
        Method::GET | Method::HEAD if is_operation || is_context || is_graph => {
            Some(header::IF_NONE_MATCH)
        }
        Method::DELETE if is_operation => Some(header::IF_MATCH),
        Method::PATCH if is_context => Some(header::IF_MATCH),
        Method::POST if is_verb => Some(header::IF_MATCH),
        _ => None,
    }
}

/// Refuses a request with a condition that its handler does not evaluate.
pub(super) fn refuse_unknown(parts: &Parts, route: &str) -> Result<(), ApiError> {
    let mut present = CONDITIONS.iter().filter(|name| parts.headers.contains_key(*name)).peekable();
    if present.peek().is_none() {
        return Ok(());
    }
    let evaluated = evaluated(&parts.method, route);
    let Some(name) = present.find(|name| Some(*name) != evaluated.as_ref()) else { return Ok(()) };
    let message = format!("the condition `{name}` cannot be evaluated here");
    let error = ApiError::new(StatusCode::PRECONDITION_FAILED, "ConditionNotSupported", message);
    Err(error.target(name.as_str()))
}

/// Whether the `If-None-Match` of a request names this tag (weak comparison, RFC 9110 8.8.3.2).
pub(super) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let etag = etag.to_str().unwrap_or_default();
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}
