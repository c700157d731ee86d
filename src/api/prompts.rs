//! `/v1.0/waiting`, `.../operations/{id}/waiting` and `.../prompts`: what waits for people, and their
//! replies.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::collection::Asked;
use super::error::ApiError;
use super::extract::{JsonBytes, OperationId, StepPath, read_body};
use super::prefer::Prefer;
use super::query::{Query, encode};
use super::state::{ApiState, BaseUrl};
use crate::domain::Problem;
use crate::domain::schema::Schema;
use crate::engine::{
    EngineError, Known, PromptKey, PromptPlace, PromptView, PromptsAsked, Replied, shown_id,
};
use crate::odata::Model;
use crate::wire::{self, ReplyRequest, ReplyStatus};

/// The longest value of a reply, as text without blanks, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The longest comment in bytes.
const COMMENT_BYTES_MAX: usize = 10_000;
/// While a request waits for a prompt, it looks at least this often, in case news was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The id of a prompt: numbers of step, attempt and prompt.
fn id_of(view: &PromptView) -> String {
    format!("{}-{}-{}", view.step, view.attempt, view.seq)
}

/// Names a prompt in the path. An id that cannot be one names none.
pub(super) struct PromptPath(PromptKey);

impl FromRequestParts<ApiState> for PromptPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let StepPath { operation, step: id } = StepPath::from_request_parts(parts, state).await?;
        let numbers: Option<Vec<i32>> = id.split('-').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[step, attempt, seq]) => Ok(Self(PromptKey { operation, step, attempt, seq })),
            Some(_) | None => Err(no_prompt(&id)),
        }
    }
}

fn no_prompt(id: &str) -> ApiError {
    ApiError::not_found(format!("the operation has no prompt with the id `{}`", id.escape_debug()))
}

fn shown(view: PromptView) -> wire::Prompt {
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    let mut reply = view.reply.clone();
    if let (Some(reply), Some(at)) = (&mut reply, view.replied) {
        reply["repliedDateTime"] = at.to_rfc3339_opts(SecondsFormat::Millis, true).into();
        if let Some(stamp) = &view.reply_stamp {
            reply["stamp"] = stamp.to_string().into();
        }
    }
    wire::Prompt {
        id: id_of(&view),
        operation: shown_id(view.operation, view.alias.as_deref()),
        step: view.step_name,
        n: number(view.step),
        attempt: number(view.attempt),
        kind: if view.kind == 0 { "instruction" } else { "prompt" }.to_owned(),
        text: view.text,
        who: view.who,
        schema: view.schema,
        created_date_time: view.asked,
        stamp: view.stamp.map(|stamp| stamp.to_string()),
        reply,
    }
}

/// Lists what waits for people, of all operations, oldest first.
#[utoipa::path(
    get,
    path = "/waiting",
    operation_id = "listWaiting",
    tag = "people",
    params(
        ("who" = Option<String>, Query, description = "Only what is meant for them."),
        ("$top" = Option<u64>, Query, description = "How many at the most, over all pages."),
        ("$skiptoken" = Option<String>, Query, description = "Where a page begins; comes from `@odata.nextLink`."),
    ),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Prompt>))
)]
pub(super) async fn waiting(
    State(state): State<ApiState>,
    base: BaseUrl,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = List::of(&state, query, &headers, None, false)?;
    let found = list.page(&state).await?;
    Ok(list.show(found, &base.path("/v1.0/waiting")))
}

