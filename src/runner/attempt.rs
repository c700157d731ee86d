//! One attempt of a step that starts a process: from its templates to its report.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::WorkerSettings;
use super::output::{Capture, Outbox};
use super::place::Place;
use super::process::{Ended, Exit, Process, ProcessSpec, Signal, SpawnError, Stdin, Zygote};
use super::source::WorkSource;
use super::template::{Renderer, is_template};
use crate::domain::decide::{Cause, Ending};
use crate::domain::definition::{StepDefinition, Work};
use crate::domain::duration;
use crate::engine::{Assignment, AttemptReport, EngineError, Report};

/// Bytes read from a pipe at once.
const READ: usize = 64 * 1024;
/// The wait before the database is asked again for what an attempt needs.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Why a worker ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The operation is being stopped, or the step has moved on.
    Ordered,
    /// An operator interrupted the step: SIGINT comes first.
    Interrupted,
    /// The worker shuts down.
    Draining,
    /// The lease is lost: at once, without a grace time.
    Fenced,
}

/// What attempts share.
#[derive(Debug)]
pub(super) struct Bench<S> {
    pub(super) source: Arc<S>,
    pub(super) zygote: Zygote,
    pub(super) renderer: Renderer,
    pub(super) outbox: Outbox,
    pub(super) settings: WorkerSettings,
}

/// Why an attempt failed, in the words of the record.
struct Exception {
    kind: &'static str,
    message: String,
}

impl Exception {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// How an attempt ended, and what is kept of it.
struct Outcome {
    ending: Ending,
    exception: Option<Exception>,
    result: Option<Value>,
    ended: Option<Ended>,
}

impl Outcome {
    fn failed(cause: Cause, exception: Exception) -> Self {
        let ending = Ending::Failed(cause);
        Self { ending, exception: Some(exception), result: None, ended: None }
    }
}

/// Runs an attempt to its end. Its output is stored when this answers.
pub(super) async fn run<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    stop: watch::Receiver<Option<StopReason>>,
) -> Report {
    let Assignment { operation, step, attempt, worker, .. } = *assignment;
    let cap = bench.settings.output_cap_bytes;
    let mut capture = Capture::new(bench.outbox.clone(), operation, step, attempt, cap);
    let outcome = match prepare(bench, assignment).await {
        Ok((place, spec)) => {
            let outcome = execute(bench, assignment, spec, &mut capture, stop).await;
            with_result(outcome, &place).await
        }
        Err(exception) => Outcome::failed(Cause::Exception, exception),
    };
    if let Some(exception) = &outcome.exception {
        let remark = format!("[{}: {}]", exception.kind, exception.message);
        capture.remark(&remark, bench.source.now()).await;
    }
    capture.finish(bench.source.now()).await;
    Report {
        operation,
        step,
        attempt,
        worker,
        ending: outcome.ending,
        record: Some(record(outcome)),
    }
}

fn record(outcome: Outcome) -> AttemptReport {
    let status = outcome.ended.map(|ended| ended.status);
    let usage = outcome.ended.map(|ended| {
        json!({
            "wallSeconds": ended.wall.as_secs_f64(),
            "userSeconds": ended.user_cpu.as_secs_f64(),
            "systemSeconds": ended.system_cpu.as_secs_f64(),
            "maxRssBytes": ended.max_rss_bytes,
            "swept": ended.swept,
        })
    });
    AttemptReport {
        exit_code: status.and_then(|status| match status {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) | Exit::Lost => None,
        }),
        signal: status.and_then(|status| match status {
            Exit::Signal(signal) => Some(signal),
            Exit::Code(_) | Exit::Lost => None,
        }),
        exception: outcome.exception.map(|e| json!({"type": e.kind, "message": e.message})),
        result: outcome.result,
        usage,
    }
}

