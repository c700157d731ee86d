//! An incarnation of a remote worker.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::clock::Clock;
use super::convert::{self, is_lost, of, refusal};
use super::place::{Tell, Told};
use super::seen::Seen;
use crate::client::{ClientError, WorkerClient};
use crate::domain::LeaseTerms;
use crate::domain::decide::{Ending, Stale};
use crate::domain::{Incarnation, Jobset, Limits};
use crate::engine::{
    Assignment, AttemptKey, EngineError, Mail, NewPrompt, Order, OutputPiece, ReplyView, Report,
    StepMessage,
};
use crate::runner::WorkSource;
use crate::wire::{
    DataRequest, EndedRequest, MessagesRequest, OutputRequest, PollRequest, Polled, ReportDocument,
    SettleRequest, SettledReport, decode_definition,
};

/// How long the server lets a poll wait.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// How much longer its answer may take.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// The wait before a poll that failed is tried again; doubles up to the longest.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Bytes of reports, about, that are sent at once.
const REPORT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Jobsets that are kept.
const JOBSETS_MAX: usize = 1_000;

/// Locks, whatever happened to a thread that held it before: all is consistent after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the incarnations of a worker share.
pub(super) struct Shared {
    jobsets: Mutex<HashMap<Uuid, Arc<Jobset>>>,
    is_away: AtomicBool,
    draining: AtomicBool,
    tell: Box<Tell>,
}

impl Shared {
    pub(super) fn new(tell: Box<Tell>) -> Self {
        let (is_away, draining) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { jobsets: Mutex::default(), is_away, draining, tell }
    }

    pub(super) fn tell(&self, told: Told<'_>) {
        (self.tell)(told);
    }

    /// No server answers.
    pub(super) fn away(&self, error: &ClientError) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            self.tell(Told::Away(error));
        }
    }

    /// A server answers.
    pub(super) fn back(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            self.tell(Told::Back);
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn drain(&self) {
        if !self.draining.swap(true, Ordering::Relaxed) {
            self.tell(Told::Draining);
        }
    }
}

/// What the poll and the questions of an incarnation share.
struct Inner {
    incarnation: Incarnation,
    terms: LeaseTerms,
    client: WorkerClient,
    shared: Arc<Shared>,
    clock: Clock,
    seen: Mutex<Seen>,
    /// What was received since the last poll.
    received: Mutex<Vec<AttemptKey>>,
    resting: Mutex<BTreeSet<AttemptKey>>,
    closing: AtomicBool,
    /// Told when the server has to know something at once.
    changed: Notify,
    ordered: Notify,
}

/// An incarnation of a remote worker; its poll ends when this is dropped.
pub struct RemoteSource {
    inner: Arc<Inner>,
    assigned: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<Assignment>>>,
    _poll: DropGuard,
}

impl fmt::Debug for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSource")
            .field("worker", &self.inner.incarnation)
            .finish_non_exhaustive()
    }
}

impl RemoteSource {
    pub(super) fn start(
        incarnation: Incarnation,
        terms: LeaseTerms,
        client: WorkerClient,
        now: DateTime<Utc>,
        shared: Arc<Shared>,
    ) -> Self {
        let inner = Arc::new(Inner {
            incarnation,
            terms,
            client,
            shared,
            clock: Clock::new(now),
            seen: Mutex::default(),
            received: Mutex::default(),
            resting: Mutex::default(),
            closing: AtomicBool::new(false),
            changed: Notify::new(),
            ordered: Notify::new(),
        });
        let (assign, assigned) = mpsc::unbounded_channel();
        let dropped = CancellationToken::new();
        tokio::spawn({
            let (inner, dropped) = (Arc::clone(&inner), dropped.clone());
            async move { dropped.run_until_cancelled(inner.poll(&assign)).await }
        });
        Self { inner, assigned: tokio::sync::Mutex::new(assigned), _poll: dropped.drop_guard() }
    }
}

