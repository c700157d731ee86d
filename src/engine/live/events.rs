//! Following one operation.

use std::sync::Arc;

use uuid::Uuid;

use super::LiveEvent;
use super::topic::{Batch, Missed, Subscription};
use crate::domain::OperationState;
use crate::engine::jobsets::Compiled;
use crate::engine::query::Found;
use crate::engine::{Engine, EngineError, Shared};

/// Events read from the store at once.
const PAGE: usize = 500;

/// Tells all events of an operation after a certain one: those that are stored, then those that
/// come, to the last one.
#[derive(Debug)]
pub struct EventFollower {
    shared: Arc<Shared>,
    operation: Uuid,
    alias: Option<String>,
    compiled: Arc<Compiled>,
    /// `None` for an operation that had ended when it was asked for.
    subscription: Option<Subscription<Uuid, LiveEvent>>,
    /// The number of the event that was told last.
    seen: i32,
    /// There may be something in the store that the channel does not tell.
    behind: bool,
    ended: Option<OperationState>,
}

/// What a follower is told.
#[derive(Debug)]
pub enum Followed {
    /// These events, in order.
    Events(Vec<Arc<LiveEvent>>),
    /// Nothing more comes: the operation ended in this state.
    Ended(OperationState),
}

impl Engine {
    /// Follows an operation that was found from the event after number `after` on.
    #[must_use]
    pub fn follow_events(&self, found: &Found, after: i32) -> EventFollower {
        let shared = &self.shared;
        let (id, version) = (found.view.id, found.view.version);
        let ended = Some(found.view.state).filter(|state| state.is_final());
        EventFollower {
            shared: Arc::clone(shared),
            operation: id,
            alias: found.view.alias.clone(),
            compiled: Arc::clone(&found.compiled),
            subscription: ended.is_none().then(|| shared.live.events.follow(id, version)),
            seen: after,
            // What is committed from now on is told by the channel, what was is in the store.
            behind: true,
            ended,
        }
    }
}

impl EventFollower {
    /// What comes next. May be dropped while it waits, without loss.
    ///
    /// # Errors
    /// As for any question to the store; but a database that is away is waited for.
    pub async fn next(&mut self) -> Result<Followed, EngineError> {
        loop {
            if self.behind {
                let page = self.read_on().await?;
                self.behind = page.len() == PAGE;
                if !page.is_empty() {
                    return Ok(Followed::Events(page));
                }
            } else if let Some(state) = self.ended {
                return Ok(Followed::Ended(state));
            } else {
                let told = match &mut self.subscription {
                    Some(subscription) => subscription.next().await,
                    None => Err(Missed),
                };
                let mut events = Vec::new();
                self.take(told, &mut events);
                while let (Some(subscription), false) = (&mut self.subscription, self.behind)
                    && events.len() < PAGE
                    && let Some(told) = subscription.next_now()
                {
                    self.take(told, &mut events);
                }
                if !events.is_empty() {
                    return Ok(Followed::Events(events));
                }
            }
        }
    }

    fn take(&mut self, told: Result<Batch<LiveEvent>, Missed>, events: &mut Vec<Arc<LiveEvent>>) {
        let Ok(batch) = told else {
            self.behind = true;
            return;
        };
        for event in batch.iter() {
            if event.view.seq == self.seen.saturating_add(1) {
                self.note(event);
                events.push(Arc::clone(event));
            } else {
                self.behind |= event.view.seq > self.seen;
            }
        }
    }

    /// The event by which an operation ends is its last one.
    fn note(&mut self, event: &LiveEvent) {
        self.seen = event.view.seq;
        self.ended = event.view.state.filter(|state| state.is_final()).or(self.ended);
    }

    async fn read_on(&mut self) -> Result<Vec<Arc<LiveEvent>>, EngineError> {
        let (store, id, seen) = (&self.shared.store, self.operation, self.seen);
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let page = self.shared.read_for_follower(|| store.events(id, seen, 0, limit)).await?;
        let (alias, compiled) = (self.alias.as_deref(), &self.compiled);
        let page: Vec<_> = page
            .into_iter()
            .map(|view| Arc::new(LiveEvent::new(id, alias, compiled, view)))
            .collect();
        for event in &page {
            self.note(event);
        }
        Ok(page)
    }
}
