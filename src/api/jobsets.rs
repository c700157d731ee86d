//! `/v1.0/jobsets`: submitting, and what was submitted.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::error::ApiError;
use super::extract::{JsonBytes, OperationId};
use super::idempotency::Repetition;
use super::operations::{OPERATION_LOCATION, unended};
use super::prefer::Prefer;
use super::present;
use super::query::Query;
use super::state::{ApiState, BaseUrl};
use crate::engine::{Compiled, EngineError, Found};
use crate::wire::{self, JobsetDocument};

/// Bodies from this size on are checked off the threads that answer requests.
pub(super) const LARGE_BODY: usize = 64 * 1024;

/// Starts a jobset.
///
/// Answers 202 once the operation is durable; poll `Operation-Location` until its `status` is
/// `succeeded`, `failed` or `canceled`. `Prefer: wait=N` delays the answer until the operation has
/// ended, N seconds at the most; it is a 202 all the same. `warnings` tells what the jobset says and
/// may not mean: actions that can never be taken, steps that can come to wait for each other.
///
/// A client that does not know whether its request arrived may send it again if it named it, by any
/// of three ways: the request makes one operation, however often and to however many servers of one
/// database it is sent, and each time has the same answer. Requests are the same if they ask for the
/// same, however their JSON is written.
#[utoipa::path(
    post,
    path = "/jobsets",
    operation_id = "submitJobset",
    tag = "jobsets",
    params(
        ("Prefer" = Option<String>, Header, description = "`respond-async`, `wait=N`, `return=minimal`"),
        ("Repeatability-Request-ID" = Option<String>, Header, max_length = 255, description = "Names the request (OASIS Repeatable Requests 1.0); needs `Repeatability-First-Sent`."),
        ("Repeatability-First-Sent" = Option<String>, Header, description = "When it was first sent, as in `Sun, 06 Nov 1994 08:49:37 GMT`; the same in each repetition."),
        ("Repeatability-Client-ID" = Option<String>, Header, max_length = 255, description = "Names the client; request ids are its own then."),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request: a string in quotes (draft-ietf-httpapi-idempotency-key-header)."),
        ("Operation-Id" = Option<String>, Header, max_length = 128, pattern = "^[A-Za-z0-9._~-]+$", description = "The id that the operation is to have."),
    ),
    request_body = wire::JobsetDocument,
    responses(
        (
            status = 202,
            description = "The operation is durable.",
            body = wire::Operation,
            headers(
                ("Operation-Location" = String, description = "The absolute URL to poll."),
                ("Location" = String, description = "The same."),
                ("Retry-After" = u32, description = "Seconds to wait before the first poll."),
                ("Repeatability-Result" = String, description = "`accepted`, if the request has repeatability headers."),
            )
        ),
        (status = 409, description = "Another operation has the `Operation-Id`.", body = wire::ErrorEnvelope),
        (status = 412, description = "`Repeatability-First-Sent` is so long ago that repetitions are not known any more, or in the future; or the request has a condition. Nothing was done.", body = wire::ErrorEnvelope),
        (status = 422, description = "The `Idempotency-Key` came with another request before.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn submit(
    State(state): State<ApiState>,
    base: BaseUrl,
    query: Query,
    path: MatchedPath,
    headers: HeaderMap,
    JsonBytes(bytes): JsonBytes,
) -> Result<Response, ApiError> {
    query.only(&[])?;
    let window = state.engine.repeatability_window();
    let repetition = Repetition::of(&headers, state.engine.now(), window)?;
    let route = format!("POST {}", path.as_str());
    let answer = start(&state, &base, &headers, bytes, &route, &repetition).await;
    repetition.conclude(answer)
}

/// Starts the operation, or finds the one that an earlier try started.
async fn start(
    state: &ApiState,
    base: &BaseUrl,
    headers: &HeaderMap,
    bytes: Bytes,
    route: &str,
    repetition: &Repetition,
) -> Result<Response, ApiError> {
    if state.draining.is_cancelled() {
        return Err(EngineError::ShuttingDown.into());
    }
    let prefer = Prefer::of(headers);
    let Checked { compiled, labels, context } = check(state, bytes).await?;
    let identity = repetition.identity(route, &compiled, labels.as_ref(), context.as_ref());
    let jobset = Arc::clone(&compiled);
    let id = state.engine.new_id();
    // From before its beginning, so that nothing of it is missed.
    let watch = prefer.wait.map(|wait| (state.engine.watch(id), wait));
    let made = state.engine.submit_as(id, jobset, labels.clone(), context, identity).await?;
    if !made.is_repeated {
        state.metrics.submitted(1);
    }
    // Made from the request, so that a repetition is answered alike, whatever became of it.
    let mut fresh = compiled.fresh(made.id, made.at);
    fresh.view.labels = labels;
    fresh.view.alias = repetition.alias();
    // The answer is about the start of the operation, so it never tells its end; and what is durable is
    // acknowledged, even if the database was lost meanwhile.
    let found = match watch {
        Some((watch, wait)) => unended(state, &made, watch, wait).await.unwrap_or(fresh),
        None => fresh,
    };
    let warnings = present::warnings(&compiled.jobset.warnings);
    let body = wire::Operation { warnings, ..present::operation(&found, base) };
    let mut response = accepted(state, base, body, prefer.minimal)?;
    prefer.applied(response.headers_mut());
    Ok(response)
}

/// A new operation was started.
pub(super) fn accepted(
    state: &ApiState,
    base: &BaseUrl,
    body: wire::Operation,
    minimal: bool,
) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(&base.operation(&body.id))
        .map_err(|_| ApiError::bad_request("InvalidHost", "the Host header cannot be in a link"))?;
    let mut response = if minimal {
        StatusCode::ACCEPTED.into_response()
    } else {
        (StatusCode::ACCEPTED, Json(body)).into_response()
    };
    let out = response.headers_mut();
    out.insert(OPERATION_LOCATION, location.clone());
    out.insert(header::LOCATION, location);
    out.insert(header::RETRY_AFTER, state.settings.retry_after_seconds.into());
    Ok(response)
}

