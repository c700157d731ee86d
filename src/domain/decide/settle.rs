//! The outcome of an attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use uuid::Uuid;

use crate::domain::action::Action;
use crate::domain::changes::Fact;
use crate::domain::definition::{OnFailure, Retry, RetryOn};
use crate::domain::machine::Outcomes;
use crate::domain::run::{Incarnation, OpenAttempt, Run};
use crate::domain::state::StepState;
use crate::itc::Stamp;

/// How an attempt ended, as its worker saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did its work.
    Succeeded,
    /// It failed.
    Failed(Cause),
    /// The worker ended it because the operation is being stopped.
    Stopped,
    /// The worker gives it back undone, because it shuts down.
    Released,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It exited with a code other than 0.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ran out of time and was ended by its worker.
    Timeout,
    /// It could not be started, its result could not be read, or it was a function that failed.
    Exception,
}

/// The attempt is not (or no longer) this worker's: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("attempt {attempt} of step {step} is not held by worker {worker}")]
pub struct Stale {
    /// The number of the step.
    pub step: u32,
    /// The number of the attempt.
    pub attempt: u32,
    /// Who reported it.
    pub worker: Incarnation,
}

impl Run {
    /// Takes note of how an attempt ended; one that is Unresponsive recovers first. Whether the
    /// incarnation of `worker` is over is for the caller to ask.
    ///
    /// # Errors
    /// [`Stale`] when `worker` does not hold that attempt; nothing is changed then.
    pub fn settle(
        &mut self,
        step: u32,
        attempt: u32,
        worker: Incarnation,
        ending: Ending,
        now: DateTime<Utc>,
    ) -> Result<(), Stale> {
        self.settle_having_heard(step, attempt, worker, ending, None, now)
    }

    /// As [`settle`](Self::settle) of an attempt that was given messages or replies: what those who
    /// sent them knew (nothing that is owned) happened before the outcome.
    ///
    /// # Errors
    /// As there.
    pub fn settle_having_heard(
        &mut self,
        step: u32,
        attempt: u32,
        worker: Incarnation,
        ending: Ending,
        heard: Option<&Stamp>,
        now: DateTime<Utc>,
    ) -> Result<(), Stale> {
        let open = self
            .open
            .get(&step)
            .copied()
            .filter(|open| open.attempt == attempt && open.holder == Some(worker))
            .ok_or(Stale { step, attempt, worker })?;
        // What a worker says that nobody has heard of for a while tells that it lives.
        self.note_recovery(step, open, now);
        if let Some(heard) = heard {
            self.hear(step, heard);
        }
        if open.leaving {
            self.release(step, open, now);
            self.conclude(now);
            return Ok(());
        }
        match ending {
            Ending::Succeeded => self.end(step, self.outcomes(step).succeed, open, now),
            Ending::Failed(cause) => self.fail(step, open, cause, now),
            Ending::Stopped | Ending::Released if !self.goes_on(step) => {
                self.end(step, Action::CANCEL, open, now);
            }
            Ending::Stopped | Ending::Released => self.requeue(step, open, open.losses, now),
        }
        self.conclude(now);
        Ok(())
    }

    pub(super) fn outcomes(&self, step: u32) -> Outcomes {
        let machine = self.jobset.machine(step);
        let state = machine.state(self.steps[step as usize]);
        state.expect("a step is in a state of its machine").outcomes
    }

    /// The process of an attempt whose step has moved on is gone: it may have another one.
    pub(super) fn release(&mut self, step: u32, open: OpenAttempt, now: DateTime<Utc>) {
        let OpenAttempt { attempt, holder, .. } = open;
        let stamp = self.stamp_own(step);
        self.record_stamped(Fact::AttemptEnded { step, attempt, worker: holder }, stamp, now);
        let state = self.steps[step as usize];
        // Work that was entered meanwhile was admitted by the transition that led to it.
        let admitted = state.class() == StepState::RUNNING;
        let next = OpenAttempt { admitted, ..OpenAttempt::fresh(attempt + 1, now) };
        self.set_open(step, (!state.is_ended()).then_some(next));
        let jobset = Arc::clone(&self.jobset);
        self.consider(&jobset, step);
        self.advance(now);
    }

