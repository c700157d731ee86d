//! Steps that misbehave: each attempt ends with the record that it deserves, and the worker goes on.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::steering::step;
use crate::support::{PATIENCE, Service, service};

/// The record of the only attempt of a step, once it has ended, and the state of the step.
async fn record(service: &Service, url: &str, name: &str) -> (String, Value) {
    let step = service.step(url, name).await;
    let state = step["state"].as_str().expect("a state").to_owned();
    (state, step["attempts"][0].clone())
}

/// A step of that name, with further fields.
fn with(name: &str, text: &str, more: &Value) -> Value {
    let mut step = step(name, text);
    step["timeout"] = json!("20s");
    step["grace"] = json!("100ms");
    for (field, value) in more.as_object().expect("fields") {
        step[field] = value.clone();
    }
    step
}

/// Whether a step with that limit runs on this host.
async fn has(service: &Service, limits: Value) -> bool {
    let url = service.submit(&json!({"steps": [with("probe", "true", &limits)]})).await.url;
    service.ended(&url).await["state"] == "Succeeded"
}

#[tokio::test]
async fn each_misdeed_is_recorded_as_what_it_was() {
    let service = service().await;
    let plain = json!({});
    let steps = [
        with("closes", "exec >&- 2>&- <&-; sleep 0.2; exit 7", &plain),
        with("keeps", "sleep 1000 & exit 3", &plain),
        with("hides", "(setsid sleep 1000 >/dev/null 2>&1 &) ; exit 0", &plain),
        with("zombies", "for i in 1 2 3 4 5 6 7 8 9; do true & done; exec sh -c 'exit 4'", &plain),
        with("kills-itself", "kill -9 $$", &plain),
        with("stops-itself", "kill -STOP $$", &json!({"timeout": "300ms"})),
        with("deaf", "trap '' TERM; while :; do sleep 1000; done", &json!({"timeout": "300ms"})),
        with(
            "writes",
            "head -c 5000 /dev/zero > $SUT_WORKSPACE/large",
            &json!({"limits": {"fileSize": 1000}}),
        ),
        with("opens", "ulimit -n", &json!({"limits": {"files": 64}})),
    ];
    let url = service.submit(&json!({"steps": steps})).await.url;
    service.ended(&url).await;
    let is = |record: &(String, Value), state: &str, field: &str, value: Value| {
        assert_eq!((&record.0[..], &record.1[field]), (state, &value), "{record:?}");
    };
    is(&record(&service, &url, "closes").await, "Failed", "exitCode", json!(7));
    let keeps = record(&service, &url, "keeps").await;
    is(&keeps, "Failed", "exitCode", json!(3));
    assert_eq!(keeps.1["usage"]["swept"], 1, "{keeps:?}");
    let hides = record(&service, &url, "hides").await;
    is(&hides, "Succeeded", "exitCode", json!(0));
    assert_eq!(hides.1["usage"]["swept"], 1, "{hides:?}");
    is(&record(&service, &url, "zombies").await, "Failed", "exitCode", json!(4));
    is(&record(&service, &url, "kills-itself").await, "Failed", "signal", json!(9));
    is(&record(&service, &url, "stops-itself").await, "TimedOut", "signal", json!(9));
    let deaf = record(&service, &url, "deaf").await;
    is(&deaf, "TimedOut", "signal", json!(9));
    assert_eq!(deaf.1["exception"]["type"], "Timeout");
    let containment = deaf.1["usage"]["containment"].as_array().expect("what contained it");
    assert_eq!(containment[0], "sweep");
    assert_eq!(record(&service, &url, "writes").await.0, "Failed");
    assert_eq!(service.wrote(&url, "opens").await, "64\n");
}

#[tokio::test]
async fn a_step_that_is_killed_from_outside_ends_by_that_signal() {
    let service = service().await;
    let victim = with("victim", "echo $$; exec sleep 1000", &json!({}));
    let url = service.submit(&json!({"steps": [victim]})).await.url;
    service.in_state(&url, "victim", "Running").await;
    let deadline = Instant::now() + PATIENCE;
    let pid = loop {
        let answer = service.get(&format!("{url}/steps/victim/output")).await;
        if let Some(pid) = answer.text().strip_suffix('\n') {
            break pid.parse().expect("a process id");
        }
        assert!(Instant::now() < deadline, "it says nothing");
    };
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let error = service.ended(&url).await["error"].clone();
    assert!(error["message"].as_str().is_some_and(|m| m.contains("SIGKILL")), "{error}");
}

#[tokio::test]
async fn bombs_go_off_within_their_limits() {
    let service = service().await;
    let (processes, memory) =
        (json!({"limits": {"processes": 64}}), json!({"limits": {"memory": "64MiB"}}));
    let mut steps = Vec::new();
    if has(&service, processes.clone()).await {
        let bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done";
        let mut step = with("fork", bomb, &processes);
        step["timeout"] = json!("1s");
        steps.push(step);
    }
    if has(&service, memory.clone()).await {
        steps.push(with("memory", "head -c 1000000000 /dev/zero | tail -n 1", &memory));
    }
    let bombs: Vec<String> =
        steps.iter().map(|step| step["name"].as_str().expect("a name").to_owned()).collect();
    let mut after = with("after", "true", &json!({}));
    if !bombs.is_empty() {
        let ended = json!(["Failed", "TimedOut", "Succeeded"]);
        after["when"] = bombs.iter().map(|bomb| (bomb.clone(), ended.clone())).collect();
    }
    steps.push(after);
    let url = service.submit(&json!({"steps": steps})).await.url;
    service.ended(&url).await;
    assert_eq!(service.states(&url).await["after"], "Succeeded");
    for name in &bombs {
        let (state, attempt) = record(&service, &url, name).await;
        assert!(["Failed", "TimedOut"].contains(&&state[..]), "{name}: {state} {attempt}");
        let walls = attempt["usage"]["containment"].as_array().expect("walls");
        let is_counted = walls.contains(&json!("cgroup"));
        let kind = &attempt["exception"]["type"];
        assert!(name != "memory" || !is_counted || kind == "OutOfMemory", "{attempt}");
    }
}

/// What a function is given goes with it through every wall.
#[tokio::test]
async fn functions_have_limits_too() {
    let service = service().await;
    let call = json!({"function": {"name": "sleep", "arguments": {"duration": "1ms"}}});
    let step = |name: &str, more: Value| {
        let mut step = with(name, "", &more);
        step["run"] = call.clone();
        step
    };
    let mut steps = vec![step("limited", json!({"limits": {"files": 64}}))];
    if has(&service, json!({"sandbox": true})).await {
        steps.push(step("boxed", json!({"sandbox": true})));
    }
    let url = service.submit(&json!({"steps": steps})).await.url;
    let ended = service.ended(&url).await;
    assert_eq!(ended["state"], "Succeeded", "{ended}");
}
