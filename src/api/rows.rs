//! Steps and events as rows of the query language: what may be asked about them, and their values.
//!
//! The names of their steps stand in the compiled jobset and not in the database, so questions about
//! them are answered in memory, on what is shown. Times have the milliseconds that are shown.

use std::sync::{Arc, LazyLock};

use chrono::{DateTime, SubsecRound, Utc};

use crate::domain::{Action, Jobset, OperationState, StepState};
use crate::odata::{Model, Row, Type, Value};
use crate::wire;

/// The properties of a step of `jobset`.
#[must_use]
pub fn step_model(jobset: &Jobset) -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| Arc::new(make_step_model(&[])));
    if jobset.has_machines() {
        return Arc::new(make_step_model(&own_states(jobset)));
    }
    Arc::clone(&MODEL)
}

fn make_step_model(own_states: &[&str]) -> Model {
    let exception = Model::new().nullable("type", Type::String).nullable("message", Type::String);
    Model::new()
        .property("name", Type::String)
        .property("n", Type::Int)
        .property("tags", Type::Map)
        .property("state", step_state(own_states))
        .property("enteredDateTime", Type::DateTimeOffset)
        .property("attempt", Type::Int)
        .property("actions", Type::collection(Type::String))
        .nullable("result", Type::Json)
        .nullable("exitCode", Type::Int)
        .nullable("signal", Type::Int)
        .nullable("exception", Type::object(exception))
}

/// The properties of an event of an operation that runs `jobset`.
#[must_use]
pub fn event_model(jobset: &Jobset) -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> =
        LazyLock::new(|| Arc::new(with_stamp(of_event(Model::new(), &[], &[]))));
    if jobset.has_machines() {
        let model = of_event(Model::new(), &own_states(jobset), jobset.own_actions());
        return Arc::new(with_stamp(model));
    }
    Arc::clone(&MODEL)
}

/// What is asked about the causal order, which the events of one operation have.
fn with_stamp(model: Model) -> Model {
    let two = [Type::String, Type::String];
    model.nullable("stamp", Type::String).function(HAPPENED_BEFORE, &two, Type::Boolean).function(
        CONCURRENT_WITH,
        &two,
        Type::Boolean,
    )
}

/// `happenedBefore(stamp,'17')`: whether an event happened before event 17.
pub const HAPPENED_BEFORE: &str = "happenedBefore";
/// `concurrentWith(stamp,'17')`: whether neither happened before the other.
pub const CONCURRENT_WITH: &str = "concurrentWith";

/// The properties of an attempt that ran while another one of an operation that runs `jobset` did.
#[must_use]
pub fn attempt_model(jobset: &Jobset) -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| Arc::new(make_attempt_model(&[])));
    if jobset.has_machines() {
        return Arc::new(make_attempt_model(&own_states(jobset)));
    }
    Arc::clone(&MODEL)
}

fn make_attempt_model(own_states: &[&str]) -> Model {
    Model::new()
        .property("operation", Type::String)
        .property("step", Type::String)
        .property("attempt", Type::Int)
        .property("startedDateTime", Type::DateTimeOffset)
        .nullable("endedDateTime", Type::DateTimeOffset)
        .property("state", step_state(own_states))
        .nullable("worker", Type::Int)
        .nullable("resource", Type::String)
}

/// The properties of an event among those of all operations. Only names that all of them have can be
/// asked for.
#[must_use]
pub fn operation_event_model() -> &'static Model {
    static MODEL: LazyLock<Model> =
        LazyLock::new(|| of_event(Model::new().property("operation", Type::String), &[], &[]));
    &MODEL
}

fn of_event(model: Model, own_states: &[&str], own_actions: &[String]) -> Model {
    let kinds = [
        "submitted",
        "moved",
        "cancelRequested",
        "deadlinePassed",
        "abortRequested",
        "contextChanged",
        "paused",
        "resumed",
        "attemptEnded",
        "admitted",
    ];
    let states = OperationState::ALL.map(OperationState::name);
    let mut actions = Action::BUILT_IN.map(Action::name).to_vec();
    actions.extend(own_actions.iter().map(String::as_str));
    model
        .property("seq", Type::Int)
        .property("at", Type::DateTimeOffset)
        .property("kind", Type::enumeration("kind", &kinds))
        .nullable("step", Type::String)
        .nullable("attempt", Type::Int)
        .nullable("action", Type::enumeration("action", &actions))
        .nullable("from", step_state(own_states))
        .nullable("to", step_state(own_states))
        .nullable("state", Type::enumeration("state", &states))
        .nullable("worker", Type::Int)
}

/// The names of the states that the machines of a jobset have beside those of the default one.
fn own_states(jobset: &Jobset) -> Vec<&str> {
    let is_own = |name: &&str| StepState::parse(name).is_none();
    jobset.state_names().into_iter().filter(is_own).collect()
}

fn step_state(own: &[&str]) -> Type {
    let mut names = StepState::DEFAULT.map(StepState::name).to_vec();
    names.extend(own);
    Type::enumeration("state", &names)
}

impl Row for wire::Step {
    fn get(&self, path: &str) -> Value {
        let (name, below) = path.split_once('/').unwrap_or((path, ""));
        let value = match name {
            "name" => self.name.as_str().into(),
            "n" => i64::from(self.n).into(),
            "tags" => Value::Object(
                self.tags.iter().map(|(key, tag)| (key.clone(), tag.as_str().into())).collect(),
            ),
            "state" => self.state.as_str().into(),
            "enteredDateTime" => shown(self.entered_date_time),
            "attempt" => i64::from(self.attempt).into(),
            "actions" => {
                Value::List(self.actions.iter().map(|action| action.as_str().into()).collect())
            }
            "result" => self.result.as_ref().map(json).into(),
            "exitCode" => self.exit_code.into(),
            "signal" => self.signal.into(),
            "exception" => self.exception.as_ref().map(json).into(),
            _ => Value::Null,
        };
        if below.is_empty() { value } else { value.at(below).clone() }
    }
}

