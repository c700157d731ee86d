//! Which operation gets the next free slot, and which worker may have it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::domain::OperationState;
use sutbot::domain::decide::{Cause, Ending};
use sutbot::domain::profile::Profile;
use sutbot::engine::{
    Assignment, Engine, EngineSettings, SeatSpec, Store, StoreSettings, WorkerSeat,
};
use sutbot::wire;
use uuid::Uuid;

use crate::seats::{succeed, take, wide};
use crate::support::{database, ended, engine, seat, settings, submit, within};
use crate::{next, report};

const LEASE: Duration = Duration::from_mins(1);

/// A worker with labels.
fn labelled(slots: u32, labels: &[(&str, &str)]) -> SeatSpec {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let profile = Profile { labels: labels.collect(), lanes: None };
    SeatSpec { profile, ..seat(slots, LEASE) }
}

/// A worker that serves these lanes only.
fn of_lanes(slots: u32, lanes: &[&str]) -> SeatSpec {
    let lanes = Some(lanes.iter().map(|lane| (*lane).to_owned()).collect());
    let profile = Profile { labels: BTreeMap::new(), lanes };
    SeatSpec { profile, ..seat(slots, LEASE) }
}

/// One step that requires labels.
fn requiring(labels: &Value) -> Value {
    json!({"steps": [{"name": "a", "requires": labels}]})
}

/// An engine that decides on everything in one order: lanes leave some milliseconds to each other.
async fn with_one_lane(url: &str) -> Engine {
    let store = Store::new(&StoreSettings::new(url)).unwrap();
    store.migrate().await.unwrap();
    let settings = EngineSettings { lanes: 1, ..settings() };
    Engine::start(store, settings, wire::decode_definition).await.unwrap()
}

/// Settles and takes one after the other, with one slot; answers the operations in the order of their
/// turns.
async fn turns(seat: &WorkerSeat, count: usize) -> Vec<Uuid> {
    let mut turns = Vec::new();
    while turns.len() < count {
        let given = next(seat).await;
        turns.push(given.operation);
        succeed(seat, &[given]).await;
    }
    turns
}

