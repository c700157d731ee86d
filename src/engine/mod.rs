//! Load, decide, store: what turns the pure decisions of [`domain`](crate::domain) into durable ones.
//!
//! Commands go to *lanes*: tasks that own the operations whose ids fall to them and carry out
//! commands in batches, each batch one transaction of a constant number of statements. So all
//! writes of one operation by this process come one after the other, while concurrent requests share
//! the cost of a commit. Several processes may work on one database: the version of an operation
//! decides who was first, the other loads it afresh and decides again. Nothing but the rows is needed
//! to go on after a crash. Only operations that are asked for by the thousand are stored beside the
//! lanes, which find them in the queue.
//!
//! A process has a *seat* for each worker that it gives attempts to: its own, and those that talk to
//! it from elsewhere. Claims are made where the free slots are: in the transaction that settles what
//! was finished, in the one that stores a new operation, and otherwise from the queue of operations
//! with something to claim. Each makes sure that the workers it gives attempts to hold their leases.
//!
//! A worker that is not heard of for its lease is lost: its attempts are Unresponsive. Until its
//! incarnation is ended, by one statement, it may come back and they go on; after that they are given
//! to others and nothing that it says counts. Who counts which time says
//! [`LeaseTerms`](crate::domain::LeaseTerms). The whole protocol, from the submission of an operation to
//! its end under crashes, stops and lost messages, is a model that is walked through in every order in
//! `tests/protocol/model.rs`: what is changed here is changed there first.
//!
//! Rejected: a transaction per request (a tenth of the throughput), and a lock per operation held by
//! the process that runs it (recovery would have to wait for its lease).

mod admission;
mod bulk;
mod causality;
mod clock;
mod command;
mod deal;
mod doubt;
mod duty;
mod ends;
mod error;
mod idempotency;
mod jobsets;
mod lane;
mod live;
mod lookup;
mod maintain;
mod news;
mod people;
mod place;
mod query;
mod remote;
mod retention;
mod seat;
mod standing;
mod steer;
mod submit;
mod tokens;
mod turn;
mod watch;
mod work;

pub use crate::domain::operation::created_at;
pub use crate::store::lower::operation_model;
pub use crate::store::{
    AttemptKey, AttemptReport, AttemptView, DueMessage, EventView, FROM_STEP, FindAsked, Heartbeat,
    KeyKind, Keyset, Known, LastMove, MessagePlace, MessageView, NewPrompt, OperationView, Order,
    OutputOf, OutputPiece, OutputStart, OutputView, PromptKey, PromptPlace, PromptView,
    PromptsAsked, ReplyView, SecretHash, StepMessage, Store, StoreError, StoreSettings,
    SubmissionKey, TokenView, WorkerView, own_id, shown_id,
};
pub use bulk::{AllAccepted, RunAsked};
pub use causality::{Mark, SHARERS_MAX, Span, Suspect, Suspects, covering};
pub use command::{
    ContextPatch, Edit, Report, SteerAnswer, SteerAsked, SteerOrder, StopAnswer, StopAsked,
};
pub use error::EngineError;
pub use idempotency::{Accepted, CLIENT_AHEAD_MAX, Identity};
pub use jobsets::{Compiled, DecodeDefinition};
pub use live::{
    AttemptForOutput, Cursor, EventFollower, EventNames, Followed, LiveEvent, LiveOutput,
    OutputFollower, RingFollowed, RingFollower,
};
pub use people::{MESSAGES_MAX, Mail, Receiver, Replied};
pub use query::{FAILURES_MAX, Found};
pub use remote::{Polled, RemoteSeat, RemoteSeats};
pub use retention::Retention;
pub use seat::Assignment;
pub use tokens::{Secret, TOKENS_FRESH, TOKENS_MAX, create_token};
pub use watch::Watch;
pub use work::{SeatSpec, WorkerSeat};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::clock::Clock;
use self::command::{Ask, Command};
use self::duty::Duty;
use self::jobsets::Jobsets;
use self::lane::{Lane, LaneHandle};
use self::live::Live;
use self::lookup::Lookups;
use self::news::News;
use self::seat::Seats;
use self::tokens::Tokens;
use self::watch::Watches;
use crate::domain::{Definition, Limits};

