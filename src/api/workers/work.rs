//! What a remote worker asks about the attempts that it runs.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::caller::{Caller, Poller};
use super::convert::{self, counted, key};
use crate::api::error::ApiError;
use crate::api::extract::{JsonBytes, read_body};
use crate::api::state::ApiState;
use crate::domain::Incarnation;
use crate::engine::{EngineError, RemoteSeat};
use crate::wire::{
    DataAnswer, DataRequest, EndedAnswer, EndedRequest, HeartbeatAnswer, OutputRequest,
    PollRequest, Polled, SettleAnswer, SettleRequest, SettledReport, StoredJobset,
};

/// The longest time that a poll waits.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Reports, pieces or ids in one request.
const ITEMS_MAX: usize = 10_000;

/// Refuses more items than are taken at once.
pub(super) fn refuse_many(count: usize, target: &str) -> Result<(), ApiError> {
    if count <= ITEMS_MAX {
        return Ok(());
    }
    let message = format!("must have no more than {ITEMS_MAX} members, not {count}");
    Err(ApiError::bad_request("InvalidBody", message).target(target))
}

/// A time in seconds.
fn seconds(number: f64, target: &str) -> Result<Duration, ApiError> {
    Duration::try_from_secs_f64(number).map_err(|_| {
        ApiError::bad_request("InvalidBody", "must be a number of seconds").target(target)
    })
}

/// Gives a worker the attempts that it is to run; waits for some.
///
/// What it has not named as received is given again, so an answer may be lost. It recognises what it
/// has already by operation, step and attempt.
#[utoipa::path(
    post,
    path = "/workers/{id}/poll",
    operation_id = "pollWork",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = PollRequest,
    responses((status = 200, description = "What there is.", body = Polled))
)]
pub(in crate::api) async fn poll(
    State(state): State<ApiState>,
    Poller(seat): Poller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Polled>, ApiError> {
    let PollRequest { received, resting, closing, wait_seconds } = read_body(&bytes)?;
    refuse_many(received.len(), "received")?;
    refuse_many(resting.len(), "resting")?;
    let wait = seconds(wait_seconds, "waitSeconds")?.min(WAIT_MAX);
    let received: Vec<_> = received.into_iter().map(key).collect();
    let resting: Vec<_> = resting.into_iter().map(key).collect();
    if closing {
        seat.inner().close();
    }
    let polled = tokio::select! {
        polled = seat.poll(&received, &resting, Instant::now() + wait) => polled,
        () = state.draining.cancelled() => {
            state.remote.vacate();
            return Err(EngineError::ShuttingDown.into());
        }
    };
    let assignments = polled.assignments.iter().map(convert::assignment).collect();
    Ok(Json(Polled { assignments, news: polled.news }))
}

/// Renews the lease of a worker and answers what it is ordered to do.
#[utoipa::path(
    post,
    path = "/workers/{id}/heartbeat",
    operation_id = "heartbeat",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    responses(
        (status = 200, description = "It holds its lease.", body = HeartbeatAnswer),
        (status = 410, description = "It has lost its lease.", body = crate::wire::ErrorEnvelope),
    )
)]
pub(in crate::api) async fn heartbeat(
    State(state): State<ApiState>,
    Caller(seat): Caller,
) -> Result<Json<HeartbeatAnswer>, ApiError> {
    let heard = seat.inner().heartbeat().await?.ok_or(EngineError::LeaseLost)?;
    Ok(Json(HeartbeatAnswer {
        now: state.engine.now(),
        draining: heard.drained,
        orders: heard.orders.into_iter().map(convert::order).collect(),
    }))
}

