//! `mother backup` and `mother restore`: a copy of a server at work, and the server that goes on from it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(1);

fn mother(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
    command.arg("--data-dir").arg(data_dir).env_remove("DATABASE_URL");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary was built")
}

fn complaint(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// `mother serve`, killed with its test.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(data_dir: &Path) -> Self {
        let mut child = mother(data_dir)
            .args(["serve", "--listen", "127.0.0.1:0", "--requeue-after", "100ms"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it is text");
        let base = line.trim().strip_prefix("listening on ").expect("it is ready").to_owned();
        Self { child, base }
    }

    fn url(&self, id: &str) -> String {
        format!("{}/v1.0/operations/{id}", self.base)
    }

    async fn submit(&self, job: &Value) -> String {
        let asked = reqwest::Client::new().post(format!("{}/v1.0/jobsets", self.base)).json(job);
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
        let location = answer.headers()["operation-location"].to_str().expect("ASCII").to_owned();
        location.rsplit('/').next().expect("an id").to_owned()
    }

    async fn until(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = reqwest::get(self.url(id)).await.expect("an answer");
            let operation: Value = answer.json().await.expect("a document");
            if enough(&operation) {
                return operation;
            }
            assert!(Instant::now() < deadline, "{operation}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A folder that the account of postgres gets through, as root too.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_from_a_copy() {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let (old, new) = (folder(), folder());
    let copy = old.path().join("copy");
    let server = Server::start(old.path());
    let done = server
        .submit(&json!({"labels": {"a": "b"}, "steps": [
        {"name": "a", "run": {"shell": "echo said"}}]}))
        .await;
    let ended = server.until(&done, |operation| operation["state"] == "Succeeded").await;
    // Runs when the copy is made; the second attempt is quick.
    let under_way = server
        .submit(&json!({"steps": [
        {"name": "a", "run": {"shell": "[ $SUT_ATTEMPT -gt 1 ] || exec sleep 1000"}}]}))
        .await;
    server.until(&under_way, |operation| operation["stepCounts"]["Running"] == 1).await;

    let backup = |force: bool| {
        let mut command = mother(old.path());
        command.arg("backup").arg(&copy).args(force.then_some("--force"));
        run(&mut command)
    };
    complaint(&backup(false), 0);
    let size = fs::metadata(&copy).expect("a file").len();
    assert_eq!(fs::metadata(&copy).expect("a file").permissions().mode() & 0o777, 0o600);
    // What came after the copy is not in it.
    let late = server.submit(&json!({"steps": [{"name": "a"}]})).await;
    let said = complaint(&backup(false), 3);
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fs::metadata(&copy).expect("a file").len(), size);

    let said = complaint(&run(mother(old.path()).arg("restore").arg(&copy)), 3);
    assert!(said.contains("with data"), "{said}");
    drop(server);
    complaint(&run(mother(new.path()).arg("restore").arg(&copy)), 0);
    let server = Server::start(new.path());
    let again = server.until(&done, |_| true).await;
    for kept in ["id", "status", "createdDateTime", "lastActionDateTime", "labels", "stepCounts"] {
        assert_eq!(again[kept], ended[kept]);
    }
    let output = reqwest::get(format!("{}/steps/a/output", server.url(&done))).await;
    assert_eq!(output.expect("an answer").text().await.expect("a text"), "said\n");
    let operation = server.until(&under_way, |operation| operation["state"] == "Succeeded").await;
    assert_eq!(operation["status"], "succeeded");
    assert_eq!(reqwest::get(server.url(&late)).await.expect("an answer").status(), 404);
    let fresh = server.submit(&json!({"steps": [{"name": "a"}]})).await;
    server.until(&fresh, |operation| operation["state"] == "Succeeded").await;
    drop(server);

    // No server runs; the file is replaced because that is asked for.
    complaint(&backup(true), 0);
}

#[test]
fn what_cannot_be_copied_or_restored_is_told() {
    let folder = folder();
    let file = folder.path().join("file");
    let said = complaint(&run(mother(&folder.path().join("none")).arg("backup").arg(&file)), 3);
    assert!(said.contains("no private PostgreSQL"), "{said}");
    let mut external = mother(folder.path());
    external.arg("backup").arg(&file).env("DATABASE_URL", "postgres://127.0.0.1/other");
    let said = complaint(&run(&mut external), 2);
    assert!(said.contains("pg_dump"), "{said}");

    let target = folder.path().join("target");
    complaint(&run(mother(&target).arg("restore").arg(&file)), 3);
    fs::write(&file, "this is no copy").expect("a file");
    let said = complaint(&run(mother(&target).arg("restore").arg(&file)), 3);
    assert!(said.contains("pg_restore"), "{said}");
    assert!(!target.join("cluster").exists(), "nothing is made of what is no copy");
}
