//! A database of its own for each test, in one private cluster; engines and hosts on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use sutbot::cli::{Host, HostSettings};
use sutbot::domain::profile::Profile;
use sutbot::engine::{Engine, EngineSettings, EventView, Found, SeatSpec, Store, StoreSettings};
use sutbot::postgres::{self, Settings};
use sutbot::wire::{self, JobsetDocument};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Fails instead of hanging.
pub(crate) async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), event).await.expect("the event comes in time")
}

/// One cluster for the whole program; its folder and its postgres go with the program.
async fn cluster_url() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(|| async {
        let folder = tempfile::tempdir().unwrap().keep();
        let settings = Settings { durable: false, ..Settings::new(&folder) };
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // The runtime of a test ends with the test, the cluster must not.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let cluster = runtime.block_on(postgres::start(&settings)).unwrap();
            sender.send(cluster.url()).unwrap();
            runtime.block_on(cluster.ended());
        });
        receiver.await.unwrap()
    })
    .await
}

/// A new, empty database.
pub(crate) async fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = cluster_url().await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    url.replace("/mother?", &format!("/{name}?"))
}

/// A server process without HTTP: engine and worker.
pub(crate) async fn host(url: &str, slots: u32) -> Host {
    let folder: PathBuf = tempfile::tempdir().unwrap().keep();
    let settings = HostSettings {
        database_url: Some(url.to_owned()),
        slots,
        drain: Duration::ZERO,
        zygote_exe: Some(Path::new(env!("CARGO_BIN_EXE_mother")).to_owned()),
        ..HostSettings::new(folder)
    };
    Host::start(settings).await.unwrap()
}

/// An engine without a worker, on a schema that it brings up to date.
pub(crate) async fn engine(url: &str) -> Engine {
    // What is lost goes to others at once: the seats of tests have short leases.
    engine_with(url, Duration::ZERO).await
}

/// As [`engine`], where lost workers have some time to come back.
pub(crate) async fn engine_with(url: &str, requeue_after: Duration) -> Engine {
    let store = Store::new(&StoreSettings::new(url)).unwrap();
    store.migrate().await.unwrap();
    let settings = EngineSettings { requeue_after, ..settings() };
    Engine::start(store, settings, wire::decode_definition).await.unwrap()
}

/// What is lost goes to others at once: the seats of tests have short leases.
pub(crate) fn settings() -> EngineSettings {
    EngineSettings {
        poll_interval: Duration::from_millis(100),
        requeue_after: Duration::ZERO,
        ..EngineSettings::default()
    }
}

/// A worker that a test plays itself.
pub(crate) fn seat(slots: u32, lease: Duration) -> SeatSpec {
    let profile = Profile::default();
    SeatSpec { name: "test".into(), host: "here".into(), pid: 1, slots, lease, profile }
}

/// Submits a document.
pub(crate) async fn submit(engine: &Engine, document: &Value) -> Uuid {
    let document: JobsetDocument = serde_json::from_value(document.clone()).unwrap();
    let (labels, context) = document.run_data().unwrap();
    let compiled = engine.compile(document.canonical(), document.into_definition()).unwrap();
    engine.submit(compiled, labels, context).await.unwrap().0
}

/// Waits until the operation has ended.
pub(crate) async fn ended(engine: &Engine, id: Uuid) -> Found {
    until(engine, id, |found| found.view.state.is_final()).await
}

/// Waits until `enough` holds of the operation.
pub(crate) async fn until(engine: &Engine, id: Uuid, enough: impl Fn(&Found) -> bool) -> Found {
    let mut watch = engine.watch(id);
    within(async {
        loop {
            let found = engine.operation(id).await.unwrap();
            if enough(&found) {
                return found;
            }
            // News of another engine may be on its way only by polling.
            _ = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
        }
    })
    .await
}

/// The whole history.
pub(crate) async fn history(engine: &Engine, id: Uuid) -> Vec<EventView> {
    engine.store().events(id, 0, 0, i64::MAX).await.unwrap()
}
