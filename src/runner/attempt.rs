//! One attempt of a step that starts a process: from its templates to its report.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::WorkerSettings;
use super::instruct::instruct;
use super::judge::{answered, judge, not_started};
use super::knowledge::Knowledge;
use super::mask::Mask;
use super::output::{Capture, Outbox};
use super::place::Place;
use super::prepare::{Prepared, prepare};
use super::process::{Ended, Exit, Process, Rescue, Signal, SpawnError, Zygote};
use super::scratch::Scratch;
use super::secrets::Secrets;
use super::source::WorkSource;
use super::spool::Spools;
use super::stream::Pipes;
use super::talk::{Ends, key, talk};
use super::template::Renderer;
use super::under_way::Post;
use crate::domain::decide::{Cause, Ending};
use crate::domain::definition::{StepDefinition, Work};
use crate::domain::{Timeout, duration};
use crate::engine::{Assignment, AttemptReport, EngineError, Report};
use crate::functions::Exception;

/// The wait before the database is asked again for what an attempt needs.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Why a worker ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The operation is being stopped, or the step has moved on.
    Ordered,
    /// An operator interrupted the step: SIGINT comes first.
    Interrupted,
    /// The operation is aborted: at once, without a grace time.
    Forced,
    /// The worker shuts down.
    Draining,
    /// The lease is lost: at once, without a grace time.
    Fenced,
}

impl StopReason {
    /// Whether no time is left to end in good order.
    pub(super) const fn is_at_once(self) -> bool {
        matches!(self, Self::Forced | Self::Fenced)
    }
}

/// What attempts share.
#[derive(Debug)]
pub(super) struct Bench<S> {
    pub(super) source: Arc<S>,
    pub(super) zygote: Zygote,
    pub(super) renderer: Renderer,
    pub(super) outbox: Outbox,
    pub(super) spools: Spools,
    /// Where what steps are told by files is.
    pub(super) scratch: Scratch,
    /// Told when there may be mail for an attempt.
    pub(super) wake: Notify,
    /// What steps get of the worker's environment.
    pub(super) inherited: BTreeMap<OsString, OsString>,
    pub(super) settings: WorkerSettings,
}

/// How an attempt ended, and what is kept of it.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    pub(super) exception: Option<Exception>,
    pub(super) result: Option<Value>,
    pub(super) ended: Option<Ended>,
}

impl Outcome {
    pub(super) fn failed(cause: Cause, exception: Exception) -> Self {
        let ending = Ending::Failed(cause);
        Self { ending, exception: Some(exception), result: None, ended: None }
    }

    fn mask(&mut self, mask: &Mask) {
        if let Some(exception) = &mut self.exception {
            mask.text(&mut exception.message);
        }
        if let Some(result) = &mut self.result {
            mask.document(result);
        }
    }
}

/// Runs an attempt to its end. Its output is stored when this answers.
pub(super) async fn run<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    post: Post,
) -> Report {
    let Assignment { operation, step, attempt, worker, .. } = *assignment;
    let secrets = Secrets::of(assignment, bench.settings.secrets_dir.as_deref()).await;
    let mask = Arc::clone(&secrets.mask);
    let mut capture = capture(bench, assignment, &mask);
    let knowledge = Knowledge::new(assignment.knows.as_ref());
    let mut outcome = match assignment.jobset.step(step).work(assignment.state) {
        Work::Instruction(instruction) => {
            instruct(bench, assignment, &knowledge, instruction, post).await
        }
        Work::Milestone | Work::Command(_) | Work::Shell(_) | Work::Function(_) => {
            run_program(bench, assignment, &knowledge, secrets, &mut capture, post).await
        }
    };
    outcome.mask(&mask);
    if let Some(exception) = &outcome.exception {
        capture.remark(&format!("[{exception}]"), bench.source.now()).await;
    }
    let _left_to_others = capture.finish(bench.source.now()).await;
    Report {
        operation,
        step,
        attempt,
        worker,
        ending: outcome.ending,
        heard: knowledge.into_heard(),
        record: Some(record(outcome)),
    }
}

