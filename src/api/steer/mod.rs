//! `POST /v1.0/operations/{id}/{verb}`: steering the steps of an operation, and of many at once.

mod bulk;
mod request;

pub(super) use bulk::{__path_steer_many, steer_many};

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use self::request::{Order, read, verb_named};
use super::collection::refused;
use super::error::ApiError;
use super::extract::{JsonBytes, StepPath};
use super::jobsets::accepted;
use super::operations::expected_version;
use super::present;
use super::query::Query;
use super::rows::step_model;
use super::state::{ApiState, BaseUrl};
use super::steps::steps;
use crate::domain::decide::{Moved, Refused, Selection};
use crate::domain::{Jobset, StepState};
use crate::engine::{Edit, EngineError, Found, SteerAnswer, SteerAsked};
use crate::odata::{self, eval};
use crate::wire;

/// How often a choice by `filter` is made again because the operation changed meanwhile.
const CHOICES_MAX: usize = 50;

/// Steers an operation: does something to its steps, as far as they allow it.
///
/// Verbs: `start`, `pause`, `resume`, `interrupt`, `skip`, `unskip`, `rerun`, `block`, `unblock`,
/// `next` (resume the next paused steps that could run), `hold` and `unhold` (what becomes of a step
/// that fails), `run-now` (end the wait of a back-off), and the actions that the jobset's machines
/// name. Answers the steps that were moved; decided and stored at once, so of two that race one wins
/// and the other is told. A 409 if steps were named and none could be moved. `rerun` of an operation
/// that has ended starts a new one, which takes over what is not run again: 202.
#[utoipa::path(
    post,
    path = "/operations/{id}/{verb}",
    operation_id = "steerOperation",
    tag = "steering",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("verb" = String, Path, description = "What is to be done."),
        ("$filter" = Option<String>, Query, description = "The same as `filter` in the body."),
        ("If-Match" = Option<String>, Header, description = "Steer only if the operation is as the client knows it."),
    ),
    request_body = Option<wire::SteerRequest>,
    responses(
        (status = 200, description = "What was, or would be, done.", body = wire::Steered),
        (status = 202, description = "A new operation was started.", body = wire::Operation, headers(
            ("Operation-Location" = String, description = "The absolute URL to poll."),
            ("Retry-After" = u32, description = "Seconds to wait before the first poll."),
        )),
    )
)]
pub(super) async fn steer(
    State(state): State<ApiState>,
    base: BaseUrl,
    path: StepPath,
    query: Query,
    headers: HeaderMap,
    JsonBytes(bytes): JsonBytes,
) -> Result<Response, ApiError> {
    let query = query.only(&["$filter"])?;
    let request = read(&bytes, query.get("$filter"))?;
    let expected = expected_version(&headers)?;
    let found = state.engine.whole_operation(path.operation).await?;
    let done = carry_out(&state, found, &path.step, &request, expected).await?;
    match done {
        Done::Steered(steered) => Ok(Json(steered).into_response()),
        Done::Forked(found) => {
            Ok(accepted(&state, &base, present::operation(&found, &base), false)?)
        }
    }
}

/// What a verb led to.
enum Done {
    Steered(wire::Steered),
    Forked(Box<Found>),
}

/// Carries a verb out on one operation.
async fn carry_out(
    state: &ApiState,
    mut found: Found,
    verb: &str,
    request: &wire::SteerRequest,
    expected: Option<i32>,
) -> Result<Done, ApiError> {
    for _ in 0..CHOICES_MAX {
        let jobset = &*found.compiled.jobset;
        let order = verb_named(verb, jobset)?;
        let (order, edit) = request::check(order, verb, request)?;
        let selection = select(state, &found, request).await?;
        let is_final = found.view.state.is_final();
        if let (true, Order::Rerun { cascade }) = (is_final, order) {
            refuse_mismatch(expected, &found)?;
            return fork(state, &found, request, &selection, cascade, &edit).await;
        }
        // What a filter says is true of the version that it was asked of.
        let seen = request.filter.is_some().then_some(found.view.version);
        let asked = SteerAsked {
            operation: found.view.id,
            order: order.in_engine(),
            selection,
            dry_run: request.dry_run,
            expected: expected.or(seen),
            edit,
        };
        match state.engine.steer(asked).await {
            Ok(answer) => return steered(answer, request).map(Done::Steered),
            Err(EngineError::VersionMismatch(_)) if expected.is_none() => {}
            Err(EngineError::Ended) if matches!(order, Order::Rerun { .. }) && !is_final => {}
            Err(error) => return Err(error.into()),
        }
        found = state.engine.whole_operation(found.view.id).await?;
    }
    let message = "the operation changes faster than the filter can be asked; name steps or states";
    Err(ApiError::new(StatusCode::CONFLICT, "OperationChanged", message))
}

