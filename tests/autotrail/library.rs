//! Table 3.3: what the library of the older system offers beside its calls.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::place::{service, socket};
use crate::steering::{endless, step};
use crate::support::{Service, shell, targets};

#[tokio::test]
async fn row_3_3_trail_server_refuses_cycles_and_duplicate_names() {
    let service = service().await;
    let cycle = json!({"steps": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
                       "successPairs": [["a", "b"], ["b", "c"], ["c", "b"]]});
    let error = service.post(cycle.to_string(), &[]).await.error(400);
    assert!(error.to_string().contains('b'), "{error}");
    // The older system keys its backup by name, so two of one name collide.
    let twice = json!({"steps": [{"name": "a"}, {"name": "a"}]});
    let error = service.post(twice.to_string(), &[]).await.error(400);
    assert_eq!(targets(&error), ["steps[1].name"]);
}

/// `mother serve` with everything of its own.
struct Server {
    child: Child,
    service: Service,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["serve", "--listen", "127.0.0.1:0", "--lease", "1500ms", "--heartbeat", "300ms"])
            .arg("--data-dir")
            .arg(folder)
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().strip_prefix("listening on ").expect("it is ready").to_owned();
        Self { child, service: Service::at(base) }
    }

    fn end(mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn row_3_3_restore_trail_after_the_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let job = json!({
        "context": {"colour": "red"},
        "steps": [step("done", "echo 1 >$SUT_OUTPUT"), {"name": "paused", "initialState": "Paused"},
            {"name": "marked"}, {"name": "blocked"}, step("runs", "[ $SUT_ATTEMPT -ge 2 ] || exec sleep 1000"),
            {"name": "held", "onFailure": "hold", "run": {"shell": "exit 3"}}],
        "successPairs": [["runs", "marked"], ["runs", "blocked"]]
    });
    let server = Server::start(folder.path());
    let submitted = server.service.submit(&job).await;
    let (url, id) = (submitted.url.clone(), submitted.id());
    for (name, state) in [("done", "Succeeded"), ("held", "Error"), ("runs", "Running")] {
        server.service.in_state(&url, name, state).await;
    }
    server.service.moved_one(&url, "skip", "marked").await;
    server.service.moved_one(&url, "block", "blocked").await;
    let before = server.service.states(&url).await;
    server.end(Signal::SIGKILL);

    let server = Server::start(folder.path());
    let url = format!("/v1.0/operations/{id}");
    // What ran is run again, as a new attempt, without anybody asking; all else is as it was.
    server.service.in_state(&url, "runs", "Succeeded").await;
    let after = server.service.states(&url).await;
    for name in ["done", "paused", "blocked", "held"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    server.service.in_state(&url, "marked", "Skipped").await;
    let attempts = server.service.step(&url, "runs").await["attempt"].clone();
    assert_eq!(
        (attempts, &server.service.step(&url, "done").await["attempt"]),
        (json!(2), &json!(1))
    );
    let context = server.service.get(&format!("{url}/context")).await.json();
    assert_eq!(context, json!({"colour": "red"}));
    server.service.moved_one(&url, "resume", "paused").await;
    server.service.moved_one(&url, "unblock", "blocked").await;
    server.service.moved_one(&url, "skip", "held").await;
    assert_eq!(server.service.ended(&url).await["state"], "Succeeded");
    server.end(Signal::SIGTERM);
}

#[tokio::test]
async fn row_3_3_shell_command_output_exit_codes_and_nothing_to_run() {
    let service = service().await;
    let job = json!({"steps": [
        step("lines", "echo out; echo; echo '  blank'; echo err >&2; printf '\\377'"),
        step("code", "exit 75"), {"name": "nothing"},
        // An exit code may be one to ignore.
        {"name": "ignored", "run": {"shell": "exit 4"}, "onFailure": "skip"},
        {"name": "argv", "run": {"command": ["printf", "%s", "a b;c"]}}]});
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Failed");
    // Empty lines, leading blanks and bytes that are not UTF-8 are kept.
    let out = service.get(&format!("{url}/steps/lines/output?stream=stdout")).await.expect(200);
    assert_eq!(out.bytes, b"out\n\n  blank\n\xff");
    let err = service.get(&format!("{url}/steps/lines/output?stream=stderr")).await.expect(200);
    assert_eq!(err.bytes, b"err\n");
    assert_eq!(service.step(&url, "code").await["exitCode"], 75);
    assert_eq!(service.wrote(&url, "argv").await, "a b;c", "no shell");
    let states = service.states(&url).await;
    assert_eq!([&*states["nothing"], &*states["ignored"]], ["Succeeded", "Skipped"]);
}

#[tokio::test]
async fn row_3_3_conditional_step_branches_join_cleanly() {
    let service = service().await;
    for (text, taken, left) in [("true", "then", "else"), ("false", "else", "then")] {
        let job = json!({
            "steps": [step("if", text), step("then", "true"), step("else", "true"),
                {"name": "join", "need": "any", "run": {"shell": "true"}}, step("after", "true")],
            "successPairs": [["if", "then"], ["then", "join"], ["else", "join"], ["join", "after"]],
            "failurePairs": [["if", "else"]]
        });
        let url = service.submit(&job).await.url;
        assert_eq!(service.ended(&url).await["state"], "Succeeded", "{text}");
        let states = service.states(&url).await;
        assert_eq!([&*states[taken], &*states[left]], ["Succeeded", "Unreachable"]);
        assert_eq!([&*states["join"], &*states["after"]], ["Succeeded", "Succeeded"]);
        for name in [taken, "join", "after"] {
            assert_eq!(service.step(&url, name).await["attempt"], 1, "{name} ran once");
        }
    }
}

#[tokio::test]
async fn row_3_3_templating_from_the_context() {
    let service = service().await;
    let job = json!({"context": {"file": "a b", "loud": true}, "steps": [
        {"name": "argv", "run": {"command": ["printf", "%s", "{{ context.file }}"]}},
        step("missing", "echo {{ context.nothing.at_all }}"),
        // The conditional one, which sends nothing unless an attribute has a value.
        step("if", "{% if context.loud %}echo loud{% endif %}"),
        step("not", "{% if not context.loud %}echo quiet{% endif %}")]});
    let url = service.submit(&job).await.url;
    service.ended(&url).await;
    assert_eq!(service.wrote(&url, "argv").await, "a b");
    assert_eq!([service.wrote(&url, "if").await, service.wrote(&url, "not").await], ["loud\n", ""]);
    let missing = service.step(&url, "missing").await;
    assert_eq!(missing["state"], "Failed");
    assert!(missing["exception"]["message"].is_string(), "{missing}");
}

#[tokio::test]
async fn row_3_3_exceptions_are_turned_into_outcomes() {
    let service = service().await;
    // Ordered `(class, handler)`: here kinds of failure that are tried again, and what then follows.
    let job = json!({"steps": [
        {"name": "retried", "run": {"shell": "[ $SUT_ATTEMPT -ge 3 ] || exit 75"},
         "retry": {"maxAttempts": 5, "backoff": "1ms", "on": ["exit:75"]}},
        {"name": "other", "run": {"shell": "exit 1"}, "onFailure": "continue",
         "retry": {"maxAttempts": 5, "backoff": "1ms", "on": ["exit:75"]}},
        {"name": "cannot start", "run": {"command": ["/no/such/program"]}, "onFailure": "skip"}]});
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.step(&url, "retried").await["attempt"], 3);
    assert_eq!(service.step(&url, "other").await["attempt"], 1);
    // In the original a step that cannot be started is tried again at every tick.
    let step = service.step(&url, "cannot%20start").await;
    assert_eq!((&step["attempt"], &step["state"]), (&json!(1), &json!("Skipped")));
}