/// Stores how attempts ended.
///
/// Each report has an answer of its own. The same report again is answered as it was before.
#[utoipa::path(
    post,
    path = "/workers/{id}/settle",
    operation_id = "settle",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = SettleRequest,
    responses((status = 200, description = "An answer for each.", body = SettleAnswer))
)]
pub(in crate::api) async fn settle(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<SettleAnswer>, ApiError> {
    let SettleRequest { reports } = read_body(&bytes)?;
    refuse_many(reports.len(), "reports")?;
    let worker: Incarnation = seat.inner().incarnation();
    let reports = reports.into_iter().map(|report| convert::report(report, worker)).collect();
    let settled = seat.settle(reports).await.into_iter().map(|answer| SettledReport {
        error: answer.err().map(|error| ApiError::from(error).into_detail()),
    });
    Ok(Json(SettleAnswer { value: settled.collect() }))
}

/// Stores what steps wrote. The same piece again changes nothing.
#[utoipa::path(
    post,
    path = "/workers/{id}/output",
    operation_id = "appendOutput",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = OutputRequest,
    responses((status = 200, description = "It is stored.", body = Object))
)]
pub(in crate::api) async fn append_output(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Value>, ApiError> {
    let OutputRequest { pieces } = read_body(&bytes)?;
    refuse_many(pieces.len(), "pieces")?;
    for (index, piece) in pieces.iter().enumerate() {
        counted(piece.seq, &format!("pieces[{index}].seq"))?;
        if !(0..=2).contains(&piece.stream) {
            let error = ApiError::bad_request("InvalidBody", "must be 0, 1 or 2");
            return Err(error.target(format!("pieces[{index}].stream")));
        }
    }
    let pieces: Vec<_> = pieces.into_iter().map(convert::piece).collect();
    seat.append_output(&pieces).await?;
    Ok(Json(json!({})))
}

/// What an attempt needs of its operation.
#[utoipa::path(
    post,
    path = "/workers/{id}/data",
    operation_id = "operationData",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = DataRequest,
    responses((status = 200, description = "What was asked for.", body = DataAnswer))
)]
pub(in crate::api) async fn data(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<DataAnswer>, ApiError> {
    let DataRequest { operation, context, edits, results } = read_body(&bytes)?;
    refuse_many(results.len(), "results")?;
    seat.works_on(operation)?;
    let source = seat.inner();
    let steps: Vec<i32> = results.iter().filter_map(|n| i32::try_from(*n).ok()).collect();
    let found =
        if steps.is_empty() { Vec::new() } else { source.results(operation, &steps).await? };
    let number = |(n, value): (i32, Value)| Some((u32::try_from(n).ok()?, value));
    Ok(Json(DataAnswer {
        context: if context { source.context(operation).await? } else { Value::Null },
        edits: if edits { source.edits(operation).await? } else { Value::Null },
        results: found.into_iter().filter_map(number).collect(),
    }))
}

/// Those of some operations that ended, so that a worker can clean up after them.
#[utoipa::path(
    post,
    path = "/workers/{id}/ended",
    operation_id = "endedOperations",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = EndedRequest,
    responses((status = 200, description = "Their ids.", body = EndedAnswer))
)]
pub(in crate::api) async fn ended(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<EndedAnswer>, ApiError> {
    let EndedRequest { operations, age_seconds } = read_body(&bytes)?;
    refuse_many(operations.len(), "operations")?;
    let age = seconds(age_seconds, "ageSeconds")?.min(crate::domain::duration::DURATION_MAX);
    Ok(Json(EndedAnswer { value: seat.inner().ended(&operations, age).await? }))
}

/// The definition of a jobset, as it is stored.
#[utoipa::path(
    get,
    path = "/workers/{id}/jobsets/{jobset}",
    operation_id = "workerJobset",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("jobset" = String, Path, description = "The id of the jobset."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    responses((status = 200, description = "The definition.", body = StoredJobset))
)]
pub(in crate::api) async fn jobset(
    State(state): State<ApiState>,
    Caller(_): Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<StoredJobset>, ApiError> {
    let unknown = || ApiError::not_found("no jobset has that id").target("jobset");
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    match state.engine.jobset_document(id).await {
        Ok(document) => Ok(Json(StoredJobset { document })),
        Err(EngineError::NotFound) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lease of a worker back. What it holds still is given to others.
#[utoipa::path(
    post,
    path = "/workers/{id}/leave",
    operation_id = "leave",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    responses((status = 200, description = "It has left.", body = Object))
)]
pub(in crate::api) async fn leave(
    State(state): State<ApiState>,
    Caller(seat): Caller,
) -> Result<Json<Value>, ApiError> {
    let seat: &RemoteSeat = &seat;
    state.remote.leave(seat).await?;
    Ok(Json(json!({})))
}
