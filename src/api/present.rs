//! From what the engine found to what stands on the wire.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::state::BaseUrl;
use crate::domain::definition::Work;
use crate::domain::rollup::{percent_complete, unhandled_among};
use crate::domain::{
    Action, Cut, Jobset, OperationState, Phase, Problem, Run, StepState, Stop, duration,
};
use crate::engine::{
    AttemptView, EventNames, EventView, FAILURES_MAX, Found, LastMove, LiveEvent, OperationView,
    OutputView, created_at,
};
use crate::wire;

/// An operation.
pub(super) fn operation(found: &Found, base: &BaseUrl) -> wire::Operation {
    let view = &found.view;
    let jobset = &*found.compiled.jobset;
    let mut counts = [0_u32; StepState::DEFAULT.len()];
    for state in &view.steps {
        counts[usize::from(state.class().code())] += 1;
    }
    let held = StepState::DEFAULT
        .into_iter()
        .filter(|state| state.phase() == Phase::Held && *state != StepState::READY)
        .any(|state| counts[usize::from(state.code())] > 0);
    // Prompts of running programs are not looked for: that would be a second question to the store.
    let instructs = counts[usize::from(StepState::RUNNING.code())] > 0
        && view.steps.iter().zip(&jobset.steps).any(|(state, step)| {
            state.class() == StepState::RUNNING && matches!(step.work(*state), Work::Instruction(_))
        });
    wire::Operation {
        id: view.shown_id(),
        category: "jobsets".to_owned(),
        name: jobset.name.clone(),
        created_date_time: created_at(view.id),
        last_action_date_time: view.entered,
        status: view.outcome().status().map_or("deleted", |status| status.name()).to_owned(),
        state: view.state.name().to_owned(),
        percent_complete: percent_complete(view.outcome(), &counts),
        paused: view.paused,
        awaits_admission: view.gated,
        forked_from: view.forked_from.clone(),
        resource_location: view.state.is_final().then(|| base.jobset(view.shown_id())),
        result: view.results.as_ref().map(|results| by_name(jobset, results)),
        error: error(found),
        cancellation: cancellation(view, &counts),
        step_counts: StepState::DEFAULT
            .into_iter()
            .map(|state| (state.name().to_owned(), counts[usize::from(state.code())]))
            .filter(|(_, count)| *count > 0)
            .collect(),
        labels: labels(view.labels.as_ref()),
        attention: (held || instructs) && !view.state.is_final(),
        warnings: Vec::new(),
    }
}

/// Who cancelled the operation and, once it has ended, how far its steps had come.
fn cancellation(view: &OperationView, counts: &[u32; StepState::DEFAULT.len()]) -> Option<Value> {
    let mut cancellation = view.cancellation.clone()?;
    if view.state.is_final() {
        let count = |state: StepState| counts[usize::from(state.code())];
        let cut = |cut: Cut| {
            let stopped = view.stopped.as_ref().and_then(Value::as_object).into_iter().flatten();
            u32::try_from(stopped.filter(|(_, found)| *found == cut.name()).count()).unwrap_or(0)
        };
        let (interrupted, unknown) = (cut(Cut::Interrupted), cut(Cut::Unknown));
        let never = count(StepState::UNREACHABLE)
            + count(StepState::CANCELLED).saturating_sub(interrupted + unknown);
        let all: u32 = counts.iter().sum();
        cancellation["steps"] = json!({
            "neverStarted": never,
            "interrupted": interrupted,
            "finished": all.saturating_sub(never + interrupted + unknown),
            "unknown": unknown,
        });
    }
    Some(cancellation)
}

/// How far a step came that has ended in an operation that was stopped.
fn stop_outcome(found: &Found, n: u32, attempt: u32) -> Option<String> {
    let view = &found.view;
    let state = view.steps[n as usize];
    if view.stop.is_none() || !state.is_ended() {
        return None;
    }
    let cut = || view.stopped.as_ref()?.get(n.to_string())?.as_str();
    Some(match state.class() {
        StepState::CANCELLED => cut().unwrap_or("neverStarted").to_owned(),
        StepState::UNREACHABLE => "neverStarted".to_owned(),
        _ if attempt == 0 => "neverStarted".to_owned(),
        _ => "finished".to_owned(),
    })
}

