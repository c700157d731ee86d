//! An attempt that is done by people: they are asked, and their reply is its outcome.
//!
//! It holds no slot while it waits. A reply that was taken counts, whatever else ends the attempt at
//! the same moment: the end closes the prompt by the row that the reply is written to. A reply that
//! was taken while the worker was lost is the outcome of the next attempt, which does not ask again.
//! Only where the operation is being stopped a reply makes no difference.

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

use super::attempt::{
    Bench, Exception, Forced, Outcome, StopReason, ask, forced_end, time_left, told,
};
use super::knowledge::Knowledge;
use super::prepare::{context, render};
use super::source::WorkSource;
use super::talk::key;
use super::under_way::Post;
use crate::domain::decide::{Cause, Ending};
use crate::domain::definition::Instruction;
use crate::domain::{Timeout, duration};
use crate::engine::{Assignment, Mail, NewPrompt, ReplyView};

/// The only prompt of such an attempt.
const SEQ: u32 = 1;

/// Asks and waits for the reply, the timeout or an order.
pub(super) async fn instruct<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    knowledge: &Knowledge<'_>,
    instruction: &Instruction,
    Post { mut stop, mail: mut inbox }: Post,
) -> Outcome {
    let prompt = match prompt(bench, assignment, knowledge, instruction).await {
        Ok(prompt) => prompt,
        Err(exception) => return Outcome::failed(Cause::Exception, exception),
    };
    if assignment.attempt > 1 {
        match ask(|| bench.source.reply_before(key(assignment))).await {
            Ok(Some(reply)) => return judge(&reply, knowledge),
            Ok(None) => {}
            Err(exception) => return Outcome::failed(Cause::Exception, exception),
        }
    }
    // Without a lease the prompt is not stored, and the order to stop is on its way.
    if let Err(exception) = ask(|| bench.source.ask(&prompt)).await {
        return Outcome::failed(Cause::Exception, exception);
    }
    bench.source.rest(key(assignment));
    let left = time_left(assignment, bench.source.now());
    let (left, limit) = left.unwrap_or((duration::DURATION_MAX, Timeout::Attempt));
    let mut reply = None;
    let mut forced = None;
    tokio::select! {
        mail = inbox.recv() => reply = mail.and_then(reply_of),
        () = sleep_until(Instant::now() + left) => forced = Some(Forced::TimedOut(limit)),
        reason = told(&mut stop) => forced = Some(Forced::Stopped(reason)),
    }
    if let Some(Forced::Stopped(StopReason::Fenced)) = forced {
        return ended(Forced::Stopped(StopReason::Fenced), assignment);
    }
    let before = match ask(|| bench.source.close_prompts(key(assignment))).await {
        Ok(replies) => replies.into_iter().next(),
        Err(exception) => return Outcome::failed(Cause::Exception, exception),
    };
    match (reply.or(before), forced) {
        (_, Some(Forced::Stopped(StopReason::Ordered | StopReason::Forced))) | (None, _) => {
            // Without any of them the worker itself is ending.
            ended(forced.unwrap_or(Forced::Stopped(StopReason::Draining)), assignment)
        }
        (Some(reply), _) => judge(&reply, knowledge),
    }
}

async fn prompt<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    knowledge: &Knowledge<'_>,
    instruction: &Instruction,
) -> Result<NewPrompt, Exception> {
    let values = context(bench, assignment).await?;
    let texts = render(bench, assignment, vec![instruction.text.clone()], values).await?;
    let text = texts.into_iter().next().unwrap_or_default();
    if text.contains('\0') {
        let message = "the text of the instruction must not have NUL characters";
        return Err(Exception::new("TemplateError", message));
    }
    Ok(NewPrompt {
        operation: assignment.operation,
        step: assignment.step,
        attempt: assignment.attempt,
        seq: SEQ,
        worker: assignment.worker,
        step_name: assignment.jobset.step(assignment.step).definition.name.clone(),
        is_instruction: true,
        own_id: None,
        text,
        who: instruction.who.clone(),
        schema: instruction.schema.clone().map(Value::Object),
        stamp: knowledge.now(),
    })
}

fn reply_of(mail: Mail) -> Option<ReplyView> {
    match mail {
        Mail::Reply(reply) => Some(reply),
        Mail::Message(_) => None,
    }
}

fn ended(forced: Forced, assignment: &Assignment) -> Outcome {
    let (ending, exception) =
        forced_end(forced, &assignment.jobset.step(assignment.step).definition);
    Outcome { ending, exception: Some(exception), result: None, ended: None }
}

/// What the reply means; the outcome follows from what who replied knew.
fn judge(ReplyView { reply, reply_stamp, .. }: &ReplyView, knowledge: &Knowledge<'_>) -> Outcome {
    knowledge.hear(reply_stamp.as_ref());
    let comment = reply.get("comment").and_then(Value::as_str);
    if reply["status"] == "notDone" {
        let comment = comment.map(|comment| format!(": {comment}")).unwrap_or_default();
        let message = format!("the reply says that it was not done{comment}");
        let exception = Exception::new("InstructionNotDone", message);
        return Outcome::failed(Cause::Exception, exception);
    }
    let mut result = Map::new();
    // Always there, so that a template may name it.
    result.insert("value".to_owned(), reply["value"].clone());
    if let Some(comment) = comment {
        result.insert("comment".to_owned(), json!(comment));
    }
    let result = Some(Value::Object(result));
    Outcome { ending: Ending::Succeeded, exception: None, result, ended: None }
}
