//! What the client asks the server for, and what it makes of the answers: the server is one of
//! these tests, which notes every request and answers what it was told to.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sutbot::client::{Client, ClientError, OperationHandler, SteerOutcome, Verb, make_api_client};
use sutbot::wire::graph::Format;
use sutbot::wire::{MessageRequest, ReplyRequest, SteerRequest};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::process::Command;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of the tests.
struct Fake {
    folder: TempDir,
    /// `METHOD PATH BODY` of all requests so far; `METHOD PATH TYPE` where no JSON is asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a request is answered with: its method and path, the status and the body.
type Canned = (&'static str, u16, Value);

impl Fake {
    /// A server that gives these answers, and 404 to all else.
    fn new(answers: impl IntoIterator<Item = Canned>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("s")).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answers) = (Arc::clone(&asked), Vec::from_iter(answers));
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).expect("text");
            let wanted =
                headers.get(header::ACCEPT).map_or("", |kind| kind.to_str().expect("ASCII"));
            let wanted = if ["*/*", "application/json"].contains(&wanted) { "" } else { wanted };
            let line = format!("{method} {uri} {body}{wanted}").trim().to_owned();
            log.lock().expect("no panic").push(line);
            let question = format!("{method} {}", uri.path());
            let known = answers.iter().find(|(known, ..)| *known == question);
            let none = json!({"error": {"code": "NotFound", "message": format!("no {question}")}});
            let (status, body) =
                known.map_or((404, none), |(_, status, body)| (*status, body.clone()));
            let status = StatusCode::from_u16(status).expect("a status");
            let kind = [(header::CONTENT_TYPE, "application/json")];
            let location = [("operation-location", "http://elsewhere/v1.0/operations/8")];
            (status, kind, location, body.to_string()).into_response()
        };
        let answer = move |method, uri, headers, body| {
            let answer = answer.clone();
            async move { answer(method, uri, headers, body).await }
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { folder, asked }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn client(&self) -> Client {
        Client::over_socket(&self.socket(), None).expect("a client")
    }

    fn handler(&self) -> OperationHandler {
        make_api_client(self.socket(), PATIENCE).expect("a client").operation("7")
    }

    /// What was asked since the last time.
    fn asked(&self, expected: &Expect) {
        let asked = std::mem::take(&mut *self.asked.lock().expect("no panic"));
        expected.assert_eq(&asked.join("\n"));
    }

    /// What `mother op` prints for each of these command lines.
    async fn ops(&self, lines: &[&str], expected: &Expect) {
        let mut said = String::new();
        for line in lines {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
            command.arg("--socket").arg(self.socket()).arg("op").args(line.split(' '));
            let output = command.env_clear().output().await.expect("it runs");
            let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
            let code = output.status.code().expect("it exits");
            said = format!("{said}$ {line}\n{text}exit {code}\n");
        }
        expected.assert_eq(&said);
    }
}

fn operation(id: &str, status: &str, state: &str) -> Value {
    json!({
        "id": id, "category": "jobsets", "name": "x", "status": status, "state": state,
        "createdDateTime": "2026-01-31T12:01:03.450Z", "percentComplete": 0, "paused": false,
        "lastActionDateTime": "2026-01-31T12:01:03.450Z", "stepCounts": {}, "attention": false
    })
}

fn steps() -> Value {
    let step = |n: u32, name: &str, state: &str| {
        json!({
            "name": name, "n": n, "tags": {"even": n.is_multiple_of(2).to_string()}, "state": state,
            "attempt": 0, "actions": [], "enteredDateTime": "2026-01-31T12:01:03.450Z"
        })
    };
    json!({"value": [step(0, "a", "Running"), step(1, "b", "Ready"), step(2, "c", "Running")]})
}

fn moved(n: u32, name: &str, from: &str, to: &str) -> Value {
    json!({"value": [{"name": name, "n": n, "from": from, "to": to}]})
}

fn prompt(step: &str) -> Value {
    json!({
        "id": "p1", "operation": "7", "step": step, "n": 2, "attempt": 1, "kind": "prompt",
        "text": "Which door?", "createdDateTime": "2026-01-31T12:01:03.450Z"
    })
}

