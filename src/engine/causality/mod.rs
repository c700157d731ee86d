//! Who could have disturbed whom: attempts that ran causally concurrent.
//!
//! Within an operation the stamps of events tell what happened before what. Operations that name the
//! same resource in a label touch the same things outside; what they knew of each other is told by
//! ties: all that had happened in the other one when an operation was submitted happened before it,
//! everything else between the two is concurrent.
//!
//! Everything is decided in memory from a handful of statements, whatever the number of operations:
//! the events of the own operation, the operations that share a resource, their ties, their events,
//! and the jobsets that are not cached.
//!
//! Rejected: one clock over all operations that share a resource. It would be a row that all of them
//! write with every batch.

mod attempts;
mod sharing;
#[cfg(test)]
mod tests;

pub use attempts::{Mark, Span, covering};

use attempts::spans;
use sharing::{Order, shared_resource};

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::error::EngineError;
use super::query::Found;
use super::{Engine, created_at};
use crate::domain::resources;
use crate::store::{EventView, Sharer, SharersAsked};

/// How many operations that share a resource are looked at: the newest ones.
pub const SHARERS_MAX: usize = 1_000;
/// How many events of theirs are looked at: those of the newest operations.
const SHARED_EVENTS_MAX: usize = 200_000;
/// Within this time two operations count as submitted at the same moment: neither may know of the
/// other.
const SAME_MOMENT: TimeDelta = TimeDelta::minutes(1);
/// The clocks of several servers, which name operations, differ by less.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(1);

/// The attempts that ran causally concurrent with one.
#[derive(Clone, Debug)]
pub struct Suspects {
    /// The attempt that is asked about.
    pub span: Span,
    /// The others, the one that began last first.
    pub suspects: Vec<Suspect>,
}

/// An attempt that ran causally concurrent with another one.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The operation that it belongs to.
    pub operation: Uuid,
    /// The id that the client of that operation chose.
    pub alias: Option<String>,
    /// The name of its step.
    pub step: String,
    /// The name of the state of its step.
    pub state: String,
    /// When it ran.
    pub span: Span,
    /// What both operations share, if it is another one.
    pub resource: Option<String>,
}

/// What is at hand of the operation that is asked about.
struct Own<'a> {
    found: &'a Found,
    span: &'a Span,
    submitted: DateTime<Utc>,
}

impl Engine {
    /// The attempts of an operation, in the order in which they began.
    ///
    /// # Errors
    /// [`EngineError::Unstamped`]; otherwise as for any question to the store.
    pub async fn attempts(&self, found: &Found) -> Result<Vec<Span>, EngineError> {
        let events = self.attempt_events(found).await?;
        stamped(spans(&events, &found.compiled.jobset))
    }

    /// The attempts that ran causally concurrent with `attempt`, or with the last attempt, of step
    /// `n`: those of its own operation and of up to [`SHARERS_MAX`] that share a resource.
    ///
    /// # Errors
    /// [`EngineError::NoAttempt`], [`EngineError::Unstamped`]; otherwise as for any question to the
    /// store.
    pub async fn suspects(
        &self,
        found: &Found,
        n: u32,
        attempt: Option<u32>,
    ) -> Result<Suspects, EngineError> {
        let jobset = &found.compiled.jobset;
        let events = self.attempt_events(found).await?;
        let spans = stamped(spans(&events, jobset))?;
        let last = spans.iter().rfind(|span| span.step == n).map_or(0, |span| span.attempt);
        let chosen = attempt.unwrap_or(last);
        let is_chosen = |span: &&Span| span.step == n && span.attempt == chosen;
        let span = spans.iter().find(is_chosen);
        let span = span.ok_or(EngineError::NoAttempt { attempt: chosen, last })?.clone();
        let mut suspects: Vec<Suspect> = spans
            .into_iter()
            .filter(|other| *other != span && other.is_concurrent_with(&span))
            .map(|other| Suspect {
                operation: found.view.id,
                alias: found.view.alias.clone(),
                step: jobset.step(other.step).definition.name.clone(),
                state: jobset.state_name(other.step, other.state).to_owned(),
                span: other,
                resource: None,
            })
            .collect();
        let submitted = events.first().map_or_else(|| created_at(found.view.id), |event| event.at);
        suspects.extend(self.elsewhere(&Own { found, span: &span, submitted }).await?);
        suspects.sort_by_key(|other| {
            let begin = &other.span.begin;
            std::cmp::Reverse((begin.at, other.operation, begin.seq))
        });
        Ok(Suspects { span, suspects })
    }

