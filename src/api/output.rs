//! `/v1.0/operations/{id}/steps/{name}/output`: what a step wrote, as a whole or in part.
//!
//! What was written never changes, more is only added at the end: a part is asked for with `Range`
//! (RFC 9110, 14) at any time, and needs no validator. As long as the attempt may write more, the
//! complete length is not known (`Content-Range: bytes 0-99/*`).

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::extract::StepPath;
use super::live;
use super::present;
use super::query::Query;
use super::range::{self, Asked};
use super::state::ApiState;
use super::steps::number;
use crate::engine::{EngineError, OutputOf, OutputView};
use crate::wire;

/// Pieces of output that are read at once.
const PIECES: i64 = 1_000;

/// Shows what a step wrote: the bytes of its last attempt, stdout and stderr as they came.
///
/// `Accept: application/json` answers the pieces with their time and stream.
///
/// `Range: bytes=a-b`, `a-` or `-n` answers this part of the bytes, also while the attempt still
/// writes: what is written never changes. Several ranges at once, a range with `If-Range`, and one of
/// another form than bytes are answered as if none had been asked for. `HEAD` tells how many bytes
/// there are.
///
/// `follow=true` does not end with what is there: it goes on until the attempt has ended, and waits
/// for the first attempt if none has begun. `Accept: text/event-stream` does so too, and streams the
/// pieces as events named `output`, with `<attempt>-<seq>` as `id`; `event: end` is the last one, and
/// `Last-Event-ID` takes up a stream that was cut before.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}/output",
    operation_id = "getOutput",
    tag = "steps",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
        ("attempt" = Option<u32>, Query, minimum = 1, maximum = 2_147_483_647, description = "Which attempt; the last one if left out."),
        ("follow" = Option<bool>, Query, description = "Whether to go on until the attempt has ended."),
        ("Last-Event-ID" = Option<String>, Header, description = "A stream of events goes on after this piece."),
        ("lastEventId" = Option<String>, Query, pattern = "^([0-9]{1,9}-)?[0-9]{1,9}$", description = "The same where no header can be set; the header counts if both are there."),
        ("Range" = Option<String>, Header, description = "The part of the bytes that is asked for: `bytes=a-b`, `bytes=a-` or `bytes=-n`."),
        ("stream" = Option<String>, Query, pattern = "^(stdout|stderr)$", description = "`stdout` or `stderr`; both if left out."),
    ),
    responses(
        (status = 200, description = "The output.", content(
            (String = "text/plain"),
            (wire::Page<wire::OutputPiece> = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 206, description = "The part of the output that was asked for.", content(
            (String = "text/plain"),
        ), headers(
            ("Content-Range" = String, description = "Which bytes these are, and of how many; `*` while the attempt may write more."),
        )),
        (status = 416, description = "There is no such part, perhaps not yet.", body = wire::ErrorEnvelope, headers(
            ("x-ms-error-code" = String, description = "The code of the error."),
            ("Content-Range" = String, description = "How many bytes there are."),
        )),
        (status = 429, description = "Too many follow already.", body = wire::ErrorEnvelope, headers(
            ("x-ms-error-code" = String, description = "The code of the error."),
            ("Retry-After" = u32, description = "Seconds to wait before the next try."),
        )),
    )
)]
pub(super) async fn output(
    State(state): State<ApiState>,
    method: Method,
    path: StepPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["attempt", "stream", "follow", live::LAST_EVENT_ID])?;
    let stream = match query.get("stream") {
        None => None,
        Some("stdout") => Some(1),
        Some("stderr") => Some(2),
        Some(other) => {
            let message =
                format!("`stream` takes stdout or stderr, not `{}`", other.escape_debug());
            return Err(ApiError::bad_request("InvalidParameter", message).target("stream"));
        }
    };
    let found = state.engine.whole_operation(path.operation).await?;
    let n = number(&found, &path.step)?;
    let asked = query.number::<i32>("attempt")?;
    if query.flag("follow")? || super::negotiate::prefers_events(&headers) {
        return live::output::follow(&state, &found, n, asked, stream, &query, &headers).await;
    }
    let chosen = state.engine.attempt_for_output(&found, n, asked).await?;
    if asked.is_some_and(|asked| !(1..=chosen.last).contains(&asked)) {
        let message =
            format!("the step has no attempt {}; its last one is {}", chosen.attempt, chosen.last);
        return Err(ApiError::not_found(message).target("attempt"));
    }
    let step = i32::try_from(n).unwrap_or(i32::MAX);
    let of = OutputOf { operation: path.operation, step, attempt: chosen.attempt, stream };
    if super::negotiate::prefers_json(&headers) {
        let value = pieces(&state, of).await?.into_iter().map(present::output_piece).collect();
        let page = wire::Page::<wire::OutputPiece> { value, count: None, next_link: None };
        return Ok(Json(page).into_response());
    }
    let asked = range::asked(&headers);
    if method == Method::HEAD || asked != Asked::All {
        return part(&state, of, chosen.has_ended, &asked, &method).await;
    }
    let bytes = pieces(&state, of).await?.into_iter().flat_map(|piece| piece.data).collect();
    Ok((ACCEPT_RANGES, bytes_of(bytes)).into_response())
}

