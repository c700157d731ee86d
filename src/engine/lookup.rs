//! Operations that are asked for by their ids, many by one statement.
//!
//! As with commits, the next ones gather while a statement is under way, and where nobody else asks
//! nobody waits. A question is part of no statement that was sent before it came, so its answer knows
//! of all that was committed until then, by whichever server.
//!
//! Rejected: a cache of what was committed here or heard of. It would have to be asked whether it is
//! still right, and asking is what costs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use uuid::Uuid;

use super::Shared;
use super::error::EngineError;
use super::lane::outage;
use crate::store::{OperationView, Store};

/// Questions that are answered by one statement.
const BATCH_MAX: usize = 500;
/// Statements under way at once: one that is answered and one that is made ready.
const READERS: usize = 2;
/// How long a batch may take. A connection is waited for less long, and a statement is ended by the
/// database before; this is for a network that loses everything.
const PATIENCE: Duration = Duration::from_secs(20);

type Answer = Result<Option<OperationView>, EngineError>;

#[derive(Debug)]
pub(super) struct Question {
    id: Uuid,
    answer: oneshot::Sender<Answer>,
}

/// The way to the readers.
#[derive(Debug)]
pub(super) struct Lookups(mpsc::Sender<Question>);

impl Lookups {
    /// A way on which up to `queue` questions may wait, and its end.
    pub(super) fn new(queue: usize) -> (Self, mpsc::Receiver<Question>) {
        let (sender, inbox) = mpsc::channel(queue);
        (Self(sender), inbox)
    }

    /// The operation of that id as it is now, if there is one.
    pub(super) async fn operation(&self, id: Uuid) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = self.0.send(Question { id, answer }).await;
        asked.map_err(|_| EngineError::ShuttingDown)?;
        answered.await.map_err(|_| EngineError::ShuttingDown)?
    }
}

/// Starts to answer the questions that come in, until the engine stops.
pub(super) fn start(shared: &Arc<Shared>, inbox: mpsc::Receiver<Question>) {
    let inbox = Arc::new(Mutex::new(inbox));
    for _ in 0..READERS {
        shared.tasks.spawn(read(Arc::clone(shared), Arc::clone(&inbox)));
    }
}

async fn read(shared: Arc<Shared>, inbox: Arc<Mutex<mpsc::Receiver<Question>>>) {
    loop {
        let mut questions = Vec::new();
        let gathered = async {
            let mut inbox = inbox.lock().await;
            inbox.recv_many(&mut questions, 1).await;
            // Whoever is about to ask as well asks first; where nobody is, this takes no time.
            tokio::task::yield_now().await;
            while questions.len() < BATCH_MAX
                && let Ok(question) = inbox.try_recv()
            {
                questions.push(question);
            }
        };
        tokio::select! {
            () = gathered => {}
            () = shared.stopped.cancelled() => return,
        }
        answer(&shared.store, questions).await;
    }
}

async fn answer(store: &Store, mut questions: Vec<Question>) {
    let ids: Vec<Uuid> = questions.iter().map(|question| question.id).collect();
    let found = tokio::time::timeout(PATIENCE, store.operations(&ids)).await;
    match found.map_or(Err(EngineError::Unavailable), |found| found.map_err(EngineError::from)) {
        Ok(found) => give(found, questions),
        Err(error) if error.is_outage() => {
            for question in questions {
                _ = question.answer.send(Err(outage(&error)));
            }
        }
        Err(error) => match questions.pop() {
            Some(only) if questions.is_empty() => _ = only.answer.send(Err(error)),
            last => {
                // One of them is at fault: each is answered alone.
                for question in questions.into_iter().chain(last) {
                    Box::pin(answer(store, vec![question])).await;
                }
            }
        },
    }
}

/// Gives everybody what was found for them. Several may have asked for the same.
fn give(found: Vec<OperationView>, mut questions: Vec<Question>) {
    let mut found: HashMap<Uuid, OperationView> =
        found.into_iter().map(|view| (view.id, view)).collect();
    questions.sort_unstable_by_key(|question| question.id);
    let mut questions = questions.into_iter().peekable();
    while let Some(Question { id, answer }) = questions.next() {
        let is_last = questions.peek().is_none_or(|next| next.id != id);
        let view = if is_last { found.remove(&id) } else { found.get(&id).cloned() };
        // Whoever does not wait any more does not need it.
        _ = answer.send(Ok(view));
    }
}
