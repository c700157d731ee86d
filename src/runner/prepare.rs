//! What an attempt needs before it begins: its files, its environment and its texts, rendered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tokio::net::unix::pipe;

use super::attempt::{Bench, ask};
use super::confine::confinement;
use super::function::{AnswerPipe, Call};
use super::place::{Place, RESULT_BYTES_MAX};
use super::process::{ProcessSpec, Stdin};
use super::source::WorkSource;
use super::template::is_template;
use crate::domain::definition::{StepDefinition, Work};
use crate::engine::Assignment;
use crate::functions::Exception;

/// What begins an attempt.
pub(super) struct Prepared {
    pub(super) place: Place,
    pub(super) spec: ProcessSpec,
    /// What the process gets beside its 0, 1 and 2.
    pub(super) passed: Vec<OwnedFd>,
    /// What the process says by `SUT_EVENTS`.
    pub(super) events: pipe::Receiver,
    /// Where the answer comes from if it is to call a function.
    pub(super) answer: Option<AnswerPipe>,
}

/// Renders the templates and makes the files; `secrets` are variables with their values.
pub(super) async fn prepare<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    secrets: Vec<(OsString, OsString)>,
) -> Result<Prepared, Exception> {
    let definition = edited(bench, assignment).await?;
    let context = context(bench, assignment).await?;
    let told = context.to_string();
    let texts = render(bench, assignment, texts(&definition), context).await?;
    let mut texts = texts.into_iter();
    let cwd = definition.cwd.is_some().then(|| texts.next()).flatten().map(PathBuf::from);
    let own: BTreeMap<String, String> =
        definition.env.keys().cloned().zip(texts.by_ref()).collect();
    let (mut passed, mut answer) = (Vec::new(), None);
    let argv = match &definition.work {
        Work::Milestone | Work::Instruction(_) => Vec::new(),
        Work::Command(_) => texts.map(OsString::from).collect(),
        Work::Shell(_) => {
            let shell = ["/bin/sh", "-c"].map(OsString::from);
            shell.into_iter().chain(texts.map(OsString::from)).collect()
        }
        Work::Function(function) => {
            let mut arguments = function.arguments.clone();
            replace_strings(&mut arguments, &mut texts);
            let call = Call::new(&function.name, &arguments, RESULT_BYTES_MAX);
            let call = call.map_err(|error| Exception::new("SpawnError", error.to_string()))?;
            (passed, answer) = (call.passed, Some(call.answer));
            call.argv
        }
    };
    // Last: whatever fails before leaves no files.
    let no_place = |error| Exception::new("WorkspaceError", format!("no workspace: {error}"));
    let place = Place::prepare(&bench.settings.work_dir, &bench.scratch, assignment, told);
    let place = place.await.map_err(no_place)?;
    let events = match place.events() {
        Ok(events) => events,
        Err(error) => {
            let _nothing = place.collect().await;
            return Err(no_place(error));
        }
    };
    let confinement = confinement(&definition, place.writable());
    let mut inherited = bench.inherited.clone();
    if confinement.sandbox.is_some() {
        // Wherever the worker has its own: a sandbox has a private one there.
        inherited.insert("TMPDIR".into(), "/tmp".into());
    }
    let spec = ProcessSpec {
        argv,
        env: place.environment(assignment, inherited, &own, secrets),
        cwd: bench.settings.cwd.join(cwd.unwrap_or_default()),
        stdin: if definition.takes_messages { Stdin::Piped } else { Stdin::Null },
        confinement,
        rescue: None,
    };
    Ok(Prepared { place, spec, passed, events, answer })
}

/// The step as it is to be run this time: with the work of its state, and with what clients changed
/// for this attempt and those after it.
async fn edited<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
) -> Result<StepDefinition, Exception> {
    let step = assignment.jobset.step(assignment.step);
    let work = step.work(assignment.state).clone();
    let mut definition = StepDefinition { work, ..step.definition.clone() };
    if !assignment.has_edits {
        return Ok(definition);
    }
    let edits = ask(|| bench.source.edits(assignment.operation)).await?;
    let edit = &edits[assignment.step.to_string()];
    if edit["attempt"].as_u64().is_none_or(|from| u64::from(assignment.attempt) < from) {
        return Ok(definition);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for (name, value) in edit["env"].as_object().into_iter().flatten() {
        definition.env.extend(text(value).map(|value| (name.clone(), value)));
    }
    if let Some(parts) = edit["command"].as_array() {
        definition.work = Work::Command(parts.iter().filter_map(text).collect());
    }
    if let Some(shell) = text(&edit["shell"]) {
        definition.work = Work::Shell(shell);
    }
    Ok(definition)
}

/// The context of the operation: an object, empty if it has none.
pub(super) async fn context<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
) -> Result<Value, Exception> {
    if assignment.has_context {
        ask(|| bench.source.context(assignment.operation)).await
    } else {
        Ok(Value::Object(Map::new()))
    }
}

/// Renders those of the texts that are templates.
pub(super) async fn render<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    texts: Vec<String>,
    context: Value,
) -> Result<Vec<String>, Exception> {
    if !texts.iter().any(|text| is_template(text)) {
        return Ok(texts);
    }
    let values = values(bench, assignment, &texts, context).await?;
    let rendered = bench.renderer.render(texts, values).await;
    rendered.map_err(|message| Exception::new("TemplateError", message))
}

/// Everything that may be a template: the folder if there is one, the values of the environment, and
/// the parts of the command or the strings in the arguments.
fn texts(definition: &StepDefinition) -> Vec<String> {
    let mut texts: Vec<_> = definition.cwd.iter().chain(definition.env.values()).cloned().collect();
    match &definition.work {
        Work::Milestone | Work::Instruction(_) => {}
        Work::Command(parts) => texts.extend(parts.iter().cloned()),
        Work::Shell(text) => texts.push(text.clone()),
        Work::Function(function) => collect_strings(&function.arguments, &mut texts),
    }
    texts
}

/// The strings in a value, names of fields left out.
fn collect_strings(value: &Value, strings: &mut Vec<String>) {
    match value {
        Value::String(text) => strings.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, strings)),
        Value::Object(fields) => fields.values().for_each(|item| collect_strings(item, strings)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts strings in the places of those that [`collect_strings`] found, in the same order.
fn replace_strings(value: &mut Value, strings: &mut impl Iterator<Item = String>) {
    match value {
        Value::String(text) => *text = strings.next().unwrap_or_default(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_strings(item, strings)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|item| replace_strings(item, strings));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What templates can name.
async fn values<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    texts: &[String],
    context: Value,
) -> Result<Value, Exception> {
    let jobset = &assignment.jobset;
    let mut steps = Map::new();
    if assignment.has_results && texts.iter().any(|text| text.contains("steps")) {
        let named: Vec<i32> = (0_i32..)
            .zip(&jobset.steps)
            .filter(|(_, step)| texts.iter().any(|text| text.contains(&step.definition.name)))
            .map(|(n, _)| n)
            .collect();
        for (n, result) in ask(|| bench.source.results(assignment.operation, &named)).await? {
            if let Some(step) = usize::try_from(n).ok().and_then(|n| jobset.steps.get(n)) {
                steps.insert(step.definition.name.clone(), json!({"result": result}));
            }
        }
    }
    Ok(json!({
        "context": context,
        "steps": steps,
        "operation": {"id": assignment.operation, "name": jobset.name},
        "step": {
            "name": jobset.step(assignment.step).definition.name,
            "attempt": assignment.attempt,
        },
    }))
}
