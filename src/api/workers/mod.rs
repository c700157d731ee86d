//! `/v1.0/workers`: the workers as a collection, and what remote ones ask for.
//!
//! A remote worker registers an incarnation, polls for attempts, says regularly that it lives, and
//! reports. Whatever it asks carries the secret of its incarnation, so that no other worker can act for
//! it. Everything may be sent again: what was stored before changes nothing.

mod caller;
mod convert;
pub(super) mod people;
pub(super) mod work;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::time::Duration;

use super::error::ApiError;
use super::extract::{JsonBytes, read_body};
use super::query::Query;
use super::state::ApiState;
use crate::domain::profile::Profile;
use crate::domain::{Incarnation, Problem};
use crate::engine::{EngineError, SeatSpec, WorkerView};
use crate::wire::{RegisteredWorker, Worker, WorkerRegistration, Workers};

/// The lease of a worker that asks for none, in seconds, and what may be asked for.
const LEASE_SECONDS: f64 = 6.0;
const LEASE_SECONDS_MIN: f64 = 1.0;
const LEASE_SECONDS_MAX: f64 = 3_600.0;
/// Heartbeats in the time of a lease: so many but one may be late.
const HEARTBEATS: f64 = 3.0;
const SLOTS_MAX: u32 = 10_000;
const TEXT_BYTES_MAX: usize = 200;
/// Labels and lanes of one worker.
const OFFERS_MAX: usize = 100;

/// Lists the workers that run steps, in the order in which they registered.
#[utoipa::path(
    get,
    path = "/workers",
    operation_id = "listWorkers",
    tag = "workers",
    responses((status = 200, description = "The workers.", body = Workers))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    query: Query,
) -> Result<Json<Workers>, ApiError> {
    query.only(&[])?;
    let workers = state.engine.workers(None).await?;
    Ok(Json(Workers { value: workers.into_iter().map(shown).collect() }))
}

/// Shows a worker.
#[utoipa::path(
    get,
    path = "/workers/{id}",
    operation_id = "showWorker",
    tag = "workers",
    params(("id" = String, Path, description = "The id of the worker.")),
    responses((status = 200, description = "The worker.", body = Worker))
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Worker>, ApiError> {
    query.only(&[])?;
    let worker = state.engine.workers(Some(incarnation(&id)?)).await?.pop();
    Ok(Json(shown(worker.ok_or(EngineError::NoWorker)?)))
}

/// Tells a worker to take nothing new.
///
/// What it runs goes on. It hears of it with its next heartbeat. Doing it again changes nothing.
#[utoipa::path(
    post,
    path = "/workers/{id}/drain",
    operation_id = "drainWorker",
    tag = "workers",
    params(("id" = String, Path, description = "The id of the worker.")),
    responses((status = 200, description = "The worker.", body = Worker))
)]
pub(super) async fn drain(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Worker>, ApiError> {
    query.only(&[])?;
    Ok(Json(shown(state.engine.drain_worker(incarnation(&id)?).await?)))
}

/// Registers a worker.
///
/// From then on it is given attempts of steps, until it leaves or does not say for the time of its
/// lease that it lives.
#[utoipa::path(
    post,
    path = "/workers",
    operation_id = "registerWorker",
    tag = "workers",
    request_body = WorkerRegistration,
    responses((status = 201, description = "It is registered.", body = RegisteredWorker))
)]
pub(super) async fn register(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<(StatusCode, Json<RegisteredWorker>), ApiError> {
    query.only(&[])?;
    let asked: WorkerRegistration = read_body(&bytes)?;
    let problems = problems(&asked);
    if !problems.is_empty() {
        let message = "the worker cannot be registered; see `details`";
        return Err(ApiError::bad_request("InvalidWorker", message).details(&problems));
    }
    let WorkerRegistration { name, host, pid, slots, labels, lanes, lease_seconds, draining } =
        asked;
    let lease_seconds = lease_seconds.unwrap_or(LEASE_SECONDS);
    let lease = Duration::from_secs_f64(lease_seconds);
    let profile = Profile { labels, lanes };
    let spec = SeatSpec { name, host, pid, slots, lease, profile };
    let (seat, secret) = state.remote.register(&state.engine, spec, draining).await?;
    let registered = RegisteredWorker {
        id: seat.inner().incarnation().to_string(),
        secret: secret.reveal().to_owned(),
        lease_seconds,
        requeue_after_seconds: seat.inner().terms().requeue_after.as_secs_f64(),
        heartbeat_seconds: lease_seconds / HEARTBEATS,
        now: state.engine.now(),
    };
    Ok((StatusCode::CREATED, Json(registered)))
}

/// Everything that is wrong with a registration.
fn problems(asked: &WorkerRegistration) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |is_wrong: bool, path: &str, message: String| {
        if is_wrong {
            found.push(Problem::new(path, message));
        }
    };
    let is_text = |text: &str| {
        !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
    };
    let text = format!("must be of 1 to {TEXT_BYTES_MAX} bytes, without control characters");
    refuse(!is_text(&asked.name), "name", text.clone());
    refuse(!is_text(&asked.host), "host", text.clone());
    let slots = format!("must be between 1 and {SLOTS_MAX}");
    refuse(!(1..=SLOTS_MAX).contains(&asked.slots), "slots", slots);
    let seconds = asked.lease_seconds.unwrap_or(LEASE_SECONDS);
    let range = format!("must be between {LEASE_SECONDS_MIN} and {LEASE_SECONDS_MAX}");
    let is_lease = (LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&seconds);
    refuse(!is_lease, "leaseSeconds", range);
    let many = format!("must have no more than {OFFERS_MAX} members");
    refuse(asked.labels.len() > OFFERS_MAX, "labels", many.clone());
    for (key, value) in asked.labels.iter().take(OFFERS_MAX) {
        refuse(!is_text(key) || !is_text(value), &format!("labels.{key}"), text.clone());
    }
    let lanes = asked.lanes.iter().flatten();
    refuse(lanes.clone().count() > OFFERS_MAX, "lanes", many);
    for (index, lane) in lanes.take(OFFERS_MAX).enumerate() {
        refuse(!is_text(lane), &format!("lanes[{index}]"), text.clone());
    }
    refuse(
        asked.lanes.as_ref().is_some_and(std::collections::BTreeSet::is_empty),
        "lanes",
        "must name a lane, or be left out for all lanes".to_owned(),
    );
    found
}

/// The number of an incarnation. Only one spelling names it.
fn incarnation(id: &str) -> Result<Incarnation, EngineError> {
    let number = id.parse().ok().filter(|number: &Incarnation| number.to_string() == id);
    number.filter(|number| *number > 0).ok_or(EngineError::NoWorker)
}

fn shown(view: WorkerView) -> Worker {
    let state = match (view.is_live, view.drained) {
        (false, _) => "lost",
        (true, Some(_)) => "draining",
        (true, None) => "live",
    };
    Worker {
        id: view.id.to_string(),
        name: view.name,
        host: view.host,
        pid: view.pid,
        state: state.to_owned(),
        slots: view.slots,
        running: view.running,
        labels: view.labels.0,
        lanes: view.lanes.map(|lanes| lanes.into_iter().collect()),
        server: view.served_by,
        started_date_time: view.started,
        heartbeat_date_time: view.heartbeat,
    }
}
