//! Following what an attempt of a step writes.

use std::sync::Arc;

use uuid::Uuid;

use super::events::{EventFollower, Followed};
use super::topic::{Batch, Missed, Subscription};
use super::{LiveEvent, LiveOutput, StepKey};
use crate::domain::{Phase, StepState};
use crate::engine::query::Found;
use crate::engine::{Engine, EngineError, Shared};

/// Pieces read from the store at once; a piece has some kilobytes.
const PAGE: usize = 100;

/// Tells what an attempt writes: what is stored, then what comes, until the attempt has ended.
#[derive(Debug)]
pub struct OutputFollower {
    shared: Arc<Shared>,
    operation: Uuid,
    step: i32,
    /// `None` while no attempt has begun.
    attempt: Option<i32>,
    /// Tells when the attempt begins and ends.
    events: EventFollower,
    /// `None` until what is stored was read once.
    subscription: Option<Subscription<StepKey, LiveOutput>>,
    /// The number of the piece that was told last.
    seen: i32,
    /// There may be something in the store that the channel does not tell.
    behind: bool,
    ended: bool,
}

impl Engine {
    /// Follows the output of step `n` of an operation that was found: of `attempt`, or else of its
    /// latest attempt, or else of the first one to come; from the piece after number `after` on.
    /// `None` when there is no such attempt.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn follow_output(
        &self,
        found: &Found,
        n: u32,
        attempt: Option<i32>,
        after: i32,
    ) -> Result<Option<OutputFollower>, EngineError> {
        let of = self.attempt_for_output(found, n, attempt).await?;
        // The first one may be waited for by its number.
        if of.attempt < 0 || of.attempt > of.last.max(1) || attempt == Some(0) {
            return Ok(None);
        }
        let (operation, version) = (found.view.id, found.view.version);
        Ok(Some(OutputFollower {
            shared: Arc::clone(&self.shared),
            operation,
            step: i32::try_from(n).unwrap_or(i32::MAX),
            attempt: Some(of.attempt).filter(|_| of.last > 0),
            events: self.follow_events(found, version),
            subscription: None,
            seen: after,
            behind: true,
            ended: of.has_ended,
        }))
    }

    /// The attempt of step `n` whose output is asked for: `attempt`, which may not exist, or else the
    /// latest one.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn attempt_for_output(
        &self,
        found: &Found,
        n: u32,
        attempt: Option<i32>,
    ) -> Result<AttemptForOutput, EngineError> {
        let (operation, version) = (found.view.id, found.view.version);
        let step = i32::try_from(n).unwrap_or(i32::MAX);
        // The attempt as it was when the state was read: both are of the same version.
        let last = self.shared.store.last_attempt(operation, step, version).await?;
        let chosen = attempt.unwrap_or(last);
        let state = found.view.steps[n as usize];
        let has_ended = found.view.state.is_final()
            || if last == 0 {
                state.is_ended()
            } else {
                // One that its step has left is still being ended.
                let is_held = found.view.open.get(&n).is_some_and(|open| open.holder.is_some());
                chosen < last || state.phase() != Phase::Active && !is_held
            };
        Ok(AttemptForOutput { attempt: chosen, last, has_ended })
    }
}

/// An attempt whose output is asked for.
#[derive(Clone, Copy, Debug)]
pub struct AttemptForOutput {
    /// Its number; 0 when it was not named and none has begun.
    pub attempt: i32,
    /// The number of the step's latest attempt; 0 when none has begun.
    pub last: i32,
    /// Whether it writes nothing any more.
    pub has_ended: bool,
}

impl OutputFollower {
    /// The attempt that is followed; `None` while none has begun.
    #[must_use]
    pub const fn attempt(&self) -> Option<i32> {
        self.attempt
    }

    /// The pieces that come next; `None` at the end. May be dropped while it waits, without loss.
    ///
    /// # Errors
    /// As for any question to the store; but a database that is away is waited for.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<LiveOutput>>>, EngineError> {
        loop {
            let Some(attempt) = self.attempt else {
                if self.ended {
                    return Ok(None);
                }
                let followed = self.events.next().await?;
                self.notice(&followed);
                continue;
            };
            if self.behind {
                let pieces = self.read_on(attempt).await?;
                if !pieces.is_empty() {
                    return Ok(Some(pieces));
                }
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            let Some(subscription) = &mut self.subscription else {
                self.behind = true;
                continue;
            };
            tokio::select! {
                told = subscription.next() => match told {
                    Ok(batch) => {
                        let pieces = self.take(attempt, &batch);
                        if !pieces.is_empty() {
                            return Ok(Some(pieces));
                        }
                    }
                    Err(Missed) => self.behind = true,
                },
                followed = self.events.next() => {
                    let followed = followed?;
                    self.notice(&followed);
                }
            }
        }
    }

    fn take(&mut self, attempt: i32, batch: &Batch<LiveOutput>) -> Vec<Arc<LiveOutput>> {
        let mut pieces = Vec::new();
        for piece in batch.iter().filter(|piece| piece.attempt == attempt) {
            if piece.piece.seq == self.seen.saturating_add(1) {
                self.seen = piece.piece.seq;
                pieces.push(Arc::clone(piece));
            } else {
                self.behind |= piece.piece.seq > self.seen;
            }
        }
        pieces
    }

    /// Reads from the store. An attempt is reported only after its output was stored, so once it
    /// has ended, what is read is the rest.
    async fn read_on(&mut self, attempt: i32) -> Result<Vec<Arc<LiveOutput>>, EngineError> {
        let (store, operation, step, seen) =
            (&self.shared.store, self.operation, self.step, self.seen);
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let read = || store.output(operation, step, attempt, seen, limit);
        let page = self.shared.read_for_follower(read).await?;
        self.seen = page.last().map_or(seen, |last| last.seq);
        if page.len() < PAGE {
            let has_channel = self.subscription.is_some();
            if !has_channel && !self.ended {
                let (topics, place) = (&self.shared.live.outputs, (attempt, self.seen));
                self.subscription = Some(topics.follow((operation, step), place));
            }
            // What was stored before the channel stood must be read once more.
            self.behind = !has_channel && !self.ended;
        }
        Ok(page.into_iter().map(|piece| Arc::new(LiveOutput { attempt, piece })).collect())
    }

    fn notice(&mut self, followed: &Followed) {
        match followed {
            Followed::Events(events) => {
                for event in events {
                    self.notice_event(event);
                }
            }
            Followed::Ended(_) => self.end(),
        }
    }

    fn notice_event(&mut self, event: &LiveEvent) {
        let view = &event.view;
        if view.step != Some(self.step) || self.ended {
            return;
        }
        match self.attempt {
            None if view.to.is_some_and(|to| to.phase() == Phase::Active) => {
                self.attempt = view.attempt;
            }
            None => self.ended = view.to.is_some_and(StepState::is_ended),
            Some(attempt) => {
                let is_later = view.attempt.is_some_and(|told| told > attempt);
                if is_later || event.ends_attempt {
                    self.end();
                }
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.behind = true;
    }
}
