//! `mother serve --socket`: the same service in the file system, for its owner only.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::client::{Client, OperationHandler, Question, StatusField, make_api_client};
use sutbot::postgres::{self, Cluster};
use sutbot::wire::Operation;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// What all tests of this program share.
struct Ground {
    runtime: Runtime,
    folder: PathBuf,
    cluster: OnceCell<Cluster>,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        // As root, the account of postgres has to get through.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("chmod");
        remove_at_the_end(&folder);
        Ground { runtime: Runtime::new().expect("a runtime"), folder, cluster: OnceCell::new() }
    })
}

/// What is shared is never dropped, so another process sees to it: one whose input ends when this
/// one does.
fn remove_at_the_end(folder: &Path) {
    let script = "cat; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf \"$1\" && exit; sleep 1; done";
    let broom = std::process::Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    std::mem::forget(broom.expect("a shell"));
}

/// The URL of a new, empty database.
async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let start = || {
        let settings =
            postgres::Settings { durable: false, ..postgres::Settings::new(&ground().folder) };
        // Where it outlives the test that asks first.
        let started = ground().runtime.spawn(async move { postgres::start(&settings).await });
        async { started.await.expect("no panic").expect("a cluster") }
    };
    let url = ground().cluster.get_or_init(start).await.url();
    let name = format!("socket_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&url).await.expect("the cluster serves");
    let query = format!("create database {name} template template0");
    sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&mut connection).await.expect("a name");
    url.replacen("///mother?", &format!("///{name}?"), 1)
}

async fn within<T>(event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("it comes in time")
}

/// `mother` with an empty environment.
fn mother(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// A folder for a socket and a database for its servers.
struct Place {
    folder: TempDir,
    database: String,
}

/// A real server.
struct Server {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Place {
    async fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), database: database().await }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("mother.sock")
    }

    fn serve(&self, more: &[&str]) -> Command {
        let mut command = mother(&["serve", "--slots", "4"]);
        command.arg("--socket").arg(self.socket());
        command.arg("--data-dir").arg(self.folder.path().join("data"));
        command.args(["--database-url", &self.database]).args(more);
        command
    }

    /// A server that listens on the socket.
    async fn served(&self, more: &[&str]) -> Server {
        let mut child = self.serve(more).spawn().expect("the binary was built");
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut server = Server { child, stdout: BufReader::new(stdout).lines() };
        let said = format!("listening on the socket {}", self.socket().display());
        while server.line().await != said {}
        server
    }

    fn client(&self) -> Client {
        Client::over_socket(&self.socket(), None).expect("a client")
    }

    /// The handler API of an operation.
    fn handler(&self, id: &str) -> OperationHandler {
        make_api_client(self.socket(), PATIENCE).expect("a client").operation(id)
    }

    /// What `mother` says when it is asked over the socket.
    async fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = mother(arguments);
        let output = command.arg("--socket").arg(self.socket()).stderr(Stdio::piped()).output();
        within(output).await.expect("it runs")
    }

    /// The answer to the bytes of a request, by hand.
    async fn raw(&self, head: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.expect("it listens");
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: some.name:1234\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("a service that reads");
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("an orderly end");
        answer
    }
}

impl Server {
    async fn line(&mut self) -> String {
        within(self.stdout.next_line()).await.expect("a pipe").expect("it has more to say")
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it was not waited for");
        kill(Pid::from_raw(id.try_into().expect("small")), signal).expect("it runs");
    }

    async fn end(mut self, signal: Signal) {
        self.signal(signal);
        within(self.child.wait()).await.expect("it ends");
    }
}

fn jobset(name: &str) -> Value {
    let greet = json!({"name": "greet", "run": {"shell": "echo hello; echo 7 >$SUT_OUTPUT"},
                       "tags": {"kind": "polite"}});
    json!({"name": name, "context": {"colour": "red"},
           "steps": [greet, {"name": "fail", "run": {"shell": "exit 3"}}]})
}

/// The operation once it has ended.
async fn ended(client: &Client, id: &str) -> Operation {
    let mut etag = None;
    loop {
        let wait = Duration::from_secs(5);
        let polled = client.poll(id, etag.as_deref(), wait).await.expect("an answer");
        etag = polled.etag;
        if let Some(operation) = polled.operation
            && ["succeeded", "failed", "canceled"].contains(&operation.status.as_str())
        {
            return operation;
        }
    }
}

