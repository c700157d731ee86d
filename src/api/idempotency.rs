//! Requests that a client may repeat: the headers that name them.
//!
//! | header | source | the same key for another request |
//! |---|---|---|
//! | `Repeatability-Request-ID` with `Repeatability-First-Sent` | OASIS Repeatable Requests 1.0 | 400 |
//! | `Idempotency-Key` | draft-ietf-httpapi-idempotency-key-header | 422 |
//! | `Operation-Id` | Azure REST API Guidelines, long-running operations | 409 |
//!
//! They may be used together. A key counts for all clients of the service: it should be one that
//! nobody else comes up with.

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;

use super::error::ApiError;
use crate::domain::duration;
use crate::engine::{
    CLIENT_AHEAD_MAX, Compiled, Identity, KeyKind, RunAsked, SubmissionKey, own_id,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("repeatability-request-id");
const FIRST_SENT: HeaderName = HeaderName::from_static("repeatability-first-sent");
const CLIENT_ID: HeaderName = HeaderName::from_static("repeatability-client-id");
pub(super) const RESULT: HeaderName = HeaderName::from_static("repeatability-result");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const OPERATION_ID: HeaderName = HeaderName::from_static("operation-id");

/// The headers of requests that are read here, for web pages of other origins.
pub(super) const HEADERS: [HeaderName; 5] =
    [REQUEST_ID, FIRST_SENT, CLIENT_ID, IDEMPOTENCY_KEY, OPERATION_ID];

/// The routes whose requests may be repeated, below a version.
const SUBMISSIONS: [&str; 2] = ["/jobsets", "/jobsets:batch"];
/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 255;
/// The longest id that a client may choose, in bytes.
const OPERATION_ID_BYTES_MAX: usize = 128;
/// RFC 9110, 5.6.7.
const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// What the headers of a request say about its repetition.
#[derive(Clone, Debug)]
pub(super) struct Repetition {
    /// What the client calls the request.
    keys: Vec<SubmissionKey>,
    /// Whether it wants to be told how the repeatability headers were understood.
    is_repeatable: bool,
}

impl Repetition {
    /// Reads the headers. `now` is the time by the clock of the database, and `window` how long keys
    /// are remembered.
    pub(super) fn of(
        headers: &HeaderMap,
        now: DateTime<Utc>,
        window: Duration,
    ) -> Result<Self, ApiError> {
        let request_id = request_id(headers, now, window).map_err(rejected)?;
        let is_repeatable = request_id.is_some();
        let refused = |error| if is_repeatable { rejected(error) } else { error };
        let keys = [
            (KeyKind::RequestId, request_id),
            (KeyKind::IdempotencyKey, idempotency_key(headers).map_err(refused)?),
            (KeyKind::OperationId, operation_id(headers).map_err(refused)?),
        ];
        let keys =
            keys.into_iter().filter_map(|(kind, text)| Some(SubmissionKey { kind, text: text? }));
        Ok(Self { keys: keys.collect(), is_repeatable })
    }

    /// By what the repetition of a submission is recognised; `None` if the client named it by
    /// nothing.
    pub(super) fn identity(
        &self,
        route: &str,
        jobset: &Compiled,
        labels: Option<&Value>,
        context: Option<&Value>,
    ) -> Option<Identity> {
        let keys = self.keys.clone();
        (!keys.is_empty()).then(|| Identity::new(keys, route, jobset, labels, context))
    }

    /// By what the repetition of a request for several operations is recognised.
    ///
    /// # Errors
    /// The id of one operation cannot be that of several.
    pub(super) fn identity_of_all(
        &self,
        route: &str,
        asked: &[RunAsked],
    ) -> Result<Option<Identity>, ApiError> {
        if self.alias().is_some() {
            let message =
                "`Operation-Id` is the id of one operation; give each run its `operationId`";
            let error = ApiError::bad_request("InvalidOperationId", message);
            return Err(error.target("Operation-Id"));
        }
        let keys = self.keys.clone();
        Ok((!keys.is_empty()).then(|| Identity::of_all(keys, route, asked)))
    }

    /// The id that the client chose.
    pub(super) fn alias(&self) -> Option<String> {
        let mut keys = self.keys.iter();
        keys.find(|key| key.kind == KeyKind::OperationId).map(|key| key.text.clone())
    }

    /// Says in the answer how the repeatability headers were understood. Where the server failed,
    /// nobody knows whether the request was carried out, so nothing is said.
    pub(super) fn conclude(
        &self,
        answer: Result<Response, ApiError>,
    ) -> Result<Response, ApiError> {
        if !self.is_repeatable {
            return answer;
        }
        match answer {
            Ok(mut response) => {
                response.headers_mut().insert(RESULT, HeaderValue::from_static("accepted"));
                Ok(response)
            }
            Err(error) if error.is_of_client() => Err(rejected(error)),
            Err(error) => Err(error),
        }
    }
}

fn rejected(error: ApiError) -> ApiError {
    error.header(RESULT, HeaderValue::from_static("rejected"))
}

/// Whether requests of this route may be repeated.
pub(super) fn is_submission(route: &str) -> bool {
    SUBMISSIONS.iter().any(|submission| route.ends_with(submission))
}

/// Refuses a request that is to be repeatable and cannot be: a server that cannot tell repetitions
/// must say so (OASIS Repeatable Requests, section 5). For reading the headers mean nothing, and a
/// DELETE may be repeated without them.
pub(super) fn refuse_unsupported(parts: &Parts, route: &str) -> Result<(), ApiError> {
    let changes = matches!(parts.method, Method::POST | Method::PATCH);
    let headers = &parts.headers;
    let is_asked = || headers.contains_key(REQUEST_ID) || headers.contains_key(FIRST_SENT);
    if !changes || !is_asked() || is_submission(route) {
        return Ok(());
    }
    let message = "only POST to a category is a repeatable request; send this one without the \
                   repeatability headers";
    let error = ApiError::new(StatusCode::NOT_IMPLEMENTED, "RepeatabilityNotSupported", message);
    Err(rejected(error))
}

/// The request id of a request that is in time.
fn request_id(
    headers: &HeaderMap,
    now: DateTime<Utc>,
    window: Duration,
) -> Result<Option<String>, ApiError> {
    let (id, sent) = match (one(headers, &REQUEST_ID)?, one(headers, &FIRST_SENT)?) {
        (None, None) => return Ok(None),
        (Some(id), Some(sent)) => (id, sent),
        (Some(_), None) => return Err(missing(&FIRST_SENT)),
        (None, Some(_)) => return Err(missing(&REQUEST_ID)),
    };
    let id = key(&REQUEST_ID, id)?;
    let client = one(headers, &CLIENT_ID)?.map(|client| key(&CLIENT_ID, client)).transpose()?;
    let sent = imf_fixdate(sent).ok_or_else(|| {
        let message = "`Repeatability-First-Sent` must be a date as in \
                       `Sun, 06 Nov 1994 08:49:37 GMT` (IMF-fixdate)";
        ApiError::bad_request("InvalidHeader", message).target("Repeatability-First-Sent")
    })?;
    refuse_untimely(sent, now, window)?;
    // Ids are the client's own if it names itself. Neither has blanks.
    Ok(Some(client.map_or_else(|| id.to_owned(), |client| format!("{client} {id}"))))
}

fn missing(name: &HeaderName) -> ApiError {
    let message = "`Repeatability-Request-ID` and `Repeatability-First-Sent` belong together: one \
                   is missing";
    ApiError::bad_request("InvalidHeader", message).target(shown(name))
}

fn refuse_untimely(
    sent: DateTime<Utc>,
    now: DateTime<Utc>,
    window: Duration,
) -> Result<(), ApiError> {
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    let message = if now - sent > delta(window) {
        let window = duration::print(window);
        format!(
            "the request was first sent more than {window} ago, which is as long as requests \
                 are remembered: whether it was carried out then is not known"
        )
    } else if sent - now > delta(CLIENT_AHEAD_MAX) {
        format!(
            "the request says that it was first sent in the future: it is {} here",
            now.format(IMF_FIXDATE)
        )
    } else {
        return Ok(());
    };
    let error = ApiError::new(StatusCode::PRECONDITION_FAILED, "NotInWindow", message);
    Err(error.target("Repeatability-First-Sent"))
}

/// A date in the one form that is not obsolete (RFC 9110, 5.6.7).
fn imf_fixdate(text: &str) -> Option<DateTime<Utc>> {
    let date = NaiveDateTime::parse_from_str(text, IMF_FIXDATE).ok()?.and_utc();
    (date.format(IMF_FIXDATE).to_string() == text).then_some(date)
}

/// The key in a structured field, a string in quotes (RFC 8941, 3.3.3); without quotes it is taken
/// as it stands. Parameters mean nothing.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(field) = one(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let Some(quoted) = field.strip_prefix('"') else {
        return key(&IDEMPOTENCY_KEY, field).map(|key| Some(key.to_owned()));
    };
    let malformed = || {
        let message = "`Idempotency-Key` must be one string in quotes: `\"8e03978e-40d5\"`";
        ApiError::bad_request("InvalidHeader", message).target("Idempotency-Key")
    };
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next().ok_or_else(malformed)? {
            '"' => break,
            '\\' => {
                let escaped = rest.next().filter(|c| matches!(c, '"' | '\\'));
                text.push(escaped.ok_or_else(malformed)?);
            }
            plain => text.push(plain),
        }
    }
    let rest = rest.as_str();
    if !rest.is_empty() && !rest.starts_with(';') {
        return Err(malformed());
    }
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(not_a_key(&IDEMPOTENCY_KEY));
    }
    Ok(Some(text))
}

