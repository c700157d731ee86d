//! What runs at the end of an operation, and what does not, told naively from what happened.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::tests::{WORKER, start};
use super::{Cause, Ending, Selection, Stopped};
use crate::domain::changes::{Cut, Event, Fact, KillHow};
use crate::domain::definition::{Definition, ForEnd, OnCancel, OnFailure, Retry, StepDefinition};
use crate::domain::profile::Profile;
use crate::domain::run::Run;
use crate::domain::testing::{compile, definition, found, step};
use crate::domain::{Action, OperationState, Role, StepState, Stop, Timeout};

/// What has to be known of a walk to say what must run at its end.
#[derive(Default)]
pub(super) struct Ends {
    stop: Option<Stop>,
    /// The steps that must run although the operation was stopped.
    owed: BTreeSet<u32>,
    begun: BTreeSet<u32>,
}

impl Ends {
    /// Takes note of what a stop finds.
    pub(super) fn before_stop(&mut self, run: &Run) {
        if self.stop.is_some() || run.state() == OperationState::NotStarted {
            return;
        }
        let is_open = |n: u32| match run.steps()[n as usize] {
            StepState::READY | StepState::WAITING | StepState::PAUSED => true,
            StepState::RUNNING => !run.open()[&n].leaving,
            _ => false,
        };
        let jobset = run.jobset();
        let always = |n: &u32| jobset.step(*n).role == Role::Ensure && is_open(*n);
        self.owed = (0..jobset.len()).filter(always).collect();
    }

    pub(super) fn take(&mut self, event: &Event, run: &Run) {
        match event.fact {
            Fact::StopRequested(stop) => self.stop = Some(stop),
            Fact::Moved { step, action: Action::RUN, .. } => {
                self.begun.insert(step);
                let role = run.jobset().step(step).role;
                let is_of_cancel = matches!(role, Role::CleanUp | Role::Compensates(_));
                assert!(self.stop != Some(Stop::Abort), "{step} begins after an abort");
                assert!(self.stop.is_none() || role != Role::Regular, "{step} begins after a stop");
                assert!(!is_of_cancel || self.stop == Some(Stop::Cancel), "{step} begins");
            }
            _ => {}
        }
    }

    pub(super) fn check(&self, run: &Run) {
        let jobset = run.jobset();
        let held = || run.open().iter().filter(|(_, open)| open.holder.is_some()).map(|(n, _)| *n);
        let role = |n: u32| jobset.step(n).role;
        let undoing = held().filter(|n| matches!(role(*n), Role::Compensates(_))).count();
        let is_at_work = held().any(|n| role(n) == Role::Regular);
        assert!(undoing <= usize::from(!is_at_work), "one compensation after the other");
        if !run.state().is_final() {
            return;
        }
        for n in 0..jobset.len() {
            let end = run.steps()[n as usize];
            let has_run = self.begun.contains(&n);
            match (role(n), self.stop) {
                (Role::Ensure, None) => assert!(end != StepState::UNREACHABLE, "{n}"),
                (Role::Ensure, Some(Stop::Cancel | Stop::Deadline)) => {
                    // No worker may have taken it within its queueTimeout.
                    let is_late = matches!(end, StepState::TIMED_OUT | StepState::SKIPPED);
                    assert!(has_run || is_late || !self.owed.contains(&n), "{n} never ran");
                    assert!(!self.owed.contains(&n) || end != StepState::CANCELLED, "{n}");
                }
                (Role::Compensates(undone), Some(Stop::Cancel)) if has_run => {
                    assert_eq!(jobset.on_cancel, OnCancel::Compensate);
                    assert_eq!(run.steps()[undone as usize], StepState::SUCCEEDED);
                }
                (Role::CleanUp, Some(Stop::Cancel)) if has_run => {
                    assert_eq!(jobset.on_cancel, OnCancel::CleanUp);
                }
                _ => {}
            }
        }
    }
}

fn submit(definition: Definition) -> Run {
    Run::submit(Uuid::from_u128(1), compile(definition).unwrap(), start())
}

fn number(run: &Run, name: &str) -> u32 {
    run.jobset().number(name).unwrap()
}

