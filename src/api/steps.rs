//! `/v1.0/operations/{id}/steps`: the steps.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::collection::{Answered, Asked, PARAMETERS, Parameters};
use super::error::ApiError;
use super::extract::{OperationId, StepPath};
use super::present;
use super::query::Query;
use super::rows::step_model;
use super::state::{ApiState, BaseUrl, DEFAULT_PAGE_SIZE};
use crate::domain::problem::hint;
use crate::engine::{EngineError, Found};
use crate::wire;

/// Lists the steps; in topological order if `$orderby` says nothing else.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps",
    operation_id = "listSteps",
    tag = "steps",
    params(("id" = String, Path, description = "The id of the operation."), Parameters),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Step>))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&PARAMETERS)?;
    let found = state.engine.whole_operation(id).await?;
    let model = step_model(&found.compiled.jobset);
    let mut asked = Asked::of(&query, &headers, &state.settings, &model, state.engine.now())?;
    if query.get("$top").is_none() && asked.size == DEFAULT_PAGE_SIZE {
        asked.size = state.settings.max_page_size; // Steps are small and asked for as a whole.
    }
    let all = i64::from(found.compiled.jobset.len());
    let answered = if asked.is_plain() {
        let first = asked.after::<i64>()?.unwrap_or(0).saturating_add(asked.skip).clamp(0, all);
        let last = first.saturating_add(i64::try_from(asked.size).unwrap_or(all)).min(all);
        let members = steps(&state, &found, first, last).await?;
        Answered { members, total: all, next: (last < all).then_some(last) }
    } else {
        asked.among(steps(&state, &found, 0, all).await?, searched)?
    };
    Ok(asked.page(&answered, &format!("{}/steps", base.operation(found.view.shown_id()))))
}

/// What `$search` looks at.
fn searched(step: &wire::Step) -> String {
    let exception = step.exception.as_ref().and_then(|exception| exception["message"].as_str());
    let tags = step.tags.iter().flat_map(|(key, tag)| [key.as_str(), tag.as_str()]);
    let words = [step.name.as_str(), exception.unwrap_or_default()].into_iter().chain(tags);
    words.collect::<Vec<_>>().join(" ")
}

pub(super) async fn steps(
    state: &ApiState,
    found: &Found,
    first: i64,
    last: i64,
) -> Result<Vec<wire::Step>, ApiError> {
    let int = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let range = int(first)..int(last);
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let store = state.engine.store();
    let id = found.view.id;
    let (moves, attempts) = tokio::try_join!(
        store.last_moves(id, range.clone(), found.view.steps.len()),
        store.last_attempts(id, range.clone()),
    )
    .map_err(EngineError::from)?;
    let run = found.run();
    let (mut moves, mut attempts) = (moves.iter().peekable(), attempts.iter().peekable());
    // Both are sorted by step, so one walk joins them.
    Ok(range
        .map(|n| {
            let last_move = moves.next_if(|(step, _, _)| *step == n);
            let attempt = attempts.next_if(|attempt| attempt.step == n);
            present::step(found, &run, u32::try_from(n).unwrap_or(0), last_move, attempt)
        })
        .collect())
}

/// The number of a step, or an error that knows the nearest name.
pub(super) fn number(found: &Found, name: &str) -> Result<u32, ApiError> {
    let jobset = &found.compiled.jobset;
    jobset.number(name).ok_or_else(|| {
        let names = jobset.steps.iter().take(1_000).map(|step| step.definition.name.as_str());
        let near = hint(name, names);
        ApiError::not_found(format!(
            "the operation has no step called `{}`{near}",
            name.escape_debug()
        ))
    })
}

/// Shows a step with all its attempts.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}",
    operation_id = "getStep",
    tag = "steps",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
    ),
    responses((status = 200, description = "The step.", body = wire::Step))
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    path: StepPath,
    query: Query,
) -> Result<Json<wire::Step>, ApiError> {
    query.only(&[])?;
    let found = state.engine.whole_operation(path.operation).await?;
    let n = number(&found, &path.step)?;
    let mut listed = steps(&state, &found, n.into(), i64::from(n) + 1).await?;
    let attempts = state
        .engine
        .store()
        .attempts(path.operation, i32::try_from(n).unwrap_or(i32::MAX))
        .await
        .map_err(EngineError::from)?;
    let mut step = listed.pop().ok_or(EngineError::NotFound)?;
    step.attempts = Some(attempts.into_iter().map(present::attempt).collect());
    Ok(Json(step))
}
