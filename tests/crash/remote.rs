//! A worker on another machine, and a server that is killed while it works.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use sutbot::client::Client;

use super::Server;
use super::output::{ended, submit};

/// `mother worker` over the socket of a server.
struct Worker(Child);

impl Worker {
    fn start(socket: &Path, data_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["worker", "--name", "elsewhere", "--slots", "4", "--lease", "20s"])
            .args(["--heartbeat", "500ms", "--socket"])
            .arg(socket)
            .arg("--data-dir")
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("worker elsewhere registered at unix:"), "{line}");
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_elsewhere_go_on_while_their_server_is_killed_and_end_once() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("socket");
    let socket_text = socket.to_str().unwrap();
    let arguments = ["--no-worker", "--socket", socket_text];
    let server = Server::with(folder.path(), &arguments);
    let _worker = Worker::start(&socket, other.path());
    let waits = |name: &str, file: &str| {
        let (file, ran) = (other.path().join(file), other.path().join(name));
        let (file, ran) = (file.display(), ran.display());
        let text = format!(
            "echo begin >> {ran}; until [ -e {file} ]; do sleep 0.05; done; echo end >> {ran}; echo {name}"
        );
        json!({"name": name, "run": {"shell": text}})
    };
    let follows =
        json!({"name": "follows", "run": {"shell": "echo on"}, "when": {"early": ["Succeeded"]}});
    let job = json!({"steps": [waits("early", "first"), waits("late", "second"), follows]});
    let id = submit(&server, &job).await;
    while ["early", "late"].iter().any(|name| !other.path().join(name).exists()) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.kill();
    // This one ends while nobody can be told, the other one later.
    std::fs::write(other.path().join("first"), "").unwrap();
    while std::fs::read_to_string(other.path().join("early")).unwrap() != "begin\nend\n" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let server = Server::with(folder.path(), &arguments);
    let client = Client::new(&server.url, None).unwrap();
    std::fs::write(other.path().join("second"), "").unwrap();
    assert_eq!(ended(&client, &id).await, "succeeded");
    for name in ["early", "late"] {
        let ran = std::fs::read_to_string(other.path().join(name)).unwrap();
        assert_eq!(ran, "begin\nend\n", "{name} ran once");
    }
    for step in client.steps(&id).await.unwrap() {
        assert_eq!(step.attempt, 1, "{step:?}");
    }
    super::account(&id, &client.events(&id, 0).await.unwrap().value);
}