/// Lists what waits for people in one operation, oldest first.
///
/// `Prefer: wait=N` waits until there is something, up to N seconds or the end of the operation.
#[utoipa::path(
    get,
    path = "/operations/{id}/waiting",
    operation_id = "listWaitingOfOperation",
    tag = "people",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("who" = Option<String>, Query, description = "Only what is meant for them."),
        ("$top" = Option<u64>, Query, description = "How many at the most, over all pages."),
        ("$skiptoken" = Option<String>, Query, description = "Where a page begins; comes from `@odata.nextLink`."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`"),
    ),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Prompt>))
)]
pub(super) async fn waiting_of(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = List::of(&state, query, &headers, Some(id), false)?;
    let wait = list.asked.prefer.wait;
    let found = list.wait(&state, id, wait.unwrap_or_default()).await?;
    let alias = found.first().and_then(|prompt| prompt.alias.clone());
    let shown_id = shown_id(id, alias.as_deref());
    let mut response = list.show(found, &format!("{}/waiting", base.operation(shown_id)));
    Prefer { wait, max_page_size: list.asked.prefer.max_page_size, ..Prefer::default() }
        .applied(response.headers_mut());
    Ok(response)
}

/// Lists all prompts of an operation with their replies, oldest first.
#[utoipa::path(
    get,
    path = "/operations/{id}/prompts",
    operation_id = "listPrompts",
    tag = "people",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("who" = Option<String>, Query, description = "Only what is meant for them."),
        ("$top" = Option<u64>, Query, description = "How many at the most, over all pages."),
        ("$skiptoken" = Option<String>, Query, description = "Where a page begins; comes from `@odata.nextLink`."),
    ),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Prompt>))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = List::of(&state, query, &headers, Some(id), true)?;
    // An unknown operation is a 404, not an empty list.
    let shown_id = state.engine.whole_operation(id).await?.view.shown_id();
    let found = list.page(&state).await?;
    Ok(list.show(found, &format!("{}/prompts", base.operation(shown_id))))
}

/// A question for prompts.
struct List {
    asked: Asked,
    prompts: PromptsAsked,
}

impl List {
    fn of(
        state: &ApiState,
        query: Query,
        headers: &HeaderMap,
        operation: Option<Uuid>,
        all: bool,
    ) -> Result<Self, ApiError> {
        let query = query.only(&["$top", "$skiptoken", "who"])?;
        let nothing = Model::new(); // No expression is taken here.
        let asked = Asked::of(&query, headers, &state.settings, &nothing, state.engine.now())?;
        let prompts = PromptsAsked {
            operation,
            all,
            who: query.get("who").map(str::to_owned),
            after: asked.after::<PromptPlace>()?,
            limit: i64::try_from(asked.size).unwrap_or(i64::MAX).saturating_add(1),
        };
        if prompts.who.as_ref().is_some_and(|who| who.contains('\0')) {
            let message = "`who` must not have NUL characters";
            return Err(ApiError::bad_request("InvalidParameter", message).target("who"));
        }
        Ok(Self { asked, prompts })
    }

    /// The prompts of the page, and one more if there is a next page.
    async fn page(&self, state: &ApiState) -> Result<Vec<PromptView>, ApiError> {
        let found = state.engine.store().prompts(&self.prompts).await;
        Ok(found.map_err(EngineError::from)?)
    }

    /// As [`page`](Self::page), once there is something or nothing can come any more.
    async fn wait(
        &self,
        state: &ApiState,
        id: Uuid,
        wait: Duration,
    ) -> Result<Vec<PromptView>, ApiError> {
        let deadline = Instant::now() + wait;
        let mut watch = state.engine.watch(id);
        loop {
            let operation = state.engine.whole_operation(id).await?;
            let found = self.page(state).await?;
            let now = Instant::now();
            if !found.is_empty() || operation.view.state.is_final() || now >= deadline {
                return Ok(found);
            }
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep_until(deadline.min(now + LOOK_AGAIN)) => {}
                () = state.draining.cancelled() => return Ok(found),
            }
        }
    }

    fn show(&self, mut found: Vec<PromptView>, path: &str) -> Response {
        let has_next = found.len() > self.asked.size;
        found.truncate(self.asked.size);
        let last = found.last().filter(|_| has_next);
        let place = last.map(|l| (l.asked, l.operation, l.step, l.attempt, l.seq));
        let query = place.and_then(|place| self.asked.next_link(&place, found.len()));
        let who = self.prompts.who.as_ref().map(|who| format!("&who={}", encode(who)));
        let next_link = query.map(|query| format!("{path}?{query}{}", who.unwrap_or_default()));
        let value = found.into_iter().map(shown).collect();
        let page = wire::Page::<wire::Prompt> { value, count: None, next_link };
        let mut response = Json(page).into_response();
        Prefer { max_page_size: self.asked.prefer.max_page_size, ..Prefer::default() }
            .applied(response.headers_mut());
        response
    }
}

/// Replies to a prompt.
///
/// The first reply is the reply; a second one is answered with 409. The value must fit the schema
/// of the prompt, else 422 says what does not fit. A prompt whose attempt has ended is gone: 410.
/// With `after`, the outcome of the step follows from that event.
#[utoipa::path(
    post,
    path = "/operations/{id}/prompts/{promptId}/reply",
    operation_id = "replyToPrompt",
    tag = "people",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("promptId" = String, Path, description = "The id of the prompt."),
    ),
    request_body = wire::ReplyRequest,
    responses(
        (status = 200, description = "The prompt with its reply.", body = wire::Prompt),
        (status = 409, description = "It was replied to before.", body = wire::ErrorEnvelope),
        (status = 410, description = "The attempt that asked has ended.", body = wire::ErrorEnvelope),
        (status = 422, description = "The value does not fit the schema.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn reply(
    State(state): State<ApiState>,
    PromptPath(key): PromptPath,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<wire::Prompt>, ApiError> {
    query.only(&[])?;
    let request: ReplyRequest = read_body(&bytes)?;
    refuse_large(&request)?;
    let unknown = || no_prompt(&format!("{}-{}-{}", key.step, key.attempt, key.seq));
    let found = state.engine.store().prompt(key).await.map_err(EngineError::from)?;
    let found = found.ok_or_else(unknown)?;
    let known = known_after(&state, key.operation, request.after).await?;
    // Whether it fits matters only for what can still be replied to.
    if found.reply.is_none() && found.closed.is_none() {
        refuse_unfit(&request, found.schema.as_ref())?;
    }
    match state.engine.reply(key, &kept(request), known.as_ref()).await? {
        Replied::Taken(view) => Ok(Json(shown(view))),
        Replied::Before(view) => {
            let message = format!("the prompt `{}` was replied to before", id_of(&view));
            Err(ApiError::new(StatusCode::CONFLICT, "AlreadyReplied", message))
        }
        Replied::Closed(view) => {
            let (step, attempt) = (view.step_name, view.attempt);
            let message = format!("attempt {attempt} of step `{step}` has ended; it asks no more");
            Err(ApiError::new(StatusCode::GONE, "PromptClosed", message))
        }
    }
}

/// What a client knew that has seen the event `after`. A client names an event and does not send a
/// stamp: a forged one could know of events that never happened, and leave no number to count what
/// does.
pub(super) async fn known_after(
    state: &ApiState,
    operation: Uuid,
    after: Option<u32>,
) -> Result<Option<Known>, ApiError> {
    let Some(seq) = after else { return Ok(None) };
    let known = state.engine.known_at(operation, seq).await?;
    let unknown = || {
        let message = format!("the operation has no event {seq} with a stamp");
        ApiError::bad_request("UnknownEvent", message).target("after")
    };
    known.ok_or_else(unknown).map(Some)
}

fn refuse_large(request: &ReplyRequest) -> Result<(), ApiError> {
    let too_large = |field: &str, limit: usize| {
        let message = format!("`{field}` has more than the limit of {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message).target(field)
    };
    if request.value.as_ref().is_some_and(|value| value.to_string().len() > VALUE_BYTES_MAX) {
        return Err(too_large("value", VALUE_BYTES_MAX));
    }
    if request.comment.as_ref().is_some_and(|comment| comment.len() > COMMENT_BYTES_MAX) {
        return Err(too_large("comment", COMMENT_BYTES_MAX));
    }
    Ok(())
}

/// What was not done has no value that could fit.
fn refuse_unfit(request: &ReplyRequest, schema: Option<&Value>) -> Result<(), ApiError> {
    let Some(Value::Object(schema)) = schema else { return Ok(()) };
    if request.status == ReplyStatus::NotDone {
        return Ok(());
    }
    let problems = match &request.value {
        None => vec![Problem::new("value", "is missing; the prompt has a schema for it")],
        Some(value) => match Schema::compile(schema) {
            Ok(schema) => schema.problems(value, "value"),
            Err(problem) => vec![problem],
        },
    };
    if problems.is_empty() {
        return Ok(());
    }
    let message = "the value does not fit the schema of the prompt, see `details`";
    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "ValueDoesNotFit", message);
    Err(error.details(&problems))
}

/// What is kept of a reply: `{status, value?, comment?}`.
fn kept(request: ReplyRequest) -> Value {
    let mut kept = Map::new();
    kept.insert("status".to_owned(), json!(request.status));
    if let Some(value) = request.value {
        kept.insert("value".to_owned(), value);
    }
    if let Some(comment) = request.comment {
        kept.insert("comment".to_owned(), comment.into());
    }
    Value::Object(kept)
}
