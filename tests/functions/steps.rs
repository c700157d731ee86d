//! Functions as steps: this program works for a service of its own.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use sutbot::cli::{Host, HostSettings};
use sutbot::client::Client;
use sutbot::wire::Step;

use crate::support::Sign;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_step_calls_a_function", a_step_calls_a_function)]
}

fn call(name: &str, function: &str, arguments: &Value) -> Value {
    json!({"name": name, "run": {"function": {"name": function, "arguments": arguments}}})
}

/// Runs a jobset to its end; answers the operation's id and a client to look at it.
async fn run(host: &Host, jobset: &Value) -> (Client, String) {
    _ = rustls::crypto::ring::default_provider().install_default();
    let base = format!("http://{}", host.address().unwrap());
    let client = Client::new(&base, None).unwrap();
    let operation = client.submit_json(jobset.to_string().into()).await.unwrap().operation;
    let id = operation.id.clone();
    let mut etag = None;
    loop {
        let wait = Duration::from_secs(20);
        let polled = client.poll(&id, etag.as_deref(), wait).await.unwrap();
        if polled.operation.is_some_and(|operation| {
            operation.status != "running" && operation.status != "notstarted"
        }) {
            return (client, id);
        }
        etag = polled.etag;
    }
}

/// What is expected of a step that failed.
fn check(step: &Step, kind: &str, message: &str) {
    let exception = step.exception.as_ref().unwrap();
    assert_eq!(exception["type"], kind, "{}: {exception}", step.name);
    let told = exception["message"].as_str().unwrap();
    assert!(told.contains(message), "{}: {exception}", step.name);
    assert_eq!(step.result, None, "{}", step.name);
}

fn a_step_calls_a_function() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let settings = HostSettings {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            durable: false,
            ..HostSettings::new(folder.path())
        };
        let host = Host::start(settings).await.unwrap();
        let sign = Sign::new();
        let mut late = call("late", "hold_stubbornly", &sign.argument());
        (late["timeout"], late["grace"]) = (json!("300ms"), json!("50ms"));
        let arguments =
            json!({"to": "{{ context.who }}", "n": [1, "{{ step.name }}"], "{{": "as is"});
        let jobset = json!({
            "context": {"who": "world"},
            "steps": [
                call("greet", "echo", &arguments),
                {"name": "use", "run": {"shell": "echo for {{ steps.greet.result.to }}"}},
                call("print", "print", &json!("text")),
                call("nothing", "print", &json!("{{ steps.print.result }}")),
                call("panic", "panic", &json!("boom")),
                call("signal", "signal", &json!(9)),
                call("exit", "exit", &json!(3)),
                call("unknown", "ehco", &json!(null)),
                call("bad", "exit", &json!("three")),
                call("large", "big", &json!(1024 * 1024)),
                call("nul", "nul", &json!(null)),
                late,
            ],
            "successPairs": [["greet", "use"], ["print", "nothing"]],
        });
        let (client, id) = run(&host, &jobset).await;
        let steps = client.steps(&id).await.unwrap();
        let step = |name| steps.iter().find(|step| step.name == name).unwrap();
        let expected = json!({"to": "world", "n": [1, "greet"], "{{": "as is"});
        assert_eq!(step("greet").result, Some(expected));
        assert_eq!((step("greet").state.as_str(), step("greet").exit_code), ("Succeeded", Some(0)));
        for (name, output) in
            [("use", "for world\n"), ("print", "text to stdout\n"), ("nothing", "None to stdout\n")]
        {
            let stdout = client.output(&id, name, None, Some("stdout")).await.unwrap();
            assert_eq!(String::from_utf8(stdout).unwrap(), output);
        }
        check(step("panic"), "Panic", "boom");
        check(step("signal"), "Signal", "signal 9 (SIGKILL)");
        assert_eq!((step("signal").signal, step("signal").exit_code), (Some(9), None));
        check(step("exit"), "Exit", "code 3");
        check(step("unknown"), "UnknownFunction", "did you mean `echo`?");
        check(step("bad"), "BadArguments", "expected i32");
        check(step("large"), "ResultTooLarge", "more than 1048576 bytes");
        check(step("nul"), "BadResult", "NUL");
        check(step("late"), "Timeout", "300ms");
        assert_eq!(step("late").state, "TimedOut");
        sign.assert_dead();
        host.run_until(async {}).await.unwrap();
    });
}
