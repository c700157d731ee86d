//! Who of the workers asks.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::incarnation;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::engine::{EngineError, RemoteSeat};
use crate::wire::WORKER_SECRET;

/// The worker of the path, which has proven that it is it.
pub(in crate::api) struct Caller(pub(super) Arc<RemoteSeat>);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let secret = parts.headers.get(WORKER_SECRET).and_then(|value| value.to_str().ok());
        let secret = secret.unwrap_or_default().to_owned();
        let path = RawPathParams::from_request_parts(parts, state).await;
        let path = path.map_err(|_| EngineError::NoWorker)?;
        let id = path.iter().find(|(name, _)| *name == "id").map(|(_, id)| id.to_owned());
        let id = incarnation(&id.unwrap_or_default())?;
        Ok(Self(state.remote.seat(&state.engine, id, &secret).await?))
    }
}
