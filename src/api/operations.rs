//! `/v1.0/operations`: polling, listing, cancelling.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::collection::{Asked, PARAMETERS, Parameters, project, select};
use super::condition::is_known;
use super::error::ApiError;
use super::extract::OperationId;
use super::prefer::Prefer;
use super::present;
use super::query::Query;
use super::state::{ApiState, BaseUrl};
use crate::domain::Stop;
use crate::engine::{Accepted, FindAsked, Found, Keyset, StopAsked, Watch, operation_model};
use crate::odata::Select;
use crate::wire;

pub(super) const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");

/// How long after a look that did not show what was told the next one is tried.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Lists the operations.
///
/// Without `$orderby` in the order: not started, running, ended; within each by creation.
#[utoipa::path(
    get,
    path = "/operations",
    operation_id = "listOperations",
    tag = "operations",
    params(Parameters),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Operation>))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&PARAMETERS)?;
    let model = operation_model();
    let asked = Asked::of(&query, &headers, &state.settings, model, state.engine.now())?;
    let find = find(&asked)?;
    let count = if asked.count { Some(total(&state, &asked, &find).await?) } else { None };
    let (found, next) = state.engine.find(&find).await.map_err(|error| asked.failed(error))?;
    let next_link = next
        .and_then(|next| asked.next_link(&next, found.len()))
        .map(|query| base.path(&format!("/v1.0/operations?{query}")));
    let value = found.iter().map(|found| asked.show(&present::operation(found, &base))).collect();
    let mut response = Json(wire::Page { value, count, next_link }).into_response();
    Prefer { max_page_size: asked.prefer.max_page_size, ..Prefer::default() }
        .applied(response.headers_mut());
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

fn find(asked: &Asked) -> Result<FindAsked, ApiError> {
    Ok(FindAsked {
        filter: asked.filter.clone(),
        search: asked.search.clone(),
        order: asked.order.clone(),
        after: asked.after::<Keyset>()?,
        skip: asked.skip,
        limit: asked.size,
        now: asked.now,
    })
}

/// How many operations there are, as plain text.
#[utoipa::path(
    get,
    path = "/operations/$count",
    operation_id = "countOperations",
    tag = "operations",
    params(
        ("$filter" = Option<String>, Query, description = "Which are counted (OData 4.01)."),
        ("$search" = Option<String>, Query, description = "Words to look for."),
    ),
    responses((status = 200, description = "A number.", body = String, content_type = "text/plain"))
)]
pub(super) async fn count(
    State(state): State<ApiState>,
    query: Query,
    headers: HeaderMap,
) -> Result<String, ApiError> {
    let query = query.only(&["$filter", "$search"])?;
    let model = operation_model();
    let asked = Asked::of(&query, &headers, &state.settings, model, state.engine.now())?;
    Ok(total(&state, &asked, &find(&asked)?).await?.to_string())
}

async fn total(state: &ApiState, asked: &Asked, find: &FindAsked) -> Result<i64, ApiError> {
    let total = state.engine.store().count_where(find).await;
    total.map_err(|error| asked.failed(error.into()))
}