fn tags(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn names(ids: Vec<sutbot::client::StepId>) -> Vec<String> {
    ids.into_iter().map(|id| format!("{}:{id}", id.n)).collect()
}

#[tokio::test]
async fn verbs_are_sent_as_the_api_takes_them() {
    let fake = Fake::new([
        ("POST /v1.0/operations/7/skip", 200, moved(1, "b", "Ready", "ToSkip")),
        ("POST /v1.0/operations/7/run-now", 200, json!({"value": [], "paused": true})),
        ("POST /v1.0/operations/7/open%20wide", 200, moved(0, "a", "Shut", "Open")),
        ("POST /v1.0/operations/7/rerun", 202, operation("8", "running", "Running")),
        (
            "POST /v1.0/operations/pause",
            200,
            json!({"value": [{"id": "7", "moved": [],
                              "error": {"code": "Ended", "message": "it has ended"}}], "more": true}),
        ),
    ]);
    let client = fake.client();
    let chosen = SteerRequest { steps: Some(vec!["b".to_owned()]), ..SteerRequest::default() };
    let outcome = client.steer("7", &Verb::Skip, &chosen).await.unwrap();
    assert_eq!((outcome.moved()[0].name.as_str(), outcome.moved()[0].to.as_str()), ("b", "ToSkip"));
    let all = SteerRequest::default();
    let outcome = client.steer("7", &Verb::RunNow, &all).await.unwrap();
    assert!(matches!(outcome, SteerOutcome::Steered(steered) if steered.paused));
    client.steer("7", &Verb::Own("open wide".to_owned()), &all).await.unwrap();
    match client.steer("7", &Verb::Rerun, &all).await.unwrap() {
        SteerOutcome::Forked(submitted) => assert_eq!(submitted.operation.id, "8"),
        SteerOutcome::Steered(steered) => panic!("{steered:?}"),
    }
    let many = client.steer_all("labels/x eq 'a&b'", &Verb::Pause, &all).await.unwrap();
    assert!(many.more && many.value[0].error.is_some());
    let error = client.steer("9", &Verb::Start, &all).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(status, _) if status.as_u16() == 404));
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/skip {"steps":["b"]}
        POST /v1.0/operations/7/run-now {}
        POST /v1.0/operations/7/open%20wide {}
        POST /v1.0/operations/7/rerun {}
        POST /v1.0/operations/pause?%24filter=labels%2Fx+eq+%27a%26b%27 {}
        POST /v1.0/operations/9/start {}"#]]);
}

#[tokio::test]
async fn people_are_heard() {
    let fake = Fake::new([
        (
            "POST /v1.0/operations/7/messages",
            200,
            json!({"value": [{"name": "a", "n": 0, "attempt": 2, "seq": 1}]}),
        ),
        ("GET /v1.0/operations/7/waiting", 200, json!({"value": [prompt("c")]})),
        (
            "GET /v1.0/waiting",
            200,
            json!({"value": [prompt("c")],
                   "@odata.nextLink": "http://elsewhere/v1.0/operations/7/waiting?$skip=1"}),
        ),
        ("POST /v1.0/operations/7/prompts/p1/reply", 200, prompt("c")),
        ("GET /v1.0/operations/7/graph", 200, json!("drawing")),
    ]);
    let client = fake.client();
    let message = MessageRequest {
        message: Value::Null,
        tags: tags(&[("even", "true")]),
        steps: None,
        after: None,
        dry_run: false,
    };
    assert_eq!(client.send_message("7", &message).await.unwrap().value[0].seq, 1);
    assert_eq!(client.waiting("7").await.unwrap()[0].text, "Which door?");
    assert_eq!(client.waiting_everywhere().await.unwrap().len(), 2);
    let reply = ReplyRequest { value: Some(json!(3)), ..ReplyRequest::default() };
    assert_eq!(client.reply("7", "p1", &reply).await.unwrap().step, "c");
    assert_eq!(client.graph("7", Format::Svg).await.unwrap(), b"\"drawing\"");
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/messages {"message":null,"tags":{"even":"true"}}
        GET /v1.0/operations/7/waiting
        GET /v1.0/waiting
        GET /v1.0/operations/7/waiting?$skip=1
        POST /v1.0/operations/7/prompts/p1/reply {"status":"done","value":3}
        GET /v1.0/operations/7/graph image/svg+xml"#]]);
}