/// What takes the output of an attempt.
fn capture<S>(bench: &Bench<S>, assignment: &Assignment, mask: &Arc<Mask>) -> Capture {
    let (of, cap) = (key(assignment), bench.settings.output_cap_bytes);
    let spool = bench.spools.spool(of, &assignment.jobset.secrets, cap);
    Capture::new(bench.outbox.clone(), of, Arc::clone(mask), Some(spool), cap)
}

async fn run_program<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    knowledge: &Knowledge<'_>,
    secrets: Secrets,
    capture: &mut Capture,
    post: Post,
) -> Outcome {
    let Secrets { own, mask } = secrets;
    let prepared = match own {
        Ok(own) => prepare(bench, assignment, own).await,
        Err(exception) => Err(exception),
    };
    match prepared {
        Ok(prepared) => {
            let place = prepared.place.clone();
            let talking = (post, mask);
            let outcome = execute(bench, assignment, knowledge, prepared, capture, talking).await;
            with_result(outcome, &place).await
        }
        Err(exception) => Outcome::failed(Cause::Exception, exception),
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
            "memoryPeakBytes": ended.memory_peak_bytes,
            "oomKills": ended.oom_kills,
            "swept": ended.swept,
            "containment": ended.walls.names().collect::<Vec<_>>(),
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
        exception: outcome.exception.map(|exception| json!(exception)),
        result: outcome.result,
        usage,
    }
}

/// Asks the store until it answers: a database that is away for a moment fails no attempt.
pub(super) async fn ask<T, F>(question: impl Fn() -> F) -> Result<T, Exception>
where
    F: Future<Output = Result<T, EngineError>>,
{
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_outage() => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => return Err(Exception::new("StoreError", error.to_string())),
        }
    }
}

async fn execute<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    knowledge: &Knowledge<'_>,
    prepared: Prepared,
    capture: &mut Capture,
    (post, mask): (Post, Arc<Mask>),
) -> Outcome {
    let definition = &assignment.jobset.step(assignment.step).definition;
    let Prepared { mut spec, passed, events, answer, .. } = prepared;
    spec.rescue =
        capture.spool().map(|spool| Rescue { spool: spool.path.clone(), head: spool.head.clone() });
    let mut process = match bench.zygote.spawn_passing(spec, passed).await {
        Ok(process) => process,
        // That is nothing that the step has done: another attempt takes its place.
        Err(error @ SpawnError::ZygoteDied) => {
            let exception = Some(not_started(&error));
            return Outcome { ending: Ending::Released, exception, result: None, ended: None };
        }
        Err(error) => return Outcome::failed(Cause::Exception, not_started(&error)),
    };
    let pipes = Pipes::of(&process);
    let limits = Limits {
        timeout: time_left(assignment, bench.source.now()),
        grace: definition.grace.unwrap_or(bench.settings.default_grace),
    };
    let (remarks, remarked) = mpsc::channel(16);
    let ends = Ends { events, stdin: process.stdin.take(), mail: post.mail, remarks, mask };
    let over = CancellationToken::new();
    let mut delivery = None;
    let talk = async {
        let talk = talk(bench, assignment, knowledge, ends, &over);
        match answer {
            Some(answer) => delivery = Some(tokio::join!(answer.read(), talk).0),
            None => talk.await,
        }
    };
    let beside = Beside { talk, remarked, pipes, over: &over };
    let (ended, why) = follow(process, &limits, capture, post.stop, beside, &*bench.source).await;
    match delivery {
        Some(delivery) if why.is_none() || !ended.signalled => answered(ended, delivery),
        _ => judge(ended, why, definition),
    }
}

struct Limits {
    timeout: Option<(Duration, Timeout)>,
    grace: Duration,
}

/// How long an attempt that begins now may take, and by which of its limits.
pub(super) fn time_left(
    assignment: &Assignment,
    now: DateTime<Utc>,
) -> Option<(Duration, Timeout)> {
    let definition = &assignment.jobset.step(assignment.step).definition;
    let attempt = definition.timeout.map(|timeout| (timeout, Timeout::Attempt));
    let total = assignment.until.map(|until| {
        let left = (until - now).to_std().unwrap_or_default();
        (left, Timeout::Total)
    });
    [attempt, total].into_iter().flatten().min_by_key(|(left, _)| *left)
}

