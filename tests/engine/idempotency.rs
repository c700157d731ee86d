//! Submissions with keys: several engines on one database, and what is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use sutbot::engine::{Accepted, Compiled, Engine, EngineError, Identity, KeyKind, SubmissionKey};
use sutbot::wire::JobsetDocument;
use tokio::task::JoinSet;

use crate::support::{database, engine, within};

fn compile(engine: &Engine, step: &str) -> Arc<Compiled> {
    let document = json!({"steps": [{"name": step}], "start": "manual"});
    let document: JobsetDocument = serde_json::from_value(document).unwrap();
    engine.compile(document.canonical(), document.into_definition()).unwrap()
}

async fn submit(engine: &Engine, kind: KeyKind, text: &str) -> Result<Accepted, EngineError> {
    submit_step(engine, kind, text, "a").await
}

async fn submit_step(
    engine: &Engine,
    kind: KeyKind,
    text: &str,
    step: &str,
) -> Result<Accepted, EngineError> {
    let compiled = compile(engine, step);
    let keys = vec![SubmissionKey { kind, text: text.to_owned() }];
    let identity = Identity::new(keys, "POST /", &compiled, None, None);
    engine.submit_once(compiled, None, None, Some(identity)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_race_for_a_key_make_one_operation() {
    let url = database().await;
    let engines = [engine(&url).await, engine(&url).await, engine(&url).await];
    for round in 0..10 {
        let mut tasks = JoinSet::new();
        for n in 0..300 {
            let engine = engines[n % engines.len()].clone();
            let text = format!("{round}");
            tasks.spawn(async move { submit(&engine, KeyKind::IdempotencyKey, &text).await });
        }
        let made: Vec<Accepted> =
            within(tasks.join_all()).await.into_iter().map(Result::unwrap).collect();
        let told: BTreeSet<_> = made.iter().map(|made| (made.id, made.at)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(made.iter().filter(|made| !made.is_repeated).count(), 1);
    }
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let engine = engine(&database().await).await;
    for kind in [KeyKind::OperationId, KeyKind::RequestId, KeyKind::IdempotencyKey] {
        let made = submit(&engine, kind, "taken").await.unwrap();
        let other = submit_step(&engine, kind, "taken", "b").await;
        assert!(matches!(other, Err(EngineError::KeyTaken(taken)) if taken == kind), "{other:?}");
        let again = submit(&engine, kind, "taken").await.unwrap();
        assert_eq!(again, Accepted { is_repeated: true, ..made });
    }
}

#[tokio::test]
async fn forgetting_is_bounded_and_keeps_what_counts() {
    let url = database().await;
    let engine = engine(&url).await;
    let store = engine.store();
    for n in 0..5 {
        submit(&engine, KeyKind::IdempotencyKey, &format!("key-{n}")).await.unwrap();
    }
    let first = submit(&engine, KeyKind::OperationId, "first").await.unwrap();
    submit(&engine, KeyKind::OperationId, "second").await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "any time after that of the keys will do")]
    let later = Utc::now() + TimeDelta::days(1);
    assert_eq!(store.forget_keys(later - TimeDelta::days(2), 10).await.unwrap(), 0);
    let mut forgotten = Vec::new();
    for _ in 0..4 {
        forgotten.push(store.forget_keys(later, 2).await.unwrap());
    }
    assert_eq!(forgotten, [2, 2, 1, 0]);

    assert_eq!(store.forget_aliases(10).await.unwrap(), 0);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let gone = format!("delete from operation where id <= '{}'", first.id);
    connection.execute(sqlx::AssertSqlSafe(gone)).await.unwrap();
    assert_eq!(store.forget_aliases(10).await.unwrap(), 1);
    assert_eq!(store.operation_called("first").await.unwrap(), None);
    assert!(store.operation_called("second").await.unwrap().is_some());
}
