//! A database that takes no writes, and one that is replaced by its standby.

#[path = "support/servers.rs"]
mod servers;

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use servers::{PATIENCE, client, cluster, ended, server, settings, submit};
use sqlx::{Connection, Executor, PgConnection};
use sutbot::cli::Host;
use sutbot::postgres::Cluster;
use tokio::net::{TcpListener, UnixStream};
use tokio::time::{Instant, sleep};

const JOB: &str = r#"{"steps": [{"name": "a"}, {"name": "b", "run": {"shell": "true"}}],
    "successPairs": [["a", "b"]]}"#;

fn job() -> Value {
    serde_json::from_str(JOB).expect("JSON")
}

/// Why a server does not start on a database.
async fn refusal(folder: PathBuf, url: &str) -> String {
    let error = Host::start(settings(folder, url.to_owned(), 1)).await.expect_err("a refusal");
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn execute(url: &str, statements: &[&'static str]) {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    for statement in statements {
        connection.execute(*statement).await.expect("a statement that is carried out");
    }
}

/// The answer of `/readyz` once it has this status.
async fn until_ready(client: &Client, base: &str, status: StatusCode) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(format!("{base}/readyz")).send().await.expect("an answer");
        if answer.status() == status {
            return answer.json().await.expect("a document");
        }
        assert!(Instant::now() < deadline, "readyz is never {status}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = cluster(folder.path()).await;
    let url = cluster.url();
    let place = |name: &str| folder.path().join(name);

    execute(&url, &["alter database mother set default_transaction_read_only = on"]).await;
    let said = refusal(place("one"), &url).await;
    assert!(said.contains("default_transaction_read_only"), "{said}");
    let reset = "alter database mother reset default_transaction_read_only";
    execute(&url, &["set default_transaction_read_only = off", reset, "create role weak login"])
        .await;
    let said = refusal(place("two"), &url.replace("user=mother", "user=weak")).await;
    assert!(said.contains("this role may not write"), "{said}");

    let server = server(place("three"), url.clone(), 2).await;
    let client = client();
    let before = submit(&client, &server.base, &job()).await;
    ended(&client, &before).await;
    let on = "alter system set default_transaction_read_only = on";
    execute(&url, &[on, "select pg_reload_conf()"]).await;
    let error = until_ready(&client, &server.base, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(error["error"]["code"], "DatabaseReadOnly", "{error}");
    let asked = client.post(format!("{}/v1.0/jobsets", server.base)).json(&job()).send().await;
    let answer = asked.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["x-ms-error-code"], "DatabaseReadOnly");
    // What is stored can still be read.
    assert_eq!(client.get(&before).send().await.expect("an answer").status(), StatusCode::OK);

    let off = "alter system reset default_transaction_read_only";
    execute(&url, &[off, "select pg_reload_conf()"]).await;
    until_ready(&client, &server.base, StatusCode::OK).await;
    let after = submit(&client, &server.base, &job()).await;
    assert_eq!(ended(&client, &after).await["status"], "succeeded");
    server.end().await;
    cluster.stop().await.expect("an end");
}

/// An address in front of whatever database is the right one at the time.
#[derive(Clone)]
struct Address {
    port: u16,
    target: Arc<Mutex<PathBuf>>,
}

impl Address {
    async fn of(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(Mutex::new(socket));
        let address = Self { port, target: Arc::clone(&target) };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = target.lock().expect("no panic").clone();
                tokio::spawn(async move {
                    if let Ok(mut database) = UnixStream::connect(socket).await {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut database).await;
                    }
                });
            }
        });
        address
    }

    fn url(&self) -> String {
        format!("postgres://mother@127.0.0.1:{}/mother?sslmode=disable", self.port)
    }

    fn lead_to(&self, socket: PathBuf) {
        *self.target.lock().expect("no panic") = socket;
    }
}

fn sockets(url: &str) -> &str {
    let host = url.split("host=").nth(1).expect("the folder of a socket");
    host.split('&').next().expect("a first part")
}

