//! Health, figures and the document of the API.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::error::ApiError;
use super::state::ApiState;
use crate::engine::EngineError;

/// How long the database may take to answer before the server says that it is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the process is alive.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "live",
    tag = "health",
    responses((status = 200, description = "It is.", body = Object))
)]
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// Whether the process can serve: 503 while the database is away or takes no writes, or the server
/// shuts down.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "health",
    responses((status = 200, description = "It can.", body = Object))
)]
pub(super) async fn ready(State(state): State<ApiState>) -> Result<Json<Value>, ApiError> {
    if state.draining.is_cancelled() {
        return Err(EngineError::ShuttingDown.into());
    }
    match tokio::time::timeout(PATIENCE, state.engine.check_writable()).await {
        Ok(Ok(())) => Ok(Json(json!({"status": "ok"}))),
        Ok(Err(error @ EngineError::ReadOnly(_))) => Err(error.into()),
        Ok(Err(_)) | Err(_) => Err(EngineError::Unavailable.into()),
    }
}

/// The figures of this process in the text format of OpenMetrics.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "health",
    responses((status = 200, description = "The figures.", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let free = state.followers.available_permits();
    let followers = state.settings.max_followers.saturating_sub(free);
    ([(header::CONTENT_TYPE, kind)], state.metrics.text(state.engine.queued(), followers))
}

/// What no route knows.
pub(super) async fn unknown_route(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is nothing at `{}`; the API is described at /docs",
        uri.path().escape_debug()
    ))
}

/// A method that a route does not have; the `Allow` header is added by the router.
pub(super) async fn unknown_method(method: axum::http::Method) -> ApiError {
    let message = format!("{method} is not offered here; the header `Allow` says what is");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}
