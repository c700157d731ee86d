//! `/v1.0/operations/{id}/messages` and `.../steps/{name}/messages`: what running steps are told, and
//! what they tell.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::collection::Asked;
use super::error::ApiError;
use super::extract::{JsonBytes, OperationId, StepPath, read_body};
use super::prompts::known_after;
use super::query::Query;
use super::state::{ApiState, BaseUrl};
use super::steps::number;
use crate::engine::{EngineError, FROM_STEP, MESSAGES_MAX, MessagePlace};
use crate::odata::Model;
use crate::wire::{self, MessageReceiver, MessageRequest, MessageSent};

/// The longest message, as text without blanks, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Sends a message to running steps: one line of JSON on the standard input of each.
///
/// Only steps with `"stdin": "messages"` get it; the answer lists them. A message is stored before
/// this answers, and passed on in order. With `after`, the outcomes of the steps follow from that
/// event.
#[utoipa::path(
    post,
    path = "/operations/{id}/messages",
    operation_id = "sendMessage",
    tag = "people",
    params(("id" = String, Path, description = "The id of the operation.")),
    request_body = wire::MessageRequest,
    responses((status = 200, description = "Who gets it.", body = wire::MessageSent))
)]
pub(super) async fn send(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<MessageSent>, ApiError> {
    query.only(&[])?;
    let MessageRequest { message, tags, steps, after, dry_run } = read_body(&bytes)?;
    if message.to_string().len() > MESSAGE_BYTES_MAX {
        let text = format!("`message` has more than the limit of {MESSAGE_BYTES_MAX} bytes");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", text);
        return Err(error.target("message"));
    }
    let found = state.engine.whole_operation(id).await?;
    let jobset = &found.compiled.jobset;
    let named: Option<Vec<u32>> = steps
        .map(|names| names.iter().map(|name| number(&found, name)).collect::<Result<_, _>>())
        .transpose()?;
    let is_meant = |n: u32| {
        let own = &jobset.step(n).definition.tags;
        named.as_ref().is_none_or(|named| named.contains(&n))
            && tags.iter().all(|(key, tag)| own.get(key) == Some(tag))
    };
    let known = known_after(&state, id, after).await?;
    let mut receivers = state.engine.listening(&found, is_meant)?;
    if !dry_run && !receivers.is_empty() {
        state.engine.tell(id, &mut receivers, &message, known.as_ref()).await?;
        receivers.retain(|receiver| receiver.seq > 0);
        if receivers.is_empty() {
            let text = format!("the attempts have been sent {MESSAGES_MAX} messages already");
            return Err(ApiError::new(StatusCode::CONFLICT, "TooManyMessages", text));
        }
    }
    let value = receivers.into_iter().map(|receiver| MessageReceiver {
        name: jobset.step(receiver.step).definition.name.clone(),
        n: receiver.step,
        attempt: receiver.attempt,
        seq: receiver.seq,
    });
    Ok(Json(MessageSent { value: value.collect() }))
}

/// Lists the messages to and from a step, attempt by attempt as they came.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}/messages",
    operation_id = "listMessages",
    tag = "people",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
        ("$top" = Option<u64>, Query, description = "How many at the most, over all pages."),
        ("$skiptoken" = Option<String>, Query, description = "Where a page begins; comes from `@odata.nextLink`."),
    ),
    responses((status = 200, description = "A page.", body = wire::Page<wire::Message>))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    base: BaseUrl,
    path: StepPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["$top", "$skiptoken"])?;
    let nothing = Model::new(); // No expression is taken here.
    let asked = Asked::of(&query, &headers, &state.settings, &nothing, state.engine.now())?;
    let found = state.engine.whole_operation(path.operation).await?;
    let n = i32::try_from(number(&found, &path.step)?).unwrap_or(i32::MAX);
    let after = asked.after::<MessagePlace>()?;
    let limit = i64::try_from(asked.size).unwrap_or(i64::MAX).saturating_add(1);
    let store = state.engine.store();
    let listed = store.messages(path.operation, n, after, limit).await;
    let mut listed = listed.map_err(EngineError::from)?;
    let has_next = listed.len() > asked.size;
    listed.truncate(asked.size);
    let last = listed.last().filter(|_| has_next);
    let place: Option<MessagePlace> = last.map(|l| (l.attempt, l.at, l.direction, l.seq));
    let link = place.and_then(|place| asked.next_link(&place, listed.len()));
    let segment = super::query::encode(&path.step);
    let own = format!("{}/steps/{segment}/messages", base.operation(found.view.shown_id()));
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    let value = listed.into_iter().map(|view| wire::Message {
        seq: number(view.seq),
        step: path.step.clone(),
        attempt: number(view.attempt),
        direction: if view.direction == FROM_STEP { "fromStep" } else { "toStep" }.to_owned(),
        message: view.body,
        at: view.at,
        acknowledged_date_time: view.acknowledged,
        stamp: view.stamp.map(|stamp| stamp.to_string()),
    });
    let next_link = link.map(|query| format!("{own}?{query}"));
    let page = wire::Page::<wire::Message> { value: value.collect(), count: None, next_link };
    Ok(Json(page).into_response())
}
