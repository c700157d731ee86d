//! The client library and the command line name their submissions.

use std::process::{Output, Stdio};

use sutbot::client::{Client, ClientError, SubmissionKeys};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::job;
use crate::support::{OwnService, Service, own_service};

fn named(key: &str) -> SubmissionKeys {
    SubmissionKeys { idempotency_key: Some(key.to_owned()), operation_id: None }
}

/// The address of something between client and service that loses the answer to the first request
/// and is a good connection from then on.
async fn losing(service: &Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = service.base.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut server = TcpStream::connect(&service).await.expect("a service");
            if n > 0 {
                _ = copy_bidirectional(&mut client, &mut server).await;
                continue;
            }
            let mut bytes = vec![0; 64 * 1024];
            let mut request = Vec::new();
            while !request.ends_with(b"}]}") {
                let read = client.read(&mut bytes).await.expect("a request");
                request.extend_from_slice(&bytes[..read]);
            }
            server.write_all(&request).await.expect("a service that reads");
            // The answer: whatever was to be done is done.
            assert!(server.read(&mut bytes).await.expect("an answer") > 0);
        }
    });
    format!("http://{address}")
}

const JOB: &str = r#"{"name": "lost", "steps": [{"name": "only"}]}"#;

#[tokio::test]
async fn row_080_the_client_tries_again_if_the_submission_has_a_key() {
    let service = own_service(|s| s.slots = 0).await;
    let client = Client::new(&losing(&service).await, None).expect("an address");
    let made = client.submit_once(JOB.into(), &named("lost \"one\"")).await.expect("an answer");
    assert_eq!(service.count().await, 1);
    let page = service.get("/v1.0/operations").await.json();
    assert_eq!(page["value"][0]["id"], made.operation.id);
    // Whoever gave no key is told, and must know whether to try again.
    let client = Client::new(&losing(&service).await, None).expect("an address");
    let error = client.submit_json(JOB.into()).await.expect_err("a lost answer");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(service.count().await, 2);
}

#[tokio::test]
async fn a_key_that_cannot_be_sent_is_refused() {
    let service = own_service(|s| s.slots = 0).await;
    let client = Client::new(&service.base, None).expect("an address");
    let error = client.submit_once(JOB.into(), &named("a\nb")).await.expect_err("no key");
    assert!(matches!(error, ClientError::BadKey { .. }), "{error:?}");
    let taken = named("taken");
    client.submit_once(JOB.into(), &taken).await.expect("an answer");
    let other = client.submit_once(job().to_string().into(), &taken).await;
    let error = other.expect_err("another request");
    assert!(matches!(error, ClientError::Refused(status, _) if status == 422), "{error:?}");
}

async fn mother(service: &OwnService, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
    command.args(arguments).args(["--server", &service.base, "--json"]).env_clear();
    command.stdin(Stdio::null()).output().await.expect("the binary was built")
}

#[tokio::test]
async fn a_run_with_an_id_that_is_started_again_is_the_same_run() {
    let service = own_service(|_| {}).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.json");
    std::fs::write(&file, JOB).expect("a file");
    let file = file.to_str().expect("a path of ASCII");
    for (name, key) in [("--operation-id", "nightly-17"), ("--idempotency-key", "night 17")] {
        for _ in 0..2 {
            let output = mother(&service, &["run", file, name, key]).await;
            assert!(output.status.success(), "{output:?}");
        }
    }
    assert_eq!(service.count().await, 2);
    let shown = mother(&service, &["op", "show", "nightly-17"]).await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown["id"], &shown["status"]), (&"nightly-17".into(), &"succeeded".into()));
    let steps = mother(&service, &["op", "steps", "nightly-17"]).await;
    assert!(steps.status.success(), "{steps:?}");
    // A changed file is another request.
    std::fs::write(file, job().to_string()).expect("a file");
    let refused = mother(&service, &["run", file, "--operation-id", "nightly-17"]).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let refused = mother(&service, &["run", file, "--operation-id", "a b"]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
