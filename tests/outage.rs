//! The database goes away during requests: they are told to come again, nothing that was
//! acknowledged is lost, steps under way survive, and the service recovers by itself.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sutbot::cli::{Host, HostSettings};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(1);
/// Clients that submit all the while.
const CLIENTS: usize = 4;

fn postmaster(data_dir: &Path) -> Pid {
    let text = fs::read_to_string(data_dir.join("cluster/postmaster.pid")).expect("a pid file");
    Pid::from_raw(text.lines().next().expect("a line").parse().expect("a number"))
}

fn settings(data_dir: &Path) -> HostSettings {
    HostSettings {
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        zygote_exe: Some(env!("CARGO_BIN_EXE_mother").into()),
        drain: Duration::from_secs(1),
        lease: Duration::from_mins(1), // Longer than the outages.
        ..HostSettings::new(data_dir)
    }
}

fn client() -> Client {
    // There is no TLS here, but the client wants to be able to.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}

/// What is said while the database is away: try again later, in the envelope of every error.
async fn is_refused_well(response: Response) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers().clone();
    let seconds = headers["retry-after"].to_str().expect("ASCII").parse::<u32>();
    assert!(seconds.expect("whole seconds") >= 1);
    assert!(!headers.keys().any(|name| name.as_str().starts_with("ratelimit")));
    let body: Value = response.json().await.expect("an envelope");
    assert_eq!(headers["x-ms-error-code"], body["error"]["code"].as_str().expect("a code"));
    assert!(body["error"]["message"].is_string(), "{body}");
}

/// What a client saw.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<String>,
    refused: usize,
}

/// Submits and lists until told to stop.
async fn submit_all_the_while(base: String, stop: Arc<AtomicBool>) -> Seen {
    let client = client();
    let job = json!({"steps": [{"name": "a"}, {"name": "b", "run": {"shell": "true"}}],
        "successPairs": [["a", "b"]]});
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let response = client.post(format!("{base}/v1.0/jobsets")).json(&job).send().await;
        let response = response.expect("the service itself is always there");
        if response.status() == StatusCode::ACCEPTED {
            let url = &response.headers()["operation-location"];
            seen.acknowledged.push(url.to_str().expect("ASCII").to_owned());
        } else {
            seen.refused += 1;
            is_refused_well(response).await;
        }
        let response = client.get(format!("{base}/v1.0/operations?$top=1")).send().await;
        let response = response.expect("the service itself is always there");
        if response.status() != StatusCode::OK {
            seen.refused += 1;
            is_refused_well(response).await;
        }
    }
    seen
}

/// Asks until it is ready (or not), as a load balancer does.
async fn until_ready(client: &Client, base: &str, ready: bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = client.get(format!("{base}/readyz")).send().await.expect("an answer");
        if response.status().is_success() == ready {
            return;
        }
        assert!(Instant::now() < deadline, "ready: {}", !ready);
        sleep(Duration::from_millis(10)).await;
    }
}

async fn shown(client: &Client, url: &str) -> Value {
    let response = client.get(url).send().await.expect("an answer");
    response.json().await.expect("a document")
}

/// The operation once it has ended.
async fn ended(client: &Client, url: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = client.get(url).header("prefer", "wait=5").send().await.expect("an answer");
        if response.status() == StatusCode::OK {
            let operation: Value = response.json().await.expect("an operation");
            if ["succeeded", "failed", "canceled"]
                .contains(&operation["status"].as_str().unwrap_or(""))
            {
                return operation;
            }
            assert!(Instant::now() < deadline, "{operation}");
        } else {
            is_refused_well(response).await;
            assert!(Instant::now() < deadline, "{url}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Kills the database. It is started again at once; in a long outage that fails until the service
/// has said that it is not ready.
async fn outage(client: &Client, base: &str, data_dir: &Path, is_long: bool) {
    let needed = data_dir.join("cluster/PG_VERSION");
    let away = data_dir.join("cluster/PG_VERSION.away");
    let old = postmaster(data_dir);
    if is_long {
        fs::rename(&needed, &away).expect("the cluster has a version");
    }
    kill(old, Signal::SIGKILL).expect("a postmaster");
    if is_long {
        until_ready(client, base, false).await;
        let asked = client.get(format!("{base}/v1.0/operations")).send();
        is_refused_well(asked.await.expect("an answer")).await;
        let job = json!({"steps": [{"name": "a"}]});
        let asked = client.post(format!("{base}/v1.0/jobsets")).json(&job).send();
        is_refused_well(asked.await.expect("an answer")).await;
        fs::rename(&away, &needed).expect("it is still there");
    }
    until_ready(client, base, true).await;
}

/// A step that runs until the file is there, so that it spans all outages.
async fn start_long_step(client: &Client, base: &str, file: &Path) -> String {
    let text =
        format!("echo begun; while [ ! -e {} ]; do sleep 0.1; done; echo done", file.display());
    let job = json!({"steps": [{"name": "long", "run": {"shell": text}}]});
    let response = client.post(format!("{base}/v1.0/jobsets")).json(&job).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let url = response.headers()["operation-location"].to_str().expect("ASCII").to_owned();
    loop {
        let operation: Value = shown(client, &url).await;
        if operation["state"] == "Running" {
            return url;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_dies_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // As root, the account of postgres has to get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let host = Host::start(settings(folder.path())).await.expect("a service");
    let base = format!("http://{}", host.address().expect("it listens"));
    let (end, gone) = oneshot::channel::<()>();
    let running = tokio::spawn(host.run_until(async { _ = gone.await }));
    let client = client();
    let file = folder.path().join("enough");
    let long = start_long_step(&client, &base, &file).await;

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(submit_all_the_while(base.clone(), Arc::clone(&stop))))
        .collect();
    // One outage is over before anybody gives up waiting, the other is not.
    for is_long in [false, true] {
        sleep(Duration::from_millis(500)).await; // Work for the outage to interrupt.
        outage(&client, &base, folder.path(), is_long).await;
    }
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);

    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for client in clients {
        let seen = client.await.expect("no panic");
        acknowledged.extend(seen.acknowledged);
        refused += seen.refused;
    }
    println!("{} acknowledged, {refused} refused", acknowledged.len());
    assert!(refused > 0, "the clients noticed the long outage");
    let distinct: HashSet<&String> = acknowledged.iter().collect();
    assert_eq!(distinct.len(), acknowledged.len());
    for url in &acknowledged {
        let operation = ended(&client, url).await;
        assert_eq!(operation["status"], "succeeded", "{operation}");
    }

    fs::write(&file, "").expect("a file");
    let operation = ended(&client, &long).await;
    assert_eq!(operation["status"], "succeeded", "{operation}");
    let step = shown(&client, &format!("{long}/steps/long")).await;
    assert_eq!(step["attempt"], 1, "the step that ran through the outages is the first one");
    let output = client.get(format!("{long}/steps/long/output")).send().await.unwrap();
    assert_eq!(output.text().await.unwrap(), "begun\ndone\n");

    drop(end);
    running.await.expect("no panic").expect("an orderly end");
}
