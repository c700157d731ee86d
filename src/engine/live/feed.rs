//! The feeder: reads what is new, once for all followers of the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::{Live, LiveEvent, LiveOutput, Pending, RETRY, Span, StepKey};
use crate::engine::{EngineError, Shared, lock};
use crate::store::OutputPlace;

/// How often everything that is followed is looked at while other processes take part.
const POLL: Duration = Duration::from_secs(1);
/// Operations, or steps, asked about by one statement.
const TARGETS_MAX: usize = 500;
/// Events of an operation read by one statement.
const EVENTS_MAX: usize = 500;
/// Pieces of output of a step read by one statement.
const PIECES_MAX: usize = 50;

/// Feeds the followers until the engine stops.
pub(in crate::engine) async fn feed(shared: Arc<Shared>) {
    let live = &shared.live;
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = live.wake.notified() => {}
            _ = poll.tick() => {
                live.ring.expire();
                live.look_for_peers(shared.news.has_peers());
            }
            () = shared.stopped.cancelled() => return,
        }
        let pending = std::mem::take(&mut *lock(&live.pending));
        if let Err(error) = shared.bring(&pending).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "engine.live.failed");
            live.put_back(pending);
            tokio::select! {
                () = tokio::time::sleep(RETRY) => live.wake.notify_one(),
                () = shared.stopped.cancelled() => return,
            }
        }
    }
}

impl Live {
    fn put_back(&self, taken: Pending) {
        let mut pending = lock(&self.pending);
        for (id, span) in taken.operations {
            let joined = pending.operations.get(&id).map_or(span, |known| known.join(span));
            pending.operations.insert(id, joined);
        }
        pending.outputs.extend(taken.outputs);
        pending.all |= taken.all;
        pending.gap |= taken.gap;
    }

    /// Which operations are to be read, and after which event.
    fn targets(&self, pending: &Pending) -> HashMap<Uuid, i32> {
        let mut targets: HashMap<Uuid, i32> =
            if pending.all { self.events.all().into_iter().collect() } else { HashMap::new() };
        for (id, span) in &pending.operations {
            let followed = self.events.fed(id).filter(|fed| *fed < span.to);
            let ring = self.ring.after(id, *span);
            if let Some(after) = followed.into_iter().chain(ring).min() {
                let lowest = targets.entry(*id).or_insert(after);
                *lowest = after.min(*lowest);
            }
        }
        targets
    }
}

impl Shared {
    async fn bring(&self, pending: &Pending) -> Result<(), EngineError> {
        let mut targets: Vec<_> = self.live.targets(pending).into_iter().collect();
        while !targets.is_empty() {
            let rest = targets.split_off(targets.len().min(TARGETS_MAX));
            let unread = self.bring_events(&targets, &pending.operations).await?;
            targets = unread;
            targets.extend(rest);
        }
        let mut outputs: Vec<_> = if pending.all {
            self.live.outputs.all()
        } else {
            let fed = |key: &StepKey| Some((*key, self.live.outputs.fed(key)?));
            pending.outputs.iter().filter_map(fed).collect()
        };
        while !outputs.is_empty() {
            let rest = outputs.split_off(outputs.len().min(TARGETS_MAX));
            let unread = self.bring_output(&outputs).await?;
            outputs = unread;
            outputs.extend(rest);
        }
        if pending.gap {
            self.live.ring.gap();
        }
        Ok(())
    }

    /// Answers which operations have more than was read, and after which event.
    async fn bring_events(
        &self,
        targets: &[(Uuid, i32)],
        spans: &HashMap<Uuid, Span>,
    ) -> Result<Vec<(Uuid, i32)>, EngineError> {
        let limit = i64::try_from(EVENTS_MAX).unwrap_or(i64::MAX);
        let rows = self.store.events_after(targets, limit).await?;
        let mut unread = Vec::new();
        for rows in rows.chunk_by(|left, right| left.operation == right.operation) {
            let [first, ..] = rows else { continue };
            let id = first.operation;
            let compiled = self.jobsets.get(&self.store, first.jobset).await?;
            let events: Vec<_> = rows
                .iter()
                .map(|row| LiveEvent::new(id, row.alias.as_deref(), &compiled, row.event.clone()))
                .map(Arc::new)
                .collect();
            if let Some(after) = spans.get(&id).and_then(|span| self.live.ring.after(&id, *span)) {
                self.live.ring.tell(id, after, &events);
            }
            if let (Some(last), EVENTS_MAX) = (events.last(), events.len()) {
                unread.push((id, last.view.seq));
            }
            self.live.events.tell(&id, events);
        }
        Ok(unread)
    }

    async fn bring_output(
        &self,
        targets: &[(StepKey, (i32, i32))],
    ) -> Result<Vec<(StepKey, (i32, i32))>, EngineError> {
        let places: Vec<_> = targets
            .iter()
            .map(|((operation, step), (attempt, seq))| OutputPlace {
                operation: *operation,
                step: *step,
                attempt: *attempt,
                seq: *seq,
            })
            .collect();
        let limit = i64::try_from(PIECES_MAX).unwrap_or(i64::MAX);
        let rows = self.store.output_after(&places, limit).await?;
        let mut unread = Vec::new();
        for rows in rows
            .chunk_by(|left, right| (left.operation, left.step) == (right.operation, right.step))
        {
            let [first, ..] = rows else { continue };
            let key = (first.operation, first.step);
            if let (Some(last), PIECES_MAX) = (rows.last(), rows.len()) {
                unread.push((key, (last.attempt, last.piece.seq)));
            }
            let pieces = rows
                .iter()
                .map(|row| LiveOutput { attempt: row.attempt, piece: row.piece.clone() });
            self.live.outputs.tell(&key, pieces.map(Arc::new));
        }
        Ok(unread)
    }
}