impl Inner {
    /// Polls until the server says that the lease is lost.
    async fn poll(&self, assign: &mpsc::UnboundedSender<Vec<Assignment>>) {
        let mut retry = RETRY;
        loop {
            let received = std::mem::take(&mut *lock(&self.received));
            let asked = PollRequest {
                received: received.iter().copied().map(of).collect(),
                resting: lock(&self.resting).iter().copied().map(of).collect(),
                closing: self.closing.load(Ordering::Relaxed),
                wait_seconds: POLL_WAIT.as_secs_f64(),
            };
            let answer = tokio::select! {
                answer = self.client.poll(&asked, POLL_WAIT + POLL_MARGIN) => answer,
                () = self.changed.notified() => {
                    // What was in the answer is given again.
                    lock(&self.received).extend(received);
                    continue;
                }
            };
            match answer {
                Ok(polled) => {
                    retry = RETRY;
                    self.shared.back();
                    self.take(polled, assign).await;
                }
                Err(error) if is_lost(&error) => return, // The next heartbeat is told so too.
                Err(error) => {
                    self.shared.away(&error);
                    lock(&self.received).extend(received);
                    sleep(retry).await;
                    retry = RETRY_MAX.min(retry * 2);
                }
            }
        }
    }

    async fn take(&self, polled: Polled, assign: &mpsc::UnboundedSender<Vec<Assignment>>) {
        if polled.news {
            self.ordered.notify_one();
        }
        let mut new = Vec::new();
        for document in polled.assignments {
            let key = AttemptKey {
                operation: document.operation,
                step: document.step,
                attempt: document.attempt,
            };
            // Without its jobset it is not received; it is given again.
            let Some(jobset) = self.jobset(document.jobset).await else { continue };
            lock(&self.received).push(key);
            if !lock(&self.seen).add(key) {
                continue;
            }
            let known = key.step < jobset.len();
            match convert::assignment(document, jobset, self.incarnation).filter(|_| known) {
                Some(assignment) if !self.closing.load(Ordering::Relaxed) => new.push(assignment),
                Some(_) | None => self.give_back(key, Ending::Released),
            }
        }
        if !new.is_empty() {
            let _gone = assign.send(new);
        }
    }

    /// Reports an attempt that was not begun.
    fn give_back(&self, key: AttemptKey, ending: Ending) {
        let AttemptKey { operation, step, attempt } = key;
        let (worker, client) = (self.incarnation, self.client.clone());
        let report = Report { operation, step, attempt, worker, ending, heard: None, record: None };
        tokio::spawn(async move {
            let reports = vec![convert::report(&report)];
            if let Err(error) = client.settle(&SettleRequest { reports }).await {
                // It is given to others when this worker has left or lost its lease.
                tracing::warn!(error = &error as &dyn std::error::Error, "remote.return.failed");
            }
        });
    }