fn state(run: &Run, name: &str) -> StepState {
    run.steps()[number(run, name) as usize]
}

/// Claims all there is; the names.
fn claim(run: &mut Run, now: DateTime<Utc>) -> Vec<String> {
    let claims = run.claim(100, WORKER, &Profile::default(), now);
    claims.iter().map(|c| run.jobset().step(c.step).definition.name.clone()).collect()
}

fn settle(run: &mut Run, name: &str, ending: Ending, now: DateTime<Utc>) {
    let n = number(run, name);
    run.settle(n, run.open()[&n].attempt, WORKER, ending, now).unwrap();
}

fn succeed(run: &mut Run, name: &str) {
    settle(run, name, Ending::Succeeded, start());
}

fn ensured(name: &str, condition: &str) -> StepDefinition {
    let for_end = ForEnd { ensure: true, ..ForEnd::default() };
    StepDefinition { for_end, ..step(name, condition) }
}

fn clean_up(name: &str, condition: &str) -> StepDefinition {
    let for_end = ForEnd { clean_up: true, ..ForEnd::default() };
    StepDefinition { for_end, ..step(name, condition) }
}

fn undo(name: &str, undone: &str) -> StepDefinition {
    let for_end = ForEnd { compensates: Some(undone.to_owned()), ..ForEnd::default() };
    StepDefinition { for_end, ..step(name, "") }
}

/// A deployment of three parts, each with its compensation, and what belongs to its end.
fn deployment(on_cancel: OnCancel) -> Run {
    let steps = vec![
        undo("undo-a", "a"),
        undo("undo-b", "b"),
        undo("undo-c", "c"),
        step("a", ""),
        step("b", "a:Succeeded"),
        step("c", "b:Succeeded"),
        clean_up("notify", ""),
        clean_up("revert", "c:Succeeded"),
        ensured("teardown", ""),
        ensured("report", "teardown:Succeeded"),
    ];
    submit(Definition { on_cancel, ..definition(steps, vec![]) })
}

#[test]
fn at_the_natural_end_only_what_always_runs_does() {
    let mut run = deployment(OnCancel::Compensate);
    for name in ["a", "b", "c", "teardown", "report"] {
        assert_eq!(claim(&mut run, start()), [name]);
        succeed(&mut run, name);
    }
    assert_eq!(run.state(), OperationState::Succeeded);
    for name in ["undo-a", "undo-b", "undo-c", "notify", "revert"] {
        assert_eq!(state(&run, name), StepState::UNREACHABLE, "{name}");
    }
}

#[test]
fn a_failure_before_it_does_not_keep_what_always_runs() {
    let mut run = deployment(OnCancel::Nothing);
    claim(&mut run, start());
    settle(&mut run, "a", Ending::Failed(Cause::Exit(1)), start());
    assert_eq!(claim(&mut run, start()), ["teardown"]);
    settle(&mut run, "teardown", Ending::Failed(Cause::Exit(1)), start());
    assert_eq!(claim(&mut run, start()), ["report"], "its guard does not hold, and it runs");
    succeed(&mut run, "report");
    assert_eq!(run.state(), OperationState::Failed);
}

#[test]
fn compensations_run_one_by_one_in_reverse_once_nothing_else_runs() {
    let mut run = deployment(OnCancel::Compensate);
    for name in ["a", "b"] {
        claim(&mut run, start());
        succeed(&mut run, name);
    }
    claim(&mut run, start());
    assert!(matches!(run.stop_for(Stop::Cancel, start()), Stopped::Began(_)));
    assert_eq!(run.state(), OperationState::Cancelling);
    assert_eq!(claim(&mut run, start()), Vec::<String>::new(), "`c` still runs");
    // It was faster than the signal, so it is undone as well.
    succeed(&mut run, "c");
    for name in ["undo-c", "undo-b", "undo-a", "teardown", "report"] {
        assert_eq!(claim(&mut run, start()), [name]);
        succeed(&mut run, name);
    }
    assert_eq!(run.state(), OperationState::Cancelled);
    assert_eq!(state(&run, "notify"), StepState::CANCELLED);
}

