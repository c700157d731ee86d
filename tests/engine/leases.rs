//! Workers that are heard of again after their lease ran out: in time, too late, and at that moment.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use sutbot::domain::decide::Ending;
use sutbot::domain::profile::Profile;
use sutbot::domain::{Action, Incarnation, LeaseTerms, OperationState, StepState};
use sutbot::engine::{Engine, EngineError, Store, StoreSettings};
use sutbot::store::{Batch, NewWorker, Standing, StoreError};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::history::check;
use super::support::{database, ended, engine, engine_with, history, seat, submit, until, within};
use super::{next, next_alive, report};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(10);

async fn until_lost(engine: &Engine, id: Uuid) {
    let found = until(engine, id, |found| found.view.steps[0] == StepState::UNRESPONSIVE).await;
    assert_eq!(found.view.state, OperationState::Zombie);
}

/// What happened to the only step.
async fn actions(engine: &Engine, id: Uuid) -> Vec<(Action, i32)> {
    let events = history(engine, id).await;
    events.iter().filter_map(|event| event.action.zip(event.attempt)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_in_time_lets_the_attempt_go_on() {
    let url = database().await;
    let engine = engine_with(&url, LONG).await;
    let worker = engine.open_seat(seat(1, SHORT)).await.unwrap();
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let assignment = next(&worker).await;
    until_lost(&engine, id).await;
    // Its lease is as short as before, so it has to go on saying that it lives.
    let lives = async {
        loop {
            let heard = worker.heartbeat().await.unwrap().unwrap();
            assert!(heard.orders.is_empty(), "{heard:?}");
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let runs = |found: &sutbot::engine::Found| found.view.state == OperationState::Running;
    tokio::select! {
        _ = until(&engine, id, runs) => {}
        () = lives => {}
    }
    worker.settle(vec![report(&assignment, Ending::Succeeded)]).await.remove(0).unwrap();
    let found = ended(&engine, id).await;
    assert_eq!(found.view.state, OperationState::Succeeded);
    check(&found, &history(&engine, id).await);
    let actions = actions(&engine, id).await;
    assert_eq!(actions[..3], [(Action::RUN, 1), (Action::LOSE, 1), (Action::RECOVER, 1)]);
    assert_eq!(actions.last(), Some(&(Action::SUCCEED, 1)));
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_an_unresponsive_attempt_counts() {
    let url = database().await;
    let engine = engine_with(&url, LONG).await;
    let worker = engine.open_seat(seat(1, SHORT)).await.unwrap();
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let assignment = next(&worker).await;
    until_lost(&engine, id).await;
    worker.settle(vec![report(&assignment, Ending::Succeeded)]).await.remove(0).unwrap();
    let found = ended(&engine, id).await;
    check(&found, &history(&engine, id).await);
    let told = [Action::RUN, Action::LOSE, Action::RECOVER, Action::SUCCEED];
    assert_eq!(actions(&engine, id).await, told.map(|action| (action, 1)));
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_for_a_worker_whose_lease_ran_out() {
    let url = database().await;
    let engine = engine_with(&url, LONG).await;
    let worker = engine.open_seat(seat(1, SHORT)).await.unwrap();
    while engine.store().standing(worker.incarnation()).await.unwrap() == Standing::Holds {
        tokio::time::sleep(SHORT / 10).await;
    }
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let found = engine.operation(id).await.unwrap();
    assert_eq!(found.view.state, OperationState::NotStarted);
    let assignment = next_alive(&worker).await;
    assert_eq!((assignment.operation, assignment.attempt), (id, 1));
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_says_counts_or_its_attempt_is_given_to_others() {
    let url = database().await;
    // Two servers look for the lost, and the end comes right after the loss.
    let (first, second) = tokio::join!(engine(&url), engine(&url));
    let other = second.open_seat(seat(64, LONG)).await.unwrap();
    let mut rounds = JoinSet::new();
    for n in 0..12_u64 {
        let worker = first.open_seat(seat(1, Duration::from_millis(200))).await.unwrap();
        let id = submit(&first, &json!({"steps": [{"name": "a"}]})).await;
        let assignment = within(worker.assignments()).await.remove(0);
        assert_eq!(assignment.operation, id);
        let engine = first.clone();
        rounds.spawn(async move {
            until(&engine, id, |found| found.view.steps[0] != StepState::RUNNING).await;
            tokio::time::sleep(Duration::from_millis(n * 10)).await;
            let told = worker.settle(vec![report(&assignment, Ending::Succeeded)]).await.remove(0);
            (id, told)
        });
    }
    let takes = async {
        loop {
            for assignment in other.assignments().await {
                assert_eq!(assignment.attempt, 2);
                other.settle(vec![report(&assignment, Ending::Succeeded)]).await.remove(0).unwrap();
            }
        }
    };
    let told = tokio::select! {
        told = rounds.join_all() => told,
        () = takes => unreachable!("it goes on for ever"),
    };
    let takes = async {
        loop {
            for assignment in other.assignments().await {
                other.settle(vec![report(&assignment, Ending::Succeeded)]).await.remove(0).unwrap();
            }
        }
    };
    let checks = async {
        for (id, told) in told {
            let found = ended(&first, id).await;
            assert_eq!(found.view.state, OperationState::Succeeded);
            check(&found, &history(&first, id).await);
            let last = actions(&first, id).await.pop().unwrap();
            match told {
                Ok(()) => assert_eq!(last, (Action::SUCCEED, 1)),
                Err(EngineError::Stale(_)) => assert_eq!(last, (Action::SUCCEED, 2)),
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::select! {
        () = checks => {}
        () = takes => {}
    }
    first.shut_down().await;
    second.shut_down().await;
}

/// An incarnation that was revoked as soon as it was registered.
async fn lost(store: &Store) -> Incarnation {
    let new = NewWorker {
        name: "test".into(),
        host: "here".into(),
        pid: 1,
        slots: 1,
        terms: LeaseTerms { lease: Duration::ZERO, requeue_after: Duration::ZERO },
        profile: Profile::default(),
        served_by: "test".into(),
        secret: None,
        drained: false,
    };
    let id = store.register(&new).await.unwrap();
    let lost = store.lost_workers().await.unwrap();
    assert!(lost.iter().any(|worker| worker.id == id && !worker.is_back));
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incarnation_is_ended_when_what_counts_on_it_is_stored() {
    let url = database().await;
    let store = Store::new(&StoreSettings::new(&url)).unwrap();
    store.migrate().await.unwrap();
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let id = lost(&store).await;
    let mut batch = Batch::default();
    batch.require_not_over(id);
    let mut writers = [store.writer().await.unwrap(), store.writer().await.unwrap()];
    let [first, second] = &mut writers;
    let mut first = store.begin(first).await.unwrap();
    let mut second = store.begin(second).await.unwrap();
    batch.apply(&mut first).await.unwrap();
    batch.apply(&mut second).await.unwrap();
    let lockers = "select xmax::text from worker where id = $1";
    let lockers: String = sqlx::query_scalar(lockers).bind(id).fetch_one(&mut rows).await.unwrap();
    assert_eq!(lockers, "0", "what two leave in a row is read with each of its versions");

    let ended = store.end_incarnation(id);
    let watched = async {
        let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
            where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut rows).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        first.commit().await.unwrap();
        assert_eq!(store.standing(id).await.unwrap(), Standing::Lost, "another one counts on it");
        second.commit().await.unwrap();
    };
    let (ended, ()) = within(Box::pin(async { tokio::join!(ended, watched) })).await;
    assert!(ended.unwrap());
    let [late, _] = &mut writers;
    assert!(matches!(batch.apply(late).await, Err(StoreError::LeaseLost(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_and_the_end_of_an_incarnation_never_both_win() {
    let store = Store::new(&StoreSettings::new(database().await)).unwrap();
    store.migrate().await.unwrap();
    let (mut renewed, mut over) = (0, 0);
    for _ in 0..100 {
        let id = lost(&store).await;
        let (heartbeat, ended) =
            tokio::join!(store.heartbeat(id, LONG, 0), store.end_incarnation(id));
        let (is_renewed, is_over) = (heartbeat.unwrap().is_some(), ended.unwrap());
        assert!(is_renewed != is_over, "renewed: {is_renewed}, over: {is_over}");
        // Whoever won, it stays so.
        assert_eq!(store.heartbeat(id, LONG, 0).await.unwrap().is_some(), is_renewed);
        assert_eq!(store.standing(id).await.unwrap() == Standing::Over, is_over);
        renewed += u32::from(is_renewed);
        over += u32::from(is_over);
        store.give_back(id).await.unwrap();
        store.forget_worker(id).await.unwrap();
        assert!(store.heartbeat(id, LONG, 0).await.unwrap().is_none(), "nor after it is forgotten");
    }
    assert_eq!(renewed + over, 100);
}