fn refuse_mismatch(expected: Option<i32>, found: &Found) -> Result<(), ApiError> {
    match expected {
        Some(version) if version != found.view.version => {
            Err(EngineError::VersionMismatch(found.view.version).into())
        }
        _ => Ok(()),
    }
}

/// The steps that a request means.
async fn select(
    state: &ApiState,
    found: &Found,
    request: &wire::SteerRequest,
) -> Result<Selection, ApiError> {
    let jobset = &*found.compiled.jobset;
    let named = request.steps.as_ref().map(|names| {
        names.iter().map(|name| super::steps::number(found, name)).collect::<Result<Vec<u32>, _>>()
    });
    let mut steps_meant = named.transpose()?;
    request::check_states(request, jobset)?;
    if let Some(filter) = &request.filter {
        let model = step_model(jobset);
        let limits = &state.settings.query_limits;
        let expr =
            odata::filter(filter, &model, limits).map_err(|error| refused("filter", error))?;
        let all = i64::from(jobset.len());
        let now = state.engine.now();
        let named: Option<BTreeSet<u32>> = steps_meant.map(|steps| steps.into_iter().collect());
        let mut fitting = Vec::new();
        for step in steps(state, found, 0, all).await? {
            let fits =
                eval::matches(&expr, &step, now).map_err(|error| refused("filter", error))?;
            if fits && named.as_ref().is_none_or(|named| named.contains(&step.n)) {
                fitting.push(step.n);
            }
        }
        steps_meant = Some(fitting);
    }
    Ok(Selection {
        steps: steps_meant,
        tags: request.tags.clone(),
        states: request.states.clone(),
        branch: request.branch,
    })
}

async fn fork(
    state: &ApiState,
    found: &Found,
    request: &wire::SteerRequest,
    selection: &Selection,
    cascade: bool,
    edit: &Edit,
) -> Result<Done, ApiError> {
    let run = found.run();
    let jobset = run.jobset();
    if request.dry_run {
        let again = run.to_run_again(selection, cascade).into_iter();
        let moved = again.map(|step| {
            let (from, to) = (run.steps()[step as usize], jobset.step(step).initial);
            Moved { step, from, to }
        });
        let value = moved.map(|moved| moved_step(jobset, moved)).collect();
        return Ok(Done::Steered(wire::Steered { value, ..wire::Steered::default() }));
    }
    let id = found.view.id;
    match state.engine.fork(id, selection, cascade, edit).await? {
        Some((id, _)) => {
            state.metrics.submitted(1);
            Ok(Done::Forked(Box::new(state.engine.whole_operation(id).await?)))
        }
        None => Ok(Done::Steered(wire::Steered::default())),
    }
}

/// What was done, as it stands on the wire.
fn steered(answer: SteerAnswer, request: &wire::SteerRequest) -> Result<wire::Steered, ApiError> {
    let SteerAnswer { jobset, steered, paused } = answer;
    let value = steered.moved.iter().map(|moved| moved_step(&jobset, *moved)).collect::<Vec<_>>();
    // Steps that a filter chose were not named by the client.
    let is_named = request.steps.is_some();
    let refused: Vec<_> =
        steered.refused.iter().filter(|_| is_named).map(|r| refused_step(&jobset, r)).collect();
    if value.is_empty() && !refused.is_empty() {
        return Err(ApiError::not_allowed(&refused));
    }
    Ok(wire::Steered { value, refused, paused })
}

fn moved_step(jobset: &Jobset, moved: Moved) -> wire::MovedStep {
    let name = |state: StepState| jobset.state_name(moved.step, state).to_owned();
    wire::MovedStep {
        name: jobset.step(moved.step).definition.name.clone(),
        n: moved.step,
        from: name(moved.from),
        to: name(moved.to),
    }
}

fn refused_step(jobset: &Jobset, refused: &Refused) -> wire::RefusedStep {
    wire::RefusedStep {
        name: jobset.step(refused.step).definition.name.clone(),
        state: jobset.state_name(refused.step, refused.state).to_owned(),
        message: refused.reason.clone(),
    }
}

/// What other methods than POST get at the path of a verb: 405 if there is such a verb, else 404.
pub(super) async fn other_method(
    State(state): State<ApiState>,
    path: StepPath,
) -> Result<Response, ApiError> {
    let found = state.engine.whole_operation(path.operation).await?;
    verb_named(&path.step, &found.compiled.jobset)?;
    let message = "verbs are POSTed";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    Err(error.header(header::ALLOW, HeaderValue::from_static("POST")))
}