    /// A jobset, asked for once.
    async fn jobset(&self, id: Uuid) -> Option<Arc<Jobset>> {
        if let Some(known) = lock(&self.shared.jobsets).get(&id) {
            return Some(Arc::clone(known));
        }
        let document = match self.client.jobset(id).await {
            Ok(stored) => stored.document,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "remote.jobset.failed");
                return None;
            }
        };
        // The server took it, whatever its limits are.
        let limits = Limits {
            steps: usize::MAX,
            guard_terms: usize::MAX,
            attempts: u32::MAX,
            ..Limits::default()
        };
        let compiled = decode_definition(&document).and_then(|definition| {
            Jobset::compile(definition, &limits).map_err(|problems| problems[0].to_string())
        });
        match compiled {
            Ok(jobset) => {
                let jobset = Arc::new(jobset);
                let mut known = lock(&self.shared.jobsets);
                // Attempts hold their jobset by themselves, so forgetting all is cheap and simple.
                if known.len() >= JOBSETS_MAX {
                    known.clear();
                }
                known.insert(id, Arc::clone(&jobset));
                Some(jobset)
            }
            Err(error) => {
                tracing::error!(%id, error, "remote.jobset.unreadable");
                None
            }
        }
    }

    /// Orders about attempts that were given. One that was lost on its way is not begun any more.
    fn orders(&self, orders: Vec<Order>) -> Vec<Order> {
        let is_known = |order: &Order| {
            let number = |number: i32| u32::try_from(number).unwrap_or(u32::MAX);
            let (step, attempt) = (number(order.step), number(order.attempt));
            let key = AttemptKey { operation: order.operation, step, attempt };
            let is_new = lock(&self.seen).add(key);
            if is_new {
                self.give_back(key, Ending::Stopped);
            }
            !is_new
        };
        orders.into_iter().filter(is_known).collect()
    }

    async fn heartbeat(&self) -> Result<Option<Vec<Order>>, EngineError> {
        let asked = Instant::now();
        match self.client.heartbeat().await {
            Ok(answer) => {
                self.clock.set(answer.now, asked);
                self.shared.back();
                if answer.draining {
                    self.shared.drain();
                }
                let orders = answer.orders.into_iter().map(convert::order).collect();
                Ok(Some(self.orders(orders)))
            }
            Err(error) if is_lost(&error) => Ok(None),
            Err(error) => {
                self.shared.away(&error);
                Err(EngineError::Unavailable)
            }
        }
    }

    /// Reports a batch. One that is refused as a whole is sent report by report, so that none suffers
    /// for another.
    async fn settle(&self, reports: Vec<Report>) -> Vec<Result<(), EngineError>> {
        let documents: Vec<ReportDocument> = reports.iter().map(convert::report).collect();
        match self.client.settle(&SettleRequest { reports: documents }).await {
            Ok(answer) if answer.value.len() == reports.len() => {
                let answers = reports.iter().zip(answer.value);
                answers.map(|(report, settled)| self.settled(report, settled)).collect()
            }
            Ok(_) => reports.iter().map(|_| Err(EngineError::Unavailable)).collect(),
            Err(error) => match refusal(&error) {
                EngineError::Refused(_) if reports.len() > 1 => {
                    let mut answers = Vec::with_capacity(reports.len());
                    for report in reports {
                        answers.extend(Box::pin(self.settle(vec![report])).await);
                    }
                    answers
                }
                EngineError::Refused(why) => vec![Err(EngineError::Refused(why))],
                _ => reports.iter().map(|_| Err(EngineError::Unavailable)).collect(),
            },
        }
    }

    fn settled(&self, report: &Report, settled: SettledReport) -> Result<(), EngineError> {
        let Some(error) = settled.error else {
            lock(&self.resting).remove(&report.key());
            return Ok(());
        };
        let Report { step, attempt, worker, .. } = *report;
        match error.code.as_str() {
            "StaleAttempt" | "NotFound" => Err(Stale { step, attempt, worker }.into()),
            "DatabaseUnavailable" | "Overloaded" | "ShuttingDown" => Err(EngineError::Unavailable),
            _ => Err(EngineError::Refused(error.message)),
        }
    }

    async fn data(&self, asked: DataRequest) -> Result<crate::wire::DataAnswer, EngineError> {
        self.client.data(&asked).await.map_err(|error| refusal(&error))
    }
}

/// How many bytes a report has, about.
fn bytes_of(report: &Report) -> usize {
    let record = report.record.as_ref();
    let values = record.map(|record| [&record.exception, &record.result, &record.usage]);
    let length = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.to_string().len());
    200 + values.map_or(0, |values| values.into_iter().map(length).sum())
}

impl WorkSource for RemoteSource {
    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    fn terms(&self) -> LeaseTerms {
        self.inner.terms
    }

    async fn assignments(&self) -> Vec<Assignment> {
        let mut assigned = self.assigned.lock().await;
        match assigned.recv().await {
            Some(assignments) => assignments,
            // The poll has ended because the lease is lost, which the next heartbeat finds out.
            None => std::future::pending().await,
        }
    }

    async fn settle(&self, reports: Vec<Report>, _again: bool) -> Vec<Result<(), EngineError>> {
        let mut answers = Vec::with_capacity(reports.len());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for report in reports {
            let size = bytes_of(&report);
            if bytes + size > REPORT_BYTES_MAX && !batch.is_empty() {
                answers.extend(self.inner.settle(std::mem::take(&mut batch)).await);
                bytes = 0;
            }
            bytes += size;
            batch.push(report);
        }
        answers.extend(self.inner.settle(batch).await);
        answers
    }

    async fn heartbeat(&self) -> Result<Option<Vec<Order>>, EngineError> {
        self.inner.heartbeat().await
    }