/// How the engine works.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// What people call the process.
    pub name: String,
    /// How many lanes there are.
    pub lanes: usize,
    /// How many commands may wait per lane before new ones are refused.
    pub queue: usize,
    /// What a jobset may have at the most.
    pub limits: Limits,
    /// How often lost workers, deadlines and the queue are looked at.
    pub poll_interval: Duration,
    /// How often a step is given to another worker because its worker was lost.
    pub infra_retries: u32,
    /// How long attempts of a worker that lost its lease are Unresponsive before others get them. Of
    /// workers that register here.
    pub requeue_after: Duration,
    /// Whether the causal order of the events of new operations is kept.
    pub stamps: bool,
    /// For how long a submission that is repeated makes nothing new.
    pub repeatability_window: Duration,
    /// How long a process that is not heard of keeps a duty that one process has for all: lost
    /// workers, deadlines, partitions, retention. It is renewed three times in that time.
    pub duty_lease: Duration,
    /// For how long operations are kept; `None` for a process that leaves that to others.
    pub retention: Option<Retention>,
    /// By how much longer an operation must have waited than one whose priority is higher by 1, to go
    /// before it. The same for all servers on one database.
    pub ageing: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            lanes: 2,
            queue: 10_000,
            limits: Limits::default(),
            poll_interval: Duration::from_secs(1),
            infra_retries: 3,
            requeue_after: Duration::from_secs(2),
            stamps: true,
            repeatability_window: Duration::from_hours(24),
            duty_lease: Duration::from_secs(3),
            retention: None,
            ageing: Duration::from_secs(30),
        }
    }
}

/// Locks, whatever happened to a thread that held it before: what is kept behind our locks is
/// consistent after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the tasks of the engine share.
#[derive(Debug)]
struct Shared {
    store: Store,
    /// No other process has it.
    name: Arc<str>,
    settings: EngineSettings,
    clock: Clock,
    /// What this process is called where it takes duties.
    holder: Uuid,
    jobsets: Jobsets,
    lanes: Vec<LaneHandle>,
    /// Held by the lane that is at work, while other processes work on the database as well.
    turns: tokio::sync::Mutex<()>,
    seats: Seats,
    lookups: Lookups,
    watches: Arc<Watches>,
    live: Live,
    news: News,
    /// Something may have to be admitted.
    admission: Notify,
    tokens: Tokens,
    stopped: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    fn lane_of(&self, operation: Uuid) -> &LaneHandle {
        let last = operation.as_bytes()[15];
        &self.lanes[usize::from(last) % self.lanes.len()]
    }

    /// Refuses what would have to wait for a place.
    fn try_send(&self, command: Command) -> Result<(), EngineError> {
        let lane = self.lane_of(command.operation());
        lane.sender.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::ShuttingDown,
        })
    }

    async fn send(&self, command: Command) -> Result<(), EngineError> {
        let lane = self.lane_of(command.operation());
        lane.sender.send(command).await.map_err(|_| EngineError::ShuttingDown)
    }

    /// Looks for something to claim at `due`.
    fn look_at(self: &Arc<Self>, lane: usize, due: DateTime<Utc>) {
        let wait = (due - self.clock.now()).to_std().unwrap_or_default();
        // The poll finds whatever is due later.
        if wait > self.settings.poll_interval {
            return;
        }
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                // A millisecond more than needed: the timer's and the database's clock differ.
                () = tokio::time::sleep(wait + Duration::from_millis(1)) => {
                    shared.lanes[lane].look_for_due();
                }
                () = shared.stopped.cancelled() => {}
            }
        });
    }
}

/// Begins to ask for a duty whenever nobody else has it.
fn take_on(shared: &Arc<Shared>, name: &'static str) -> Arc<Duty> {
    let duty = Arc::new(Duty::new(name));
    shared.tasks.spawn(duty::hold(Arc::clone(shared), Arc::clone(&duty)));
    duty
}