/// A document that was found good.
pub(super) struct Checked {
    pub(super) compiled: Arc<Compiled>,
    pub(super) labels: Option<Value>,
    pub(super) context: Option<Value>,
}

async fn check(state: &ApiState, bytes: Bytes) -> Result<Checked, ApiError> {
    if bytes.len() < LARGE_BODY {
        return check_now(state, &bytes);
    }
    let state = state.clone();
    let checked = tokio::task::spawn_blocking(move || check_now(&state, &bytes)).await;
    checked.map_err(|_| EngineError::ShuttingDown)?
}

fn check_now(state: &ApiState, bytes: &[u8]) -> Result<Checked, ApiError> {
    let document =
        wire::read_jobset(bytes).map_err(|problems| ApiError::invalid_jobset(&problems))?;
    Ok(compile(state, document)?)
}

/// Checks what a document means.
///
/// # Errors
/// [`EngineError::Invalid`] with everything that is wrong with it.
pub(super) fn compile(state: &ApiState, document: JobsetDocument) -> Result<Checked, EngineError> {
    let data = document.run_data();
    let compiled = state.engine.compile(document.canonical(), document.into_definition());
    match (compiled, data) {
        (Ok(compiled), Ok((labels, context))) => Ok(Checked { compiled, labels, context }),
        (Err(EngineError::Invalid(mut problems)), data) => {
            problems.extend(data.err().into_iter().flatten());
            Err(EngineError::Invalid(problems))
        }
        (Err(error), _) => Err(error),
        (Ok(_), Err(problems)) => Err(EngineError::Invalid(problems)),
    }
}

/// The jobset that an operation runs, as it was submitted.
#[utoipa::path(
    get,
    path = "/jobsets/{id}",
    operation_id = "getJobset",
    tag = "jobsets",
    params(("id" = String, Path, description = "The id of the operation.")),
    responses((status = 200, description = "The jobset.", body = wire::Jobset))
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
) -> Result<Json<wire::Jobset>, ApiError> {
    query.only(&[])?;
    let Found { view, compiled, .. } = state.engine.operation(id).await?;
    let definition = serde_json::from_str(&compiled.record.document)
        .map_err(|error| EngineError::BadJobset { id, reason: error.to_string() })?;
    Ok(Json(wire::Jobset {
        id: view.shown_id(),
        operation_location: base.operation(view.shown_id()),
        digest: data_encoding::HEXLOWER.encode(&compiled.record.digest),
        definition,
    }))
}
