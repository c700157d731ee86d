//! Who of the workers asks.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::incarnation;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::domain::Incarnation;
use crate::engine::{EngineError, RemoteSeat};
use crate::wire::WORKER_SECRET;

/// The worker of the path, which has proven that it is it.
pub(in crate::api) struct Caller(pub(super) Arc<RemoteSeat>);

/// The same for one that polls.
pub(in crate::api) struct Poller(pub(super) Arc<RemoteSeat>);

/// Who the request says that it is, and the secret that shows it.
async fn claimed(parts: &mut Parts, state: &ApiState) -> Result<(Incarnation, String), ApiError> {
    let secret = parts.headers.get(WORKER_SECRET).and_then(|value| value.to_str().ok());
    let secret = secret.unwrap_or_default().to_owned();
    let path = RawPathParams::from_request_parts(parts, state).await;
    let path = path.map_err(|_| EngineError::NoWorker)?;
    let id = path.iter().find(|(name, _)| *name == "id").map(|(_, id)| id);
    Ok((incarnation(id.unwrap_or_default())?, secret))
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let (id, secret) = claimed(parts, state).await?;
        Ok(Self(state.remote.seat(&state.engine, id, &secret).await?))
    }
}

impl FromRequestParts<ApiState> for Poller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let (id, secret) = claimed(parts, state).await?;
        Ok(Self(state.remote.seat_to_poll(&state.engine, id, &secret).await?))
    }
}
