//! What passes between people and the steps that a remote worker runs.

use axum::Json;
use serde_json::{Value, json};

use super::caller::Caller;
use super::convert::{self, counted, key, known};
use super::work::refuse_many;
use crate::api::error::ApiError;
use crate::api::extract::{JsonBytes, read_body};
use crate::engine::{DueMessage, EngineError, MESSAGES_MAX, Mail, NewPrompt, ReplyView};
use crate::wire::{
    AskRequest, AttemptRef, MailAnswer, MailRequest, MessagesRequest, PassedOn, Replies,
};

/// Refuses more messages or questions than an attempt may have.
fn limited(seq: u32, target: &str) -> Result<(), ApiError> {
    if counted(seq, target)? <= MESSAGES_MAX {
        return Ok(());
    }
    let message = format!("an attempt has {MESSAGES_MAX} of them at the most");
    Err(ApiError::bad_request("InvalidBody", message).target(target))
}

/// Stores what steps told. The same again changes nothing.
#[utoipa::path(
    post,
    path = "/workers/{id}/messages",
    operation_id = "appendMessages",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = MessagesRequest,
    responses((status = 200, description = "It is stored.", body = Object))
)]
pub(in crate::api) async fn append_messages(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Value>, ApiError> {
    let MessagesRequest { messages } = read_body(&bytes)?;
    refuse_many(messages.len(), "messages")?;
    for (index, message) in messages.iter().enumerate() {
        limited(message.seq, &format!("messages[{index}].seq"))?;
        seat.held(&key(message.from))?;
    }
    let messages: Vec<_> = messages.into_iter().map(convert::message).collect();
    seat.inner().append_messages(&messages).await?;
    Ok(Json(json!({})))
}

/// Puts a question of a step to people. The same again changes nothing.
#[utoipa::path(
    post,
    path = "/workers/{id}/prompts",
    operation_id = "askPeople",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = AskRequest,
    responses(
        (status = 200, description = "It is asked.", body = Object),
        (status = 410, description = "It has lost its lease.", body = crate::wire::ErrorEnvelope),
    )
)]
pub(in crate::api) async fn ask(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Value>, ApiError> {
    let AskRequest { of, seq, is_instruction, own_id, text, who, schema, stamp } =
        read_body(&bytes)?;
    limited(seq, "seq")?;
    let jobset = seat.held(&key(of))?;
    let prompt = NewPrompt {
        operation: of.operation,
        step: of.step,
        attempt: of.attempt,
        seq,
        worker: seat.inner().incarnation(),
        step_name: jobset.step(of.step).definition.name.clone(),
        is_instruction,
        own_id,
        text,
        who,
        schema,
        stamp: known(stamp),
    };
    if seat.inner().ask(&prompt).await? {
        Ok(Json(json!({})))
    } else {
        Err(EngineError::LeaseLost.into())
    }
}

/// The reply to an instruction that an earlier attempt was given after its worker was lost.
#[utoipa::path(
    post,
    path = "/workers/{id}/prompts/before",
    operation_id = "replyBefore",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = AttemptRef,
    responses((status = 200, description = "The reply, if there is one.", body = Replies))
)]
pub(in crate::api) async fn reply_before(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Replies>, ApiError> {
    let of = key(read_body(&bytes)?);
    seat.held(&of)?;
    let reply = seat.inner().reply_before(of).await?;
    Ok(Json(Replies { value: reply.into_iter().map(convert::reply).collect() }))
}

/// Closes the questions of an attempt that ends; answers the replies that came before.
#[utoipa::path(
    post,
    path = "/workers/{id}/prompts/close",
    operation_id = "closePrompts",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = AttemptRef,
    responses((status = 200, description = "The replies.", body = Replies))
)]
pub(in crate::api) async fn close_prompts(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Replies>, ApiError> {
    let of = key(read_body(&bytes)?);
    seat.held(&of)?;
    let replies = seat.inner().close_prompts(of).await?;
    Ok(Json(Replies { value: replies.into_iter().map(convert::reply).collect() }))
}

/// What a worker has to pass on: replies to its questions, and messages.
#[utoipa::path(
    post,
    path = "/workers/{id}/mail",
    operation_id = "mail",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = MailRequest,
    responses((status = 200, description = "What there is.", body = MailAnswer))
)]
pub(in crate::api) async fn mail(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<MailAnswer>, ApiError> {
    let MailRequest { listening } = read_body(&bytes)?;
    refuse_many(listening.len(), "listening")?;
    // One that was just settled listens no more, and that is no fault of the worker.
    let listening: Vec<_> =
        listening.into_iter().map(key).filter(|key| seat.held(key).is_ok()).collect();
    let mut answer = MailAnswer { replies: Vec::new(), messages: Vec::new() };
    for mail in seat.inner().mail(&listening).await? {
        match mail {
            Mail::Reply(reply) => answer.replies.push(convert::reply(reply)),
            Mail::Message(message) => answer.messages.push(convert::due_message(message)),
        }
    }
    Ok(Json(answer))
}

/// Notes that mail was passed on to a step.
#[utoipa::path(
    post,
    path = "/workers/{id}/mail/passed",
    operation_id = "mailPassedOn",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The id of the worker."),
        ("worker-secret" = String, Header, description = "From its registration."),
    ),
    request_body = PassedOn,
    responses((status = 200, description = "It is noted.", body = Object))
)]
pub(in crate::api) async fn passed_on(
    Caller(seat): Caller,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Value>, ApiError> {
    let PassedOn { to, seq, is_reply } = read_body(&bytes)?;
    counted(seq, "seq")?;
    seat.held(&key(to))?;
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let AttemptRef { operation, step, attempt } = to;
    let (step, attempt, seq) = (number(step), number(attempt), number(seq));
    // What was in it does not matter any more.
    let mail = if is_reply {
        let (own_id, reply, reply_stamp) = (None, Value::Null, None);
        Mail::Reply(ReplyView { operation, step, attempt, seq, own_id, reply, reply_stamp })
    } else {
        let (body, stamp) = (Value::Null, None);
        Mail::Message(DueMessage { operation, step, attempt, seq, body, stamp })
    };
    seat.inner().passed_on(&mail).await?;
    Ok(Json(json!({})))
}
