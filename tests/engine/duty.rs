//! What one process does for all, by turns; and what it does when operations are old.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use sutbot::domain::decide::Ending;
use sutbot::domain::{Action, OperationState};
use sutbot::engine::{Engine, EngineError, EngineSettings, Retention};
use sutbot::store::Store;
use sutbot::wire;
use uuid::Uuid;

use crate::ageing::{age, has_day};
use crate::support::{database, ended, engine, history, seat, submit, until, within};
use crate::{chain, next, report, stop};

/// Who has a duty now, by its name.
async fn holder(database: &mut PgConnection, duty: &str) -> Option<Uuid> {
    let asked = "select holder from lease where name = $1 and until > clock_timestamp()";
    sqlx::query_scalar(asked).bind(duty).fetch_optional(database).await.unwrap()
}

/// Waits until somebody has the duty who did not have it before.
async fn holder_after(database: &mut PgConnection, duty: &str, before: Option<Uuid>) -> Uuid {
    within(async {
        loop {
            match holder(database, duty).await {
                Some(holder) if Some(holder) != before => return holder,
                Some(_) | None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

/// An engine in a runtime of its own, which goes away like a process that is killed.
async fn mortal(url: &str) -> (tokio::runtime::Runtime, Engine) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let url = url.to_owned();
    let engine = runtime.spawn(async move { engine(&url).await }).await.unwrap();
    (runtime, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_takes_over_what_a_dead_one_did_for_all() {
    let url = database().await;
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let (runtime, doomed) = mortal(&url).await;
    let first = holder_after(&mut rows, "maintenance", None).await;
    let heir = engine(&url).await;
    let lost = doomed.open_seat(seat(1, Duration::from_secs(1))).await.unwrap();
    let id = submit(&doomed, &chain(1)).await;
    assert_eq!(next(&lost).await.operation, id);
    assert_eq!(holder(&mut rows, "maintenance").await, Some(first), "there is one holder");
    runtime.shutdown_background();

    // The holder and the worker die together. The other one finds out by itself.
    let second = holder_after(&mut rows, "maintenance", Some(first)).await;
    let lost = |event: &sutbot::engine::EventView| event.action == Some(Action::LOSE);
    until(&heir, id, |found| found.view.version > 2).await;
    assert!(history(&heir, id).await.iter().any(lost));
    let healthy = heir.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let again = next(&healthy).await;
    assert_eq!((again.operation, again.attempt), (id, 2));
    healthy.settle(vec![report(&again, Ending::Succeeded)]).await.remove(0).unwrap();
    assert_eq!(ended(&heir, id).await.view.state, OperationState::Succeeded);

    // Who leaves in order does not keep the others waiting.
    heir.shut_down().await;
    assert_eq!(holder(&mut rows, "maintenance").await, None);
    let last = engine(&url).await;
    assert_ne!(holder_after(&mut rows, "maintenance", None).await, second);
    last.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_is_one_processs_however_many_ask() {
    let url = database().await;
    let engine = engine(&url).await;
    let store = engine.store();
    let (lease, ids) = (Duration::from_mins(1), [Uuid::from_u128(1), Uuid::from_u128(2)]);
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        asked.spawn(async move { store.take_lease("test", ids[n % 2], lease).await.unwrap() });
    }
    let held = asked.join_all().await.into_iter().filter(|tenure| tenure.is_held).count();
    assert_eq!(held, 10, "one of the two has it each time that it asks");
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let first = holder(&mut rows, "test").await.unwrap();
    let other = ids.into_iter().find(|id| *id != first).unwrap();
    let refused = store.take_lease("test", other, lease).await.unwrap();
    assert!(!refused.is_held && refused.left > lease / 2, "{refused:?}");
    // Only who has it can give it back.
    store.give_lease_back("test", other).await.unwrap();
    assert!(!store.take_lease("test", other, lease).await.unwrap().is_held);
    store.give_lease_back("test", first).await.unwrap();
    assert!(store.take_lease("test", other, lease).await.unwrap().is_held);
    engine.shut_down().await;
}

/// Buries all of a day by statements that look at few each.
async fn bury_all(store: &Store, day: chrono::NaiveDate) -> i64 {
    let (mut last, mut buried) = (Uuid::nil(), 0);
    let now = store.now().await.unwrap();
    loop {
        let looked = store.bury(day, last, now, 7).await.unwrap();
        buried += looked.buried;
        match looked.last {
            Some(id) => last = id,
            None => return buried,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn burying_twice_at_once_and_stopping_in_the_middle_does_no_harm() {
    let url = database().await;
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let first = engine(&url).await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        let id = submit(&first, &json!({"deadline": "300d", "steps": [{"name": "a"}]})).await;
        first.stop(stop(id, sutbot::domain::Stop::Cancel)).await.unwrap();
        ids.push(age(&mut rows, id, 9).await);
    }
    let store = first.store();
    let day = sutbot::engine::created_at(ids[0]).date_naive();
    let (one, other) = tokio::join!(bury_all(store, day), bury_all(store, day));
    assert_eq!(one + other, 40, "each is buried once");
    for id in &ids {
        let view = first.operation(*id).await.unwrap().view;
        let buried = (view.state, view.outcome());
        assert_eq!(buried, (OperationState::Tombstone, OperationState::Cancelled));
        assert!(matches!(first.whole_operation(*id).await, Err(EngineError::Tombstone)));
    }
    let deadlines: i64 =
        sqlx::query_scalar("select count(*) from deadline").fetch_one(&mut rows).await.unwrap();
    assert_eq!(deadlines, 0);

    // Killed when some of the tables were dropped: the next one goes on from what it finds.
    sqlx::query("call drop_partition('attempt', $1)").bind(day).execute(&mut rows).await.unwrap();
    let (dropped, again) = tokio::join!(store.drop_data_of(day), store.drop_data_of(day));
    assert!(dropped.unwrap() && again.unwrap());
    assert!(!has_day(&mut rows, "event", ids[0]).await);
    let days = store.days_before(store.now().await.unwrap().date_naive()).await.unwrap();
    assert!(days.iter().any(|kept| kept.day == day && !kept.has_data), "{days:?}");
    first.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_cannot_be_had_is_not_waited_for() {
    let url = database().await;
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let engine = engine(&url).await;
    let id = submit(&engine, &chain(1)).await;
    engine.stop(stop(id, sutbot::domain::Stop::Cancel)).await.unwrap();
    let id = age(&mut rows, id, 9).await;
    let day = sutbot::engine::created_at(id).date_naive();
    let mut reader = rows.begin().await.unwrap();
    sqlx::query("select count(*) from event").execute(&mut *reader).await.unwrap();
    assert!(!engine.store().drop_data_of(day).await.unwrap(), "somebody reads it");
    reader.commit().await.unwrap();
    assert!(engine.store().drop_data_of(day).await.unwrap());
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_made_anew_when_nothing_else_helps() {
    let url = database().await;
    let engine = engine(&url).await;
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    // Somebody keeps a transaction open, so that nothing can be cleared away.
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from jobset")
        .execute(&mut other)
        .await
        .unwrap();
    let fill = "insert into ready (operation, class, rank, due)
        select first_id_at('2000-01-01'::timestamptz + n * interval '1 second'), '', now(),
            '2100-01-01'
        from generate_series(1, 5000) n;
        delete from ready where operation > first_id_at('2000-01-01T00:00:10Z')";
    sqlx::raw_sql(fill).execute(&mut rows).await.unwrap();
    let size = "select pg_relation_size('ready')";
    let before: i64 = sqlx::query_scalar(size).fetch_one(&mut rows).await.unwrap();
    within(async {
        loop {
            engine.store().compact_queues(1_000).await.unwrap();
            let now: i64 = sqlx::query_scalar(size).fetch_one(&mut rows).await.unwrap();
            if now < before / 4 {
                return;
            }
            // The figures of a session are counted a moment later.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from ready").fetch_one(&mut rows).await.unwrap();
    assert_eq!(left, 10);
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_nobody_uses_are_forgotten() {
    let url = database().await;
    let mut rows = PgConnection::connect(&url).await.unwrap();
    let engine = engine(&url).await;
    let named = |name: &str| json!({"name": name, "start": "manual", "steps": [{"name": name}]});
    let used = submit(&engine, &named("used")).await;
    let gone = submit(&engine, &named("gone")).await;
    sqlx::raw_sql("update jobset set used = used - interval '100 days'")
        .execute(&mut rows)
        .await
        .unwrap();
    engine.stop(stop(gone, sutbot::domain::Stop::Cancel)).await.unwrap();
    sqlx::query("delete from operation where id = $1").bind(gone).execute(&mut rows).await.unwrap();
    let retention = Retention { every: Duration::from_millis(20), ..Retention::default() };
    let settings = EngineSettings { retention: Some(retention), ..EngineSettings::default() };
    let keeper =
        Engine::start(engine.store().clone(), settings, wire::decode_definition).await.unwrap();
    within(async {
        loop {
            let names: Vec<String> =
                sqlx::query_scalar("select name from jobset").fetch_all(&mut rows).await.unwrap();
            if names == ["used"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    keeper.shut_down().await;
    // Whoever starts afresh notes that a definition is used, and stores one that was forgotten.
    let fresh = crate::support::engine(&url).await;
    submit(&fresh, &named("gone")).await;
    submit(&fresh, &named("used")).await;
    let recent = "select count(*) from jobset where used > now() - interval '1 day'";
    let recent: i64 = sqlx::query_scalar(recent).fetch_one(&mut rows).await.unwrap();
    assert_eq!(recent, 2);
    assert_eq!(fresh.operation(used).await.unwrap().view.state, OperationState::NotStarted);
    fresh.shut_down().await;
    engine.shut_down().await;
}
