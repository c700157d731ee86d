//! What is kept of ends that came before their time: of operations, and of attempts that never began.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::command::StopAsked;
use crate::domain::{Expired, GivenUp, Run, Stop};
use crate::store::{AttemptRecord, AttemptReport};

/// Who asked for a cancellation, when and why; of an abort, `forced` tells the same. What was asked
/// before it stays.
pub(super) fn cancellation(before: Option<Stop>, asked: &StopAsked) -> Option<Value> {
    let record = asked.cancellation.clone()?;
    if asked.reason != Stop::Abort {
        return Some(record);
    }
    let mut whole = if before == Some(Stop::Cancel) { json!({}) } else { record.clone() };
    whole["forced"] = record;
    Some(whole)
}

/// The record of an attempt that no worker took in time.
pub(super) fn never_begun(run: &Run, expired: &Expired, now: DateTime<Utc>) -> AttemptRecord {
    let Expired { step, attempt, since, timeout } = *expired;
    let message = timeout.message(&run.jobset().step(step).definition);
    let exception = Some(json!({"type": timeout.name(), "message": message}));
    let report = AttemptReport { exception, ..AttemptReport::default() };
    let (operation, worker, started, ended) = (run.id(), 0, since, now);
    AttemptRecord { operation, step, attempt, worker, started, ended, report }
}

/// The record of the last attempt of a step that was lost once too often.
pub(super) fn given_up(run: &Run, lost: &GivenUp, now: DateTime<Utc>) -> AttemptRecord {
    let GivenUp { step, attempt, worker, since } = *lost;
    let message = "its workers were lost too often";
    let exception = Some(json!({"type": "Unresponsive", "message": message}));
    let report = AttemptReport { exception, ..AttemptReport::default() };
    let (operation, started, ended) = (run.id(), since, now);
    AttemptRecord { operation, step, attempt, worker, started, ended, report }
}

/// What the stop of the operation found begun and not ended, as it is stored.
pub(super) fn stopped(run: &Run) -> Option<Value> {
    let cut = run.changes().cut.iter();
    let stopped: Map<String, Value> =
        cut.map(|(step, cut)| (step.to_string(), cut.name().into())).collect();
    (!stopped.is_empty()).then_some(Value::Object(stopped))
}
