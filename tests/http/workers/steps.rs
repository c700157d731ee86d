//! What steps do on a remote worker is what they do on the server's own.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sutbot::cli::TokenRule;
use sutbot::domain::access::Role;
use sutbot::engine::create_token;

use super::{RemoteWorker, server};
use crate::steering::{endless, step};
use crate::support::own_service;

#[tokio::test]
async fn every_kind_of_step_runs_elsewhere() {
    let service = server().await;
    let _worker = RemoteWorker::start(&service, "all-kinds", &["--slots", "4"]).await;
    let job = json!({
        "context": {"colour": "red"},
        "steps": [
            {"name": "made", "run": {"shell": "echo out; echo err >&2; echo '{\"x\": 7}' > $SUT_OUTPUT"}},
            {"name": "stone"},
            {"name": "used", "run": {"shell": "echo {{ context.colour }} {{ steps.made.result.x }}"},
             "when": {"made": ["Succeeded"], "stone": ["Succeeded"]}},
            {"name": "called", "run": {"function": {"name": "sleep", "arguments": {"duration": "1ms"}}}},
            {"name": "hidden", "run": {"shell": "echo \"the lamp is $LAMP\""}, "secrets": ["LAMP"]},
            {"name": "slow", "run": {"shell": "sleep 1000"}, "timeout": "300ms", "grace": "1s",
             "onFailure": "continue"},
            {"name": "bad", "run": {"shell": "exit 9"}, "onFailure": "continue",
             "retry": {"maxAttempts": 2, "backoff": "10ms"}},
            {"name": "pressed", "run": {"instruction": {"text": "press it"}}},
            {"name": "talks", "run": {"shell":
                "echo '{\"prompt\": {\"id\": \"p\", \"text\": \"well?\"}}' >>\"$SUT_EVENTS\"; \
                 echo '{\"message\": \"on my way\"}' >>\"$SUT_EVENTS\"; \
                 read -r a; read -r b; echo \"$a $b\""}, "stdin": "messages"}
        ]
    });
    let url = service.submit(&job).await.url;
    let asked = service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    asked.expect(200);
    let prompts = loop {
        let page = service.get(&format!("{url}/waiting")).await.expect(200).json();
        let prompts = page["value"].as_array().expect("a list").clone();
        if prompts.len() == 2 {
            break prompts;
        }
    };
    let message = json!({"message": "go on"});
    service.post_to(&format!("{url}/messages"), &[], &message).await.expect(200);
    for prompt in prompts {
        let id = prompt["id"].as_str().expect("an id");
        let reply = format!("{url}/prompts/{id}/reply");
        service.post_to(&reply, &[], &json!({"value": "yes"})).await.expect(200);
    }
    let ended = service.ended(&url).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["result"]["made"], json!({"x": 7}));
    let steps = service.steps_of(&url).await;
    assert_eq!(steps["slow"]["state"], "TimedOut");
    assert_eq!((&steps["bad"]["exitCode"], &steps["bad"]["attempt"]), (&json!(9), &json!(2)));
    assert_eq!(service.output_of(&url, "used").await, "red 7\n");
    let made = service.output_of(&url, "made").await;
    assert!(made.contains("out\n") && made.contains("err\n"), "{made}");
    let hidden = service.output_of(&url, "hidden").await;
    assert!(hidden.starts_with("the lamp is ") && !hidden.contains("grass"), "{hidden}");
    let talk = service.output_of(&url, "talks").await;
    assert!(talk.contains("go on") && talk.contains(r#""prompt":"p""#), "{talk}");
    let told = service.get(&format!("{url}/steps/talks/messages")).await.expect(200);
    assert!(told.text().contains("on my way"), "{}", told.text());
}

#[tokio::test]
async fn a_step_elsewhere_is_interrupted_and_cancelled() {
    let service = server().await;
    let _worker = RemoteWorker::start(&service, "obedient", &["--slots", "2"]).await;
    let job = json!({"steps": [endless("one"), endless("other")]});
    let url = service.submit(&job).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    service.verb(&url, "interrupt", &json!({"steps": ["one"]})).await.expect(200);
    service.until(&url, |operation| operation["stepCounts"]["Interrupted"] == 1).await;
    service.delete(&url).await.expect(202);
    let ended = service.ended(&url).await;
    assert_eq!(ended["status"], "canceled", "{ended}");
    service.worker_once("obedient", |worker| worker["running"] == 0).await;
}

#[tokio::test]
async fn two_workers_share_a_hundred_steps_and_each_is_run_once() {
    let service = server().await;
    let _one = RemoteWorker::start(&service, "one", &["--slots", "3"]).await;
    let _other = RemoteWorker::start(&service, "other", &["--slots", "3", "--label", "a=b"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ran");
    let steps: Vec<_> = (0..100)
        .map(|n| step(&format!("s{n}"), &format!("echo {n} >> {}", file.display())))
        .collect();
    let url = service.submit(&json!({"steps": steps})).await.url;
    assert_eq!(service.ended(&url).await["status"], "succeeded");
    let ran = std::fs::read_to_string(&file).expect("they ran");
    let numbers: BTreeSet<u32> = ran.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!((ran.lines().count(), numbers.len()), (100, 100));
    let page = service.get(&format!("{url}/events")).await.expect(200).json();
    let events = page["value"].as_array().expect("a list");
    let workers: BTreeSet<String> = events
        .iter()
        .filter(|event| event["action"] == "run")
        .map(|event| event["worker"].to_string())
        .collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
    let other = service.worker_once("other", |_| true).await;
    assert_eq!((&other["labels"], &other["state"]), (&json!({"a": "b"}), &json!("live")));
    let shown =
        service.get(&format!("/v1.0/workers/{}", other["id"].as_str().expect("an id"))).await;
    assert_eq!(shown.expect(200).json()["name"], "other");
}

#[tokio::test]
async fn a_worker_that_is_drained_takes_nothing_new_and_ends_what_it_runs() {
    let service = server().await;
    let worker = RemoteWorker::start(&service, "tired", &["--slots", "2"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let go_on = folder.path().join("go");
    let waits = format!("until [ -e {} ]; do sleep 0.05; done", go_on.display());
    let first = service.submit(&json!({"steps": [step("waits", &waits)]})).await.url;
    service.running(&first).await;
    let id = service.worker_once("tired", |worker| worker["running"] == 1).await["id"].clone();
    let drain = format!("/v1.0/workers/{}/drain", id.as_str().expect("an id"));
    for _ in 0..2 {
        let drained = service.send("POST", &drain, &[], None).await.expect(200).json();
        assert_eq!(drained["state"], "draining");
    }
    // It has heard of it once it has said again that it lives: what is stored can be seen a moment
    // before it is answered, so the second time.
    for _ in 0..2 {
        let before = service.worker_once("tired", |_| true).await["heartbeatDateTime"].clone();
        service.worker_once("tired", |worker| worker["heartbeatDateTime"] != before).await;
    }
    let second = service.submit(&json!({"steps": [step("other", "true")]})).await.url;
    std::fs::write(&go_on, "").expect("a file");
    assert_eq!(service.ended(&first).await["status"], "succeeded");
    service.worker_once("tired", |worker| worker["running"] == 0).await;
    assert_eq!(service.get(&second).await.json()["stepCounts"]["Waiting"], 1);
    let _fresh = RemoteWorker::start(&service, "fresh", &["--slots", "1"]).await;
    assert_eq!(service.ended(&second).await["status"], "succeeded");
    service
        .send("DELETE", &format!("/v1.0/workers/{}", id.as_str().expect("an id")), &[], None)
        .await
        .error(405);
    worker.signal("-TERM");
    assert!(worker.ended().await);
}

#[tokio::test]
async fn a_worker_that_is_killed_loses_its_steps_to_another_and_one_that_is_asked_leaves() {
    let service = server().await;
    let killed = RemoteWorker::start(&service, "killed", &["--slots", "1"]).await;
    let job = step("a", "[ $SUT_ATTEMPT = 1 ] || exit 0; sleep 1000");
    let url = service.submit(&json!({"steps": [job]})).await.url;
    service.running(&url).await;
    let leaving = RemoteWorker::start(&service, "leaving", &["--slots", "1"]).await;
    drop(killed);
    let ended = service.ended(&url).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(service.steps_of(&url).await["a"]["attempt"], 2);
    leaving.signal("-TERM");
    assert!(leaving.ended().await);
    let is_gone = async || service.workers_called("leaving").await.is_empty();
    while !is_gone().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_worker_shows_its_token_and_one_without_is_told_so() {
    let service = own_service(|settings| {
        settings.slots = 0;
        settings.tokens = TokenRule::Always;
    })
    .await;
    let token = async |role| {
        let made = create_token(&service.store(), role, String::new(), None).await;
        made.expect("a database").expect("few tokens").1.reveal().to_owned()
    };
    let (client, worker) = (token(Role::Client).await, token(Role::Worker).await);
    let _worker = RemoteWorker::start(&service, "let-in", &["--token", &worker]).await;
    let authorization = format!("Bearer {client}");
    let headers = [("authorization", authorization.as_str())];
    let url = service.submit_with(&json!({"steps": [step("a", "true")]}), &headers).await.url;
    let is_final = async || {
        let answer = service.send("GET", &url, &headers, None).await.expect(200);
        answer.json()["status"] == "succeeded"
    };
    while !is_final().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (name, token) in [("nobody", "sut_worker_wrong"), ("client", client.as_str())] {
        let refused = std::process::Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["worker", "--server", &service.base, "--name", name, "--token", token])
            .output()
            .expect("the binary was built");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains("token") && !said.contains(token), "{said}");
    }
    let drain = "/v1.0/workers/1/drain";
    for (role, status) in [(&client, 403), (&worker, 403)] {
        let authorization = format!("Bearer {role}");
        let headers = [("authorization", authorization.as_str())];
        service.send("POST", drain, &headers, None).await.error(status);
    }
}