    /// The attempt is over; a step that has not ended may have further ones.
    pub(super) fn end(&mut self, step: u32, action: Action, open: OpenAttempt, now: DateTime<Utc>) {
        let rule = self.rule(step, action).expect("an outcome has a rule without a guard");
        let is_last = self.target(step, &rule).is_ended();
        let next = OpenAttempt::fresh(open.attempt + 1, now);
        self.set_open(step, (!is_last).then_some(next));
        self.follow(step, &rule, open.named(), now);
        // An operation that is being stopped does not go on to what would come next.
        if self.stop.is_some() && !self.steps[step as usize].is_ended() {
            self.set_open(step, None);
            self.act(step, Action::CANCEL, open.named(), now);
        }
        self.advance(now);
    }

    fn fail(&mut self, step: u32, open: OpenAttempt, cause: Cause, now: DateTime<Utc>) {
        let definition = self.jobset.step(step);
        let failures = open.failures + 1;
        let wait = backoff(definition.retry(), failures, chance(self.id, step, open.attempt));
        let is_in_time = self.total_due(step).is_none_or(|due| now + wait < due);
        if !self.goes_on(step) || !is_in_time || !tries_again(definition.retry(), failures, cause) {
            // Nobody is asked what to do about a step of an operation that is being stopped.
            let policy = match self.policy(step) {
                OnFailure::Hold if self.stop.is_some() => OnFailure::Fail,
                policy => policy,
            };
            let action = last_action(policy, cause, self.outcomes(step));
            return self.end(step, action, open, now);
        }
        let next = OpenAttempt {
            failures,
            losses: open.losses,
            since: now + wait,
            admitted: true,
            ..OpenAttempt::fresh(open.attempt + 1, now)
        };
        self.set_open(step, Some(next));
        self.act(step, Action::RETRY, open.named(), now);
    }

    /// What becomes of the step when it fails: as the jobset says, unless an operator said else.
    pub(super) fn policy(&self, step: u32) -> OnFailure {
        let written = self.jobset.step(step).on_failure();
        match self.notes.get(&step).and_then(|note| note.hold) {
            Some(true) => OnFailure::Hold,
            Some(false) if written == OnFailure::Hold => OnFailure::Fail,
            Some(false) | None => written,
        }
    }
}

fn tries_again(retry: &Retry, failures: u32, cause: Cause) -> bool {
    let is_meant = |on: &RetryOn| match (on, cause) {
        (RetryOn::Exit(code), Cause::Exit(exit)) => *code == exit,
        (RetryOn::Signal(number), Cause::Signal(signal)) => *number == signal,
        (RetryOn::Timeout, Cause::Timeout) | (RetryOn::Exception, Cause::Exception) => true,
        (RetryOn::Exit(_) | RetryOn::Signal(_) | RetryOn::Timeout | RetryOn::Exception, _) => false,
    };
    failures < retry.max_attempts && (retry.on.is_empty() || retry.on.iter().any(is_meant))
}

const fn last_action(policy: OnFailure, cause: Cause, outcomes: Outcomes) -> Action {
    match (policy, cause) {
        (OnFailure::Hold, _) => outcomes.hold,
        (OnFailure::Skip, _) => outcomes.forgive,
        (OnFailure::Fail | OnFailure::Continue, Cause::Timeout) => outcomes.timeout,
        (
            OnFailure::Fail | OnFailure::Continue,
            Cause::Exit(_) | Cause::Signal(_) | Cause::Exception,
        ) => outcomes.fail,
    }
}

