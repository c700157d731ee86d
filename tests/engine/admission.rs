//! Concurrency keys and rate limits, for all servers of one database.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::domain::decide::{Ending, Selection, Verb};
use sutbot::domain::explain::Gate;
use sutbot::domain::{Action, OperationState, Stop};
use sutbot::engine::{
    Assignment, Edit, Engine, EngineError, Found, SteerAsked, SteerOrder, WorkerSeat,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::history::check;
use super::support::{database, ended, engine, history, host, seat, submit, until, within};
use super::{report, stop};

/// One step under a concurrency key.
fn keyed(limit: u32, rule: &str) -> Value {
    json!({
        "steps": [{"name": "a"}],
        "concurrency": {"key": "deploy", "limit": limit, "onConflict": rule},
    })
}

fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

/// A worker with room for all, that a test plays itself.
struct Hands {
    seat: WorkerSeat,
    /// What it was given and the test did not ask for yet.
    given: VecDeque<Assignment>,
}

impl Hands {
    async fn of(engine: &Engine) -> Self {
        let seat = engine.open_seat(seat(1_000, Duration::from_mins(1))).await.unwrap();
        Self { seat, given: VecDeque::new() }
    }

    /// The next that begins.
    async fn next(&mut self) -> Assignment {
        loop {
            if let Some(next) = self.given.pop_front() {
                return next;
            }
            self.given.extend(within(self.seat.assignments()).await);
        }
    }

    async fn settle(&self, assignment: &Assignment, ending: Ending) {
        let done = self.seat.settle(vec![report(assignment, ending)]).await;
        assert!(done[0].is_ok(), "{done:?}");
    }

    async fn end(&self, assignment: &Assignment) {
        self.settle(assignment, Ending::Succeeded).await;
    }
}

/// What an operation waits for, once that was found out.
async fn gate(engine: &Engine, id: Uuid) -> Gate {
    within(async {
        loop {
            let found = engine.gate(id).await.unwrap();
            if let Some(gate) = found {
                return gate;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn ahead(gate: &Gate) -> u32 {
    match gate {
        Gate::Place { ahead, .. } | Gate::Turn { ahead, .. } => *ahead,
    }
}

fn order(operation: Uuid, order: SteerOrder) -> SteerAsked {
    let (selection, edit) = (Selection::default(), Edit::default());
    SteerAsked { operation, order, selection, dry_run: false, expected: None, edit }
}

/// When each was admitted.
async fn admitted(engine: &Engine, id: Uuid) -> DateTime<Utc> {
    let events = history(engine, id).await;
    let admitted: Vec<_> = events.iter().filter(|event| event.kind == 9).collect();
    assert_eq!(admitted.len(), 1, "it is admitted once");
    admitted[0].at
}

fn assert_conflict(found: &Found, field: &str, other: Uuid) {
    assert_eq!(found.view.state, OperationState::Cancelled);
    let record = found.view.cancellation.as_ref().unwrap();
    assert_eq!(record["code"], "ConcurrencyConflict");
    assert_eq!(record["key"], "deploy");
    assert_eq!(record[field], other.to_string(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_begin_by_priority_and_then_by_age() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let first = submit(&engine, &keyed(1, "queue")).await;
    let mut held = hands.next().await;
    assert_eq!(held.operation, first);
    let mut waiting = Vec::new();
    for priority in [0, 5, 0, 100, -3] {
        let document = with(keyed(1, "queue"), "priority", json!(priority));
        waiting.push(submit(&engine, &document).await);
    }
    let free = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let other = hands.next().await;
    assert_eq!(other.operation, free, "who asks nothing waits for nobody");
    let view = engine.operation(waiting[0]).await.unwrap().view;
    assert!(view.gated && view.state == OperationState::NotStarted);
    let Gate::Place { key, limit, held: count, holders, ahead } = gate(&engine, waiting[0]).await
    else {
        panic!("it waits for a place");
    };
    assert_eq!((&*key, limit, count, ahead), ("deploy", 1, 1, 2));
    assert_eq!(holders, [first.to_string()]);
    for expected in [3, 1, 0, 2, 4] {
        hands.end(&held).await;
        held = hands.next().await;
        assert_eq!(held.operation, waiting[expected]);
        check(&engine.operation(first).await.unwrap(), &history(&engine, first).await);
    }
    hands.end(&held).await;
    for id in waiting {
        let found = ended(&engine, id).await;
        assert!(!found.view.gated);
        check(&found, &history(&engine, id).await);
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_limit_run_at_once() {
    let url = database().await;
    let (one, two) = (engine(&url).await, engine(&url).await);
    let mut hands = Hands::of(&one).await;
    let mut ids = BTreeSet::new();
    for n in 0..30 {
        ids.insert(submit(if n % 2 == 0 { &one } else { &two }, &keyed(3, "queue")).await);
    }
    let mut running: Vec<Assignment> = Vec::new();
    while !ids.is_empty() {
        while running.len() < ids.len().min(3) {
            running.push(hands.next().await);
        }
        assert!(hands.given.is_empty(), "a fourth one runs");
        let done = running.remove(0);
        hands.end(&done).await;
        ids.remove(&done.operation);
    }
    one.shut_down().await;
    two.shut_down().await;
}

/// Submits the same 100 times at once, to two servers by turns.
async fn submit_100(engines: &[Engine; 2], document: &Value) -> Vec<Uuid> {
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let (engine, document) = (engines[n % 2].clone(), document.clone());
        tasks.spawn(async move { submit(&engine, &document).await });
    }
    let mut ids = within(tasks.join_all()).await;
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn of_100_that_give_way_one_runs() {
    let url = database().await;
    let engines = [engine(&url).await, engine(&url).await];
    let mut hands = Hands::of(&engines[0]).await;
    let ids = submit_100(&engines, &keyed(1, "cancelNew")).await;
    let running = hands.next().await;
    for id in ids.iter().filter(|id| **id != running.operation) {
        let found = ended(&engines[1], *id).await;
        assert_conflict(&found, "heldBy", running.operation);
        check(&found, &history(&engines[0], *id).await);
    }
    hands.end(&running).await;
    ended(&engines[1], running.operation).await;
    let after = submit(&engines[1], &keyed(1, "cancelNew")).await;
    assert_eq!(hands.next().await.operation, after, "the place is free again");
    for engine in engines {
        engine.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_100_that_cancel_what_runs_the_newest_is_left() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 4), host(&url, 4));
    let engines = [first.engine().clone(), second.engine().clone()];
    let document = json!({
        "steps": [
            {"name": "work", "grace": "100ms", "run": {"command": ["sleep", "1000"]}},
            {"name": "after", "cleanUp": true},
        ],
        "onCancel": "cleanUp",
        "concurrency": {"key": "deploy", "onConflict": "cancelRunning"},
    });
    let ids = submit_100(&engines, &document).await;
    let newest = *ids.last().unwrap();
    let mut ends = Vec::new();
    for id in &ids[..99] {
        let found = ended(&engines[0], *id).await;
        assert_eq!(found.view.state, OperationState::Cancelled);
        let events = history(&engines[1], *id).await;
        check(&found, &events);
        if events.iter().any(|event| event.kind == 9) {
            ends.push(events.last().unwrap().at);
        }
    }
    until(&engines[1], newest, |found| found.view.state == OperationState::Running).await;
    let begun = admitted(&engines[0], newest).await;
    let slack = TimeDelta::milliseconds(20); // Two servers estimate one clock.
    assert!(ends.iter().all(|end| *end <= begun + slack), "its clean-up runs before others begin");
    engines[0].stop(stop(newest, Stop::Abort)).await.unwrap();
    for host in [first, second] {
        host.run_until(async {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_way_is_the_oldest_and_only_as_many_as_needed() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let guarded = with(keyed(2, "queue"), "cancellable", json!(false));
    let guarded = submit(&engine, &guarded).await;
    let held = hands.next().await;
    assert_eq!(held.operation, guarded);
    let old = submit(&engine, &keyed(2, "queue")).await;
    let old_held = hands.next().await;
    assert_eq!(old_held.operation, old);
    let waiting = submit(&engine, &keyed(2, "queue")).await;
    let new = submit(&engine, &keyed(2, "cancelRunning")).await;
    until(&engine, old, |found| found.view.stop == Some(Stop::Cancel)).await;
    hands.settle(&old_held, Ending::Stopped).await;
    assert_conflict(&ended(&engine, old).await, "supersededBy", new);
    assert_eq!(hands.next().await.operation, waiting, "it stays, and is first in line");
    hands.end(&held).await;
    assert_eq!(hands.next().await.operation, new);
    let view = engine.operation(guarded).await.unwrap().view;
    assert_eq!(view.state, OperationState::Succeeded, "it cannot be cancelled");
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_line_gives_up_its_place() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let first = submit(&engine, &keyed(1, "queue")).await;
    let held = hands.next().await;
    assert_eq!(held.operation, first);
    let cancelled = submit(&engine, &keyed(1, "queue")).await;
    let late = submit(&engine, &with(keyed(1, "queue"), "deadline", json!("300ms"))).await;
    let paused = submit(&engine, &keyed(1, "queue")).await;
    let last = submit(&engine, &keyed(1, "queue")).await;
    assert_eq!(ahead(&gate(&engine, last).await), 3);
    let answer = engine.stop(stop(cancelled, Stop::Cancel)).await.unwrap();
    assert_eq!(answer.state, OperationState::Cancelled, "nothing of it has begun");
    assert_eq!(ended(&engine, late).await.view.state, OperationState::Timeout);
    engine.steer(order(paused, SteerOrder::Pause(true))).await.unwrap();
    hands.end(&held).await;
    let held = hands.next().await;
    assert_eq!(held.operation, last, "what is paused is passed by");
    engine.steer(order(paused, SteerOrder::Pause(false))).await.unwrap();
    assert_eq!(ahead(&gate(&engine, paused).await), 0);
    hands.end(&held).await;
    let held = hands.next().await;
    assert_eq!(held.operation, paused);
    // Steps can be steered before anything begins; if nothing is left to do, it has ended.
    let skipped = submit(&engine, &keyed(1, "queue")).await;
    let skip = order(skipped, SteerOrder::Steps(Verb::Take(Action::SKIP)));
    engine.steer(skip).await.unwrap();
    assert_eq!(ended(&engine, skipped).await.view.state, OperationState::Succeeded);
    hands.end(&held).await;
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_waits_like_any_other() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let first = submit(&engine, &keyed(1, "queue")).await;
    let held = hands.next().await;
    hands.end(&held).await;
    ended(&engine, first).await;
    let second = submit(&engine, &keyed(1, "queue")).await;
    let held = hands.next().await;
    assert_eq!(held.operation, second);
    let all = Selection { steps: Some(vec![0]), ..Selection::default() };
    let forked = engine.fork(first, &all, false, &Edit::default()).await.unwrap().unwrap().0;
    assert_eq!(ahead(&gate(&engine, forked).await), 0);
    assert!(engine.operation(forked).await.unwrap().view.gated);
    hands.end(&held).await;
    assert_eq!(hands.next().await.operation, forked);
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_of_labels_and_context() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let document = |env: &str| {
        json!({
            "steps": [{"name": "a"}],
            "labels": {"env": env},
            "context": {"region": {"name": "north"}},
            "concurrency": {"key": "deploy-{{ labels.env }}-{{ context.region.name }}"},
        })
    };
    let (prod, stage) = (document("prod"), document("stage"));
    let ids = [submit(&engine, &prod).await, submit(&engine, &stage).await];
    let held = [hands.next().await.operation, hands.next().await.operation];
    assert_eq!(BTreeSet::from(ids), BTreeSet::from(held), "two keys, two places");
    let waits = submit(&engine, &prod).await;
    let Gate::Place { key, .. } = gate(&engine, waits).await else { panic!("a place") };
    assert_eq!(key, "deploy-prod-north");
    let document: sutbot::wire::JobsetDocument =
        serde_json::from_value(with(prod, "labels", json!({}))).unwrap();
    let (labels, context) = document.run_data().unwrap();
    let compiled = engine.compile(document.canonical(), document.into_definition()).unwrap();
    let refused = engine.submit(compiled, labels, context).await.unwrap_err();
    let EngineError::Invalid(problems) = refused else { panic!("{refused}") };
    assert_eq!(problems[0].path, "concurrency.key");
    engine.shut_down().await;
}

/// One milestone under a rate limit of 4 per second.
fn limited() -> Value {
    json!({
        "steps": [{"name": "a"}],
        "rateLimit": {"key": "api", "limit": 4, "per": "1s"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_has_more_than_a_rate_limit_allows() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 4), host(&url, 4));
    let engines = [first.engine().clone(), second.engine().clone()];
    let mut tasks = JoinSet::new();
    for n in 0..14 {
        let engine = engines[n % 2].clone();
        tasks.spawn(async move { submit(&engine, &limited()).await });
    }
    let mut ids = within(tasks.join_all()).await;
    ids.sort_unstable();
    let Gate::Turn { key, rate, ahead, .. } = gate(&engines[0], ids[13]).await else {
        panic!("it waits for its turn");
    };
    assert_eq!((&*key, rate.limit, rate.per), ("api", 4, TimeDelta::seconds(1)));
    assert!(ahead < 13);
    let mut times = Vec::new();
    for id in &ids {
        let found = ended(&engines[1], *id).await;
        assert_eq!(found.view.state, OperationState::Succeeded);
        check(&found, &history(&engines[0], *id).await);
        times.push(admitted(&engines[0], *id).await);
    }
    times.sort_unstable();
    // The event of an admission is not before that of the submission, whose time is an estimate.
    let slack = TimeDelta::milliseconds(20);
    for window in times.windows(5) {
        assert!(window[4] - window[0] + slack >= TimeDelta::seconds(1), "{times:?}");
    }
    for host in [first, second] {
        host.run_until(async {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_kept_while_it_waits_for_its_turn() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let both = |key: &str| {
        json!({
            "steps": [{"name": "a"}],
            "concurrency": {"key": key},
            "rateLimit": {"key": "api", "limit": 1, "per": "300ms"},
        })
    };
    let mut ids = HashMap::new();
    for key in ["x", "x", "y", "y"] {
        ids.insert(submit(&engine, &both(key)).await, key);
    }
    // Were turns held up by those who wait for places, y would wait for x.
    let (first, second) = (hands.next().await, hands.next().await);
    assert_eq!((ids[&first.operation], ids[&second.operation]), ("x", "y"));
    for held in [first, second] {
        hands.end(&held).await;
    }
    for _ in 0..2 {
        let held = hands.next().await;
        hands.end(&held).await;
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_decided_and_could_not_tell_is_told_by_another() {
    let url = database().await;
    let first = engine(&url).await;
    let held = submit(&first, &keyed(1, "queue")).await;
    until(&first, held, |found| !found.view.gated).await;
    let admitted = submit(&first, &keyed(1, "queue")).await;
    let refused = submit(&first, &keyed(1, "queue")).await;
    gate(&first, refused).await;
    first.shut_down().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "update admission
         set state = case when operation = $1 then 2 else state end, is_due = true,
             loses_to = case when operation = $2 then $3 end,
             decided = clock_timestamp() - interval '1 minute'
         where operation in ($1, $2)",
    )
    .bind(admitted)
    .bind(refused)
    .bind(held)
    .execute(&mut connection)
    .await
    .unwrap();
    let second = engine(&url).await;
    until(&second, admitted, |found| !found.view.gated).await;
    assert_conflict(&ended(&second, refused).await, "supersededBy", held);
    let left = "select count(*) from admission where is_due";
    within(async {
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    second.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_is_let_through_whole() {
    let engine = engine(&database().await).await;
    let mut hands = Hands::of(&engine).await;
    let first = submit(&engine, &keyed(1, "queue")).await;
    let held = hands.next().await;
    assert_eq!(held.operation, first);
    let mut tasks = JoinSet::new();
    for _ in 0..350 {
        let engine = engine.clone();
        tasks.spawn(async move { submit(&engine, &keyed(1_000, "queue")).await });
    }
    let ids = within(tasks.join_all()).await;
    // Their limit lets all of them in beside the first one.
    for id in ids {
        until(&engine, id, |found| !found.view.gated).await;
    }
    hands.end(&held).await;
    engine.shut_down().await;
}