/// Renders the templates and makes the files.
async fn prepare<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
) -> Result<(Place, ProcessSpec), Exception> {
    let definition = edited(bench, assignment).await?;
    let context = if assignment.has_context {
        ask(|| bench.source.context(assignment.operation)).await?
    } else {
        Value::Object(Map::new())
    };
    let place = Place::prepare(&bench.settings.work_dir, assignment, &context)
        .await
        .map_err(|error| Exception::new("WorkspaceError", format!("no workspace: {error}")))?;
    let texts = texts(&definition);
    let texts = if texts.iter().any(|text| is_template(text)) {
        let values = values(bench, assignment, &texts, context).await?;
        let rendered = bench.renderer.render(texts, values).await;
        rendered.map_err(|message| Exception::new("TemplateError", message))?
    } else {
        texts
    };
    let mut texts = texts.into_iter();
    let cwd = definition.cwd.is_some().then(|| texts.next()).flatten().map(PathBuf::from);
    let own: BTreeMap<String, String> =
        definition.env.keys().cloned().zip(texts.by_ref()).collect();
    let mut argv: Vec<OsString> = texts.map(OsString::from).collect();
    if matches!(definition.work, Work::Shell(_)) {
        argv.splice(0..0, ["/bin/sh".into(), "-c".into()]);
    }
    let spec = ProcessSpec {
        argv,
        env: place.environment(assignment, &own),
        cwd: bench.settings.cwd.join(cwd.unwrap_or_default()),
        stdin: Stdin::Null,
    };
    Ok((place, spec))
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

/// Everything that may be a template: the folder if there is one, the values of the environment, and
/// the parts of the command.
fn texts(definition: &StepDefinition) -> Vec<String> {
    let work: &[String] = match &definition.work {
        Work::Milestone => &[],
        Work::Command(parts) => parts,
        Work::Shell(text) => std::slice::from_ref(text),
    };
    definition.cwd.iter().chain(definition.env.values()).chain(work).cloned().collect()
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

/// Asks the store until it answers: a database that is away for a moment fails no attempt.
async fn ask<T, F>(question: impl Fn() -> F) -> Result<T, Exception>
where
    F: Future<Output = Result<T, EngineError>>,
{
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(EngineError::Unavailable) => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => return Err(Exception::new("StoreError", error.to_string())),
        }
    }
}

async fn execute<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    spec: ProcessSpec,
    capture: &mut Capture,
    stop: watch::Receiver<Option<StopReason>>,
) -> Outcome {
    let definition = &assignment.jobset.step(assignment.step).definition;
    let process = match bench.zygote.spawn(spec).await {
        Ok(process) => process,
        Err(error) => return Outcome::failed(Cause::Exception, not_started(&error)),
    };
    let limits = Limits {
        timeout: definition.timeout,
        grace: definition.grace.unwrap_or(bench.settings.default_grace),
    };
    let (ended, why) = follow(process, &limits, capture, stop, &*bench.source).await;
    judge(ended, why, definition)
}

fn not_started(error: &SpawnError) -> Exception {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Exception::new("SpawnError", message)
}

struct Limits {
    timeout: Option<Duration>,
    grace: Duration,
}

/// Why the worker ended the process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forced {
    TimedOut,
    Stopped(StopReason),
}

/// Reads what the process writes until it and all its descendants are gone; ends it when its time is
/// up or when it is told to: SIGTERM to the group, and after the grace time SIGKILL to the tree. An
/// interrupted one gets SIGINT first, and SIGTERM after half of the grace time.
async fn follow<S: WorkSource>(
    process: Process,
    limits: &Limits,
    capture: &mut Capture,
    mut stop: watch::Receiver<Option<StopReason>>,
    source: &S,
) -> (Ended, Option<Forced>) {
    let never = || Instant::now() + duration::DURATION_MAX;
    let mut timeout = limits.timeout.map_or_else(never, |timeout| Instant::now() + timeout);
    let (mut terminate_at, mut kill_at) = (never(), never());
    let mut forced = None;
    let (mut out, mut err) = (Stream::new(), Stream::new());
    let ended = loop {
        tokio::select! {
            read = out.read(&process.stdout) => capture.take(1, read, source.now()).await,
            read = err.read(&process.stderr) => capture.take(2, read, source.now()).await,
            () = sleep_until(timeout), if forced.is_none() => {
                forced = Some(Forced::TimedOut);
                process.signal_group(Signal::SIGTERM);
                kill_at = Instant::now() + limits.grace;
            }
            () = sleep_until(terminate_at) => {
                process.signal_group(Signal::SIGTERM);
                terminate_at = never();
            }
            () = sleep_until(kill_at) => {
                process.kill_tree();
                kill_at = never();
            }
            reason = told(&mut stop) => {
                if reason == StopReason::Fenced {
                    process.kill_tree();
                    forced = Some(Forced::Stopped(reason));
                } else if forced.is_none() {
                    forced = Some(Forced::Stopped(reason));
                    if reason == StopReason::Interrupted {
                        process.signal_group(Signal::SIGINT);
                        terminate_at = Instant::now() + limits.grace / 2;
                    } else {
                        process.signal_group(Signal::SIGTERM);
                    }
                    kill_at = Instant::now() + limits.grace;
                }
                timeout = never();
            }
            ended = process.wait() => break ended,
        }
    };
    // No process is left that could write, so the rest is there and then comes the end.
    while !out.is_closed {
        capture.take(1, out.read(&process.stdout).await, source.now()).await;
    }
    while !err.is_closed {
        capture.take(2, err.read(&process.stderr).await, source.now()).await;
    }
    (ended, forced)
}