/// Shows an operation.
///
/// 200 in every state, failed ones too. `Retry-After` until it has ended. `Prefer: wait=N` delays
/// the answer until the operation changes (with `If-None-Match`: until it differs from that),
/// N seconds at the most.
#[utoipa::path(
    get,
    path = "/operations/{id}",
    operation_id = "getOperation",
    tag = "operations",
    params(
        ("id" = String, Path, description = "The id."),
        ("$select" = Option<String>, Query, description = "Which properties to show."),
        ("If-None-Match" = Option<String>, Header, description = "The entity tag that is known."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`"),
    ),
    responses(
        (status = 200, description = "The operation.", body = wire::Operation, headers(
            ("ETag" = String, description = "Changes with every change of the operation."),
            ("Retry-After" = u32, description = "Seconds to wait before the next poll; absent once it has ended."),
        )),
        (status = 304, description = "It is as the client knows it."),
    )
)]
pub(super) async fn show(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    let query = query.only(&["$select"])?;
    let select = select(&query, operation_model(), &state.settings.query_limits)?;
    let prefer = Prefer::of(headers);
    // From before the first look, so that nothing is missed.
    let watch = prefer.wait.map(|wait| (state.engine.watch(id), wait));
    let mut found = state.engine.operation(id).await?;
    if let Some((mut watch, wait)) = watch {
        let matches_now = !headers.contains_key(header::IF_NONE_MATCH)
            || is_known(headers, &present::etag(found.view.version));
        if matches_now && !found.view.state.is_final() {
            // In a box: what is rare takes no room in each request.
            found = Box::pin(changed(&state, found, &mut watch, wait)).await?;
        }
    }
    let is_known = is_known(headers, &present::etag(found.view.version));
    Ok(answer(&state, &base, &found, is_known, &select, prefer))
}

fn answer(
    state: &ApiState,
    base: &BaseUrl,
    found: &Found,
    is_known: bool,
    select: &Select,
    prefer: Prefer,
) -> Response {
    let etag = present::etag(found.view.version);
    let operation = || present::operation(found, base);
    let mut response = match (is_known, select) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Select::All) => Json(operation()).into_response(),
        (false, Select::Paths(_)) => Json(project(select, json!(operation()))).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if !found.view.state.is_final() {
        headers.insert(header::RETRY_AFTER, state.settings.retry_after_seconds.into());
    }
    Prefer { wait: prefer.wait, ..Prefer::default() }.applied(headers);
    response
}

/// Waits until the operation has changed, the time is over or the server shuts down; answers it as it
/// is then.
async fn changed(
    state: &ApiState,
    found: Found,
    watch: &mut Watch,
    wait: Duration,
) -> Result<Found, ApiError> {
    let over = over(state, wait);
    tokio::pin!(over);
    loop {
        let is_over = tokio::select! {
            () = watch.past(found.view.version) => false,
            () = &mut over => true,
        };
        match state.engine.operation(found.view.id).await {
            Ok(now) if is_over || now.view.version != found.view.version => return Ok(now),
            // A wait does not fail because the database was away for a moment.
            Err(error) if error.is_outage() && is_over => return Ok(found),
            Ok(_) => {}
            Err(error) if error.is_outage() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Ends when a client has waited for so long, or may not wait any more.
async fn over(state: &ApiState, wait: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = state.draining.cancelled() => {}
    }
}

/// Waits until the operation has ended. If the time is over or the server shuts down before, answers
/// the operation as it is then, if that can be found out.
pub(super) async fn unended(
    state: &ApiState,
    made: &Accepted,
    mut watch: Watch,
    wait: Duration,
) -> Option<Found> {
    let unended = async || {
        let found = state.engine.operation(made.id).await.ok()?;
        (!found.view.state.is_final()).then_some(found)
    };
    if made.is_repeated {
        // Under the id of an earlier request, and it may have ended before.
        watch = state.engine.watch(made.id);
        unended().await?;
    }
    tokio::select! {
        () = watch.ended() => None,
        () = over(state, wait) => unended().await,
    }
}

/// Cancels an operation.
///
/// Its processes get SIGTERM and, after their grace time, SIGKILL with all that they started. Then
/// what is for its end runs: as `onCancel` says, and the steps with `ensure`. 202 until that is done,
/// 200 once it has ended, however it did. Cancelling again changes nothing. History is never deleted.
///
/// `force=true` aborts it: everything is killed at once, what is for its end too.
#[utoipa::path(
    delete,
    path = "/operations/{id}",
    operation_id = "cancelOperation",
    tag = "operations",
    params(
        ("id" = String, Path, description = "The id."),
        ("reason" = Option<String>, Query, description = "Why; kept in the cancellation record."),
        ("force" = Option<bool>, Query, description = "Whether to kill everything at once, what would clean up too."),
        ("From" = Option<String>, Header, description = "Who cancels it, for the record; the User-Agent if left out."),
        ("If-Match" = Option<String>, Header, description = "Cancel only if the operation is as the client knows it."),
    ),
    responses(
        (status = 200, description = "It has ended.", body = wire::Operation),
        (status = 202, description = "It is being cancelled.", body = wire::Operation, headers(
            ("Operation-Location" = String, description = "The absolute URL to poll."),
            ("Retry-After" = u32, description = "Seconds to wait before the next poll."),
        )),
    )
)]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["reason", "force"])?;
    let expected = expected_version(&headers)?;
    let reason = query.get("reason").map(readable).transpose()?;
    let asked = StopAsked {
        operation: id,
        reason: if query.flag("force")? { Stop::Abort } else { Stop::Cancel },
        expected,
        cancellation: Some(cancellation(&state, &headers, reason)),
    };
    let done = state.engine.stop(asked).await?;
    let found = state.engine.operation(id).await?;
    let mut response = answer(&state, &base, &found, false, &Select::All, Prefer::default());
    if !done.state.is_final() && !found.view.state.is_final() {
        *response.status_mut() = StatusCode::ACCEPTED;
        if let Ok(location) = HeaderValue::from_str(&base.operation(found.view.shown_id())) {
            response.headers_mut().insert(OPERATION_LOCATION, location);
        }
    }
    Ok(response)
}

/// Who asks for a cancellation, when and why. Who it is, is what the client says of itself: the `From`
/// header (RFC 9110, section 10.1.2), or else its `User-Agent`.
pub(super) fn cancellation(
    state: &ApiState,
    headers: &HeaderMap,
    reason: Option<String>,
) -> serde_json::Value {
    let at = state.engine.now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let mut record = json!({"requestedDateTime": at});
    let said = [header::FROM, header::USER_AGENT].into_iter().find_map(|name| headers.get(name));
    if let Some(by) = said.and_then(|value| value.to_str().ok()) {
        record["requestedBy"] = by.chars().take(200).collect::<String>().into();
    }
    if let Some(reason) = reason {
        record["reason"] = reason.into();
    }
    record
}

/// PostgreSQL keeps no NUL characters.
fn readable(reason: &str) -> Result<String, ApiError> {
    if reason.contains('\0') || reason.len() > 1_000 {
        let message = "`reason` takes up to 1,000 bytes without NUL characters";
        return Err(ApiError::bad_request("InvalidParameter", message).target("reason"));
    }
    Ok(reason.to_owned())
}

/// The version in `If-Match`. A tag that we never gave matches nothing.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<i32>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.trim_matches('"').parse().ok();
    version.map(Some).ok_or_else(|| {
        let message = "the operation does not have that entity tag";
        ApiError::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message)
            .target("If-Match")
    })
}
