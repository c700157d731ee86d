//! Extractors whose rejections have our envelope.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::ApiError;
use super::state::ApiState;
use crate::domain::problem::refuse_nul;
use crate::wire;

/// The body of a request that must be JSON, not read yet.
#[derive(Debug)]
pub(super) struct JsonBytes(pub(super) axum::body::Bytes);

impl FromRequest<ApiState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        refuse_other_types(request.headers())?;
        let limit = state.settings.max_body_bytes;
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let is_told_too_large = length.is_some_and(|length| length > limit);
        if is_told_too_large && request.headers().contains_key(header::EXPECT) {
            return Err(too_large(limit, "the body"));
        }
        let kept = if is_told_too_large { 0 } else { limit };
        let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(kept));
        let mut read = 0;
        let mut chunks = request.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                let message = format!("the body could not be read: {error}");
                ApiError::bad_request("UnreadableBody", message)
            })?;
            read += chunk.len();
            if read <= kept {
                bytes.extend_from_slice(&chunk);
            } else if read > limit.saturating_add(THROWN_AWAY_MAX) {
                break;
            } else {
                bytes = Vec::new();
            }
        }
        if read > kept { Err(too_large(limit, "the body")) } else { Ok(Self(bytes.into())) }
    }
}

/// Reads a JSON body.
pub(super) fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |message: String| ApiError::bad_request("InvalidBody", message);
    let value = wire::read_value(bytes).map_err(|error| invalid(format!("not JSON: {error}")))?;
    refuse_nul(&value, "").map_err(|p| invalid(p.message).target(p.path))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let error = invalid(error.into_inner().to_string());
        if path == "." { error } else { error.target(path) }
    })
}

/// So much of a body that is too large is read all the same: a client that still writes while the
/// connection is closed sees a broken connection and not the answer.
const THROWN_AWAY_MAX: usize = 64 * 1024 * 1024;

/// Says that `what` is larger than it may be.
pub(super) fn too_large(limit: usize, what: &str) -> ApiError {
    let message = format!("{what} has more than the limit of {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message)
}

/// A body without a type is taken for JSON; one of another type is refused (RFC 9110, 15.5.16).
fn refuse_other_types(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    let message = format!("the body must be application/json, not `{}`", text.escape_debug());
    let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message);
    Err(error.target("Content-Type"))
}

/// The operation whose id, its own or the one that its client chose, stands in the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperationId(pub(super) Uuid);

/// Says that no operation has that id.
pub(super) fn no_operation(id: &str) -> ApiError {
    ApiError::not_found(format!("no operation has the id `{}`", id.escape_debug()))
}

async fn operation_id(state: &ApiState, id: &str) -> Result<Uuid, ApiError> {
    // PostgreSQL keeps no NUL characters.
    let called = if id.contains('\0') { None } else { state.engine.operation_called(id).await? };
    called.ok_or_else(|| no_operation(id))
}

impl FromRequestParts<ApiState> for OperationId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => operation_id(state, &id).await.map(Self),
            Err(_) => Err(no_operation("")),
        }
    }
}

/// The id of an operation and the name of one of its steps in the path.
#[derive(Clone, Debug)]
pub(super) struct StepPath {
    pub(super) operation: Uuid,
    pub(super) step: String,
}

impl FromRequestParts<ApiState> for StepPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((id, step))) => Ok(Self { operation: operation_id(state, &id).await?, step }),
            Err(_) => Err(no_operation("")),
        }
    }
}

/// The id of an operation and the number of one of its events in the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventPath {
    pub(super) operation: Uuid,
    pub(super) seq: i32,
}

impl FromRequestParts<ApiState> for EventPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Ok(Path((id, text))) = Path::<(String, String)>::from_request_parts(parts, state).await
        else {
            return Err(no_operation(""));
        };
        let operation = operation_id(state, &id).await?;
        // One spelling only, so that an event has one URL.
        let seq = text.parse().ok().filter(|seq: &i32| *seq > 0 && seq.to_string() == text);
        let no_event = || {
            ApiError::not_found(format!(
                "`{}` is no number of an event; they are numbered from 1",
                text.escape_debug()
            ))
        };
        Ok(Self { operation, seq: seq.ok_or_else(no_event)? })
    }
}