#[tokio::test]
async fn the_same_routes_are_served() {
    let place = Place::new().await;
    let server = place.served(&["--max-page-size", "1"]).await;
    assert!(place.raw("GET /livez", "").await.starts_with("HTTP/1.1 200 "));
    let answer = place.raw("POST /v1.0/jobsets", &jobset("by hand").to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    // There is no other name for the service than the one that it was called by.
    assert!(answer.contains("\r\noperation-location: http://some.name:1234/v1.0/op"), "{answer}");
    let client = place.client();
    let submitted = client.submit_json(jobset("typed").to_string().into_bytes()).await.unwrap();
    let location = submitted.operation_location.unwrap();
    assert!(location.starts_with("http://localhost/v1.0/operations/"), "{location}");
    let operation = within(ended(&client, &submitted.operation.id)).await;
    assert_eq!(operation.state, "Failed");
    // A page has one member, so a link is followed.
    let all = client.list(&Question::default()).await.unwrap();
    assert_eq!(all.len(), 2);
    server.end(Signal::SIGTERM).await;
}

#[tokio::test]
async fn mother_asks_over_the_socket() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let file = place.folder.path().join("jobset.json");
    fs::write(&file, r#"{"name": "x", "steps": [{"name": "a", "run": {"shell": "true"}}]}"#)
        .unwrap();
    let ran = place.ask(&["run", file.to_str().unwrap()]).await;
    assert!(ran.status.success(), "{}", text(&ran));
    let hint = format!(" --socket {}", place.socket().display());
    assert!(text(&ran).contains(&hint), "{}", text(&ran));
    let listed = place.ask(&["op", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["value"][0]["state"], "Succeeded");
    let id = listed["value"][0]["id"].as_str().unwrap();
    let shown = place.ask(&["op", "show", id]).await;
    assert!(text(&shown).contains("1 Succeeded"), "{}", text(&shown));
    server.end(Signal::SIGTERM).await;
}

#[tokio::test]
async fn a_flag_goes_before_the_environment() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let nobody = "http://127.0.0.1:1";
    let ask = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = mother(&["op", "list"]);
        let command = command.args(arguments).envs(environment.iter().copied());
        within(command.output()).await.unwrap().status.code()
    };
    let socket = place.socket();
    let socket = socket.to_str().unwrap();
    assert_eq!(ask(&[], &[("MOTHER_SOCKET", socket)]).await, Some(0));
    assert_eq!(ask(&["--socket", socket], &[("MOTHER_SERVER", nobody)]).await, Some(0));
    assert_eq!(ask(&["--server", nobody], &[("MOTHER_SOCKET", socket)]).await, Some(3));
    let both = [("MOTHER_SERVER", nobody), ("MOTHER_SOCKET", socket)];
    assert_eq!(ask(&[], &both).await, Some(2));
    assert_eq!(ask(&[], &[("MOTHER_SERVER", ""), ("MOTHER_SOCKET", socket)]).await, Some(0));
    server.end(Signal::SIGTERM).await;
}

#[tokio::test]
async fn only_the_owner_gets_in_until_the_server_ends() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let found = fs::symlink_metadata(place.socket()).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o777, 0o600);
    server.end(Signal::SIGTERM).await;
    assert!(!place.socket().exists());
    let server = place.served(&[]).await;
    server.end(Signal::SIGINT).await;
    assert!(!place.socket().exists());
    let left: Vec<_> = fs::read_dir(place.folder.path()).unwrap().collect();
    assert!(left.len() <= 1, "{left:?}");
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let second = within(place.serve(&[]).stderr(Stdio::piped()).output()).await.unwrap();
    assert_eq!(second.status.code(), Some(3));
    let said = text(&second);
    assert!(said.contains("another server listens on the socket"), "{said}");
    assert!(place.raw("GET /livez", "").await.starts_with("HTTP/1.1 200 "));
    server.end(Signal::SIGTERM).await;
}

#[tokio::test]
async fn the_socket_of_a_dead_server_is_replaced() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let before = fs::symlink_metadata(place.socket()).unwrap();
    server.end(Signal::SIGKILL).await;
    assert!(UnixStream::connect(place.socket()).await.is_err());
    assert!(place.socket().exists());
    let server = place.served(&[]).await;
    let after = fs::symlink_metadata(place.socket()).unwrap();
    assert_eq!(after.mode() & 0o777, 0o600);
    assert_ne!(before.ctime_nsec(), after.ctime_nsec());
    assert!(place.raw("GET /livez", "").await.starts_with("HTTP/1.1 200 "));
    server.end(Signal::SIGTERM).await;
    assert!(!place.socket().exists());
}

#[tokio::test]
async fn a_port_beside_the_socket_is_asked_for() {
    let place = Place::new().await;
    let mut child = place.serve(&["--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().unwrap();
    let address = line.strip_prefix("listening on http://").expect("a port");
    assert!(TcpStream::connect(address).await.is_ok());
    let line = within(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line, format!("listening on the socket {}", place.socket().display()));
    Server { child, stdout: lines }.end(Signal::SIGTERM).await;

    let mut child = place.serve(&["--json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(said, json!({"socket": place.socket()}), "no port without --listen");
    Server { child, stdout: lines }.end(Signal::SIGTERM).await;
}

#[tokio::test]
async fn the_handler_tells_of_an_operation() {
    let place = Place::new().await;
    let server = place.served(&[]).await;
    let client = place.client();
    let json = jobset("handled").to_string().into_bytes();
    let id = client.submit_json(json).await.unwrap().operation.id;
    within(ended(&client, &id)).await;
    let handler = place.handler(&id);
    let tags = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };

    let context = handler.get_serialized_context().await.unwrap();
    assert_eq!(context["colour"], "red");
    assert_eq!(context["step_data"]["greet"], json!({"return_value": 7, "exception": null}));
    assert!(context["step_data"]["fail"]["exception"]["message"].is_string(), "{context}");

    let all = handler.list(&tags(&[])).await.unwrap();
    let polite = tags(&[("kind", "polite"), ("n", "0"), ("name", "greet")]);
    assert_eq!(all, [polite, tags(&[("n", "1"), ("name", "fail")])]);
    assert_eq!(handler.list(&tags(&[("name", "fail")])).await.unwrap().len(), 1);

    let fields = [StatusField::State, StatusField::Output, StatusField::ReturnValue];
    let status = handler.status(Some(&fields), None, &tags(&[("kind", "polite")])).await.unwrap();
    let expected = json!([{
        "n": 0, "name": "greet", "state": "Succeeded", "output": "hello\n", "return_value": 7
    }]);
    assert_eq!(serde_json::to_value(status).unwrap(), expected);
    let failed = handler.status(Some(&[]), Some(&["failed"]), &tags(&[])).await.unwrap();
    assert_eq!(serde_json::to_value(failed).unwrap(), json!([{"n": 1, "name": "fail"}]));

    // Tags that no step has are answered without asking what would be done.
    assert!(handler.pause(false, &tags(&[("name", "none")])).await.unwrap().is_empty());
    server.end(Signal::SIGTERM).await;
}
