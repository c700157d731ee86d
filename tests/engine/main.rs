//! The engine on a real database: alone, two on one database, and after a worker was lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
#[path = "../support/ageing.rs"]
mod ageing;
mod causality;
mod containment;
mod doubt;
mod duty;
mod functions;
#[path = "../support/history.rs"]
mod history;
mod idempotency;
mod leases;
mod live;
mod lookup;
mod scheduling;
mod seats;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use history::check;
use serde_json::{Value, json};
use support::{database, ended, engine, history, host, seat, submit, until, within};
use sutbot::domain::decide::Ending;
use sutbot::domain::{OperationState, StepState, Stop};
use sutbot::engine::{Assignment, ContextPatch, Engine, EngineError, FindAsked, Report, StopAsked};
use uuid::Uuid;

/// A source, `width` milestones side by side, a sink.
fn fan(width: usize) -> Value {
    let mut steps = vec![json!({"name": "source"}), json!({"name": "sink"})];
    let mut pairs = Vec::new();
    for n in 0..width {
        steps.push(json!({"name": format!("w{n}")}));
        pairs.push(json!(["source", format!("w{n}")]));
        pairs.push(json!([format!("w{n}"), "sink"]));
    }
    json!({"name": "fan", "steps": steps, "successPairs": pairs})
}

fn chain(length: usize) -> Value {
    let steps: Vec<Value> = (0..length).map(|n| json!({"name": format!("s{n}")})).collect();
    let pairs: Vec<Value> =
        (1..length).map(|n| json!([format!("s{}", n - 1), format!("s{n}")])).collect();
    json!({"name": "chain", "steps": steps, "successPairs": pairs})
}

pub(crate) fn report(assignment: &Assignment, ending: Ending) -> Report {
    let Assignment { operation, step, attempt, worker, .. } = *assignment;
    Report { operation, step, attempt, worker, ending, heard: None, record: None }
}

