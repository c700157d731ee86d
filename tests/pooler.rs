//! Servers behind a pooler that shares connections out by transactions: they find out by themselves,
//! do everything that others do, and recover when the pooler is restarted.

#[path = "support/pgbouncer.rs"]
mod pgbouncer;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbouncer::PgBouncer;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sutbot::cli::{Host, HostSettings};
use sutbot::postgres::{self, Cluster};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(1);

fn client() -> Client {
    // There is no TLS here, but the client wants to be able to.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

async fn cluster(folder: &Path) -> Cluster {
    // As root, the account of postgres has to get through.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    let settings = postgres::Settings { durable: false, ..postgres::Settings::new(folder) };
    postgres::start(&settings).await.expect("a cluster")
}

/// A server and how it is ended.
struct Server {
    base: String,
    is_pooled: bool,
    end: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn server(folder: PathBuf, url: String, slots: u32) -> Server {
    let settings = HostSettings {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        zygote_exe: Some(env!("CARGO_BIN_EXE_mother").into()),
        database_url: Some(url),
        drain: Duration::from_secs(1),
        slots,
        ..HostSettings::new(folder)
    };
    let host = Host::start(settings).await.expect("a service");
    let base = format!("http://{}", host.address().expect("it listens"));
    let is_pooled = host.engine().store().is_pooled();
    let (end, gone) = oneshot::channel::<()>();
    let running = async move { host.run_until(async { _ = gone.await }).await.expect("an end") };
    Server { base, is_pooled, end, ended: tokio::spawn(running) }
}

impl Server {
    async fn end(self) {
        drop(self.end);
        self.ended.await.expect("no panic");
    }
}

/// Submits until it is taken; answers where the operation is.
async fn submit(client: &Client, base: &str, job: &Value) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = client.post(format!("{base}/v1.0/jobsets")).json(job).send().await;
        let response = response.expect("the service itself is always there");
        if response.status() == StatusCode::ACCEPTED {
            let url = &response.headers()["operation-location"];
            return url.to_str().expect("ASCII").to_owned();
        }
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(Instant::now() < deadline, "nothing is taken any more");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The operation once it has ended.
async fn ended(client: &Client, url: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = client.get(url).header("prefer", "wait=5").send().await.expect("an answer");
        if response.status() == StatusCode::OK {
            let operation: Value = response.json().await.expect("an operation");
            if ["succeeded", "failed", "canceled"]
                .contains(&operation["status"].as_str().unwrap_or_default())
            {
                return operation;
            }
        }
        assert!(Instant::now() < deadline, "{url} does not end");
    }
}

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
