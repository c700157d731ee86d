//! Extractors whose rejections have our envelope.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use uuid::Uuid;

use super::error::ApiError;
use super::state::ApiState;

/// The body of a request that must be JSON, not read yet.
#[derive(Debug)]
pub(super) struct JsonBytes(pub(super) axum::body::Bytes);

impl FromRequest<ApiState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        refuse_other_types(request.headers())?;
        let limit = state.settings.max_body_bytes;
        let too_large = || {
            let message = format!("the body has more than the limit of {limit} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message)
        };
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        match axum::body::to_bytes(request.into_body(), limit).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) if is_too_long(&error) => Err(too_large()),
            Err(error) => {
                let message = format!("the body could not be read: {error}");
                Err(ApiError::bad_request("UnreadableBody", message))
            }
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit") {
            return true;
        }
        source = error.source();
    }
    false
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

/// The id of an operation in the path. An id that cannot be one names no operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct OperationId(pub(super) Uuid);

/// Says that no operation has that id.
pub(super) fn no_operation(id: &str) -> ApiError {
    ApiError::not_found(format!("no operation has the id `{}`", id.escape_debug()))
}

fn operation_id(id: &str) -> Result<OperationId, ApiError> {
    // One spelling only, so that an operation has one URL.
    let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id);
    uuid.map(OperationId).ok_or_else(|| no_operation(id))
}

impl<S: Send + Sync> FromRequestParts<S> for OperationId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => operation_id(&id),
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

impl<S: Send + Sync> FromRequestParts<S> for StepPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((id, step))) => {
                operation_id(&id).map(|OperationId(operation)| Self { operation, step })
            }
            Err(_) => Err(no_operation("")),
        }
    }
}
