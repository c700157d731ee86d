//! What happens to every request and answer.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::error::{ApiError, ERROR_CODE};
use super::state::ApiState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Gives the answer an id, echoes the client's, counts and logs.
pub(super) async fn observe(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let started = tokio::time::Instant::now();
    let id = uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext));
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let client_id = request.headers().get(CLIENT_REQUEST_ID).cloned();
    let span = tracing::debug_span!("api.request.serve", %id, %method, route);
    let mut response = next.run(request).instrument(span).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(client_id) = client_id {
        headers.insert(CLIENT_REQUEST_ID, client_id);
    }
    let took = started.elapsed();
    state.metrics.answered(&route, method.as_str(), response.status(), took);
    if response.status().is_server_error() {
        tracing::warn!(%id, %method, route, status = response.status().as_u16(), "api.request.failed");
    }
    response
}

/// Refuses changes that a web page of another origin asks for, so that a page which happens to be
/// open in a browser cannot make a server on loopback run commands.
pub(super) async fn refuse_cross_origin(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let is_safe =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if is_safe || is_same_origin(request.headers(), &state.settings.cors_origins) {
        return next.run(request).await;
    }
    let message = "a web page of another origin may not do this; allow it with --cors-origin";
    ApiError::new(StatusCode::FORBIDDEN, "CrossOrigin", message).target("Origin").into_response()
}

fn is_same_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    (origin_host.is_some() && origin_host == host) || allowed.iter().any(|known| known == origin)
}

/// Gives the envelope to errors that do not come from our handlers.
pub(super) async fn envelop(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().contains_key(ERROR_CODE) {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("an error");
    let code = if status.is_server_error() { "InternalError" } else { "RequestRefused" };
    let code = if status == StatusCode::NOT_FOUND { "NotFound" } else { code };
    let mut enveloped = ApiError::new(status, code, reason).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        enveloped.headers_mut().insert(header::ALLOW, allow.clone());
    }
    enveloped
}

/// What a handler that panicked answers.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("api.request.panicked");
    let message = "an error of the server; its log says more under this request's id";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).into_response()
}