#[tokio::test]
async fn the_handler_chooses_by_tags_and_answers_ids() {
    let fake = Fake::new([
        ("GET /v1.0/operations/7/steps", 200, steps()),
        ("GET /v1.0/operations/7/waiting", 200, json!({"value": [prompt("c")]})),
        ("POST /v1.0/operations/7/start", 200, moved(1, "b", "Ready", "Waiting")),
        ("POST /v1.0/operations/7/pause", 200, moved(1, "b", "Ready", "Paused")),
        ("POST /v1.0/operations/7/unskip", 200, moved(1, "b", "ToSkip", "Ready")),
        (
            "POST /v1.0/operations/7/messages",
            200,
            json!({"value": [{"name": "c", "n": 2, "attempt": 2, "seq": 1}]}),
        ),
    ]);
    let handler = fake.handler();
    assert_eq!(names(handler.start(true).await.unwrap()), ["1:b"]);
    let odd = tags(&[("even", "false")]);
    assert_eq!(names(handler.pause(false, &odd).await.unwrap()), ["1:b"]);
    let named = tags(&[("name", "b"), ("even", "false")]);
    assert_eq!(names(handler.unskip(true, &named).await.unwrap()), ["1:b"]);
    assert!(handler.skip(false, &tags(&[("n", "5")])).await.unwrap().is_empty());
    let third = tags(&[("n", "2")]);
    let sent = handler.send_message_to_steps(json!(false), false, &third).await.unwrap();
    assert_eq!(names(sent), ["2:c"]);
    let asking = handler.steps_waiting_for_user_input(&tags(&[])).await.unwrap();
    assert_eq!(names(asking), ["2:c"]);
    assert!(handler.steps_waiting_for_user_input(&odd).await.unwrap().is_empty());
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/start {"dryRun":true}
        POST /v1.0/operations/7/pause {"tags":{"even":"false"}}
        GET /v1.0/operations/7/steps
        POST /v1.0/operations/7/unskip {"steps":["b"],"dryRun":true}
        GET /v1.0/operations/7/steps
        GET /v1.0/operations/7/steps
        POST /v1.0/operations/7/messages {"message":false,"steps":["c"]}
        GET /v1.0/operations/7/waiting
        GET /v1.0/operations/7/steps
        GET /v1.0/operations/7/waiting
        GET /v1.0/operations/7/steps"#]]);
}