fn stop(operation: Uuid, reason: Stop) -> StopAsked {
    StopAsked { operation, reason, expected: None, cancellation: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_share_the_work() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 4), host(&url, 4));
    let engines = [first.engine().clone(), second.engine().clone()];
    let mut ids = Vec::new();
    for n in 0..60 {
        let document = match n % 3 {
            0 => fan(20),
            1 => chain(5),
            _ => json!({"steps": [{"name": "a", "run": {"command": ["true"]}}]}),
        };
        ids.push(submit(&engines[n % 2], &document).await);
    }
    let mut workers = BTreeSet::new();
    for (n, id) in ids.iter().enumerate() {
        // Any server answers for any operation.
        let found = ended(&engines[(n + 1) % 2], *id).await;
        assert_eq!(found.view.state, OperationState::Succeeded);
        let events = history(&engines[n % 2], *id).await;
        check(&found, &events);
        workers.extend(events.iter().filter_map(|event| event.worker));
    }
    assert_eq!(workers.len(), 2, "one of the servers did nothing");
    for host in [first, second] {
        host.run_until(async {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_settle_one_operation_agree() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 8), host(&url, 8));
    let mut ids = Vec::new();
    for _ in 0..5 {
        let mut document = fan(60);
        for step in document["steps"].as_array_mut().unwrap() {
            step["run"] = json!({"command": ["true"]});
        }
        ids.push(submit(first.engine(), &document).await);
    }
    for id in ids {
        let found = ended(second.engine(), id).await;
        assert_eq!(found.view.state, OperationState::Succeeded);
        let events = history(first.engine(), id).await;
        check(&found, &events);
    }
    for host in [first, second] {
        host.run_until(async {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_in_chunks_runs_to_its_end() {
    let url = database().await;
    let host = host(&url, 8).await;
    let id = submit(host.engine(), &fan(3_000)).await;
    let found = ended(host.engine(), id).await;
    assert_eq!(found.view.state, OperationState::Succeeded);
    assert!(found.view.steps.iter().all(|state| *state == StepState::SUCCEEDED));
    check(&found, &history(host.engine(), id).await);
    let all = FindAsked {
        filter: None,
        search: None,
        order: Vec::new(),
        after: None,
        skip: 0,
        limit: 10,
        now: host.engine().now(),
    };
    let (listed, _) = host.engine().find(&all).await.unwrap();
    assert_eq!(listed[0].view.steps, found.view.steps);
    host.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_gives_its_steps_back() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 1), host(&url, 0));
    let first_only = json!({"steps": [{"name": "a", "grace": "100ms",
        "run": {"shell": "if [ $SUT_ATTEMPT = 1 ]; then sleep 1000; fi"}}]});
    let id = submit(first.engine(), &first_only).await;
    until(first.engine(), id, |found| found.view.steps[0] == StepState::RUNNING).await;
    let third = host(&url, 1).await;
    within(first.run_until(async {})).await.unwrap();
    let found = ended(second.engine(), id).await;
    assert_eq!(found.view.state, OperationState::Succeeded);
    let events = history(second.engine(), id).await;
    check(&found, &events);
    assert_eq!(events.last().and_then(|event| event.attempt), Some(2));
    for host in [second, third] {
        host.run_until(async {}).await.unwrap();
    }
}

/// Takes the next assignment.
pub(crate) async fn next(seat: &sutbot::engine::WorkerSeat) -> Assignment {
    within(seat.assignments()).await.remove(0)
}

/// Takes the next assignment, saying until then that it lives.
pub(crate) async fn next_alive(seat: &sutbot::engine::WorkerSeat) -> Assignment {
    let lives = async {
        loop {
            seat.heartbeat().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        assignment = next(seat) => assignment,
        () = lives => unreachable!("it lives on"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_server_gave_to_a_worker_that_is_lost_is_found() {
    let url = database().await;
    let (first, second) = (engine(&url).await, engine(&url).await);
    let busy = first.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let id = submit(&first, &json!({"steps": [{"name": "a"}, {"name": "b"}]})).await;
    let kept = next(&busy).await;
    // The first server still has the operation in memory as it was before this.
    let lost = second.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let before = next(&lost).await;
    assert_eq!((before.operation, before.attempt), (id, 1));
    lost.leave().await.unwrap();
    second.shut_down().await;
    let heir = first.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let after = next(&heir).await;
    assert_eq!((after.operation, after.step, after.attempt), (id, before.step, 2));
    for (seat, last) in [(&busy, &kept), (&heir, &after)] {
        assert!(seat.settle(vec![report(last, Ending::Succeeded)]).await[0].is_ok());
    }
    let found = ended(&first, id).await;
    check(&found, &history(&first, id).await);
    first.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_is_replaced_and_what_it_says_later_changes_nothing() {
    let url = database().await;
    let engine = engine(&url).await;
    let lost = engine.open_seat(seat(1, Duration::from_millis(300))).await.unwrap();
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let before = next(&lost).await;
    assert_eq!((before.operation, before.attempt), (id, 1));
    // It never sends a heartbeat.
    let other = engine.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let after = next(&other).await;
    assert_eq!((after.operation, after.attempt), (id, 2));
    assert!(lost.heartbeat().await.unwrap().is_none(), "what is over stays over");
    let late = lost.settle(vec![report(&before, Ending::Succeeded)]).await;
    assert!(matches!(late[0], Err(EngineError::Stale(_))), "{late:?}");
    let found = engine.operation(id).await.unwrap();
    assert_eq!(found.view.state, OperationState::Running);
    other.settle(vec![report(&after, Ending::Succeeded)]).await.remove(0).unwrap();
    let again = other.settle(vec![report(&after, Ending::Succeeded)]).await;
    assert!(matches!(again[0], Err(EngineError::Stale(_))), "twice is stale");
    let found = ended(&engine, id).await;
    check(&found, &history(&engine, id).await);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_workers_are_always_lost_fails_in_the_end() {
    let url = database().await;
    let engine = engine(&url).await;
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    for attempt in 1..=4 {
        let seat = engine.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
        assert_eq!(next(&seat).await.attempt, attempt);
        // What it holds is taken from it as when its lease runs out.
        seat.leave().await.unwrap();
    }
    let found = ended(&engine, id).await;
    assert_eq!(found.view.state, OperationState::Failed);
    check(&found, &history(&engine, id).await);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_operation_ends_when_its_attempts_have() {
    let url = database().await;
    let engine = engine(&url).await;
    let seat = engine.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let id = submit(&engine, &chain(3)).await;
    let assignment = next(&seat).await;
    let answer = engine.stop(stop(id, Stop::Cancel)).await.unwrap();
    assert_eq!(answer.state, OperationState::Cancelling);
    within(seat.ordered()).await;
    let orders = seat.heartbeat().await.unwrap().unwrap().orders;
    assert_eq!((orders.len(), orders[0].operation), (1, id));
    let again = engine.stop(stop(id, Stop::Cancel)).await.unwrap();
    assert_eq!(again.state, OperationState::Cancelling);
    seat.settle(vec![report(&assignment, Ending::Stopped)]).await.remove(0).unwrap();
    let found = ended(&engine, id).await;
    assert_eq!(found.view.state, OperationState::Cancelled);
    assert!(found.view.steps.iter().all(|state| *state == StepState::CANCELLED));
    check(&found, &history(&engine, id).await);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_stops_an_operation_that_nobody_runs() {
    let url = database().await;
    let engine = engine(&url).await;
    let id = submit(&engine, &json!({"deadline": "100ms", "steps": [{"name": "a"}]})).await;
    let found = ended(&engine, id).await;
    assert_eq!(found.view.state, OperationState::Timeout);
    check(&found, &history(&engine, id).await);
    engine.shut_down().await;
}

/// Adds one to a counter in the context, however often others are faster.
async fn count_up(engine: &Engine, id: Uuid) {
    loop {
        let stored = engine.store().context(id).await.unwrap().unwrap();
        let count = stored.context["count"].as_i64().unwrap();
        let patch = json!({"count": count + 1});
        let expected = Some(stored.version);
        match engine.patch_context(ContextPatch { operation: id, patch, expected }).await {
            Ok(_) => return,
            Err(EngineError::VersionMismatch(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_the_context_is_lost_between_two_servers() {
    let url = database().await;
    let (first, second) = (engine(&url).await, engine(&url).await);
    let document = json!({"context": {"count": 0, "kept": true}, "steps": [{"name": "a"}]});
    let id = submit(&first, &document).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let engine = if n % 2 == 0 { first.clone() } else { second.clone() };
        tasks.spawn(async move { count_up(&engine, id).await });
    }
    within(tasks.join_all()).await;
    let context = first.store().context(id).await.unwrap().unwrap();
    assert_eq!(context.context, json!({"count": 20, "kept": true}));
    let found = until(&second, id, |found| found.view.version == 21).await;
    check(&found, &history(&first, id).await);
    first.shut_down().await;
    second.shut_down().await;
}
