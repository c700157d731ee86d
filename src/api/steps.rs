//! `/v1.0/operations/{id}/steps`: the steps, and what they wrote.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::collection::{Answered, Asked, PARAMETERS, Parameters};
use super::error::ApiError;
use super::extract::{OperationId, StepPath};
use super::live;
use super::present;
use super::query::Query;
use super::rows::step_model;
use super::state::{ApiState, BaseUrl, DEFAULT_PAGE_SIZE};
use crate::domain::problem::hint;
use crate::engine::{EngineError, Found};
use crate::wire;

/// Pieces of output that are read at once.
const PIECES: i64 = 1_000;

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
    let found = state.engine.operation(id).await?;
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
    Ok(asked.page(&answered, &format!("{}/steps", base.operation(id))))
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
        store.last_moves(id, range.clone()),
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
    let found = state.engine.operation(path.operation).await?;
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

/// Shows what a step wrote: the bytes of its last attempt, stdout and stderr as they came.
///
/// `Accept: application/json` answers the pieces with their time and stream.
///
/// `follow=true` does not end with what is there: it goes on until the attempt has ended, and waits
/// for the first attempt if none has begun. `Accept: text/event-stream` does so too, and streams the
/// pieces as events named `output`, with `<attempt>-<seq>` as `id`; `event: end` is the last one, and
/// `Last-Event-ID` takes up a stream that was cut before.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}/output",
    operation_id = "getOutput",
    tag = "steps",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
        ("attempt" = Option<u32>, Query, minimum = 1, maximum = 2_147_483_647, description = "Which attempt; the last one if left out."),
        ("follow" = Option<bool>, Query, description = "Whether to go on until the attempt has ended."),
        ("Last-Event-ID" = Option<String>, Header, description = "A stream of events goes on after this piece."),
        ("lastEventId" = Option<String>, Query, pattern = "^([0-9]{1,9}-)?[0-9]{1,9}$", description = "The same where no header can be set; the header counts if both are there."),
        ("stream" = Option<String>, Query, pattern = "^(stdout|stderr)$", description = "`stdout` or `stderr`; both if left out."),
    ),
    responses(
        (status = 200, description = "The output.", content(
            (String = "text/plain"),
            (wire::Page<wire::OutputPiece> = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 429, description = "Too many follow already.", body = wire::ErrorEnvelope, headers(
            ("x-ms-error-code" = String, description = "The code of the error."),
            ("Retry-After" = u32, description = "Seconds to wait before the next try."),
        )),
    )
)]
pub(super) async fn output(
    State(state): State<ApiState>,
    path: StepPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["attempt", "stream", "follow", live::LAST_EVENT_ID])?;
    let stream = match query.get("stream") {
        None => None,
        Some("stdout") => Some(1),
        Some("stderr") => Some(2),
        Some(other) => {
            let message =
                format!("`stream` takes stdout or stderr, not `{}`", other.escape_debug());
            return Err(ApiError::bad_request("InvalidParameter", message).target("stream"));
        }
    };
    let found = state.engine.operation(path.operation).await?;
    let n = number(&found, &path.step)?;
    let asked = query.number::<i32>("attempt")?;
    if query.flag("follow")? || super::negotiate::prefers_events(&headers) {
        return live::output::follow(&state, &found, n, asked, stream, &query, &headers).await;
    }
    let listed = steps(&state, &found, n.into(), i64::from(n) + 1).await?;
    let last = listed.first().map_or(0, |step| i32::try_from(step.attempt).unwrap_or(0));
    let attempt = asked.unwrap_or(last);
    if asked.is_some_and(|asked| !(1..=last).contains(&asked)) {
        let message = format!("the step has no attempt {attempt}; its last one is {last}");
        return Err(ApiError::not_found(message).target("attempt"));
    }
    let n = i32::try_from(n).unwrap_or(i32::MAX);
    let mut pieces = Vec::new();
    let mut after = 0;
    loop {
        let store = state.engine.store();
        let more = store
            .output(path.operation, n, attempt, after, PIECES)
            .await
            .map_err(EngineError::from)?;
        let Some(last) = more.last() else { break };
        after = last.seq;
        // A remark of the worker belongs to both streams.
        pieces.extend(more.into_iter().filter(|piece| {
            stream.is_none_or(|stream| piece.stream == stream || piece.stream == 0)
        }));
    }
    if super::negotiate::prefers_json(&headers) {
        let value = pieces.into_iter().map(present::output_piece).collect();
        let page = wire::Page::<wire::OutputPiece> { value, count: None, next_link: None };
        return Ok(Json(page).into_response());
    }
    let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.data).collect();
    let kind = if std::str::from_utf8(&bytes).is_ok() {
        HeaderValue::from_static("text/plain; charset=utf-8")
    } else {
        HeaderValue::from_static("application/octet-stream")
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}
