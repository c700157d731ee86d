//! `/v1.0/operations/{id}/explain` and `/v1.0/operations/{id}/steps/{name}/explain`: why not?

use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;

use super::error::ApiError;
use super::extract::{OperationId, StepPath};
use super::query::Query;
use super::state::ApiState;
use super::steps;
use crate::domain::Run;
use crate::domain::explain::{self, Around, Workers};
use crate::engine::{EngineError, Found, created_at};
use crate::wire::{OperationExplanation, StepExplanation};

/// Explains why an operation has not ended, or ended as it did.
///
/// The root causes of all steps that have not ended, each with the number of steps that it keeps.
/// Once the operation ended: why steps never ran, and which steps made it fail.
#[utoipa::path(
    get,
    path = "/operations/{id}/explain",
    operation_id = "explainOperation",
    tag = "operations",
    params(("id" = String, Path, description = "The id of the operation.")),
    responses((status = 200, description = "The explanation.", body = OperationExplanation))
)]
pub(super) async fn of_operation(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
) -> Result<Json<OperationExplanation>, ApiError> {
    query.only(&[])?;
    let found = state.engine.whole_operation(id).await?;
    let around = around(&state, &found).await?;
    let id = found.view.shown_id();
    apart(found, around, |run, around| {
        let explained = OperationExplanation::of(run, &explain::operation(run, around));
        OperationExplanation { id, ..explained }
    })
    .await
}

/// Explains why a step does not move.
///
/// The root causes, down to the step, worker, person or timer that would have to move first; what
/// may be done with the step now; and for all else from its state the guards that do not hold.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}/explain",
    operation_id = "explainStep",
    tag = "steps",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
    ),
    responses((status = 200, description = "The explanation.", body = StepExplanation))
)]
pub(super) async fn of_step(
    State(state): State<ApiState>,
    path: StepPath,
    query: Query,
) -> Result<Json<StepExplanation>, ApiError> {
    query.only(&[])?;
    let found = state.engine.whole_operation(path.operation).await?;
    let n = steps::number(&found, &path.step)?;
    let around = around(&state, &found).await?;
    apart(found, around, move |run, around| {
        StepExplanation::of(run, &explain::step(run, n, around))
    })
    .await
}

/// What has to be known beside the run.
async fn around(state: &ApiState, found: &Found) -> Result<Around, ApiError> {
    let workers = state.engine.store().live_workers().await.map_err(EngineError::from)?;
    let count = |number: i64| u32::try_from(number).unwrap_or(0);
    let after = found.compiled.jobset.deadline.and_then(|after| TimeDelta::from_std(after).ok());
    let begun = created_at(found.view.id);
    Ok(Around {
        now: state.engine.now(),
        deadline: after.and_then(|after| begun.checked_add_signed(after)),
        workers: Workers { live: count(workers.live), slots: count(workers.slots) },
        gate: if found.view.gated { state.engine.gate(found.view.id).await? } else { None },
    })
}

/// Explains off the threads that answer requests: a large operation takes a while.
async fn apart<T: Send + 'static>(
    found: Found,
    around: Around,
    explain: impl FnOnce(&Run, &Around) -> T + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let explained = tokio::task::spawn_blocking(move || {
        let mut run = found.run();
        run.advance(around.now);
        explain(&run, &around)
    });
    Ok(Json(explained.await.map_err(|_| EngineError::ShuttingDown)?))
}