/// What the author of a jobset may not have meant.
pub(super) fn warnings(warnings: &[Problem]) -> Vec<wire::Detail> {
    let detail = |problem: &Problem| wire::Detail {
        code: "JobsetWarning".to_owned(),
        message: problem.message.clone(),
        target: Some(problem.path.clone()),
    };
    warnings.iter().map(detail).collect()
}

fn labels(labels: Option<&Value>) -> BTreeMap<String, String> {
    let entries = labels.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(key, value)| value.as_str().map(|value| (key.clone(), value.to_owned())))
        .collect()
}

fn step_name(jobset: &Jobset, n: i32) -> Option<&str> {
    let n = usize::try_from(n).ok()?;
    jobset.steps.get(n).map(|step| step.definition.name.as_str())
}

/// `{"3": ...}` as `{"unit": ...}`.
fn by_name(jobset: &Jobset, results: &Value) -> Value {
    let named: Map<String, Value> = results
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(n, result)| {
            let name = step_name(jobset, n.parse().ok()?)?;
            Some((name.to_owned(), result.clone()))
        })
        .collect();
    Value::Object(named)
}

fn error(found: &Found) -> Option<wire::ErrorBody> {
    let view = &found.view;
    let jobset = &*found.compiled.jobset;
    if view.outcome() == OperationState::Timeout
        || view.stop == Some(Stop::Deadline) && view.state.is_final()
    {
        let after = jobset.deadline.map(duration::print).unwrap_or_default();
        return Some(wire::ErrorBody {
            code: "OperationTimeout".to_owned(),
            message: format!("the operation did not end within its deadline of {after}"),
            target: None,
            details: Vec::new(),
        });
    }
    if view.outcome() != OperationState::Failed {
        return None;
    }
    let failed: Vec<u32> = unhandled_among(jobset, &view.steps).collect();
    let details: Vec<wire::Detail> =
        failed.iter().take(FAILURES_MAX).map(|n| detail(found, *n)).collect();
    let message = match details.as_slice() {
        [one] if failed.len() == 1 => one.message.clone(),
        several => {
            let names: Vec<&str> =
                several.iter().filter_map(|detail| detail.target.as_deref()).collect();
            let more = if failed.len() > several.len() { ", ..." } else { "" };
            format!("{} steps failed: {}{more}", failed.len(), names.join(", "))
        }
    };
    let target = details.first().and_then(|detail| detail.target.clone());
    Some(wire::ErrorBody { code: "StepFailed".to_owned(), message, target, details })
}

fn detail(found: &Found, n: u32) -> wire::Detail {
    let name = &found.compiled.jobset.step(n).definition.name;
    let state = found.view.steps[n as usize];
    let attempt = found.failures.iter().find(|attempt| u32::try_from(attempt.step) == Ok(n));
    let exception = attempt.and_then(|attempt| attempt.exception.as_ref());
    let reason = exception.and_then(|exception| exception.get("message")?.as_str());
    let kind = exception.and_then(|exception| exception.get("type")?.as_str());
    let code = match state.class() {
        StepState::TIMED_OUT => match kind {
            Some(kind @ ("QueueTimeout" | "TotalTimeout")) => kind,
            Some(_) | None => "StepTimedOut",
        },
        StepState::BLOCKED => "StepBlocked",
        _ if kind == Some("Unresponsive") => "Unresponsive",
        // The attempts of a tombstone are gone, which says nothing about its workers.
        _ if found.view.state == OperationState::Tombstone => "StepFailed",
        // As it was stored before it had a record of its own.
        StepState::FAILED if !state.is_own() && attempt.is_none() => "Unresponsive",
        _ => "StepFailed",
    };
    let reason = reason.unwrap_or(match code {
        "Unresponsive" => "its workers were lost too often",
        "StepBlocked" => "an operator took it out of the run",
        _ => "its last attempt failed",
    });
    wire::Detail {
        code: code.to_owned(),
        message: format!(
            "step `{name}` ended {}: {reason}",
            found.compiled.jobset.state_name(n, state)
        ),
        target: Some(name.clone()),
    }
}

