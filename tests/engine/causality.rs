//! The causal order as it is stored: over chunks, servers, upgrades, and between operations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::domain::decide::{Ending, Selection, Verb};
use sutbot::domain::{Action, OperationState, StepState};
use sutbot::engine::{Edit, Engine, EventView, LastMove, SteerAsked, SteerOrder, WorkerSeat};
use sutbot::itc::{Causality, Stamp};
use uuid::Uuid;

use super::{chain, check, fan, report};
use crate::support::{database, ended, engine, history, seat, submit, within};

const LEASE: Duration = Duration::from_mins(1);

/// Runs one round of what can be run, from either server.
async fn work(seats: &[WorkerSeat]) {
    let offers = seats.iter().map(|seat| Box::pin(seat.assignments()));
    let (assignments, which, _) = within(futures_util::future::select_all(offers)).await;
    let reports = assignments.iter().map(|one| report(one, Ending::Succeeded)).collect();
    for settled in seats[which].settle(reports).await {
        settled.unwrap();
    }
}

async fn run(engine: &Engine, seats: &[WorkerSeat], id: Uuid) -> Vec<EventView> {
    while !engine.operation(id).await.unwrap().view.state.is_final() {
        work(seats).await;
    }
    let found = ended(engine, id).await;
    assert_eq!(found.view.state, OperationState::Succeeded);
    let events = history(engine, id).await;
    check(&found, &events);
    check_moves(engine, id, &events).await;
    events
}

/// What pages of steps tell of their last moves is what the history says.
async fn check_moves(engine: &Engine, id: Uuid, events: &[EventView]) {
    let moves = events.iter().filter_map(|event| {
        event.action?;
        Some((event.step?, (event.step?, event.at, event.attempt.unwrap_or(0))))
    });
    let last: BTreeMap<i32, LastMove> = moves.collect();
    let steps = engine.operation(id).await.unwrap().view.steps.len();
    let mut told = Vec::new();
    for first in (0..i32::try_from(steps).unwrap()).step_by(100) {
        let page = engine.store().last_moves(id, first..first + 100, steps).await;
        told.extend(page.unwrap());
    }
    assert_eq!(told, last.into_values().collect::<Vec<_>>());
}

fn stamp(event: &EventView) -> &Stamp {
    event.stamp.as_ref().unwrap()
}

/// When each step was claimed and when it succeeded.
fn attempts(events: &[EventView]) -> BTreeMap<i32, (Stamp, Stamp)> {
    let of = |to| {
        let entered = events.iter().filter(move |event| event.to == Some(to));
        entered.map(|event| (event.step.unwrap(), stamp(event).clone()))
    };
    let ends: BTreeMap<i32, Stamp> = of(StepState::SUCCEEDED).collect();
    of(StepState::RUNNING).map(|(step, begin)| (step, (begin, ends[&step].clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_of_a_wide_operation_are_concurrent_whoever_runs_them() {
    let url = database().await;
    let (first, second) = (engine(&url).await, engine(&url).await);
    let seats = [
        first.open_seat(seat(50, LEASE)).await.unwrap(),
        second.open_seat(seat(50, LEASE)).await.unwrap(),
    ];
    let id = submit(&first, &fan(600)).await;
    let events = run(&second, &seats, id).await;
    let attempts = attempts(&events);
    let (first_of_all, last_of_all) = (&attempts[&0], &attempts[&601]);
    let mut bytes = Vec::new();
    for step in 1..=600 {
        let (begin, end) = &attempts[&step];
        assert!(first_of_all.1.happened_before(begin) && end.happened_before(&last_of_all.0));
        let (other, _) = &attempts[&(step % 600 + 1)];
        assert_eq!(end.compare(other), Causality::Concurrent);
        bytes.push(end.encode().len());
    }
    // What branches own is split evenly, whoever began first.
    assert!(bytes.iter().all(|bytes| *bytes <= 20), "{bytes:?}");
    assert!(last_of_all.1.encode().len() <= 4, "the branches were joined: {}", last_of_all.1);
    // An operation from before the last moves were kept.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let forget = sqlx::query("update step_chunk set moved = null where operation = $1");
    forget.bind(id).execute(&mut connection).await.unwrap();
    check_moves(&first, id, &events).await;
    for engine in [first, second] {
        engine.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_hands_its_part_on() {
    let url = database().await;
    let engine = engine(&url).await;
    let seats = [engine.open_seat(seat(1, LEASE)).await.unwrap()];
    let id = submit(&engine, &chain(300)).await;
    let events = run(&engine, &seats, id).await;
    for pair in events.windows(2) {
        assert!(stamp(&pair[0]).happened_before(stamp(&pair[1])), "{pair:?}");
    }
    let largest = events.iter().map(|event| stamp(event).encode().len()).max();
    assert!(largest <= Some(5), "{largest:?}");
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_from_before_stamps_goes_on() {
    let url = database().await;
    let engine = engine(&url).await;
    let id = submit(&engine, &fan(3)).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for statement in ["update operation set clock = null", "update event set stamp = null"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    engine.shut_down().await;
    let engine = super::support::engine(&url).await;
    let seats = [engine.open_seat(seat(1, LEASE)).await.unwrap()];
    while !engine.operation(id).await.unwrap().view.state.is_final() {
        work(&seats).await;
    }
    let events = history(&engine, id).await;
    assert!(events.iter().all(|event| event.stamp.is_none()));
    engine.shut_down().await;
}

fn sharing(resources: &Value) -> Value {
    let mut document = json!({"steps": [{"name": "a"}], "labels": resources});
    document["labels"]["branch"] = json!("main");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_knows_what_those_did_that_share_a_resource() {
    let url = database().await;
    let engine = engine(&url).await;
    let one = submit(&engine, &sharing(&json!({"resource": "shop"}))).await;
    // It has not begun when the third one comes.
    let mut waits = sharing(&json!({"resource.db": "shop", "resource": "bench"}));
    waits["start"] = json!("manual");
    let two = submit(&engine, &waits).await;
    let foreign = submit(&engine, &sharing(&json!({"resource": "other"}))).await;
    let seats = [engine.open_seat(seat(1, LEASE)).await.unwrap()];
    run(&engine, &seats, one).await;
    let three =
        submit(&engine, &sharing(&json!({"resource": "bench", "resource.b": "shop"}))).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let ties: Vec<(Uuid, Uuid, i32)> =
        sqlx::query_as("select operation, other, seen from tie order by operation, other")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    // The first had ended when the third came, and the second had got no further.
    assert_eq!(ties.len(), 2, "{ties:?}");
    assert_eq!((ties[0], ties[1].0, ties[1].1), ((two, one, 1), three, two));
    let selection = Selection::default();
    let order = SteerOrder::Steps(Verb::Take(Action::START));
    let (dry_run, expected, edit) = (false, None, Edit::default());
    let start = SteerAsked { operation: two, order, selection, dry_run, expected, edit };
    engine.steer(start).await.unwrap();
    for id in [two, three, foreign] {
        run(&engine, &seats, id).await;
    }
    // Names are as long as clients like; too long for an index, if they cannot be compressed.
    let mix = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(n | 1);
    let name = (1..1_000).map(|n| format!("{:016x}", mix(n))).collect::<Vec<_>>().concat();
    let long = submit(&engine, &sharing(&json!({"resource": name}))).await;
    run(&engine, &seats, long).await;
    let left: i64 = sqlx::query_scalar("select count(*) from resource")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 0, "what has ended shares nothing");
    engine.shut_down().await;
}
