//! `/v1.0/operations/{id}/events` and `/context`: the history and the shared data.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::extract::{JsonBytes, OperationId};
use super::page::{PageAsked, Token};
use super::prefer::Prefer;
use super::present;
use super::query::Query;
use super::state::{ApiState, BaseUrl};
use crate::domain::problem::refuse_nul;
use crate::engine::{ContextPatch, EngineError};
use crate::wire;

/// Lists what happened, in order.
#[utoipa::path(
    get,
    path = "/operations/{id}/events",
    operation_id = "listEvents",
    tag = "events",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("after" = Option<u32>, Query, maximum = 2_147_483_647, description = "Only events with a higher `seq`."),
        ("$top" = Option<u64>, Query, description = "How many at the most, over all pages."),
        ("$skip" = Option<u64>, Query, description = "How many to pass over first."),
        ("$count" = Option<bool>, Query, description = "Whether to tell how many there are in all."),
        ("$skiptoken" = Option<String>, Query, description = "Where a page begins; comes from `@odata.nextLink`."),
    ),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Event>))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<wire::Page<wire::Event>>, ApiError> {
    let query = query.only(&["$top", "$skip", "$count", "$skiptoken", "after"])?;
    let asked = PageAsked::of(&query, Prefer::of(&headers), state.settings.max_page_size)?;
    let after = match query.get("$skiptoken") {
        Some(token) => i32::from_token(token)?,
        None => query.number("after")?.unwrap_or(0),
    };
    let found = state.engine.operation(id).await?;
    let wanted = i64::try_from(asked.size).unwrap_or(i64::MAX).saturating_add(1);
    let store = state.engine.store();
    let mut events =
        store.events(id, after, asked.skip, wanted).await.map_err(EngineError::from)?;
    let has_more = events.len() > asked.size;
    events.truncate(asked.size);
    let next_link = events
        .last()
        .filter(|_| has_more)
        .and_then(|last| asked.next_link(&last.seq.token(), events.len()))
        .map(|query| format!("{}/events?{query}", base.operation(id)));
    let jobset = &found.compiled.jobset;
    let value = events.iter().map(|event| present::event(event, jobset)).collect();
    // Events are numbered without gaps and the version is the number of the last one.
    let count = asked.count.then_some(i64::from(found.view.version));
    Ok(Json(wire::Page { value, count, next_link }))
}

/// Shows the shared data of an operation.
#[utoipa::path(
    get,
    path = "/operations/{id}/context",
    operation_id = "getContext",
    tag = "context",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("If-None-Match" = Option<String>, Header, description = "The entity tag that is known."),
    ),
    responses(
        (status = 200, description = "A JSON object.", body = Object, headers(
            ("ETag" = String, description = "Changes with every change of the context."),
        )),
        (status = 304, description = "It is as the client knows it."),
    )
)]
pub(super) async fn context(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query.only(&[])?;
    let stored = state.engine.store().context(id).await.map_err(EngineError::from)?;
    let (context, version) = if let Some(stored) = stored {
        (stored.context, stored.version)
    } else {
        state.engine.operation(id).await?; // An unknown operation is a 404, not an empty object.
        (Value::Object(Map::new()), 0)
    };
    let etag = present::etag(version);
    if super::condition::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(([(header::ETAG, etag)], Json(context)).into_response())
}

/// Changes the shared data by a merge patch (RFC 7396) and answers what it is then.
#[utoipa::path(
    patch,
    path = "/operations/{id}/context",
    operation_id = "patchContext",
    tag = "context",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("If-Match" = Option<String>, Header, description = "Change it only if it is as the client knows it."),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The context as it is now.", body = Object))
)]
pub(super) async fn patch_context(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
    JsonBytes(bytes): JsonBytes,
) -> Result<Response, ApiError> {
    query.only(&[])?;
    let patch = wire::read_value(&bytes)
        .map_err(|error| ApiError::bad_request("InvalidBody", format!("not JSON: {error}")))?;
    if !patch.is_object() {
        let message = "the body must be a JSON object (a merge patch, RFC 7396)";
        return Err(ApiError::bad_request("InvalidBody", message));
    }
    refuse_nul(&patch, "")
        .map_err(|p| ApiError::bad_request("InvalidBody", p.message).target(p.path))?;
    let expected = super::operations::expected_version(&headers)?;
    let (context, version) =
        state.engine.patch_context(ContextPatch { operation: id, patch, expected }).await?;
    Ok(([(header::ETAG, present::etag(version))], Json(context)).into_response())
}