    async fn attempt_events(&self, found: &Found) -> Result<Vec<EventView>, EngineError> {
        let events = self.store().attempt_events(&[found.view.id], true, i64::MAX).await?;
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    /// Those of other operations.
    async fn elsewhere(&self, own: &Own<'_>) -> Result<Vec<Suspect>, EngineError> {
        let view = &own.found.view;
        let labels = resources(view.labels.as_ref());
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let until = if view.state.is_final() { view.entered } else { self.now() };
        let by_key = labels.iter().map(|(key, value)| json!({*key: value}));
        let by_name = labels.iter().map(|(_, value)| json!({"resource": value}));
        let sharers = self
            .store()
            .sharers(&SharersAsked {
                operation: view.id,
                until: until + CLOCKS_APART,
                moment: (own.submitted - SAME_MOMENT, own.submitted + SAME_MOMENT),
                labels: by_key.chain(by_name).collect(),
                limit: i64::try_from(SHARERS_MAX).unwrap_or(i64::MAX),
            })
            .await?;
        let shared = |sharer: &Sharer| shared_resource(&labels, &sharer.labels);
        let sharers: Vec<(Sharer, String)> = sharers
            .into_iter()
            .filter_map(|sharer| shared(&sharer).map(str::to_owned).map(|name| (sharer, name)))
            .collect();
        if sharers.is_empty() {
            return Ok(Vec::new());
        }
        self.concurrent_in(own, sharers).await
    }

    async fn concurrent_in(
        &self,
        own: &Own<'_>,
        sharers: Vec<(Sharer, String)>,
    ) -> Result<Vec<Suspect>, EngineError> {
        let (id, view) = (own.found.view.id, &own.found.view);
        let store = self.store();
        let ids: Vec<Uuid> = sharers.iter().map(|(sharer, _)| sharer.id).collect();
        let limit = i64::try_from(SHARED_EVENTS_MAX).unwrap_or(i64::MAX);
        let (ties, events) =
            tokio::try_join!(store.ties(id, &ids), store.attempt_events(&ids, false, limit))?;
        let mut histories = by_operation(events);
        let jobsets = sharers.iter().map(|(sharer, _)| sharer.jobset);
        let jobsets = self.shared.jobsets.get_all(store, jobsets).await?;
        let ties: HashMap<(Uuid, Uuid), i32> =
            ties.into_iter().map(|tie| ((tie.operation, tie.other), tie.seen)).collect();
        let ended = |is_final: bool, entered| is_final.then_some(entered);
        let mut suspects = Vec::new();
        for (sharer, resource) in sharers {
            let Some(history) = histories.remove(&sharer.id) else { continue };
            let Some(compiled) = jobsets.get(&sharer.jobset) else { continue };
            let jobset = &compiled.jobset;
            let their_end = ended(sharer.state.is_final(), sharer.entered);
            let our_end = ended(view.state.is_final(), view.entered);
            let theirs_submitted = history.first().map_or(sharer.entered, |event| event.at);
            let order = Order {
                theirs: Order::seen(ties.get(&(id, sharer.id)), their_end, own.submitted),
                ours: Order::seen(ties.get(&(sharer.id, id)), our_end, theirs_submitted),
            };
            let spans = spans(&history, jobset).into_iter();
            suspects.extend(spans.filter(|span| order.is_concurrent(own.span, span)).map(|span| {
                Suspect {
                    operation: sharer.id,
                    alias: sharer.alias.clone(),
                    step: jobset.step(span.step).definition.name.clone(),
                    state: jobset.state_name(span.step, span.state).to_owned(),
                    resource: Some(resource.clone()),
                    span,
                }
            }));
        }
        Ok(suspects)
    }
}

/// Refuses attempts whose order nobody knows.
fn stamped(spans: Vec<Span>) -> Result<Vec<Span>, EngineError> {
    let marks = spans.iter().flat_map(|span| [Some(&span.begin), span.end.as_ref()]).flatten();
    let seq = marks.filter(|mark| mark.stamp.is_none()).map(|mark| mark.seq).next();
    seq.map_or(Ok(spans), |seq| Err(EngineError::Unstamped { seq }))
}

/// The histories of operations one by one. If there are as many events as were asked for, the last
/// history may be cut off and is left out.
fn by_operation(events: Vec<(Uuid, EventView)>) -> HashMap<Uuid, Vec<EventView>> {
    let cut = events.last().filter(|_| events.len() >= SHARED_EVENTS_MAX).map(|(id, _)| *id);
    let mut histories: HashMap<Uuid, Vec<EventView>> = HashMap::new();
    for (operation, event) in events {
        histories.entry(operation).or_default().push(event);
    }
    if let Some(cut) = cut {
        histories.remove(&cut);
    }
    histories
}