/// The engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Starts the engine on a database whose schema is up to date.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn start(
        store: Store,
        settings: EngineSettings,
        decode: DecodeDefinition,
    ) -> Result<Self, EngineError> {
        let clock = Clock::new(store.now().await?);
        let (handles, inboxes): (Vec<_>, Vec<_>) = (0..settings.lanes.max(1))
            .map(|_| {
                let (sender, inbox) = mpsc::channel(settings.queue);
                (LaneHandle::new(sender), inbox)
            })
            .unzip();
        let (lookups, questions) = Lookups::new(settings.queue);
        let shared = Arc::new(Shared {
            jobsets: Jobsets::new(settings.limits, decode),
            store,
            name: format!("{}.{}", settings.name, &Secret::random("").reveal()[..8]).into(),
            settings,
            holder: clock.new_id(),
            clock,
            lanes: handles,
            turns: tokio::sync::Mutex::default(),
            seats: Seats::default(),
            lookups,
            watches: Arc::default(),
            live: Live::default(),
            news: News::default(),
            admission: Notify::new(),
            tokens: Tokens::default(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for (index, inbox) in inboxes.into_iter().enumerate() {
            shared.tasks.spawn(Lane::new(Arc::clone(&shared), index, inbox).work());
        }
        let maintenance = take_on(&shared, maintain::MAINTENANCE);
        shared.tasks.spawn(maintain::maintain(Arc::clone(&shared), maintenance));
        if let Some(retention) = shared.settings.retention {
            let duty = take_on(&shared, retention::RETENTION);
            shared.tasks.spawn(retention::retain(Arc::clone(&shared), duty, retention));
        }
        lookup::start(&shared, questions);
        shared.tasks.spawn(watch::look(Arc::clone(&shared)));
        shared.tasks.spawn(news::speak(Arc::clone(&shared)));
        shared.tasks.spawn(news::hear(Arc::clone(&shared)));
        shared.tasks.spawn(admission::admit(Arc::clone(&shared)));
        shared.tasks.spawn(live::feed(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Checks a definition. `document` is its canonical text, by which equal ones are recognised.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] with everything that is wrong with it.
    pub fn compile(
        &self,
        document: String,
        definition: Definition,
    ) -> Result<Arc<Compiled>, EngineError> {
        self.shared.jobsets.compile(document, definition)
    }

    /// Makes an operation. When this answers, it is durable.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`], [`EngineError::Unavailable`].
    pub async fn submit(
        &self,
        jobset: Arc<Compiled>,
        labels: Option<Value>,
        context: Option<Value>,
    ) -> Result<(Uuid, DateTime<Utc>), EngineError> {
        let made = self.submit_once(jobset, labels, context, None).await?;
        Ok((made.id, made.at))
    }

    /// Ends an operation before its natural end.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::NotCancellable`],
    /// [`EngineError::VersionMismatch`], [`EngineError::Unavailable`].
    pub async fn stop(&self, asked: StopAsked) -> Result<StopAnswer, EngineError> {
        let (ask, answer) = Ask::new(asked);
        self.shared.send(Command::Stop(ask)).await?;
        answer.await.map_err(|_| EngineError::ShuttingDown)?
    }

    /// Changes the context of an operation; answers it and its version.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Ended`], [`EngineError::VersionMismatch`],
    /// [`EngineError::Unavailable`].
    pub async fn patch_context(&self, patch: ContextPatch) -> Result<(Value, i32), EngineError> {
        let (ask, answer) = Ask::new(patch);
        self.shared.send(Command::Patch(ask)).await?;
        answer.await.map_err(|_| EngineError::ShuttingDown)?
    }

    /// Watches an operation for changes.
    #[must_use]
    pub fn watch(&self, operation: Uuid) -> Watch {
        self.shared.watches.watch(operation)
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Says whether commands can be carried out.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`], [`EngineError::Unavailable`].
    pub async fn check_writable(&self) -> Result<(), EngineError> {
        Ok(self.shared.store.check_writable().await?)
    }

    /// The time by the clock of the database.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// A new id, by the same clock.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.shared.clock.new_id()
    }

    /// How long requests wait for a place in a lane: commands that wait now.
    #[must_use]
    pub fn queued(&self) -> usize {
        let lanes = &self.shared.lanes;
        lanes.iter().map(|lane| lane.sender.max_capacity() - lane.sender.capacity()).sum()
    }

    /// Stops all tasks. What is not durable by then was not acknowledged.
    pub async fn shut_down(&self) {
        self.shared.stopped.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}
