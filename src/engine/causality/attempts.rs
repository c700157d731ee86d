//! Attempts as the history tells them, and which of them happened before which.
//!
//! An attempt is the time from the claim of a worker to the event that tells that its process is
//! gone. One happened before another if its end was known where the other one began. Two of which
//! neither happened before the other are concurrent: no order of the jobset kept them apart,
//! whatever the clocks say.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::domain::{Jobset, StepState};
use crate::engine::live::ends_attempt;
use crate::itc::Stamp;
use crate::store::EventView;

/// An event by which an attempt begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the event.
    pub seq: i32,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Its stamp, where there is one and it was asked for.
    pub stamp: Option<Stamp>,
}

/// One execution of a step's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// The worker that took it.
    pub worker: Option<i64>,
    /// The state that the step entered by its end; while it runs, the one that the step is in.
    pub state: StepState,
    /// The claim.
    pub begin: Mark,
    /// The end of its process; `None` while it runs.
    pub end: Option<Mark>,
}

impl Mark {
    fn of(event: &EventView) -> Self {
        Self { seq: event.seq, at: event.at, stamp: event.stamp.clone() }
    }

    /// Whether this event is `later`, or `later` could have known of it.
    fn is_known_at(&self, later: &Self) -> bool {
        let stamps = self.stamp.as_ref().zip(later.stamp.as_ref());
        stamps.is_some_and(|(stamp, later)| stamp.leq(later))
    }
}

impl Span {
    /// Whether this attempt of an operation had ended before `other` of the same operation began, as
    /// far as that one could know.
    #[must_use]
    pub fn happened_before(&self, other: &Self) -> bool {
        // Events are numbered in an order that no stamp contradicts.
        let end = self.end.as_ref().filter(|end| end.seq <= other.begin.seq);
        end.is_some_and(|end| end.is_known_at(&other.begin))
    }

    /// Whether neither of two attempts of one operation happened before the other.
    #[must_use]
    pub fn is_concurrent_with(&self, other: &Self) -> bool {
        !self.happened_before(other) && !other.happened_before(self)
    }
}

/// The attempts that these events of one operation tell of, in the order in which they began.
///
/// Events are in order. What a fork keeps was not run by it and is no attempt of it.
#[must_use]
pub(super) fn spans(events: &[EventView], jobset: &Jobset) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    // The latest attempt of each step.
    let mut latest: HashMap<u32, usize> = HashMap::new();
    for event in events {
        let named = event.step.zip(event.attempt);
        let Some((step, attempt)) =
            named.and_then(|(step, attempt)| step.try_into().ok().zip(attempt.try_into().ok()))
        else {
            continue;
        };
        let known = latest.get(&step).map(|index| &mut spans[*index]);
        match known.filter(|span| span.attempt >= attempt) {
            Some(span) if span.attempt == attempt && span.end.is_none() => {
                span.state = event.to.unwrap_or(span.state);
                // One without a worker is about the step; the process is ended by another event.
                if event.worker.is_some() && ends_attempt(event, jobset) {
                    span.end = Some(Mark::of(event));
                }
            }
            Some(_) => {}
            None => {
                // A claim is the first event that names an attempt with its worker.
                let claimed = event.to.filter(|to| to.class() == StepState::RUNNING);
                if let Some(state) = claimed.filter(|_| event.worker.is_some()) {
                    let (worker, begin) = (event.worker, Mark::of(event));
                    latest.insert(step, spans.len());
                    spans.push(Span { step, attempt, worker, state, begin, end: None });
                }
            }
        }
    }
    spans
}

/// The pairs of positions of attempts of which the first happened before the second and no third
/// one lies between: the fewest arrows that tell the whole order. `spans` are in the order in which
/// they began.
#[must_use]
pub fn covering(spans: &[Span]) -> Vec<(usize, usize)> {
    let words = spans.len().div_ceil(64);
    let mut by_end: Vec<usize> = (0..spans.len()).filter(|n| spans[*n].end.is_some()).collect();
    let end = |n: &usize| spans[*n].end.as_ref().map_or(i32::MAX, |end| end.seq);
    by_end.sort_unstable_by_key(end);
    // Of each attempt all that happened before it, a bit each.
    let mut pasts: Vec<Vec<u64>> = Vec::with_capacity(spans.len());
    let mut pairs = Vec::new();
    for (second, span) in spans.iter().enumerate() {
        let mut past = vec![0_u64; words];
        let ended = by_end.partition_point(|first| end(first) <= span.begin.seq);
        let begin = pairs.len();
        // The last end first: what lies behind one that is known needs no look.
        for first in by_end[..ended].iter().rev().copied() {
            let is_known = past[first / 64] >> (first % 64) & 1 == 1;
            if !is_known && spans[first].happened_before(span) {
                pairs.push((first, second));
                past[first / 64] |= 1 << (first % 64);
                past.iter_mut().zip(&pasts[first]).for_each(|(word, more)| *word |= more);
            }
        }
        pairs[begin..].sort_unstable();
        pasts.push(past);
    }
    pairs
}
