//! Workers on other machines: all that a step can do, and what is refused.

mod hostile;
mod steps;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, OwnService, Service, own_service};

/// `mother worker` as a process of its own; killed when this is dropped.
struct RemoteWorker {
    child: Child,
    folder: TempDir,
}

impl RemoteWorker {
    /// Ends once it is registered.
    async fn start(service: &Service, name: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("LAMP"), "green-as-grass").expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["worker", "--server", &service.base, "--name", name])
            .args(["--lease", "4s", "--heartbeat", "500ms", "--secrets-dir"])
            .arg(folder.path())
            .arg("--data-dir")
            .arg(folder.path())
            .args(arguments)
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let stdout = child.stdout.take().expect("it is a pipe");
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = line.await.expect("no panic").expect("UTF-8");
        assert!(line.starts_with(&format!("worker {name} registered at http://")), "{line}");
        Self { child, folder }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for its end; answers whether it went well.
    async fn ended(mut self) -> bool {
        let ended = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().expect("it is a child");
            status.success()
        });
        ended.await.expect("no panic")
    }
}

impl Drop for RemoteWorker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = self.folder.path();
    }
}

/// A server that runs no steps itself.
async fn server() -> OwnService {
    own_service(|settings| settings.slots = 0).await
}

impl Service {
    async fn post_to(&self, url: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send("POST", url, &all, Some(body.to_string().into())).await
    }

    /// The workers of that name, as clients see them.
    async fn workers_called(&self, name: &str) -> Vec<Value> {
        let page = self.get("/v1.0/workers").await.expect(200).json();
        let workers = page["value"].as_array().expect("a list").iter();
        workers.filter(|worker| worker["name"] == name).cloned().collect()
    }

    /// The worker of that name once it is so.
    async fn worker_once(&self, name: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
        loop {
            let workers = self.workers_called(name).await;
            if let Some(worker) = workers.iter().find(|worker| enough(worker)) {
                return worker.clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "{workers:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The steps of an operation by name.
    async fn steps_of(&self, url: &str) -> std::collections::BTreeMap<String, Value> {
        let page = self.get(&format!("{url}/steps")).await.expect(200).json();
        let steps = page["value"].as_array().expect("a list").iter();
        steps
            .map(|step| (step["name"].as_str().expect("a name").to_owned(), step.clone()))
            .collect()
    }

    async fn output_of(&self, url: &str, step: &str) -> String {
        self.get(&format!("{url}/steps/{step}/output")).await.expect(200).text().to_owned()
    }
}

/// A registration with so many slots.
fn registration(name: &str, slots: u32) -> Value {
    json!({"name": name, "host": "elsewhere", "pid": 7, "slots": slots, "leaseSeconds": 60})
}