impl Row for wire::Event {
    fn get(&self, path: &str) -> Value {
        match path {
            "seq" => i64::from(self.seq).into(),
            "at" => shown(self.at),
            "kind" => self.kind.as_str().into(),
            "step" => self.step.as_deref().into(),
            "attempt" => self.attempt.map(i64::from).into(),
            "action" => self.action.as_deref().into(),
            "from" => self.from.as_deref().into(),
            "to" => self.to.as_deref().into(),
            "state" => self.state.as_deref().into(),
            "worker" => self.worker.into(),
            "stamp" => self.stamp.as_deref().into(),
            _ => Value::Null,
        }
    }
}

impl Row for wire::ConcurrentAttempt {
    fn get(&self, path: &str) -> Value {
        match path {
            "operation" => self.operation.as_str().into(),
            "step" => self.step.as_str().into(),
            "attempt" => i64::from(self.attempt).into(),
            "startedDateTime" => shown(self.started_date_time),
            "endedDateTime" => self.ended_date_time.map(shown).into(),
            "state" => self.state.as_str().into(),
            "worker" => self.worker.into(),
            "resource" => self.resource.as_deref().into(),
            _ => Value::Null,
        }
    }
}

impl Row for wire::OperationEvent {
    fn get(&self, path: &str) -> Value {
        if path == "operation" { self.operation.as_str().into() } else { self.event.get(path) }
    }
}

fn shown(time: DateTime<Utc>) -> Value {
    time.trunc_subsecs(3).into()
}

/// A JSON value; numbers that no integer holds are doubles.
fn json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| number.as_f64().into(), Value::Int)
        }
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::List(items.iter().map(json).collect()),
        serde_json::Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), json(field))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odata::{Limits, eval, filter};
    use serde_json::json;

    fn step() -> wire::Step {
        serde_json::from_value(json!({
            "name": "unit", "n": 3, "tags": {"suite": "unit"}, "state": "Failed",
            "enteredDateTime": "2026-01-31T12:01:03.450999Z", "attempt": 2, "actions": ["rerun"],
            "exitCode": 1, "exception": {"type": "ExitCode", "message": "exit code 1"},
            "result": {"seed": 5, "share": 0.5, "big": 18_446_744_073_709_551_615_u64},
        }))
        .unwrap()
    }

    fn event() -> wire::Event {
        serde_json::from_value(json!({
            "seq": 7, "at": "2026-01-31T12:01:03.450999Z", "kind": "moved", "step": "unit",
            "attempt": 2, "action": "fail", "from": "Running", "to": "Failed", "worker": 4,
            "stamp": "(0,1)",
        }))
        .unwrap()
    }

    #[test]
    fn every_property_of_an_attempt_has_a_value() {
        let attempt: wire::ConcurrentAttempt = serde_json::from_value(json!({
            "operation": "x", "step": "unit", "attempt": 2, "state": "Failed", "worker": 4,
            "startedDateTime": "2026-01-31T12:01:03.450999Z",
            "endedDateTime": "2026-01-31T12:01:05.450999Z", "resource": "bench",
        }))
        .unwrap();
        let text = "operation eq 'x' and step eq 'unit' and attempt eq 2 and state eq 'FAILED' and \
                    worker eq 4 and resource eq 'bench' and \
                    endedDateTime sub startedDateTime eq duration'PT2S'";
        let expr = filter(text, &make_attempt_model(&[]), &Limits::default()).unwrap();
        assert_eq!(eval::matches(&expr, &attempt, DateTime::UNIX_EPOCH), Ok(true));
    }

    #[test]
    fn every_property_of_the_models_has_a_value() {
        for (text, expected) in [
            ("name eq 'unit' and n eq 3 and attempt eq 2 and state eq 'failed'", true),
            ("tags/suite eq 'unit' and tags/any(t:t/value eq 'unit') and tags/other eq null", true),
            ("enteredDateTime eq 2026-01-31T12:01:03.450Z", true),
            ("actions/any(a:a eq 'rerun') and actions/$count eq 1", true),
            ("exitCode eq 1 and signal eq null", true),
            ("contains(exception/message,'code') and exception ne null", true),
            ("result/seed eq 5 and result/share lt 1 and result/big gt 1e19", true),
            ("result/seed/deeper eq 5", false),
        ] {
            let expr = filter(text, &make_step_model(&[]), &Limits::default()).unwrap();
            let now = DateTime::UNIX_EPOCH;
            assert_eq!(eval::matches(&expr, &step(), now), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("seq eq 7 and kind eq 'moved' and step eq 'unit' and attempt eq 2", true),
            ("at ge 2026-01-31T12:01:03.450Z and at lt 2026-01-31T12:01:03.451Z", true),
            ("action eq 'FAIL' and from eq 'running' and to in ('Failed','TimedOut')", true),
            ("state eq null and worker eq 4 and stamp eq '(0,1)'", true),
        ] {
            let model = with_stamp(of_event(Model::new(), &[], &[]));
            let expr = filter(text, &model, &Limits::default()).unwrap();
            let now = DateTime::UNIX_EPOCH;
            assert_eq!(eval::matches(&expr, &event(), now), Ok(expected), "{text}");
        }
    }
}