#[test]
fn a_rerun_as_a_new_run_does_again_what_was_undone() {
    let mut run = deployment(OnCancel::Compensate);
    claim(&mut run, start());
    succeed(&mut run, "a");
    claim(&mut run, start());
    run.stop_for(Stop::Cancel, start());
    settle(&mut run, "b", Ending::Stopped, start());
    for name in ["undo-a", "teardown", "report"] {
        assert_eq!(claim(&mut run, start()), [name]);
        succeed(&mut run, name);
    }
    assert_eq!(run.state(), OperationState::Cancelled);
    let again = run.to_run_again(&Selection::default(), false);
    let mut fork = run.fork(Uuid::from_u128(2), &again, &BTreeMap::new(), start());
    for name in ["a", "b", "c", "teardown", "report"] {
        assert_eq!(claim(&mut fork, start()), [name]);
        succeed(&mut fork, name);
    }
    assert_eq!(fork.state(), OperationState::Succeeded);
}

#[test]
fn what_was_interrupted_is_told_and_not_undone() {
    let mut run = deployment(OnCancel::Compensate);
    claim(&mut run, start());
    run.stop_for(Stop::Cancel, start());
    settle(&mut run, "a", Ending::Stopped, start());
    assert_eq!(claim(&mut run, start()), ["teardown"]);
    assert_eq!(run.changes().cut, [(number(&run, "a"), Cut::Interrupted)]);
    assert_eq!(state(&run, "undo-a"), StepState::CANCELLED);
}

#[test]
fn clean_up_steps_run_as_their_guards_say() {
    let mut run = deployment(OnCancel::CleanUp);
    claim(&mut run, start());
    run.stop_for(Stop::Cancel, start());
    run.rescue(WORKER, 3, start());
    assert_eq!(run.changes().cut, [(number(&run, "a"), Cut::Unknown)]);
    assert_eq!(claim(&mut run, start()), ["notify"]);
    succeed(&mut run, "notify");
    assert_eq!(state(&run, "revert"), StepState::CANCELLED);
    assert_eq!(claim(&mut run, start()), ["teardown"]);
}

#[test]
fn what_has_not_begun_has_nothing_to_clean_up() {
    let mut run = deployment(OnCancel::CleanUp);
    run.stop_for(Stop::Cancel, start());
    assert_eq!(run.state(), OperationState::Cancelled);
    assert!(run.steps().iter().all(|state| *state == StepState::CANCELLED));
    assert!(run.changes().cut.is_empty());
}

#[test]
fn force_ends_what_always_runs_at_once() {
    let mut run = deployment(OnCancel::Nothing);
    claim(&mut run, start());
    run.stop_for(Stop::Deadline, start());
    settle(&mut run, "a", Ending::Stopped, start());
    assert_eq!(claim(&mut run, start()), ["teardown"]);
    assert_eq!(run.stop_for(Stop::Cancel, start()), Stopped::AlreadyStopping);
    run.take_changes();
    assert!(matches!(run.stop_for(Stop::Abort, start()), Stopped::Began(_)));
    assert_eq!(run.state(), OperationState::Aborting);
    assert_eq!(run.kills()[0].how, KillHow::Force);
    assert_eq!(run.stop_for(Stop::Abort, start()), Stopped::AlreadyStopping);
    settle(&mut run, "teardown", Ending::Stopped, start());
    assert_eq!(run.state(), OperationState::Aborted);
    assert_eq!(run.claimable(), 0);
}

#[test]
fn what_always_runs_has_its_further_attempts_after_a_stop_too() {
    let retry = Retry { max_attempts: 2, ..Retry::default() };
    let teardown = StepDefinition { retry, ..ensured("teardown", "") };
    let mut run = submit(definition(vec![step("a", ""), teardown], vec![]));
    claim(&mut run, start());
    run.stop_for(Stop::Cancel, start());
    settle(&mut run, "a", Ending::Stopped, start());
    claim(&mut run, start());
    settle(&mut run, "teardown", Ending::Failed(Cause::Exit(1)), start());
    assert_eq!(run.state(), OperationState::Cancelling);
    let later = start() + TimeDelta::seconds(2);
    assert_eq!(claim(&mut run, later), ["teardown"]);
    settle(&mut run, "teardown", Ending::Succeeded, later);
    assert_eq!(run.state(), OperationState::Cancelled);
}