/// A step, given its run, when it last moved and its last attempt that ended.
pub(super) fn step(
    found: &Found,
    run: &Run,
    n: u32,
    moved: Option<&LastMove>,
    last: Option<&AttemptView>,
) -> wire::Step {
    let jobset = run.jobset();
    let definition = &jobset.step(n).definition;
    let state = run.steps()[n as usize];
    let attempt = moved.map_or(0, |(_, _, attempt)| u32::try_from(*attempt).unwrap_or(0));
    // What an earlier attempt left does not tell how the current one goes.
    let last = last.filter(|_| state.class() != StepState::RUNNING);
    wire::Step {
        name: definition.name.clone(),
        n,
        tags: definition.tags.clone(),
        state: jobset.state_name(n, state).to_owned(),
        entered_date_time: moved.map_or_else(|| created_at(run.id()), |(_, at, _)| *at),
        attempt,
        actions: actions(run, n),
        result: last.and_then(|attempt| attempt.result.clone()),
        exit_code: last.and_then(|attempt| attempt.exit_code),
        signal: last.and_then(|attempt| attempt.signal),
        exception: last.and_then(|attempt| attempt.exception.clone()),
        stop_outcome: stop_outcome(found, n, attempt),
        attempts: None,
    }
}

/// What a client may do with a step now.
fn actions(run: &Run, n: u32) -> Vec<String> {
    let jobset = run.jobset();
    // That of the operation as a whole has its own method.
    let actions = run.actions(n).into_iter().filter(|action| *action != Action::CANCEL);
    actions.map(|action| jobset.action_name(action).to_owned()).collect()
}

/// An attempt that ended.
pub(super) fn attempt(view: AttemptView) -> wire::Attempt {
    wire::Attempt {
        attempt: u32::try_from(view.attempt).unwrap_or(0),
        started_date_time: view.started,
        ended_date_time: view.ended,
        exit_code: view.exit_code,
        signal: view.signal,
        exception: view.exception,
        result: view.result,
        usage: view.usage,
    }
}

/// What an event is about.
pub(super) const fn kind(view: &EventView) -> &'static str {
    match view.kind {
        0 => "submitted",
        1 => "moved",
        2 => "cancelRequested",
        3 => "deadlinePassed",
        4 => "contextChanged",
        5 => "paused",
        6 => "resumed",
        7 => "attemptEnded",
        8 => "abortRequested",
        9 => "admitted",
        _ => "unknown",
    }
}

/// An event.
pub(super) fn event(view: &EventView, jobset: &Jobset) -> wire::Event {
    event_of(view, &EventNames::of(view, jobset))
}

/// An event, as all who follow are told it.
pub(super) fn live_event(event: &LiveEvent) -> wire::Event {
    event_of(&event.view, &event.names)
}

fn event_of(view: &EventView, names: &EventNames) -> wire::Event {
    let text = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
    wire::Event {
        seq: u32::try_from(view.seq).unwrap_or(0),
        at: view.at,
        kind: kind(view).to_owned(),
        step: text(&names.step),
        attempt: view.attempt.and_then(|attempt| u32::try_from(attempt).ok()),
        action: text(&names.action),
        from: text(&names.from),
        to: text(&names.to),
        state: view.state.map(|state| state.name().to_owned()),
        worker: view.worker,
        stamp: view.stamp.as_ref().map(ToString::to_string),
    }
}

/// A piece of output.
pub(super) fn output_piece(view: OutputView) -> wire::OutputPiece {
    let stream = match view.stream {
        1 => "stdout",
        2 => "stderr",
        _ => "worker",
    };
    let (text, base64) = match String::from_utf8(view.data) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    };
    wire::OutputPiece {
        seq: u32::try_from(view.seq).unwrap_or(0),
        at: view.at,
        stream: stream.to_owned(),
        text,
        base64,
    }
}

/// The entity tag of an operation: every change of it raises its version.
pub(super) fn etag(version: i32) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes are a header value")
}
