//! `POST /v1.0/operations/{verb}`: the same verb on all operations that a filter chooses.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures_util::{StreamExt as _, stream};

use super::request::{read, unknown_verb, verb_names};
use super::{Done, carry_out, moved_step};
use crate::api::collection::Asked;
use crate::api::error::ApiError;
use crate::api::extract::JsonBytes;
use crate::api::operations::cancellation;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::domain::Stop;
use crate::domain::decide::Stopped;
use crate::engine::{EngineError, FindAsked, Found, StopAsked, operation_model};
use crate::wire;

/// Operations that are steered at the same time.
const AT_ONCE: usize = 16;

/// The verb that single operations have as DELETE.
const CANCEL: &str = "cancel";

/// Steers many operations: those for which `$filter` holds, up to `$top` of them.
///
/// The verbs are those of a single operation, and `cancel`. The body selects steps in each. Each
/// operation is decided on by itself; one that refuses does not stop the others. If `more` is true,
/// ask again with a filter that leaves out what was done.
#[utoipa::path(
    post,
    path = "/operations/{id}",
    operation_id = "steerOperations",
    tag = "steering",
    params(
        ("id" = String, Path, description = "The verb."),
        ("$filter" = String, Query, description = "Which operations are meant (OData 4.01)."),
        ("$top" = Option<u32>, Query, description = "How many operations at the most."),
    ),
    request_body = Option<wire::SteerRequest>,
    responses((status = 200, description = "What was, or would be, done.", body = wire::SteeredOperations))
)]
pub(in crate::api) async fn steer_many(
    State(state): State<ApiState>,
    Path(verb): Path<String>,
    query: Query,
    headers: HeaderMap,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<wire::SteeredOperations>, ApiError> {
    if uuid::Uuid::try_parse(&verb).is_ok() {
        let message = "POST to a verb below the operation: `.../pause`";
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        return Err(error.header(header::ALLOW, HeaderValue::from_static("DELETE, GET, HEAD")));
    }
    let query = query.only(&["$filter", "$top"])?;
    let request = read(&bytes, None)?;
    let whole = wire::SteerRequest { dry_run: request.dry_run, ..Default::default() };
    // Who names steps does not mean the whole operation.
    if verb == CANCEL && request != whole {
        let message = "`cancel` ends whole operations and takes nothing but `dryRun`";
        return Err(ApiError::bad_request("InvalidRequest", message));
    }
    let now = state.engine.now();
    let asked = Asked::of(&query, &headers, &state.settings, operation_model(), now)?;
    let Some(filter) = asked.filter.clone() else {
        let message = "say by `$filter` which operations are meant; all of them: `$filter=true`";
        return Err(ApiError::bad_request("FilterMissing", message).target("$filter"));
    };
    let find = FindAsked {
        filter: Some(filter),
        search: None,
        order: Vec::new(),
        after: None,
        skip: 0,
        limit: asked.size,
        now,
    };
    let (found, next) = state.engine.find(&find).await.map_err(|error| asked.failed(error))?;
    if !found.iter().any(|found| is_verb(&verb, found)) && !is_common(&verb) {
        return Err(unknown_verb(&verb, &verb_names().chain([CANCEL]).collect::<Vec<_>>()));
    }
    let value = stream::iter(found)
        .map(|found| steer_one(&state, &headers, found, &verb, &request))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(Json(wire::SteeredOperations { value, more: next.is_some() }))
}

fn is_common(verb: &str) -> bool {
    verb == CANCEL || verb_names().any(|known| known == verb)
}

fn is_verb(verb: &str, found: &Found) -> bool {
    super::verb_named(verb, &found.compiled.jobset).is_ok()
}

async fn steer_one(
    state: &ApiState,
    headers: &HeaderMap,
    found: Found,
    verb: &str,
    request: &wire::SteerRequest,
) -> wire::SteeredOperation {
    let id = found.view.id.to_string();
    let done = if verb == CANCEL {
        cancel(state, headers, &found, request).await
    } else {
        carry_out(state, found, verb, request, None).await
    };
    let mut steered = wire::SteeredOperation { id, ..wire::SteeredOperation::default() };
    match done {
        Ok(Done::Steered(done)) => steered.moved = done.value,
        Ok(Done::Forked(forked)) => steered.forked = Some(forked.view.id.to_string()),
        Err(error) => steered.error = Some(error.into_detail()),
    }
    steered
}

/// Cancels an operation; tells the steps that are Cancelled at once. Those that run follow when their
/// processes are gone.
async fn cancel(
    state: &ApiState,
    headers: &HeaderMap,
    found: &Found,
    request: &wire::SteerRequest,
) -> Result<Done, ApiError> {
    let stopped = if request.dry_run {
        if !found.compiled.jobset.cancellable {
            return Err(EngineError::NotCancellable.into());
        }
        found.run().stop_for(Stop::Cancel, state.engine.now())
    } else {
        let asked = StopAsked {
            operation: found.view.id,
            reason: Stop::Cancel,
            expected: None,
            cancellation: Some(cancellation(state, headers, None)),
        };
        state.engine.stop(asked).await?.stopped
    };
    let moved = match stopped {
        Stopped::Began(moved) => moved,
        Stopped::AlreadyFinal | Stopped::AlreadyStopping => Vec::new(),
    };
    let jobset = &found.compiled.jobset;
    let value = moved.into_iter().map(|moved| moved_step(jobset, moved)).collect();
    Ok(Done::Steered(wire::Steered { value, ..wire::Steered::default() }))
}
