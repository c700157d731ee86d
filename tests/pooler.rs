//! Servers behind a pooler that shares connections out by transactions: they find out by themselves,
//! do everything that others do, and recover when the pooler is restarted.

#[path = "support/pgbouncer.rs"]
mod pgbouncer;
#[path = "support/servers.rs"]
mod servers;

use std::time::Duration;

use pgbouncer::PgBouncer;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use servers::{client, cluster, ended, server, submit};
use tokio::task::JoinSet;
use tokio::time::sleep;

fn job(n: usize) -> Value {
    json!({"labels": {"n": n.to_string()}, "context": {"n": n}, "steps": [
        {"name": "a", "run": {"shell": "echo \"{\\\"n\\\": $$}\" > $SUT_OUTPUT; echo said"}},
        {"name": "b"}], "successPairs": [["a", "b"]]})
}

/// Many clients, each with operations of its own; answers where these are.
async fn load(client: &Client, base: &str, clients: usize, each: usize) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for n in 0..clients {
        let (client, base) = (client.clone(), base.to_owned());
        tasks.spawn(async move {
            let mut urls = Vec::new();
            for m in 0..each {
                urls.push(submit(&client, &base, &job(n * each + m)).await);
                let page = client.get(format!("{base}/v1.0/operations?$filter=labels/n eq '1'"));
                let status = page.send().await.expect("an answer").status();
                assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status));
            }
            urls
        });
    }
    tasks.join_all().await.concat()
}

/// The URL of an operation at another server.
fn at(base: &str, url: &str) -> String {
    format!("{base}/v1.0/operations/{}", url.rsplit('/').next().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_behind_a_pooler_work_together_and_recover() {
    let Some(program) = pgbouncer::program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster(folder.path()).await;
    let place = tempfile::tempdir().expect("a folder");
    let mut pooler = PgBouncer::start(program, place.path(), &cluster.url(), "").await;
    // One behind it that serves, one beside it that works.
    let (front, back) = tokio::join!(
        server(folder.path().join("front"), pooler.url(), 0),
        server(folder.path().join("back"), cluster.url(), 4),
    );
    assert!(front.is_pooled && !back.is_pooled);
    let client = client();
    for url in load(&client, &front.base, 6, 8).await {
        let operation = ended(&client, &url).await;
        assert_eq!(operation["status"], "succeeded", "{operation}");
        let output = client.get(format!("{url}/steps/a/output")).send().await.expect("an answer");
        assert_eq!(output.text().await.expect("a text"), "said\n");
    }

    // What the other one does is seen here as well, and the other way round.
    let held = json!({"steps": [{"name": "a", "run": {"shell": "exec sleep 1000"}}]});
    let url = submit(&client, &back.base, &held).await;
    let here = at(&front.base, &url);
    client.delete(&here).send().await.expect("an answer");
    assert_eq!(ended(&client, &url).await["state"], "Cancelled");
    assert_eq!(ended(&client, &here).await["state"], "Cancelled");

    // It is killed and started again under load.
    let loading = tokio::spawn({
        let (client, base) = (client.clone(), front.base.clone());
        async move { load(&client, &base, 4, 25).await }
    });
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await; // Work to interrupt.
        pooler.kill();
        pooler.start_again().await;
    }
    for url in loading.await.expect("no panic") {
        assert_eq!(ended(&client, &at(&front.base, &url)).await["status"], "succeeded");
    }
    front.end().await;
    back.end().await;
    cluster.stop().await.expect("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_passes_over_settings_is_noticed_too() {
    let Some(program) = pgbouncer::program() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster(folder.path()).await;
    let place = tempfile::tempdir().expect("a folder");
    let settings = "ignore_startup_parameters = extra_float_digits, options";
    let pooler = PgBouncer::start(program, place.path(), &cluster.url(), settings).await;
    // Both at once on an empty database: the schema is made once.
    let (one, other) = tokio::join!(
        server(folder.path().join("one"), pooler.url(), 2),
        server(folder.path().join("other"), pooler.url(), 2),
    );
    assert!(one.is_pooled && other.is_pooled);
    let client = client();
    for url in load(&client, &one.base, 3, 5).await {
        assert_eq!(ended(&client, &at(&other.base, &url)).await["status"], "succeeded");
    }
    one.end().await;
    other.end().await;
    cluster.stop().await.expect("an end");
}