#[tokio::test]
async fn row_3_3_steps_take_the_context_and_their_environment_or_nothing() {
    let service = service().await;
    let job = json!({"context": {"n": 7}, "steps": [
        step("context", "cat $SUT_CONTEXT >$SUT_OUTPUT"),
        {"name": "environment", "env": {"SEED": "{{ context.n }}"},
         "run": {"shell": "echo \"\\\"$SUT_STEP $SUT_ATTEMPT $SEED\\\"\" >$SUT_OUTPUT"}}]});
    let url = service.submit(&job).await.url;
    let result = service.ended(&url).await["result"].clone();
    assert_eq!(result, json!({"context": {"n": 7}, "environment": "environment 1 7"}));
}

#[tokio::test]
async fn row_3_3_parallel_steps_write_to_the_context() {
    let service = service().await;
    let address = service.base.trim_start_matches("http://");
    let (host, port) = address.rsplit_once(':').expect("a port");
    let patch = format!(
        "body=\"{{\\\"$SUT_STEP\\\": true}}\"; exec 3<>/dev/tcp/{host}/{port}; printf \
         'PATCH /v1.0/operations/%s/context HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\
         content-type: application/merge-patch+json\\r\\ncontent-length: %d\\r\\n\\r\\n%s' \
         $SUT_OPERATION_ID $(printf %s \"$body\" | wc -c) \"$body\" >&3; cat <&3"
    );
    let steps: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("s{n}"), "run": {"command": ["bash", "-c", patch]}}))
        .collect();
    let url = service.submit(&json!({"context": {"kept": 1}, "steps": steps})).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let context = service.get(&format!("{url}/context")).await.json();
    assert_eq!(
        context.as_object().unwrap().len(),
        13,
        "{context} {}",
        service.wrote(&url, "s0").await
    );
    assert_eq!(context["kept"], 1);
}