/// The wait after the failure number `failures`. `chance` is in 0..1.
fn backoff(retry: &Retry, failures: u32, chance: f64) -> Duration {
    let exponent = i32::try_from(failures - 1).unwrap_or(i32::MAX);
    let grown = retry.backoff.as_secs_f64() * retry.factor.powi(exponent);
    let capped = grown.min(retry.max_backoff.as_secs_f64());
    let seconds = if retry.jitter { capped * (0.5 + chance / 2.0) } else { capped };
    // PostgreSQL keeps microseconds; anything finer would be lost between memory and storage.
    let micros = Duration::from_secs_f64(seconds).as_micros();
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// A number in 0..1 that differs from attempt to attempt and is the same whenever it is decided
/// again: `SplitMix64` over the names of the attempt.
fn chance(id: Uuid, step: u32, attempt: u32) -> f64 {
    let (high, low) = id.as_u64_pair();
    let mut z = high ^ low.rotate_left(32) ^ (u64::from(step) << 32 | u64::from(attempt));
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let high = u32::try_from(z >> 32).expect("the upper half of 64 bits");
    f64::from(high) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::Event;
    use crate::domain::decide::tests::start;
    use crate::domain::decide::{Selection, Steer, Verb};
    use crate::domain::definition::StepDefinition;
    use crate::domain::testing::{compile, definition, step};
    use crate::itc::Causality;

    const WORKER: Incarnation = 7;

    /// Two steps that know nothing of each other, both claimed, with what their claims know.
    fn both(retry: Retry) -> (Run, Stamp, Stamp) {
        let steps = vec![step("a", ""), StepDefinition { retry, ..step("b", "") }];
        let jobset = compile(definition(steps, Vec::new())).unwrap();
        let mut run = Run::submit(Uuid::from_u128(1), jobset, start());
        assert_eq!(run.claim(2, WORKER, start()).len(), 2);
        let knows = |n: u32| run.stamps().branches[&n].stamp.peek();
        let (a, b) = (knows(0), knows(1));
        assert_eq!(a.compare(&b), Causality::Concurrent);
        run.take_changes();
        (run, a, b)
    }

    fn stamps(run: &mut Run) -> Vec<Stamp> {
        let decoded = |event: &Event| {
            let bytes = event.stamp.as_ref().expect("every event has a stamp");
            Stamp::decode(bytes, usize::MAX).unwrap()
        };
        run.take_changes().events.iter().map(decoded).collect()
    }

    #[test]
    fn an_outcome_follows_from_what_was_heard() {
        for ending in [Ending::Succeeded, Ending::Failed(Cause::Exit(1)), Ending::Released] {
            for heard in [true, false] {
                let (mut run, a, b) = both(Retry::default());
                let told = heard.then_some(&a);
                run.settle_having_heard(1, 1, WORKER, ending, told, start()).unwrap();
                let events = stamps(&mut run);
                assert!(events.iter().all(|event| b.happened_before(event)));
                let order = if heard { Causality::Before } else { Causality::Concurrent };
                assert!(events.iter().all(|event| a.compare(event) == order), "{ending:?}");
                // Nothing is taken from who was heard of.
                run.settle(0, 1, WORKER, Ending::Succeeded, start()).unwrap();
                let end = &stamps(&mut run)[0];
                assert!(a.happened_before(end) && !b.happened_before(end));
                assert_eq!(end.compare(&events[0]), Causality::Concurrent);
            }
        }
    }

    #[test]
    fn the_next_attempt_knows_what_the_one_before_heard() {
        let (mut run, a, _) = both(Retry { max_attempts: 2, ..Retry::default() });
        let failed = Ending::Failed(Cause::Exit(1));
        run.settle_having_heard(1, 1, WORKER, failed, Some(&a), start()).unwrap();
        let later = start() + Duration::from_hours(1);
        assert_eq!(run.claim(1, WORKER, later).len(), 1);
        assert!(a.happened_before(&run.stamps().branches[&1].stamp.stamp()));
    }

    #[test]
    fn what_is_heard_owns_nothing_and_is_no_reason_to_refuse() {
        let (mut run, _, _) = both(Retry::default());
        let before = run.stamps().clone();
        let stale = run.settle_having_heard(
            1,
            2,
            WORKER,
            Ending::Succeeded,
            Some(&before.trunk.stamp()),
            start(),
        );
        assert_eq!(stale, Err(Stale { step: 1, attempt: 2, worker: WORKER }));
        assert_eq!(*run.stamps(), before, "a stale report changes nothing");
        // A whole stamp, that of the receiver even, counts as what it knows.
        let own = before.branches[&1].stamp.stamp();
        run.settle_having_heard(1, 1, WORKER, Ending::Succeeded, Some(&own), start()).unwrap();
        assert_eq!(run.stamps().branches[&1].stamp.stamp().id(), own.id());
    }

    #[test]
    fn an_attempt_that_was_left_is_heard_too() {
        let (mut run, a, _) = both(Retry::default());
        let selection = Selection { steps: Some(vec![1]), ..Selection::default() };
        let steer = Steer {
            verb: Verb::Take(Action::INTERRUPT),
            selection: &selection,
            last_attempts: &BTreeMap::new(),
        };
        run.steer(&steer, start());
        assert!(run.open()[&1].leaving);
        assert_eq!(a.compare(&stamps(&mut run)[0]), Causality::Concurrent);
        run.settle_having_heard(1, 1, WORKER, Ending::Stopped, Some(&a), start()).unwrap();
        assert!(a.happened_before(&stamps(&mut run)[0]));
    }
}
