//! Waiting to be admitted before anything of the operation begins.

use chrono::{DateTime, Utc};

use crate::domain::changes::Fact;
use crate::domain::run::Run;

impl Run {
    /// Holds a new operation back until it is admitted. It gives no work, and the times that its steps
    /// may wait for a worker do not run; its deadline does. Whoever stops it ends it at once.
    pub fn gate(&mut self) {
        self.gated = !self.state.is_final();
    }

    /// Lets the operation begin. Nothing if it was admitted before, or has ended.
    pub fn ungate(&mut self, now: DateTime<Utc>) {
        if self.gated {
            self.gated = false;
            self.record(Fact::Admitted, now);
            self.restart_timers(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use uuid::{NoContext, Timestamp, Uuid};

    use super::*;
    use crate::domain::decide::tests::{WORKER, start};
    use crate::domain::decide::{Selection, Steer, Verb};
    use crate::domain::definition::{Definition, ForEnd, StepDefinition};
    use crate::domain::testing::{compile, definition, step};
    use crate::domain::{Action, OperationState, StepState, Stop};

    fn minutes(count: i64) -> DateTime<Utc> {
        start() + TimeDelta::minutes(count)
    }

    /// A step that waits a minute for a worker, and one that runs at every end.
    fn gated() -> Run {
        let work =
            StepDefinition { queue_timeout: Some(Duration::from_mins(1)), ..step("work", "") };
        let last = StepDefinition {
            for_end: ForEnd { ensure: true, ..ForEnd::default() },
            ..step("last", "")
        };
        let jobset = Definition {
            deadline: Some(Duration::from_mins(10)),
            ..definition(vec![work, last], Vec::new())
        };
        let made = u64::try_from(start().timestamp()).unwrap();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, made, 0));
        let mut run = Run::submit(id, compile(jobset).unwrap(), start());
        run.gate();
        run
    }

    #[test]
    fn nothing_begins_before_it_is_admitted() {
        let mut run = gated();
        assert!(run.is_gated());
        assert_eq!(run.claimable(), 0);
        assert_eq!(run.claim(9, WORKER, minutes(5)), []);
        assert_eq!(run.state(), OperationState::NotStarted);
        run.ungate(minutes(5));
        assert!(!run.is_gated());
        let facts: Vec<Fact> = run.take_changes().events.iter().map(|event| event.fact).collect();
        assert_eq!(facts, [Fact::Submitted, Fact::Admitted]);
        assert_eq!(run.claim(9, WORKER, minutes(5)).len(), 1);
        assert_eq!(run.state(), OperationState::Running);
        let version = run.version();
        run.ungate(minutes(6));
        assert_eq!(run.version(), version, "once is enough");
    }

    #[test]
    fn the_wait_for_a_worker_begins_with_the_admission() {
        let mut run = gated();
        assert!(!run.expire(minutes(5)));
        run.ungate(minutes(5));
        assert_eq!(run.next_timer(), Some(minutes(6)));
        assert!(!run.expire(minutes(5) + TimeDelta::seconds(59)));
        assert!(run.expire(minutes(6)));
        assert_eq!(run.steps()[0], StepState::TIMED_OUT);
    }

    #[test]
    fn a_stop_ends_it_at_once() {
        for reason in [Stop::Cancel, Stop::Deadline, Stop::Abort] {
            let mut run = gated();
            run.stop_for(reason, minutes(1));
            assert_eq!(run.state(), reason.stopped(), "nothing has begun that would be cleaned up");
            assert!(!run.is_gated());
            run.ungate(minutes(2));
            assert_eq!(run.state(), reason.stopped());
        }
    }

    #[test]
    fn its_steps_can_be_steered() {
        let mut run = gated();
        run.pause(true, minutes(1));
        run.pause(false, minutes(2));
        assert_eq!(run.claimable(), 0);
        let selection = Selection::default();
        let last_attempts = &std::collections::BTreeMap::new();
        let verb = Verb::Take(Action::SKIP);
        run.steer(&Steer { verb, selection: &selection, last_attempts }, minutes(3));
        assert_eq!(run.steps()[0], StepState::SKIPPED);
        run.gate();
        assert!(run.is_gated() != run.state().is_final());
    }
}
