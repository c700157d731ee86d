//! What a client accepts (RFC 9110, 12.5.1), as far as we have a choice.

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::ApiError;

/// The media ranges of the `Accept` header, each with its weight.
fn weighted(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default();
        let weight = parameters.find_map(|parameter| parameter.strip_prefix("q="));
        (name, weight.and_then(|q| q.parse().ok()).unwrap_or(1.0))
    })
}

/// The media ranges that are not excluded by `q=0`.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    weighted(headers).filter(|(_, weight)| *weight > 0.0).map(|(range, _)| range)
}

/// Which of `offered` the client likes best, the first of equals; none if it takes none of them.
/// The most specific range that fits a type decides about it.
pub(super) fn best<T: Copy>(headers: &HeaderMap, offered: &[(T, &str)]) -> Option<T> {
    if !headers.contains_key(header::ACCEPT) {
        return offered.first().map(|(form, _)| *form);
    }
    let ranges: Vec<(&str, f32)> = weighted(headers).collect();
    let weight = |media_type: &str| {
        let family = media_type.split('/').next().unwrap_or_default();
        [media_type, &format!("{family}/*"), "*/*"].into_iter().find_map(|wanted| {
            ranges
                .iter()
                .find(|(range, _)| range.eq_ignore_ascii_case(wanted))
                .map(|(_, weight)| *weight)
        })
    };
    let mut found: Option<(T, f32)> = None;
    for (form, media_type) in offered {
        let weight = weight(media_type).unwrap_or(0.0);
        if weight > found.map_or(0.0, |(_, best)| best) {
            found = Some((*form, weight));
        }
    }
    found.map(|(form, _)| form)
}

/// Server-sent events (WHATWG HTML, 9.2).
pub(super) const EVENT_STREAM: &str = "text/event-stream";

fn is_json(range: &str) -> bool {
    let Some((family, kind)) = range.split_once('/') else { return false };
    let suffix = kind.len().checked_sub("+json".len()).and_then(|at| kind.get(at..));
    family.eq_ignore_ascii_case("application")
        && (kind.eq_ignore_ascii_case("json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")))
}

fn is_events(range: &str) -> bool {
    range.eq_ignore_ascii_case(EVENT_STREAM)
}

/// Whether JSON is asked for by name.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    accepted(headers).any(is_json)
}

/// Whether a stream of events is asked for by name, where JSON is no choice.
pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    accepted(headers).any(is_events)
}

/// Whether a stream of events is asked for: by name, and before JSON.
pub(super) fn prefers_events(headers: &HeaderMap) -> bool {
    accepted(headers).find(|range| is_events(range) || is_json(range)).is_some_and(is_events)
}

/// Refuses a request whose `Accept` excludes everything that we could answer.
pub(super) fn refuse_foreign(parts: &Parts, route: &str) -> Result<(), ApiError> {
    if !parts.headers.contains_key(header::ACCEPT) {
        return Ok(());
    }
    if route.ends_with("/graph") || route.ends_with("/causality") {
        return Ok(()); // Its handler has a choice of its own.
    }
    let path = parts.uri.path();
    let other: &[&str] = if path.ends_with("/output") {
        &["text/plain", "text/*", "application/octet-stream", EVENT_STREAM]
    } else if path.ends_with("/events") {
        &[EVENT_STREAM]
    } else if path.ends_with("/$count") {
        &["text/plain", "text/*"]
    } else {
        &[]
    };
    let served = ["*/*", "application/*"];
    let served = served.iter().chain(other);
    let is_served = |range: &str| {
        is_json(range) || served.clone().any(|served| range.eq_ignore_ascii_case(served))
    };
    if accepted(&parts.headers).any(is_served) {
        return Ok(());
    }
    let message = "the answer would be application/json, which `Accept` excludes";
    let error = ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message);
    Err(error.target("Accept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_forms() {
        const OFFERED: [(u8, &str); 3] = [(0, "text/a"), (1, "text/b"), (2, "image/c")];
        let best = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            super::best(&headers, &OFFERED)
        };
        assert_eq!(super::best(&HeaderMap::new(), &OFFERED), Some(0));
        let cases = [
            ("*/*", Some(0)),
            ("text/*", Some(0)),
            ("IMAGE/C", Some(2)),
            ("image/c, text/b", Some(1)),
            ("text/a;q=0.1, image/*;q=0.2", Some(2)),
            ("text/a;q=0, */*", Some(1)),
            ("text/html, image/c;q=0.9, */*;q=0.8", Some(2)),
            ("text/b ; q=0.5 , text/* ; q=0.4", Some(1)),
            ("text/html, application/json", None),
            ("*/*;q=0", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(best(accept), expected, "{accept}");
        }
    }
}