#[tokio::test]
async fn a_shutdown_pauses_interrupts_and_cancels() {
    let fake = Fake::new([
        ("POST /v1.0/operations/7/pause", 200, moved(1, "b", "Ready", "Paused")),
        ("POST /v1.0/operations/7/interrupt", 200, moved(0, "a", "Running", "Interrupted")),
        ("DELETE /v1.0/operations/7", 202, operation("7", "running", "Cancelling")),
    ]);
    assert_eq!(names(fake.handler().shutdown(true).await.unwrap()), ["0:a"]);
    fake.asked(&expect![[r#"POST /v1.0/operations/7/interrupt {"dryRun":true}"#]]);
    assert_eq!(names(fake.handler().shutdown(false).await.unwrap()), ["0:a"]);
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/pause {}
        POST /v1.0/operations/7/interrupt {}
        DELETE /v1.0/operations/7?reason=shut+down"#]]);
}

#[tokio::test]
async fn a_shutdown_of_what_has_ended_is_no_error() {
    let ended = json!({"error": {"code": "Ended", "message": "it has ended"}});
    let fake = Fake::new([
        ("POST /v1.0/operations/7/pause", 409, ended.clone()),
        ("POST /v1.0/operations/7/interrupt", 409, ended),
        ("GET /v1.0/operations/7", 200, operation("7", "failed", "Failed")),
        ("DELETE /v1.0/operations/7", 200, operation("7", "failed", "Failed")),
    ]);
    assert!(fake.handler().shutdown(false).await.unwrap().is_empty());
    let error = fake.handler().pause(false, &tags(&[])).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(status, _) if status.as_u16() == 409));
}

#[tokio::test]
async fn a_rerun_of_what_has_ended_tells_the_new_operation() {
    let fake =
        Fake::new([("POST /v1.0/operations/7/rerun", 202, operation("8", "running", "Running"))]);
    let reran = fake.handler().rerun(false, &tags(&[])).await.unwrap();
    assert_eq!(reran.operation.unwrap().id, "8");
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/rerun {}
        POST /v1.0/operations/7/rerun {"dryRun":true}"#]]);
}

#[tokio::test]
async fn what_was_moved_is_printed() {
    let refused = json!({
        "value": [],
        "refused": [{"name": "b", "state": "Succeeded", "message": "`skip` is possible from Ready"}]
    });
    let fake = Fake::new([
        ("POST /v1.0/operations/7/pause", 200, json!({"value": [], "paused": true})),
        ("POST /v1.0/operations/7/interrupt", 200, moved(0, "a", "Running", "Interrupted")),
        ("POST /v1.0/operations/7/skip", 200, refused),
        ("POST /v1.0/operations/7/block", 200, json!({"value": []})),
        ("POST /v1.0/operations/7/rerun", 202, operation("8", "running", "Running")),
    ]);
    fake.ops(
        &[
            "pause 7",
            "interrupt 7 --tag even=true --branch --dry-run",
            "interrupt 7 --all --json",
            "skip 7 --step b",
            "block 7 --state Ready",
            "rerun 7 --step a --cascade --command make -j4",
        ],
        &expect![[r#"
            $ pause 7
            the operation is paused: what runs ends, nothing new starts
            exit 0
            $ interrupt 7 --tag even=true --branch --dry-run
            N  STEP  FROM     TO
            0  a     Running  Interrupted
            this is what would be done; nothing was done
            exit 0
            $ interrupt 7 --all --json
            {"value":[{"name":"a","n":0,"from":"Running","to":"Interrupted"}],"paused":false}
            exit 0
            $ skip 7 --step b
            b is Succeeded: `skip` is possible from Ready
            exit 3
            $ block 7 --state Ready
            no step that is meant can be moved so
            exit 0
            $ rerun 7 --step a --cascade --command make -j4
            id        8
            name      x
            state     Running
            done      0 %
            created   2026-01-31 12:01:03 UTC
            exit 0
        "#]],
    )
    .await;
    fake.asked(&expect![[r#"
        POST /v1.0/operations/7/pause {"scope":"operation"}
        POST /v1.0/operations/7/interrupt {"tags":{"even":"true"},"branch":true,"dryRun":true}
        POST /v1.0/operations/7/interrupt {}
        POST /v1.0/operations/7/skip {"steps":["b"]}
        POST /v1.0/operations/7/block {"states":["Ready"]}
        POST /v1.0/operations/7/rerun {"steps":["a"],"cascade":true,"command":["make","-j4"]}"#]]);
}

#[tokio::test]
async fn what_people_say_and_see_is_printed() {
    let fake = Fake::new([
        ("GET /v1.0/waiting", 200, json!({"value": [prompt("c")]})),
        ("GET /v1.0/operations/7/waiting", 200, json!({"value": []})),
        ("POST /v1.0/operations/7/prompts/p1/reply", 200, prompt("c")),
        (
            "POST /v1.0/operations/7/messages",
            200,
            json!({"value": [{"name": "c", "n": 2, "attempt": 2, "seq": 1}]}),
        ),
        ("GET /v1.0/operations/7/graph", 200, json!("drawing")),
    ]);
    fake.ops(
        &[
            "waiting",
            "waiting 7",
            "reply 7 p1 --not-done --value -3 --comment why --after 5",
            "send 7 {\"a\":1} --step c --after 6",
            "graph 7 --format mermaid",
        ],
        &expect![[r#"
            $ waiting
            OPERATION  STEP  PROMPT  SINCE                WHO  WHAT
            7          c     p1      2026-01-31 12:01:03       Which door?
            exit 0
            $ waiting 7
            no step waits for a person
            exit 0
            $ reply 7 p1 --not-done --value -3 --comment why --after 5
            c has the reply
            exit 0
            $ send 7 {"a":1} --step c --after 6
            N  STEP  ATTEMPT  MESSAGE
            2  c     2        1
            exit 0
            $ graph 7 --format mermaid
            "drawing"exit 0
        "#]],
    )
    .await;
    fake.asked(&expect![[r#"
        GET /v1.0/waiting
        GET /v1.0/operations/7/waiting
        POST /v1.0/operations/7/prompts/p1/reply {"status":"notDone","value":-3,"comment":"why","after":5}
        POST /v1.0/operations/7/messages {"message":{"a":1},"steps":["c"],"after":6}
        GET /v1.0/operations/7/graph text/vnd.mermaid"#]]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    // It listens, but nobody reads.
    let _listener = UnixListener::bind(&socket).unwrap();
    let client = make_api_client(&socket, Duration::from_millis(50)).unwrap();
    let error = client.operation("7").list(&tags(&[])).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let missing = make_api_client(folder.path().join("none"), PATIENCE).unwrap();
    let error = missing.operation("7").start(true).await.unwrap_err();
    assert!(error.to_string().contains("--socket"), "{error}");
}