/// The id that the client wants the operation to have: what can stand in a URL as it is (the
/// unreserved characters of RFC 3986, 2.3).
fn operation_id(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(id) = one(headers, &OPERATION_ID)? else { return Ok(None) };
    check_operation_id(id, "Operation-Id").map_err(|message| {
        ApiError::bad_request("InvalidOperationId", message).target("Operation-Id")
    })?;
    Ok(Some(id.to_owned()))
}

/// Whether an operation may be called this, because its client says so in the field `name`.
pub(super) fn check_operation_id(id: &str, name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if id.is_empty() || id.len() > OPERATION_ID_BYTES_MAX || !id.bytes().all(is_plain) {
        return Err(format!("`{name}` takes 1 to 128 letters, digits and `-._~`"));
    }
    if matches!(id, "." | "..") {
        return Err(format!("`{name}` cannot be a path to somewhere else"));
    }
    if own_id(id).is_some() {
        let message = "UUIDs of version 7 are the ids that the service gives; choose another one";
        return Err(message.to_owned());
    }
    Ok(())
}

/// A key without blanks, as it stands.
fn key<'t>(name: &HeaderName, text: &'t str) -> Result<&'t str, ApiError> {
    let is_key = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b',';
    if text.is_empty() || text.len() > KEY_BYTES_MAX || !text.bytes().all(is_key) {
        return Err(not_a_key(name));
    }
    Ok(text)
}

