//! `/v1.0/operations/{id}/events` and `/context`: the history and the shared data.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::causality::{Judged, Marks};
use super::collection::{Answered, Asked, PARAMETERS, Parameters, project, select};
use super::error::ApiError;
use super::extract::{EventPath, JsonBytes, OperationId};
use super::live;
use super::present;
use super::query::Query;
use super::rows::event_model;
use super::state::{ApiState, BaseUrl};
use crate::domain::problem::refuse_nul;
use crate::engine::{ContextPatch, EngineError, Found};
use crate::wire;

/// Lists what happened; in the order in which it did if `$orderby` says nothing else.
///
/// `Accept: text/event-stream` streams it: what happened, and then what happens until the operation
/// has ended. Each event has its `seq` as `id`, its `kind` as name and as data what the list shows;
/// `$filter` leaves out others. `event: end` with the final state is the last one: a client
/// closes the stream then. A stream that ends without it was cut; `Last-Event-ID` takes it up again
/// after that event. Lines that begin with a colon only keep the connection alive.
#[utoipa::path(
    get,
    path = "/operations/{id}/events",
    operation_id = "listEvents",
    tag = "events",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("after" = Option<u32>, Query, maximum = 2_147_483_647, description = "Only events with a higher `seq`."),
        ("Last-Event-ID" = Option<u32>, Header, maximum = 2_147_483_647, description = "A stream goes on after this event."),
        ("lastEventId" = Option<u32>, Query, maximum = 2_147_483_647, description = "The same where no header can be set; the header counts if both are there."),
        Parameters,
    ),
    responses(
        (status = 200, description = "A page, or a stream.", content(
            (wire::Page<wire::Event> = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 429, description = "Too many follow already.", body = wire::ErrorEnvelope, headers(
            ("x-ms-error-code" = String, description = "The code of the error."),
            ("Retry-After" = u32, description = "Seconds to wait before the next try."),
        )),
    )
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if super::negotiate::prefers_events(&headers) {
        return live::events::follow(&state, id, query, &headers).await;
    }
    let mut known = PARAMETERS.to_vec();
    known.extend(["after", live::LAST_EVENT_ID]);
    let query = query.only(&known)?;
    let after: i32 = query.number("after")?.unwrap_or(0);
    let found = state.engine.whole_operation(id).await?;
    let model = event_model(&found.compiled.jobset);
    let asked = Asked::of(&query, &headers, &state.settings, &model, state.engine.now())?;
    let jobset = &found.compiled.jobset;
    let marks = Marks::of(&asked, &state, id).await?;
    let events = async |after, skip, limit| -> Result<Vec<Judged>, ApiError> {
        let events = state.engine.store().events(id, after, skip, limit).await;
        let events = events.map_err(EngineError::from)?;
        Ok(events.into_iter().map(|event| Judged::new(event, jobset, &marks)).collect())
    };
    let answered = if asked.is_plain() {
        let wanted = i64::try_from(asked.size).unwrap_or(i64::MAX).saturating_add(1);
        let from = asked.after::<i64>()?.and_then(|seq| i32::try_from(seq).ok()).unwrap_or(after);
        let mut members = events(from, asked.skip, wanted).await?;
        let has_more = members.len() > asked.size;
        members.truncate(asked.size);
        let next = members.last().filter(|_| has_more).map(|last| i64::from(last.event.seq));
        // Events are numbered without gaps and the version is the number of the last one.
        let total = i64::from(found.view.version.saturating_sub(after).max(0));
        Answered { members, total, next }
    } else {
        asked.among(events(after, 0, i64::MAX).await?, searched)?
    };
    let path = format!("{}/events", base.operation(found.view.shown_id()));
    Ok(asked.page(&answered, &if after > 0 { format!("{path}?after={after}") } else { path }))
}

/// Shows one event.
#[utoipa::path(
    get,
    path = "/operations/{id}/events/{seq}",
    operation_id = "getEvent",
    tag = "events",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("seq" = u32, Path, minimum = 1, maximum = 2_147_483_647, description = "The number of the event."),
        ("$select" = Option<String>, Query, description = "Which properties to show."),
    ),
    responses((status = 200, description = "The event.", body = wire::Event))
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    EventPath { operation: id, seq }: EventPath,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let query = query.only(&["$select"])?;
    let found = state.engine.whole_operation(id).await?;
    let jobset = &found.compiled.jobset;
    let select = select(&query, &event_model(jobset), &state.settings.query_limits)?;
    let events = state.engine.store().events(id, seq - 1, 0, 1).await;
    let event = events.map_err(EngineError::from)?.pop().filter(|event| event.seq == seq);
    let event = present::event(&event.ok_or_else(|| no_event(seq, &found))?, jobset);
    Ok(Json(project(&select, serde_json::to_value(event).unwrap_or_default())))
}

/// Says that the operation has no event of that number.
pub(super) fn no_event(seq: i32, found: &Found) -> ApiError {
    let last = found.view.version;
    ApiError::not_found(format!("the operation has no event {seq}; its last one is {last}"))
}

/// What `$search` looks at.
pub(super) fn searched(Judged { event, .. }: &Judged) -> String {
    let words = [&event.step, &event.action, &event.from, &event.to, &event.state];
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    format!("{} {}", event.kind, words.join(" "))
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
        state.engine.whole_operation(id).await?; // An unknown operation is a 404, not an empty object.
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
