//! How long keys count: after the window, and when their operation is gone.

use std::time::Duration;

use sqlx::{Executor, PgConnection};

use super::{assert_replayed, job};
use crate::support::{OwnService, PATIENCE, own_service};

const KEY: (&str, &str) = ("idempotency-key", "\"kept\"");
const ID: (&str, &str) = ("operation-id", "kept");

async fn once() -> (OwnService, PgConnection) {
    let service = own_service(|s| s.slots = 0).await;
    let database = service.database().await;
    (service, database)
}

/// Takes all operations away, as if their time had come.
async fn purge(database: &mut PgConnection) {
    for table in ["operation", "operation_data", "event", "live", "ready"] {
        let text = format!("truncate table {table}");
        database.execute(sqlx::AssertSqlSafe(text)).await.expect("a table");
    }
}

/// Makes all keys older.
async fn age(database: &mut PgConnection, by: &str) {
    let text = format!("update idempotency_key set at = at - interval '{by}'");
    database.execute(sqlx::AssertSqlSafe(text)).await.expect("keys");
}

async fn keys(database: &mut PgConnection) -> i64 {
    let count = sqlx::query_scalar("select count(*) from idempotency_key");
    count.fetch_one(database).await.expect("a number")
}

#[tokio::test]
async fn row_182_a_key_outlives_its_operation() {
    let (service, mut database) = once().await;
    let first = service.post(job().to_string(), &[KEY]).await;
    purge(&mut database).await;
    service.get(first.header("operation-location")).await.error(404);
    assert_replayed(&first, &service.post(job().to_string(), &[KEY]).await);
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn an_id_is_free_again_when_its_operation_is_gone() {
    let (service, mut database) = once().await;
    service.post(job().to_string(), &[ID]).await.expect(202);
    purge(&mut database).await;
    service.get("/v1.0/operations/kept").await.error(404);
    let other = serde_json::json!({"steps": [{"name": "other"}]});
    service.post(other.to_string(), &[ID]).await.expect(202);
    service.get("/v1.0/operations/kept").await.expect(200);
    assert_eq!(service.count().await, 1);
}

#[tokio::test]
async fn an_id_counts_as_long_as_its_operation_is_there() {
    let (service, mut database) = once().await;
    let first = service.post(job().to_string(), &[ID]).await;
    age(&mut database, "10 days").await;
    let again = service.post(job().to_string(), &[ID]).await.expect(202);
    assert_eq!(first.header("operation-location"), again.header("operation-location"));
    assert_eq!(service.count().await, 1);
}

#[tokio::test]
async fn a_key_is_free_again_after_the_window() {
    let (service, mut database) = once().await;
    let first = service.post(job().to_string(), &[KEY]).await.expect(202);
    age(&mut database, "23 hours").await;
    let again = service.post(job().to_string(), &[KEY]).await.expect(202);
    assert_eq!(first.header("operation-location"), again.header("operation-location"));
    age(&mut database, "2 hours").await;
    let anew = service.post(job().to_string(), &[KEY]).await.expect(202);
    assert_ne!(first.header("operation-location"), anew.header("operation-location"));
    assert_eq!(service.count().await, 2);
}

#[tokio::test]
async fn old_keys_are_forgotten() {
    let (service, mut database) = once().await;
    service.post(job().to_string(), &[KEY]).await.expect(202);
    service.post(job().to_string(), &[ID]).await.expect(202);
    age(&mut database, "25 hours").await;
    let forgotten = async {
        while keys(&mut database).await > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the key goes");
    service.get("/v1.0/operations/kept").await.expect(200);
}