#[tokio::test(flavor = "multi_thread")]
async fn small_operations_end_before_a_wide_one_is_half_done() {
    let url = database().await;
    let engine = engine(&url).await;
    let seat = engine.open_seat(seat(4, LEASE)).await.unwrap();
    let large = submit(&engine, &wide(1_000)).await;
    let mut held = take(&seat, 4).await;
    let mut small = Vec::new();
    for _ in 0..50 {
        small.push(submit(&engine, &wide(1)).await);
    }
    let mut of_large = 0;
    let mut left = small.len();
    while left > 0 {
        let given = held.remove(0);
        if given.operation == large {
            of_large += 1;
        } else {
            left -= 1;
        }
        succeed(&seat, &[given]).await;
        held.extend(within(seat.assignments()).await);
    }
    assert!(of_large < 100, "{of_large} steps of the wide one went before");
    for id in small {
        assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equals_take_turns() {
    let url = database().await;
    let engine = with_one_lane(&url).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(&engine, &wide(4)).await);
    }
    let seat = engine.open_seat(seat(1, LEASE)).await.unwrap();
    let turns = turns(&seat, 12).await;
    // Each has its turn before anyone has another one.
    for round in turns.chunks(3) {
        for id in &ids {
            assert_eq!(round.iter().filter(|turn| *turn == id).count(), 1, "{turns:?}");
        }
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_one_turn_are_dealt_one_by_one() {
    let url = database().await;
    let engine = with_one_lane(&url).await;
    let mut expected = BTreeMap::new();
    for _ in 0..3 {
        expected.insert(submit(&engine, &wide(50)).await, 4);
    }
    let seat = engine.open_seat(seat(12, LEASE)).await.unwrap();
    let mut given_to: BTreeMap<Uuid, usize> = BTreeMap::new();
    for given in take(&seat, 12).await {
        *given_to.entry(given.operation).or_default() += 1;
    }
    assert_eq!(given_to, expected);
    engine.shut_down().await;
}

/// Makes an operation wait since so many seconds longer.
async fn age(url: &str, id: Uuid, seconds: i32) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let aged = sqlx::query(
        "update ready set rank = rank - make_interval(secs => $2) where operation = $1",
    )
    .bind(id)
    .bind(f64::from(seconds))
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(aged.rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_goes_first_and_age_makes_up_for_it() {
    let url = database().await;
    let engine = with_one_lane(&url).await;
    let of = |priority: i32| json!({"priority": priority, "steps": [{"name": "a"}]});
    let usual = submit(&engine, &of(0)).await;
    let low = submit(&engine, &of(-10)).await;
    let high = submit(&engine, &of(10)).await;
    // 10 points are worth 5 minutes.
    let aged = submit(&engine, &of(0)).await;
    age(&url, aged, 301).await;
    let nearly = submit(&engine, &of(0)).await;
    age(&url, nearly, 280).await;
    let lowest = submit(&engine, &of(-100)).await;
    age(&url, lowest, 60 * 60).await;
    let seat = engine.open_seat(seat(1, LEASE)).await.unwrap();
    assert_eq!(turns(&seat, 6).await, [lowest, aged, high, nearly, usual, low]);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_of_the_engine_go_by_one_order() {
    let url = database().await;
    let engine = engine(&url).await;
    let seat = engine.open_seat(seat(1, LEASE)).await.unwrap();
    submit(&engine, &wide(1)).await;
    let first = next(&seat).await;
    let mut of = [Vec::new(), Vec::new(), Vec::new()];
    for n in 0..24_usize {
        let priority = 10 * (n % 3);
        let document = json!({"priority": priority, "steps": [{"name": "a"}]});
        of[n % 3].push(submit(&engine, &document).await);
    }
    succeed(&seat, &[first]).await;
    let turns = turns(&seat, 24).await;
    for (of, turns) in of.iter().rev().zip(turns.chunks(8)) {
        assert!(turns.iter().all(|turn| of.contains(turn)), "higher priorities first");
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_given_to_a_worker_with_its_labels_only() {
    let url = database().await;
    let engine = engine(&url).await;
    let plain = engine.open_seat(seat(8, LEASE)).await.unwrap();
    let with_gpu = engine.open_seat(labelled(2, &[("gpu", "yes"), ("os", "linux")])).await.unwrap();
    // One operation, steps of three kinds; nobody has the third.
    let document = json!({"steps": [
        {"name": "any0"}, {"name": "any1"},
        {"name": "gpu0", "requires": {"gpu": "yes"}},
        {"name": "gpu1", "requires": {"gpu": "yes", "os": "linux"}},
        {"name": "mac", "requires": {"os": "mac"}},
    ]});
    let id = submit(&engine, &document).await;
    let name = |of: &Assignment| of.jobset.step(of.step).definition.name.clone();
    let of_gpu = take(&with_gpu, 2).await;
    let mut names: Vec<String> = of_gpu.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["gpu0", "gpu1"], "what asks most of it goes first");
    let of_plain = take(&plain, 2).await;
    let mut names: Vec<String> = of_plain.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["any0", "any1"]);
    succeed(&with_gpu, &of_gpu).await;
    succeed(&plain, &of_plain).await;
    // A worker that comes later takes what was left.
    let mac = engine.open_seat(labelled(1, &[("os", "mac")])).await.unwrap();
    let given = next(&mac).await;
    assert_eq!(name(&given), "mac");
    succeed(&mac, &[given]).await;
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_labelled_step_that_is_retried_waits_for_its_kind() {
    let url = database().await;
    let engine = engine(&url).await;
    let retry = json!({"maxAttempts": 2, "backoff": "50ms"});
    let document = json!({"steps": [
        {"name": "a", "requires": {"gpu": "yes"}, "retry": retry},
        {"name": "b", "retry": retry},
    ]});
    let plain = engine.open_seat(seat(8, LEASE)).await.unwrap();
    let with_gpu = engine.open_seat(labelled(1, &[("gpu", "yes")])).await.unwrap();
    let id = submit(&engine, &document).await;
    let (a, b) = (next(&with_gpu).await, next(&plain).await);
    let failed = Ending::Failed(Cause::Exit(1));
    for (seat, given) in [(&with_gpu, &a), (&plain, &b)] {
        seat.settle(vec![report(given, failed)]).await.remove(0).unwrap();
    }
    let b = next(&plain).await;
    assert_eq!((b.step == a.step, b.attempt), (false, 2));
    let again = next(&with_gpu).await;
    assert_eq!((again.step, again.attempt), (a.step, 2));
    succeed(&with_gpu, &[again]).await;
    succeed(&plain, &[b]).await;
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
    engine.shut_down().await;
}

/// How many rows stand in the queue.
async fn queued(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select count(*) from ready").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_that_nobody_can_run_hold_nobody_up() {
    let url = database().await;
    let engine = engine(&url).await;
    let kinds = ["gpu", "mac", "arm"];
    let mut submitted = tokio::task::JoinSet::new();
    for n in 0..10_000 {
        let (engine, document) = (engine.clone(), requiring(&json!({kinds[n % 3]: "yes"})));
        submitted.spawn(async move { submit(&engine, &document).await });
    }
    submitted.join_all().await;
    assert_eq!(queued(&url).await, 10_000);
    let seat = engine.open_seat(seat(4, LEASE)).await.unwrap();
    for _ in 0..20 {
        let id = submit(&engine, &wide(1)).await;
        let given = next(&seat).await;
        assert_eq!(given.operation, id);
        succeed(&seat, &[given]).await;
        ended(&engine, id).await;
    }
    let late = engine.open_seat(labelled(1, &[("arm", "yes")])).await.unwrap();
    succeed(&late, &[next(&late).await]).await;
    // The slot that it gave back is for the next one.
    next(&late).await;
    assert_eq!(queued(&url).await, 9_998);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_take_from_the_lanes_that_they_serve() {
    let url = database().await;
    let engine = engine(&url).await;
    let of = |lane: &str| json!({"lane": lane, "steps": [{"name": "a"}]});
    let slow_worker = engine.open_seat(of_lanes(1, &["slow"])).await.unwrap();
    let usual = submit(&engine, &wide(1)).await;
    let named = submit(&engine, &of("default")).await;
    let slow = submit(&engine, &of("slow")).await;
    let other = submit(&engine, &of("other")).await;
    assert_eq!(turns(&slow_worker, 1).await, [slow]);
    let usual_worker = engine.open_seat(of_lanes(2, &["default"])).await.unwrap();
    let given = take(&usual_worker, 2).await;
    let mut ids: Vec<Uuid> = given.iter().map(|given| given.operation).collect();
    ids.sort();
    assert_eq!(ids, [usual, named]);
    succeed(&usual_worker, &given).await;
    let all = engine.open_seat(seat(1, LEASE)).await.unwrap();
    assert_eq!(turns(&all, 1).await, [other]);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_serve_the_kinds_that_sit_at_them() {
    let url = database().await;
    let (first, second) = (engine(&url).await, engine(&url).await);
    let plain = first.open_seat(seat(4, LEASE)).await.unwrap();
    let with_gpu = second.open_seat(labelled(4, &[("gpu", "yes")])).await.unwrap();
    drop(second.open_seat(seat(0, LEASE)).await.unwrap());
    for _ in 0..20 {
        let id = submit(&first, &requiring(&json!({"gpu": "yes"}))).await;
        let given = next(&with_gpu).await;
        assert_eq!(given.operation, id);
        succeed(&with_gpu, &[given]).await;
        ended(&first, id).await;
    }
    drop(plain);
    first.shut_down().await;
    second.shut_down().await;
}