#[tokio::test]
async fn row_3_3_the_definition_as_dot() {
    let service = service().await;
    let job = json!({"steps": [step("say \"hi\"", "true"), step("b", "false"), step("c", "true")],
        "successPairs": [["say \"hi\"", "b"]], "failurePairs": [["b", "c"]]});
    let url = service.submit(&job).await.url;
    service.ended(&url).await;
    let dot = service.get_with(&format!("{url}/graph"), "accept", "text/vnd.graphviz").await;
    let dot = dot.expect(200);
    let text = dot.text();
    // The original escapes nothing and tells neither states nor kinds of edges.
    assert!(text.starts_with("digraph") && text.contains(r#"say \"hi\""#), "{text}");
    assert_eq!(text.matches("->").count(), 2, "{text}");
    assert!(text.contains("Failed") && text.contains("Succeeded"), "{text}");
}

#[tokio::test]
async fn row_3_3_monitor_trail_tells_only_what_changed() {
    let service = service().await;
    let job = json!({"steps": [step("a", "true"), {"name": "b", "initialState": "Paused"}]});
    let url = service.submit(&job).await.url;
    service.in_state(&url, "a", "Succeeded").await;
    let seen = service.events(&url).await.last().unwrap()["seq"].clone();
    let nothing = service.get(&format!("{url}/events?after={seen}")).await.json();
    assert_eq!(nothing["value"], json!([]));
    service.moved_one(&url, "resume", "b").await;
    service.ended(&url).await;
    let filter = "$filter=kind%20eq%20'moved'";
    let news = service.get(&format!("{url}/events?after={seen}&{filter}")).await.expect(200).json();
    let news = news["value"].as_array().unwrap();
    assert!(!news.is_empty() && news.iter().all(|event| event["step"] == "b"), "{news:?}");
}

#[tokio::test]
async fn row_3_3_determine_group_state() {
    let service = service().await;
    let held = json!({"name": "held", "onFailure": "hold", "run": {"shell": "false"}});
    for (steps, verb, state, attention) in [
        (json!([{"name": "a", "initialState": "Paused"}]), None, "NotStarted", true),
        (json!([endless("a")]), None, "Running", false),
        (json!([held]), None, "Running", true),
        (json!([step("a", "true"), step("b", "false")]), None, "Failed", false),
        (json!([step("a", "true")]), None, "Succeeded", false),
        (
            json!([endless("a"), {"name": "b", "initialState": "Paused"}]),
            Some("block"),
            "Running",
            false,
        ),
    ] {
        let url = service.submit(&json!({"steps": steps})).await.url;
        if let Some(verb) = verb {
            service.verb(&url, verb, &json!({"steps": ["b"]})).await.expect(200);
        }
        let found = service
            .until(&url, |operation| {
                operation["state"] == state && operation["attention"] == attention
            })
            .await;
        assert_eq!(found.json()["percentComplete"] == 100, state == "Succeeded");
        service.end(&url).await;
    }
}

#[tokio::test]
async fn row_3_3_command_line_client_over_the_socket() {
    let service = service().await;
    let socket = socket().await;
    let job = json!({"steps": [endless("a"), step("b", "true")], "successPairs": [["a", "b"]]});
    let submitted = service.submit(&job).await;
    service.in_state(&submitted.url, "a", "Running").await;
    let mother = async |arguments: Vec<String>| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mother"));
        command.arg("--socket").arg(&socket).arg("op").args(arguments).env_clear();
        let output = command.output().await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let id = submitted.id();
    let said = mother(words(&format!("pause {id} --step b"))).await;
    assert!(said.contains("Paused"), "{said}");
    let said = mother(words(&format!("interrupt {id} --all --dry-run"))).await;
    assert!(said.contains("nothing was done"), "{said}");
    assert_eq!(service.states(&submitted.url).await["a"], "Running");
    let said = mother(words(&format!("skip {id} --step a"))).await;
    assert!(said.contains("`a` is Running"), "{said}");
    service.end(&submitted.url).await;
}

#[tokio::test]
async fn row_3_3_example_retry_and_clean_up_on_exceptions() {
    let service = service().await;
    let mut job = shell("[ $SUT_ATTEMPT -ge 5 ]");
    job["steps"][0]["retry"] = json!({"maxAttempts": 5, "backoff": "1ms", "factor": 1});
    let steps = job["steps"].as_array_mut().unwrap();
    steps.push(step("never", "exit 1"));
    steps.push(step("clean up", "echo cleaned"));
    job["failurePairs"] = json!([["never", "clean up"]]);
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded", "the failure was handled");
    assert_eq!(service.step(&url, "only").await["attempts"].as_array().unwrap().len(), 5);
    assert_eq!(service.wrote(&url, "clean%20up").await, "cleaned\n");
}
