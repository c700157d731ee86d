//! Where work comes from and where outcomes go.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{Incarnation, LeaseTerms};
use crate::engine::{
    Assignment, AttemptKey, Engine, EngineError, Mail, NewPrompt, Order, OutputPiece, ReplyView,
    Report, SeatSpec, StepMessage, WorkerSeat,
};

/// One worker incarnation's way to the engine, from its registration to its end.
///
/// Everything takes many items at once. An answer means that what it is about is durable.
pub trait WorkSource: Send + Sync + 'static {
    /// The incarnation that works here.
    fn incarnation(&self) -> Incarnation;

    /// The terms of its lease, as they were set when it registered.
    fn terms(&self) -> LeaseTerms;

    /// The next attempts to run; waits until there are some.
    fn assignments(&self) -> impl Future<Output = Vec<Assignment>> + Send;

    /// Reports how attempts ended. `again`: they were reported before, without an answer. Each report
    /// has its own answer.
    fn settle(
        &self,
        reports: Vec<Report>,
        again: bool,
    ) -> impl Future<Output = Vec<Result<(), EngineError>>> + Send;

    /// Renews the lease, also one that ran out, and asks for orders; `None` when the incarnation is
    /// over.
    fn heartbeat(&self) -> impl Future<Output = Result<Option<Vec<Order>>, EngineError>> + Send;

    /// Ends when orders, replies or messages for this worker may exist.
    fn ordered(&self) -> impl Future<Output = ()> + Send;

    /// The orders that were not carried out yet.
    fn orders(&self) -> impl Future<Output = Result<Vec<Order>, EngineError>> + Send;

    /// Gives the slot of an attempt back before its end, because it only waits for a person.
    fn rest(&self, attempt: AttemptKey);

    /// Puts a question to people. `false`: the incarnation is over. Asking again changes nothing.
    fn ask(&self, prompt: &NewPrompt) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// The reply to an instruction that an earlier attempt was given after its worker was lost.
    fn reply_before(
        &self,
        of: AttemptKey,
    ) -> impl Future<Output = Result<Option<ReplyView>, EngineError>> + Send;

    /// Closes the prompts of an attempt that ends; answers the replies that came before.
    fn close_prompts(
        &self,
        of: AttemptKey,
    ) -> impl Future<Output = Result<Vec<ReplyView>, EngineError>> + Send;

    /// Stores what steps told. Storing it again changes nothing.
    fn append_messages(
        &self,
        messages: &[StepMessage],
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// What was not passed on yet: replies to all prompts of this worker, messages to `listening`.
    fn mail(
        &self,
        listening: &[AttemptKey],
    ) -> impl Future<Output = Result<Vec<Mail>, EngineError>> + Send;

    /// Notes that mail was passed on: this one and, of messages, those before it.
    fn passed_on(&self, mail: &Mail) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Stores output. Sending a piece again changes nothing.
    fn append_output(
        &self,
        pieces: &[OutputPiece],
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The context of an operation: an object, empty if it has none.
    fn context(&self, operation: Uuid) -> impl Future<Output = Result<Value, EngineError>> + Send;

    /// The results of some steps of an operation, by number.
    fn results(
        &self,
        operation: Uuid,
        steps: &[i32],
    ) -> impl Future<Output = Result<Vec<(i32, Value)>, EngineError>> + Send;

    /// What clients edited for attempts of an operation, by step number.
    fn edits(&self, operation: Uuid) -> impl Future<Output = Result<Value, EngineError>> + Send;

    /// Those of some operations that ended longer ago than `age`, or that nobody knows.
    fn ended(
        &self,
        operations: &[Uuid],
        age: Duration,
    ) -> impl Future<Output = Result<Vec<Uuid>, EngineError>> + Send;

    /// The time by the clock of the database.
    fn now(&self) -> DateTime<Utc>;

    /// Takes no more work.
    fn close(&self);

    /// Gives the lease back.
    fn leave(&self) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// Where a worker registers its incarnations.
pub trait WorkPlace: Send + Sync + 'static {
    /// What a registration gives.
    type Source: WorkSource;

    /// Registers a new incarnation.
    fn register(
        &self,
        spec: SeatSpec,
    ) -> impl Future<Output = Result<Arc<Self::Source>, EngineError>> + Send;
}

/// The engine of this process.
impl WorkPlace for Engine {
    type Source = WorkerSeat;

    async fn register(&self, spec: SeatSpec) -> Result<Arc<WorkerSeat>, EngineError> {
        self.open_seat(spec).await.map(Arc::new)
    }
}

impl WorkSource for WorkerSeat {
    fn incarnation(&self) -> Incarnation {
        self.incarnation()
    }

    fn terms(&self) -> LeaseTerms {
        self.terms()
    }

    async fn assignments(&self) -> Vec<Assignment> {
        self.assignments().await
    }

    async fn settle(&self, reports: Vec<Report>, again: bool) -> Vec<Result<(), EngineError>> {
        if again { self.settle_again(reports).await } else { self.settle(reports).await }
    }

    async fn heartbeat(&self) -> Result<Option<Vec<Order>>, EngineError> {
        Ok(self.heartbeat().await?.map(|heard| heard.orders))
    }

    async fn ordered(&self) {
        self.ordered().await;
    }

    async fn orders(&self) -> Result<Vec<Order>, EngineError> {
        self.orders().await
    }

    fn rest(&self, attempt: AttemptKey) {
        self.rest(attempt);
    }

    async fn ask(&self, prompt: &NewPrompt) -> Result<bool, EngineError> {
        self.ask(prompt).await
    }

    async fn reply_before(&self, of: AttemptKey) -> Result<Option<ReplyView>, EngineError> {
        self.reply_before(of).await
    }

    async fn close_prompts(&self, of: AttemptKey) -> Result<Vec<ReplyView>, EngineError> {
        self.close_prompts(of).await
    }

    async fn append_messages(&self, messages: &[StepMessage]) -> Result<(), EngineError> {
        self.append_messages(messages).await
    }

    async fn mail(&self, listening: &[AttemptKey]) -> Result<Vec<Mail>, EngineError> {
        self.mail(listening).await
    }

    async fn passed_on(&self, mail: &Mail) -> Result<(), EngineError> {
        self.passed_on(mail).await
    }

    async fn append_output(&self, pieces: &[OutputPiece]) -> Result<(), EngineError> {
        self.append_output(pieces).await
    }

    async fn context(&self, operation: Uuid) -> Result<Value, EngineError> {
        self.context(operation).await
    }

    async fn results(
        &self,
        operation: Uuid,
        steps: &[i32],
    ) -> Result<Vec<(i32, Value)>, EngineError> {
        self.results(operation, steps).await
    }

    async fn edits(&self, operation: Uuid) -> Result<Value, EngineError> {
        self.edits(operation).await
    }

    async fn ended(&self, operations: &[Uuid], age: Duration) -> Result<Vec<Uuid>, EngineError> {
        self.ended(operations, age).await
    }

    fn now(&self) -> DateTime<Utc> {
        self.now()
    }

    fn close(&self) {
        self.close();
    }

    async fn leave(&self) -> Result<(), EngineError> {
        self.leave().await
    }
}