/// A program of PostgreSQL, run by the account that the cluster belongs to.
fn program(data_dir: &Path, name: &str) -> Command {
    let owner = fs::metadata(data_dir.join("cluster")).expect("a cluster");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = packaged.map(|version| version.path().join("bin"));
    let mut places = std::env::split_paths(&path).chain(packaged);
    let major = fs::read_to_string(data_dir.join("cluster/PG_VERSION")).expect("a version");
    let fits = |place: &PathBuf| {
        let version = Command::new(place.join(name)).arg("--version").output();
        version.is_ok_and(|said| {
            String::from_utf8_lossy(&said.stdout).contains(&format!(") {}", major.trim()))
        })
    };
    let place = places.find(fits).unwrap_or_else(|| panic!("there is no {name} {major}"));
    let mut command = Command::new(place.join(name));
    command.uid(owner.uid()).gid(owner.gid()).current_dir("/").stdin(Stdio::null());
    command
}

/// A standby that has everything its primary acknowledged; ends with its test.
struct Standby {
    child: Child,
    folder: PathBuf,
}

impl Standby {
    async fn of(primary: &Cluster, data_dir: &Path, folder: PathBuf) -> Self {
        let owner = fs::metadata(data_dir.join("cluster")).expect("a cluster");
        fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::chown(&folder, Some(owner.uid()), Some(owner.gid())).expect("chown");
        let copied = program(data_dir, "pg_basebackup")
            .args(["--checkpoint=fast", "--write-recovery-conf", "--username=mother", "--host"])
            .arg(sockets(&primary.url()))
            .arg("--pgdata")
            .arg(folder.join("cluster"))
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let child = program(data_dir, "postgres")
            .arg("-D")
            .arg(folder.join("cluster"))
            .args(["-c", "listen_addresses=", "-c", "max_locks_per_transaction=256", "-c"])
            .arg(format!("unix_socket_directories={}", folder.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        let standby = Self { child, folder };
        let deadline = Instant::now() + PATIENCE;
        while PgConnection::connect(&standby.url()).await.is_err() {
            assert!(Instant::now() < deadline, "the standby does not answer");
            sleep(Duration::from_millis(50)).await;
        }
        // From now on what is acknowledged is here as well.
        let names = "alter system set synchronous_standby_names = '*'";
        execute(&primary.url(), &[names, "select pg_reload_conf()"]).await;
        standby
    }

    fn url(&self) -> String {
        format!("postgres:///mother?host={}&user=mother", self.folder.display())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let primary = cluster(folder.path()).await;
    let socket = |folder: &str| Path::new(folder).join(".s.PGSQL.5432");
    let address = Address::of(socket(sockets(&primary.url()))).await;
    let server = server(folder.path().join("server"), address.url(), 4).await;
    assert!(!server.is_pooled);
    let standby = Standby::of(&primary, folder.path(), folder.path().join("standby")).await;
    let said = refusal(folder.path().join("other"), &standby.url()).await;
    assert!(said.contains("standby"), "{said}");

    let client = client();
    let submitting = tokio::spawn({
        let (client, base) = (client.clone(), server.base.clone());
        async move {
            let mut urls = Vec::new();
            for _ in 0..60 {
                urls.push(submit(&client, &base, &job()).await);
                sleep(Duration::from_millis(20)).await;
            }
            urls
        }
    });
    sleep(Duration::from_millis(500)).await; // Work for the failure to interrupt.
    let pid = fs::read_to_string(folder.path().join("cluster/postmaster.pid")).expect("a pid file");
    let pid = pid.lines().next().expect("a line").parse().expect("a number");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a postmaster");
    // First the address leads to what is still a standby, then that is promoted.
    address.lead_to(standby.folder.join(".s.PGSQL.5432"));
    let error = until_ready(&client, &server.base, StatusCode::SERVICE_UNAVAILABLE).await;
    println!("{}", error["error"]["message"]);
    execute(&standby.url(), &["select pg_promote()"]).await;
    let promoted = Instant::now();
    until_ready(&client, &server.base, StatusCode::OK).await;
    println!("ready {:?} after the promotion", promoted.elapsed());
    for url in submitting.await.expect("no panic") {
        assert_eq!(ended(&client, &url).await["status"], "succeeded");
    }
    let last = submit(&client, &server.base, &json!({"steps": [{"name": "a"}]})).await;
    assert_eq!(ended(&client, &last).await["status"], "succeeded");
    server.end().await;
}