fn not_a_key(name: &HeaderName) -> ApiError {
    let name = shown(name);
    let message = format!("`{name}` takes 1 to {KEY_BYTES_MAX} printable ASCII characters");
    ApiError::bad_request("InvalidHeader", message).target(name)
}

/// The header, which may be there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text =
        value.to_str().ok().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    match text {
        Some(text) if values.next().is_none() => Ok(Some(text.trim())),
        Some(_) | None => Err(not_a_key(name)),
    }
}

/// The header as its source writes it.
fn shown(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "repeatability-request-id" => "Repeatability-Request-ID",
        "repeatability-first-sent" => "Repeatability-First-Sent",
        "repeatability-client-id" => "Repeatability-Client-ID",
        "idempotency-key" => "Idempotency-Key",
        _ => "Operation-Id",
    }
}

/// The answer to a key that stands for another request.
pub(super) fn taken(kind: KeyKind, message: String) -> ApiError {
    let (status, code, name) = match kind {
        KeyKind::OperationId => (StatusCode::CONFLICT, "OperationIdTaken", &OPERATION_ID),
        KeyKind::RequestId => (StatusCode::BAD_REQUEST, "RequestIdTaken", &REQUEST_ID),
        KeyKind::IdempotencyKey => {
            (StatusCode::UNPROCESSABLE_ENTITY, "IdempotencyKeyTaken", &IDEMPOTENCY_KEY)
        }
    };
    ApiError::new(status, code, message).target(shown(name))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn text_of(name: &'static str, value: &str) -> Result<String, StatusCode> {
        let window = Duration::from_hours(24);
        let read = Repetition::of(&headers(&[(name, value)]), DateTime::UNIX_EPOCH, window);
        let mut keys = read.map_err(|error| error.into_response().status())?.keys;
        Ok(keys.pop().expect("a key").text)
    }

    #[test]
    fn a_key_is_a_string_with_or_without_quotes() {
        let long = "k".repeat(KEY_BYTES_MAX);
        for (field, key) in [
            ("\"U\"", "U"),
            ("U", "U"),
            ("  \"U\" ", "U"),
            ("\"a b\"", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("\"U\";p=1", "U"),
            (&long, &long),
        ] {
            assert_eq!(text_of("idempotency-key", field).as_deref(), Ok(key), "{field}");
        }
        let (too_long, quoted) = (format!("{long}k"), format!("\"{long}k\""));
        for field in [
            "",
            "\"\"",
            "\"U",
            r#""\U""#,
            "\"a\", \"b\"",
            "\"a\"b",
            "a b",
            "a,b",
            &too_long,
            &quoted,
        ] {
            let refused = text_of("idempotency-key", field);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{field}");
        }
    }

    #[test]
    fn an_id_stands_in_a_url_as_it_is() {
        let long = "i".repeat(OPERATION_ID_BYTES_MAX);
        for id in ["my-op-1", "A_b.c~9", "...", "7d444840-9dc0-41d1-b245-5ffdce74fad2", &long] {
            assert_eq!(text_of("operation-id", id).as_deref(), Ok(id));
        }
        let too_long = format!("{long}i");
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:b",
            "$count",
            "a%2Fb",
            "a?b",
            "a\tb",
            "\"a\"",
            &too_long,
            "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        ] {
            assert_eq!(text_of("operation-id", id), Err(StatusCode::BAD_REQUEST), "{id}");
        }
    }

    #[test]
    fn dates_have_one_form() {
        let date = imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT").map(|date| date.timestamp());
        assert_eq!(date, Some(784_111_777));
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(imf_fixdate(text), None, "{text}");
        }
    }
}
