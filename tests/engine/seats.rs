//! Several workers in one process: who is given what, and who is given nothing any more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::domain::OperationState;
use sutbot::domain::decide::Ending;
use sutbot::engine::{Assignment, WorkerSeat};

use crate::support::{database, ended, engine, seat, submit, within};
use crate::{next, report};

const LEASE: Duration = Duration::from_mins(1);

/// So many steps that wait for nothing.
pub(crate) fn wide(width: usize) -> Value {
    let steps: Vec<Value> = (0..width).map(|n| json!({"name": format!("s{n}")})).collect();
    json!({"name": "wide", "steps": steps})
}

/// Takes assignments until there are so many.
pub(crate) async fn take(seat: &WorkerSeat, count: usize) -> Vec<Assignment> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(within(seat.assignments()).await);
    }
    taken
}

pub(crate) async fn succeed(seat: &WorkerSeat, assignments: &[Assignment]) {
    let reports = assignments.iter().map(|of| report(of, Ending::Succeeded)).collect();
    for answer in seat.settle(reports).await {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_process_share_what_there_is() {
    let url = database().await;
    let engine = engine(&url).await;
    let first = engine.open_seat(seat(3, LEASE)).await.unwrap();
    let second = engine.open_seat(seat(2, LEASE)).await.unwrap();
    let id = submit(&engine, &wide(5)).await;
    let (of_first, of_second) = tokio::join!(take(&first, 3), take(&second, 2));
    let steps: BTreeSet<u32> = of_first.iter().chain(&of_second).map(|of| of.step).collect();
    assert_eq!(steps.len(), 5, "none was given twice");
    assert!(of_first.iter().all(|of| of.worker == first.incarnation()));
    assert!(of_second.iter().all(|of| of.worker == second.incarnation()));
    succeed(&first, &of_first).await;
    succeed(&second, &of_second).await;
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_or_is_dropped_is_given_nothing_more() {
    let url = database().await;
    let engine = engine(&url).await;
    let left = engine.open_seat(seat(8, LEASE)).await.unwrap();
    drop(engine.open_seat(seat(8, LEASE)).await.unwrap());
    let stays = engine.open_seat(seat(2, LEASE)).await.unwrap();
    left.leave().await.unwrap();
    let id = submit(&engine, &wide(2)).await;
    let given = take(&stays, 2).await;
    succeed(&stays, &given).await;
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    engine.shut_down().await;
}

/// Waits until nobody knows the incarnation any more.
async fn forgotten(url: &str, incarnation: i64) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    within(async {
        loop {
            let known: bool =
                sqlx::query_scalar("select exists (select from worker where id = $1)")
                    .bind(incarnation)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
            if !known {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_forgotten_is_given_nothing() {
    let url = database().await;
    let engine = engine(&url).await;
    // It never sends a heartbeat and holds nothing, so nobody looks for what it has.
    let lost = engine.open_seat(seat(8, Duration::from_millis(1))).await.unwrap();
    forgotten(&url, lost.incarnation()).await;
    let id = submit(&engine, &wide(1)).await;
    let found = engine.operation(id).await.unwrap();
    assert_eq!(found.view.state, OperationState::NotStarted, "it waits for another one");
    let other = engine.open_seat(seat(1, LEASE)).await.unwrap();
    let given = next(&other).await;
    assert_eq!(given.attempt, 1, "no attempt was given to the lost one");
    succeed(&other, &[given]).await;
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    engine.shut_down().await;
}