fn waiting(queue: u64, total: u64, on_failure: OnFailure) -> Run {
    let limit = |seconds: u64| (seconds > 0).then(|| std::time::Duration::from_secs(seconds));
    let retry = Retry { max_attempts: 9, ..Retry::default() };
    let (queue_timeout, total_timeout) = (limit(queue), limit(total));
    let a = StepDefinition { queue_timeout, total_timeout, retry, on_failure, ..step("a", "") };
    submit(definition(vec![a, step("b", "a:TimedOut,Skipped")], vec![]))
}

#[test]
fn a_step_that_no_worker_takes_in_time_ends() {
    let mut run = waiting(10, 0, OnFailure::Fail);
    assert_eq!(run.next_timer(), Some(start() + TimeDelta::seconds(10)));
    assert!(!run.expire(start() + TimeDelta::seconds(9)));
    assert!(run.expire(start() + TimeDelta::seconds(10)));
    assert_eq!(state(&run, "a"), StepState::TIMED_OUT);
    let expired = run.changes().expired[0];
    assert_eq!((expired.timeout, expired.since), (Timeout::Queue, start()));
    assert_eq!(claim(&mut run, start()), ["b"]);
}

#[test]
fn a_claim_that_comes_too_late_finds_nothing() {
    let mut run = waiting(10, 0, OnFailure::Skip);
    assert_eq!(claim(&mut run, start() + TimeDelta::seconds(11)), ["b"]);
    assert_eq!(state(&run, "a"), StepState::SKIPPED);
}

#[test]
fn a_pause_does_not_count_as_waiting() {
    let mut run = waiting(10, 0, OnFailure::Hold);
    run.pause(true, start());
    assert!(!run.expire(start() + TimeDelta::seconds(100)));
    run.pause(false, start() + TimeDelta::seconds(100));
    assert_eq!(run.next_timer(), Some(start() + TimeDelta::seconds(110)));
    assert!(run.expire(start() + TimeDelta::seconds(110)));
    assert_eq!(state(&run, "a"), StepState::ERROR);
}

#[test]
fn all_attempts_together_may_take_only_so_long() {
    let mut run = waiting(0, 10, OnFailure::Fail);
    assert_eq!(run.next_timer(), None, "it has not begun");
    let claims = run.claim(1, WORKER, &Profile::default(), start() + TimeDelta::seconds(50));
    let until = start() + TimeDelta::seconds(60);
    assert_eq!(claims[0].until, Some(until));
    settle(&mut run, "a", Ending::Failed(Cause::Exit(1)), start() + TimeDelta::seconds(51));
    assert_eq!(run.next_timer(), Some(until));
    assert_eq!(claim(&mut run, until), ["b"]);
    assert_eq!(run.changes().expired[0].timeout, Timeout::Total);
    assert_eq!(state(&run, "a"), StepState::TIMED_OUT);
}

#[test]
fn no_attempt_follows_that_would_begin_too_late() {
    let mut run = waiting(0, 10, OnFailure::Fail);
    claim(&mut run, start());
    settle(&mut run, "a", Ending::Failed(Cause::Exit(1)), start() + TimeDelta::seconds(9));
    assert_eq!(state(&run, "a"), StepState::FAILED);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let for_end = ForEnd { ensure: true, clean_up: true, compensates: None };
    let both = StepDefinition { for_end, ..step("a", "") };
    let cases = [
        (
            vec![step("a", "notify:Succeeded"), clean_up("notify", "")],
            "runs only when the operation",
        ),
        (vec![undo("u", "x")], "no step is called `x`"),
        (vec![undo("u", "v"), undo("v", "u")], "is for the end of the operation itself"),
        (vec![both], "cannot have it"),
    ];
    let unasked = found(definition(vec![step("a", ""), undo("u", "a")], vec![]));
    let warning = "warning: steps[1].compensates: `u` never runs: that needs";
    assert!(unasked.starts_with(warning), "{unasked}");
    for (steps, expected) in cases {
        let said = found(definition(steps, vec![]));
        assert!(said.contains(expected), "{said}");
    }
}