    async fn ordered(&self) {
        self.inner.ordered.notified().await;
    }

    async fn orders(&self) -> Result<Vec<Order>, EngineError> {
        // A heartbeat more does no harm.
        Ok(self.inner.heartbeat().await?.unwrap_or_default())
    }

    fn rest(&self, attempt: AttemptKey) {
        lock(&self.inner.resting).insert(attempt);
        self.inner.changed.notify_one();
    }

    async fn ask(&self, prompt: &NewPrompt) -> Result<bool, EngineError> {
        match self.inner.client.ask(&convert::prompt(prompt)).await {
            Ok(()) => Ok(true),
            Err(error) if is_lost(&error) => Ok(false),
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn reply_before(&self, key: AttemptKey) -> Result<Option<ReplyView>, EngineError> {
        let replies = self.inner.client.reply_before(of(key)).await;
        let replies = replies.map_err(|error| refusal(&error))?;
        Ok(replies.value.into_iter().next().map(convert::reply))
    }

    async fn close_prompts(&self, key: AttemptKey) -> Result<Vec<ReplyView>, EngineError> {
        let replies = self.inner.client.close_prompts(of(key)).await;
        let replies = replies.map_err(|error| refusal(&error))?;
        Ok(replies.value.into_iter().map(convert::reply).collect())
    }

    async fn append_messages(&self, messages: &[StepMessage]) -> Result<(), EngineError> {
        let messages = messages.iter().map(convert::message).collect();
        let stored = self.inner.client.append_messages(&MessagesRequest { messages }).await;
        stored.map_err(|error| refusal(&error))
    }

    async fn mail(&self, listening: &[AttemptKey]) -> Result<Vec<Mail>, EngineError> {
        let listening = listening.iter().copied().map(of).collect();
        let mail = self.inner.client.mail(listening).await.map_err(|error| refusal(&error))?;
        let replies = mail.replies.into_iter().map(|reply| Mail::Reply(convert::reply(reply)));
        let messages =
            mail.messages.into_iter().map(|message| Mail::Message(convert::due_message(message)));
        Ok(replies.chain(messages).collect())
    }

    async fn passed_on(&self, mail: &Mail) -> Result<(), EngineError> {
        let noted = self.inner.client.passed_on(convert::passed_on(mail)).await;
        noted.map_err(|error| refusal(&error))
    }

    async fn append_output(&self, pieces: &[OutputPiece]) -> Result<(), EngineError> {
        let pieces = pieces.iter().map(convert::piece).collect();
        let stored = self.inner.client.append_output(&OutputRequest { pieces }).await;
        stored.map_err(|error| refusal(&error))
    }

    async fn context(&self, operation: Uuid) -> Result<Value, EngineError> {
        let asked = DataRequest { operation, context: true, edits: false, results: Vec::new() };
        let context = self.inner.data(asked).await?.context;
        Ok(if context.is_object() { context } else { Value::Object(Map::new()) })
    }

    async fn results(
        &self,
        operation: Uuid,
        steps: &[i32],
    ) -> Result<Vec<(i32, Value)>, EngineError> {
        let results = steps.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
        let asked = DataRequest { operation, context: false, edits: false, results };
        let found = self.inner.data(asked).await?.results.into_iter();
        Ok(found.filter_map(|(n, value)| Some((i32::try_from(n).ok()?, value))).collect())
    }

    async fn edits(&self, operation: Uuid) -> Result<Value, EngineError> {
        let asked = DataRequest { operation, context: false, edits: true, results: Vec::new() };
        Ok(self.inner.data(asked).await?.edits)
    }

    async fn ended(&self, operations: &[Uuid], age: Duration) -> Result<Vec<Uuid>, EngineError> {
        let (operations, age_seconds) = (operations.to_vec(), age.as_secs_f64());
        let asked = EndedRequest { operations, age_seconds };
        self.inner.client.ended(&asked).await.map_err(|error| refusal(&error))
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }

    fn close(&self) {
        self.inner.closing.store(true, Ordering::Relaxed);
        self.inner.changed.notify_one();
    }

    async fn leave(&self) -> Result<(), EngineError> {
        self.inner.client.leave().await.map_err(|error| refusal(&error))
    }
}
