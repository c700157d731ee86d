//! Servers on a database that is not theirs, and a patient client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use sutbot::cli::{Host, HostSettings};
use sutbot::postgres::{self, Cluster};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn client() -> Client {
    // There is no TLS here, but the client wants to be able to.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

pub(crate) async fn cluster(folder: &Path) -> Cluster {
    // As root, the account of postgres has to get through.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    let settings = postgres::Settings::new(folder);
    postgres::start(&settings).await.expect("a cluster")
}

/// A server and how it is ended.
pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) is_pooled: bool,
    end: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

pub(crate) fn settings(folder: PathBuf, url: String, slots: u32) -> HostSettings {
    HostSettings {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        zygote_exe: Some(env!("CARGO_BIN_EXE_mother").into()),
        database_url: Some(url),
        drain: Duration::from_secs(1),
        slots,
        ..HostSettings::new(folder)
    }
}

pub(crate) async fn server(folder: PathBuf, url: String, slots: u32) -> Server {
    let host = Host::start(settings(folder, url, slots)).await.expect("a service");
    let base = format!("http://{}", host.address().expect("it listens"));
    let is_pooled = host.engine().store().is_pooled();
    let (end, gone) = oneshot::channel::<()>();
    let running = async move { host.run_until(async { _ = gone.await }).await.expect("an end") };
    Server { base, is_pooled, end, ended: tokio::spawn(running) }
}

impl Server {
    pub(crate) async fn end(self) {
        drop(self.end);
        self.ended.await.expect("no panic");
    }
}

/// Submits until it is taken; answers where the operation is.
pub(crate) async fn submit(client: &Client, base: &str, job: &Value) -> String {
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
pub(crate) async fn ended(client: &Client, url: &str) -> Value {
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
