//! What happens to every request and answer.
//!
//! The services here pass a request on at once and wrap what comes of it. A middleware function gets
//! the rest of the stack as a copy of its own in a box, for each request anew, and that of all that is
//! below as well.

use std::convert::Infallible;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::Service;
use tracing::Instrument as _;
use uuid::Uuid;

use super::access::{self, Claim};
use super::error::{ApiError, ERROR_CODE};
use super::state::ApiState;
use super::{below_version, condition, idempotency, negotiate};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Gives the answer an id, echoes the client's, counts and logs.
#[derive(Clone, Debug)]
pub(super) struct Observed<S> {
    pub(super) state: ApiState,
    pub(super) inner: S,
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let id = Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext));
        let method = request.method().clone();
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let client_id = request.headers().get(CLIENT_REQUEST_ID).cloned();
        let state = self.state.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let route = matched.as_ref().map_or("unknown", MatchedPath::as_str);
            let span = tracing::debug_span!("api.request.serve", %id, %method, route);
            let Ok(mut response) = answer.instrument(span).await;
            let headers = response.headers_mut();
            let mut text = Uuid::encode_buffer();
            if let Ok(id) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
                headers.insert(REQUEST_ID, id);
            }
            if let Some(client_id) = client_id {
                headers.insert(CLIENT_REQUEST_ID, client_id);
            }
            let status = response.status();
            state.metrics.answered(route, &method, status, started.elapsed());
            if status.is_server_error() {
                let status = status.as_u16();
                tracing::warn!(%id, %method, route, status, "api.request.failed");
            }
            Ok(response)
        })
    }
}

/// Lets in what may come in, and gives each answer that is not a success its envelope, whatever made
/// it.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    pub(super) state: ApiState,
    pub(super) inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let claim = match claim(&self.state, &request) {
            Ok(claim) => claim,
            Err(error) => return Box::pin(ready(Ok(error.into_response()))),
        };
        let state = self.state.clone();
        let (parts, body) = request.into_parts();
        let answerable = refuse_unanswerable(&parts);
        // Nothing is done of it before it is waited for.
        let answer = self.inner.call(Request::from_parts(parts, body));
        let answer = async move {
            match answerable {
                Ok(()) => answer.map(|Ok(response)| response).await,
                Err(error) => error.into_response(),
            }
        };
        let answer = async move {
            match claim {
                None => answer.await,
                Some(claim) => access::authorize(state, claim, answer).await,
            }
        };
        Box::pin(
            AssertUnwindSafe(answer)
                .catch_unwind()
                .map(|answered| Ok(answered.map_or_else(|_| panicked(), envelop))),
        )
    }
}

/// What a request has to be let in for; `None` if anybody may ask that.
fn claim(state: &ApiState, request: &Request) -> Result<Option<Claim>, ApiError> {
    refuse_cross_origin(state, request.method(), request.headers())?;
    access::claim(state, request)
}

/// Refuses what no route of the versioned API can answer as it asks to be answered.
fn refuse_unanswerable(parts: &Parts) -> Result<(), ApiError> {
    let route = parts.extensions.get().map_or("", MatchedPath::as_str);
    if below_version(route).is_some() {
        negotiate::refuse_foreign(parts, route)?;
        condition::refuse_unknown(parts, route)?;
        idempotency::refuse_unsupported(parts, route)?;
    }
    Ok(())
}

/// Refuses a change that a web page of another origin asks for, so that a page which happens to be
/// open in a browser cannot make a server on loopback run commands.
fn refuse_cross_origin(
    state: &ApiState,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if is_safe || is_same_origin(headers, &state.settings.cors_origins) {
        return Ok(());
    }
    let message = "a web page of another origin may not do this; allow it with --cors-origin";
    Err(ApiError::new(StatusCode::FORBIDDEN, "CrossOrigin", message).target("Origin"))
}

fn is_same_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    (origin_host.is_some() && origin_host == host) || allowed.iter().any(|known| known == origin)
}

/// Gives the envelope to errors that do not come from our handlers.
fn envelop(response: Response) -> Response {
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
fn panicked() -> Response {
    tracing::error!("api.request.panicked");
    let message = "an error of the server; its log says more under this request's id";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).into_response()
}