/// Says that a part can be asked for.
const ACCEPT_RANGES: [(HeaderName, HeaderValue); 1] =
    [(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))];

/// Bytes with the media type that fits them: what a step writes may be anything.
fn bytes_of(bytes: Vec<u8>) -> Response {
    let kind = if std::str::from_utf8(&bytes).is_ok() {
        HeaderValue::from_static("text/plain; charset=utf-8")
    } else {
        HeaderValue::from_static("application/octet-stream")
    };
    ([(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// All pieces of an output.
async fn pieces(state: &ApiState, of: OutputOf) -> Result<Vec<OutputView>, ApiError> {
    let OutputOf { operation, step, attempt, stream } = of;
    let store = state.engine.store();
    let mut pieces = Vec::new();
    let mut after = 0;
    loop {
        let read = store.output(operation, step, attempt, after, PIECES).await;
        let more = read.map_err(EngineError::from)?;
        let Some(last) = more.last() else { return Ok(pieces) };
        after = last.seq;
        // A remark of the worker belongs to both streams.
        pieces.extend(more.into_iter().filter(|piece| {
            stream.is_none_or(|stream| piece.stream == stream || piece.stream == 0)
        }));
    }
}

/// Answers a part of an output, or how long it is.
async fn part(
    state: &ApiState,
    of: OutputOf,
    has_ended: bool,
    asked: &Asked,
    method: &Method,
) -> Result<Response, ApiError> {
    let store = state.engine.store();
    let length = store.output_length(of).await.map_err(EngineError::from)?;
    if *method == Method::HEAD {
        let length = [(header::CONTENT_LENGTH, HeaderValue::from(length))];
        return Ok((ACCEPT_RANGES, length).into_response());
    }
    let Some(wanted) = asked.within(length) else {
        let yet = if has_ended { "" } else { " so far" };
        let message = format!("the output has {length} bytes{yet}, and none in this range");
        let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
        let told = HeaderValue::from_str(&format!("bytes */{length}")).expect("ASCII");
        return Err(error.target("Range").header(header::CONTENT_RANGE, told));
    };
    let (first, end) = (wanted.start, wanted.end);
    let bytes = store.output_part(of, first, end).await.map_err(EngineError::from)?;
    let complete = if has_ended { length.to_string() } else { "*".to_owned() };
    let told = format!("bytes {first}-{}/{complete}", end - 1);
    let told = [(header::CONTENT_RANGE, HeaderValue::from_str(&told).expect("ASCII"))];
    Ok((StatusCode::PARTIAL_CONTENT, ACCEPT_RANGES, told, bytes_of(bytes)).into_response())
}