/// What goes on beside the output.
struct Beside<'a, T> {
    talk: T,
    remarked: mpsc::Receiver<Vec<u8>>,
    pipes: Pipes,
    over: &'a CancellationToken,
}

/// Why the worker ended the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    TimedOut(Timeout),
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
    beside: Beside<'_, impl Future<Output = ()>>,
    source: &S,
) -> (Ended, Option<Forced>) {
    let Beside { talk, mut remarked, mut pipes, over } = beside;
    let mut talk = pin!(talk);
    let never = || Instant::now() + duration::DURATION_MAX;
    let (left, limit) = limits.timeout.unwrap_or((duration::DURATION_MAX, Timeout::Attempt));
    let mut timeout = Instant::now() + left;
    let (mut terminate_at, mut kill_at) = (never(), never());
    let mut forced = None;
    let ended = loop {
        tokio::select! {
            (stream, read) = pipes.read(&process) => {
                capture.take(stream, read, source.now()).await;
                if capture.is_full() {
                    pipes.let_go();
                }
            }
            () = sleep_until(capture.hold_until()) => capture.idle(source.now()).await,
            () = sleep_until(timeout), if forced.is_none() => {
                forced = Some(Forced::TimedOut(limit));
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
                if reason.is_at_once() {
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
            Some(remark) = remarked.recv() => capture.take_remark(&remark, source.now()).await,
            () = &mut talk => {} // Not before it is over.
            ended = process.wait() => break ended,
        }
    };
    // No process is left that could write, so the rest is there and then comes the end.
    while !pipes.are_closed() {
        let (stream, read) = pipes.read(&process).await;
        capture.take(stream, read, source.now()).await;
    }
    capture.idle(source.now()).await;
    process.release();
    over.cancel();
    loop {
        tokio::select! {
            biased;
            Some(remark) = remarked.recv() => capture.take_remark(&remark, source.now()).await,
            () = &mut talk => break,
        }
    }
    while let Ok(remark) = remarked.try_recv() {
        capture.take_remark(&remark, source.now()).await;
    }
    (ended, forced)
}

/// The next reason to stop; never again after the worker is gone.
pub(super) async fn told(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    loop {
        if stop.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(reason) = *stop.borrow_and_update() {
            return reason;
        }
    }
}

/// What it means that the worker ended the attempt.
pub(super) fn forced_end(forced: Forced, definition: &StepDefinition) -> (Ending, Exception) {
    match forced {
        Forced::TimedOut(limit) => {
            let exception = Exception::new(limit.name(), limit.message(definition));
            (Ending::Failed(Cause::Timeout), exception)
        }
        Forced::Stopped(StopReason::Ordered) => {
            (Ending::Stopped, Exception::new("Cancelled", "the operation was stopped"))
        }
        Forced::Stopped(StopReason::Forced) => {
            (Ending::Stopped, Exception::new("Cancelled", "the operation was aborted"))
        }
        Forced::Stopped(StopReason::Interrupted) => {
            (Ending::Stopped, Exception::new("Interrupted", "an operator interrupted it"))
        }
        Forced::Stopped(StopReason::Draining | StopReason::Fenced) => {
            let message = "the worker shut down; another one takes over";
            (Ending::Released, Exception::new("Released", message))
        }
    }
}

/// Adds what the step wrote to `SUT_OUTPUT`, also of one that failed. A step that says it succeeded
/// but whose result cannot be read has failed. What a function returned goes before.
async fn with_result(mut outcome: Outcome, place: &Place) -> Outcome {
    match place.collect().await {
        _ if outcome.result.is_some() => {}
        Ok(result) => outcome.result = result,
        Err(message) if outcome.ending == Ending::Succeeded => {
            outcome.ending = Ending::Failed(Cause::Exception);
            outcome.exception = Some(Exception::new("InvalidResult", message));
        }
        Err(message) => tracing::debug!(message, "runner.result.unreadable"),
    }
    outcome
}