/// The next reason to stop; never again after the worker is gone.
async fn told(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    loop {
        if stop.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(reason) = *stop.borrow_and_update() {
            return reason;
        }
    }
}

/// A pipe that is read piece by piece.
struct Stream {
    buffer: Vec<u8>,
    is_closed: bool,
}

impl Stream {
    fn new() -> Self {
        Self { buffer: vec![0; READ], is_closed: false }
    }

    /// The next piece; empty at the end, and never after it. Safe to be dropped while it waits.
    async fn read(&mut self, pipe: &pipe::Receiver) -> &[u8] {
        if self.is_closed {
            std::future::pending::<()>().await;
        }
        loop {
            if pipe.readable().await.is_err() {
                break;
            }
            match pipe.try_read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => return &self.buffer[..read],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "runner.pipe.broken");
                    break;
                }
            }
        }
        self.is_closed = true;
        &[]
    }
}

/// What the end of the process means.
fn judge(ended: Ended, forced: Option<Forced>, definition: &StepDefinition) -> Outcome {
    let (ending, exception) = match (forced, ended.status) {
        (Some(Forced::TimedOut), _) => {
            let after = definition.timeout.map(duration::print).unwrap_or_default();
            let message = format!("the attempt did not end within its timeout of {after}");
            (Ending::Failed(Cause::Timeout), Some(Exception::new("Timeout", message)))
        }
        (Some(Forced::Stopped(StopReason::Ordered)), _) => {
            let message = "the operation was stopped";
            (Ending::Stopped, Some(Exception::new("Cancelled", message)))
        }
        (Some(Forced::Stopped(StopReason::Interrupted)), _) => {
            let message = "an operator interrupted it";
            (Ending::Stopped, Some(Exception::new("Interrupted", message)))
        }
        (Some(Forced::Stopped(StopReason::Draining | StopReason::Fenced)), _) => {
            let message = "the worker shut down; another one takes over";
            (Ending::Released, Some(Exception::new("Released", message)))
        }
        (None, Exit::Code(0)) => (Ending::Succeeded, None),
        (None, Exit::Code(code)) => {
            let exception = Exception::new("ExitStatus", format!("exit code {code}"));
            (Ending::Failed(Cause::Exit(code)), Some(exception))
        }
        (None, Exit::Signal(number)) => {
            let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
            let exception = Exception::new("Signal", format!("ended by signal {number} ({name})"));
            (Ending::Failed(Cause::Signal(number)), Some(exception))
        }
        (None, Exit::Lost) => {
            let message = "the process that watched over it was killed, so how it ended is unknown; \
                           everything it started was killed";
            (Ending::Failed(Cause::Exception), Some(Exception::new("MonitorLost", message)))
        }
    };
    Outcome { ending, exception, result: None, ended: Some(ended) }
}

/// Adds what the step wrote to `SUT_OUTPUT`, also of one that failed. A step that says it succeeded
/// but whose result cannot be read has failed.
async fn with_result(mut outcome: Outcome, place: &Place) -> Outcome {
    match place.collect().await {
        Ok(result) => outcome.result = result,
        Err(message) if outcome.ending == Ending::Succeeded => {
            outcome.ending = Ending::Failed(Cause::Exception);
            outcome.exception = Some(Exception::new("InvalidResult", message));
        }
        Err(message) => tracing::debug!(message, "runner.result.unreadable"),
    }
    outcome
}
