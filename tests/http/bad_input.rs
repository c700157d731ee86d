//! What a jobset must not be: refused with the place of every problem, and nothing is stored.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, OwnService, own_service, shell, targets};

async fn idle() -> OwnService {
    own_service(|s| s.slots = 0).await
}

/// The error, after a look at whether something was stored.
async fn refused(service: &OwnService, body: impl Into<Vec<u8>>) -> Value {
    let before = service.count().await;
    let answer: Answer = service.post(body, &[]).await;
    let error = answer.error(400);
    assert!(answer.bytes.len() < 200_000, "an error that can be read");
    assert_eq!(error["code"], "InvalidJobset");
    assert_eq!(service.count().await, before, "nothing is stored");
    error
}

/// The error has a problem at this place that says this.
#[track_caller]
fn tells(error: &Value, place: &str, words: &str) {
    let mut details = error["details"].as_array().expect("details").iter();
    let is_told = details.any(|detail| {
        detail["target"] == place && detail["message"].as_str().unwrap_or("").contains(words)
    });
    assert!(is_told, "{place} {words}: {error}");
}

fn step(fields: &Value) -> Value {
    let mut step = json!({"name": "a"});
    step.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    json!({"steps": [step]})
}

#[tokio::test]
async fn not_json() {
    let service = idle().await;
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{\"steps\": [}",
        b"{'steps': []}",
        b"{\"steps\": [{\"name\": \"a\"}],}",
        b"{\"steps\": [{\"name\": \"a\"}]} {}",
        b"{\"steps\": [{\"name\": \"\xff\xfe\"}]}",
        b"{\"steps\": [{\"name\": \"\\ud800\"}]}",
        b"{\"steps\": [{\"name\": \"a\nb\"}]}",
        b"\xef\xbb\xbf{\"steps\": [{\"name\": \"a\"}]}",
        b"{\"steps\": [{\"name\": \"a\", \"need\": NaN}]}",
        b"\0",
    ] {
        let error = refused(&service, body).await;
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("is not JSON") || message.contains("is empty"), "{error}");
    }
    for body in ["null", "[]", "5", "\"text\"", "true"] {
        tells(&refused(&service, body).await, "", "must be an object");
    }
}

#[tokio::test]
async fn unknown_fields_with_the_nearest_name() {
    let service = idle().await;
    let job = json!({"stpes": [], "steps": [{"name": "a", "timout": "1s", "retry": {"maxAttempts": 2,
        "backof": "1s"}, "run": {"shel": "x"}, "zzz": 1}]});
    let error = refused(&service, job.to_string()).await;
    tells(&error, "stpes", "did you mean `steps`?");
    tells(&error, "steps[0].timout", "did you mean `timeout`?");
    tells(&error, "steps[0].retry.backof", "did you mean `backoff`?");
    tells(&error, "steps[0].run", "did you mean `shell`?");
    tells(&error, "steps[0].zzz", "unknown field");
    assert!(targets(&error).len() == 5, "{error}");
}

#[tokio::test]
async fn wrong_types() {
    let service = idle().await;
    let job = json!({"name": 5, "context": [], "deadline": 60, "maxConcurrency": "two", "start": 1,
        "cancellable": "yes", "labels": {"a": 1}, "successPairs": [["a"]], "failurePairs": "a",
        "steps": [{"name": null, "run": {"command": "make"}, "tags": 5, "when": 7, "need": true,
            "timeout": 5, "retry": 3, "onFailure": false, "env": {"A": null}, "cwd": 1}]});
    let error = refused(&service, job.to_string()).await;
    let targets = targets(&error);
    for place in [
        "name",
        "context",
        "deadline",
        "maxConcurrency",
        "start",
        "cancellable",
        "labels.a",
        "failurePairs",
        "steps[0].name",
        "steps[0].run.command",
        "steps[0].tags",
        "steps[0].when",
        "steps[0].need",
        "steps[0].timeout",
        "steps[0].retry",
        "steps[0].onFailure",
        "steps[0].env.A",
        "steps[0].cwd",
    ] {
        assert!(targets.contains(&place), "{place}: {targets:#?}");
    }
    assert!(targets.iter().any(|place| place.starts_with("successPairs[0]")), "{targets:#?}");
}

#[tokio::test]
async fn names_of_steps() {
    let service = idle().await;
    let job = json!({
        "steps": [{"name": "build"}, {"name": "build"}, {"name": "test", "when": {"biuld": ["Succeeded"]}}],
        "successPairs": [["build", "tset"], ["build", "test"], ["build", "test"]],
    });
    let error = refused(&service, job.to_string()).await;
    tells(&error, "steps[1].name", "also the name of steps[0]");
    tells(&error, "steps[2].when[0]", "did you mean `build`?");
    tells(&error, "successPairs[0][1]", "did you mean `test`?");
    tells(&error, "successPairs[2]", "the same as successPairs[1]");
    let error = refused(
        &service,
        json!({"steps": [{"name": "a"}], "failurePairs": [["a", "a"]]}).to_string(),
    )
    .await;
    tells(&error, "steps[0]", "can never run");

    let long = "n".repeat(201);
    for name in ["", "a/b", "$a", " a", "a ", "a\nb", "a\u{7f}", "a\u{0}", "a\u{85}b", &long] {
        let error = refused(&service, json!({"steps": [{"name": name}]}).to_string()).await;
        assert_eq!(targets(&error)[0], "steps[0].name", "{name:?}: {error}");
    }
    for name in ["x\ny", "x\u{0}", &long] {
        let job = json!({"name": name, "steps": [{"name": "a"}]});
        assert_eq!(targets(&refused(&service, job.to_string()).await), ["name"], "{name:?}");
    }
}

#[tokio::test]
async fn no_steps_and_no_program() {
    let service = idle().await;
    tells(&refused(&service, "{}").await, "", "`steps` is missing");
    tells(&refused(&service, r#"{"steps": []}"#).await, "steps", "at least one step");
    for run in [json!({"command": []}), json!({"command": [""]}), json!({"shell": " "})] {
        let error = refused(&service, step(&json!({"run": run})).to_string()).await;
        assert!(targets(&error)[0].starts_with("steps[0].run."), "{error}");
    }
}

#[tokio::test]
async fn guards_that_never_open() {
    let service = idle().await;
    let steps = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
    for (fields, places) in [
        (json!({"successPairs": [["a", "b"], ["b", "a"]]}), vec!["steps[0]", "steps[1]"]),
        (
            json!({"successPairs": [["a", "b"], ["b", "c"]], "failurePairs": [["c", "a"]]}),
            vec!["steps[0]", "steps[1]", "steps[2]"],
        ),
        (json!({"successPairs": [["a", "b"]], "failurePairs": [["a", "b"]]}), vec!["steps[1]"]),
    ] {
        let mut job = json!({"steps": steps});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let error = refused(&service, job.to_string()).await;
        let mut found = targets(&error);
        found.sort_unstable();
        assert_eq!(found, places, "{error}");
    }
    for (when, words) in [
        (json!({"b": ["TimedOut"]}), "never becomes TimedOut"),
        (json!([{"b": ["Succeeded"], "a": ["Succeeded"]}]), "waits for itself"),
    ] {
        let job = json!({"steps": [{"name": "a", "when": when}, {"name": "b"}]});
        tells(&refused(&service, job.to_string()).await, "steps[0]", words);
    }
    for when in [
        json!([{}]),
        json!({"b": []}),
        json!({"b": ["Suceeded"]}),
        json!({"$atLeast": 2,
        "b": ["Succeeded"]}),
    ] {
        let job = json!({"steps": [{"name": "a", "when": when}, {"name": "b"}]});
        let error = refused(&service, job.to_string()).await;
        assert!(targets(&error)[0].starts_with("steps[0].when"), "{error}");
    }
}

#[tokio::test]
async fn durations_and_numbers() {
    let service = idle().await;
    for text in
        ["-5s", "0s", "5", "", "soon", "11y", "4000d", "1e9s", "PT", "99999999999999999999h"]
    {
        let job = json!({"deadline": text, "steps": [{"name": "a", "timeout": text}]});
        let error = refused(&service, job.to_string()).await;
        let targets = targets(&error);
        assert!(targets.contains(&"deadline") && targets.contains(&"steps[0].timeout"), "{error}");
    }
    for fields in [
        json!({"need": 0}),
        json!({"need": -1}),
        json!({"need": 1e300}),
        json!({"retry": {"maxAttempts": 0}}),
        json!({"retry": {"maxAttempts": 1_000_000}}),
        json!({"retry": {"maxAttempts": 2, "factor": 0.1}}),
        json!({"retry": {"maxAttempts": 2, "factor": 1e9}}),
        json!({"retry": {"maxAttempts": 2, "backoff": "-1s"}}),
        json!({"retry": {"maxAttempts": 2, "on": ["exit:x"]}}),
        json!({"env": {"A=B": "x"}}),
        json!({"env": {"": "x"}}),
    ] {
        let error = refused(&service, step(&fields).to_string()).await;
        assert!(targets(&error)[0].starts_with("steps[0]."), "{fields}: {error}");
    }
    for number in [json!(0), json!(-1), json!(4_294_967_296_u64), json!(1.5)] {
        let job = json!({"maxConcurrency": number, "steps": [{"name": "a"}]});
        assert_eq!(targets(&refused(&service, job.to_string()).await), ["maxConcurrency"]);
    }
}

#[tokio::test]
async fn nul_characters_anywhere() {
    let service = idle().await;
    let nul = "a\u{0}b";
    for (fields, place) in [
        (json!({"tags": {"k": nul}}), "steps[0].tags"),
        (json!({"tags": {nul: "v"}}), "steps[0].tags"),
        (json!({"env": {"K": nul}}), "steps[0].env"),
        (json!({"env": {nul: "v"}}), "steps[0].env"),
        (json!({"run": {"command": ["x", nul]}}), "steps[0].run.command[1]"),
        (json!({"run": {"shell": nul}}), "steps[0].run.shell"),
        (json!({"cwd": nul}), "steps[0].cwd"),
        (json!({"when": {nul: ["Succeeded"]}}), "steps[0].when"),
    ] {
        let error = refused(&service, step(&fields).to_string()).await;
        assert!(targets(&error)[0].starts_with(place), "{place}: {error}");
    }
    let data = json!({"labels": {"k": nul}, "context": {"a": [1, {"b": nul}]},
        "steps": [{"name": "a", "env": {"K": nul}}]});
    let error = refused(&service, data.to_string()).await;
    tells(&error, "labels.k", "NUL");
    tells(&error, "context.a[1].b", "NUL");
    tells(&error, "steps[0].env.K", "NUL");
    let url = service.submit(&shell("true")).await.url;
    for body in [json!({"a": nul}), json!({nul: 1})] {
        let merge = [("content-type", "application/merge-patch+json")];
        let body = Some(body.to_string().into_bytes());
        let answer = service.send("PATCH", &format!("{url}/context"), &merge, body).await;
        assert!(answer.error(400)["target"].as_str().expect("a place").starts_with('a'));
    }
    service.delete(&format!("{url}?reason=a%00b")).await.error(400);
    assert_eq!(service.get(&url).await.json()["state"], "NotStarted");
}

#[tokio::test]
async fn what_stands_twice() {
    let service = idle().await;
    for (body, place) in [
        (r#"{"name": "a", "name": "b", "steps": [{"name": "a"}]}"#, ""),
        (r#"{"steps": [{"name": "a", "name": "b"}]}"#, "steps[0]"),
        (r#"{"steps": [{"name": "a", "env": {"A": "1", "A": "2"}}]}"#, "steps[0].env"),
        (r#"{"steps": [{"name": "a", "tags": {"A": "1", "A": "2"}}]}"#, "steps[0].tags"),
        (r#"{"steps": [{"name": "a"}], "labels": {"A": "1", "\u0041": "2"}}"#, "labels"),
        (r#"{"steps": [{"name": "a"}], "context": {"A": {"b": 1, "b": 1}}}"#, "context.A"),
        (
            r#"{"steps": [{"name": "a"}, {"name": "b", "when": {"a": ["Failed"], "a": ["Failed"]}}]}"#,
            "steps[1].when",
        ),
        (
            r#"{"steps": [{"name": "a", "retry": {"maxAttempts": 1, "maxAttempts": 2}}]}"#,
            "steps[0].retry",
        ),
    ] {
        tells(&refused(&service, body).await, place, "twice");
    }
}

#[tokio::test]
async fn deep_nesting() {
    let service = idle().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [200, 100_000] {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let job = format!(r#"{{"steps": [{{"name": "a"}}], "context": {{"x": {value}}}}}"#);
            tells(&refused(&service, job).await, "", "levels of nesting");
            tells(&refused(&service, value).await, "", "levels of nesting");
        }
    }
    let value = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let job = format!(r#"{{"steps": [{{"name": "a"}}], "context": {{"x": {value}}}}}"#);
    service.post(job, &[]).await.expect(202);
}

/// Bodies of about ten megabytes, each of them JSON and wrong in its own way.
fn huge() -> Vec<(&'static str, String)> {
    let list = |item: &str| vec![item; 10_000_000 / (item.len() + 1)].join(",");
    let long = "x".repeat(10_000_000);
    vec![
        ("unknown field", format!(r#"{{"steps": [{{"name": "a"}}], "{long}": 1}}"#)),
        (
            "unknown step",
            format!(r#"{{"steps": [{{"name": "a"}}], "successPairs": [["a", "{long}"]]}}"#),
        ),
        ("long name", format!(r#"{{"steps": [{{"name": "{long}"}}]}}"#)),
        ("long number", format!(r#"{{"steps": [{{"name": "a"}}], "maxConcurrency": "{long}"}}"#)),
        ("long duration", format!(r#"{{"steps": [{{"name": "a", "timeout": "{long}"}}]}}"#)),
        ("long state", format!(r#"{{"steps": [{{"name": "a", "when": {{"a": ["{long}"]}}}}]}}"#)),
        ("many wrong steps", format!(r#"{{"steps": [{}]}}"#, list(r#"{"nam": 1}"#))),
        ("many numbers", format!(r#"{{"steps": [{}]}}"#, list("1"))),
        ("many fields", {
            let mut text = "{\"steps\": [{\"name\": \"a\"}]".to_owned();
            for n in 0..500_000 {
                write!(text, ", \"field {n}\": 1").expect("memory");
            }
            text + "}"
        }),
        ("many unknown pairs", {
            let pairs = list(r#"["a", "nobody"]"#);
            format!(r#"{{"steps": [{{"name": "a"}}], "successPairs": [{pairs}]}}"#)
        }),
    ]
}

#[tokio::test]
async fn ten_megabytes() {
    let service = idle().await;
    let started = Instant::now();
    for (what, body) in huge() {
        let before = Instant::now();
        let error = refused(&service, body).await;
        assert!(!targets(&error).is_empty(), "{what}");
        println!("{what}: {:?}", before.elapsed());
        assert!(before.elapsed().as_secs() < 15, "{what}: {:?}", before.elapsed());
        // Others are answered as before.
        service.get("/readyz").await.expect(200);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    service.post(vec![b' '; 16 * 1024 * 1024 + 1], &[]).await.error(413);
    service.submit(&shell("true")).await;
}

#[tokio::test]
async fn too_many_steps() {
    let service = idle().await;
    let steps: Vec<Value> = (0..100_001).map(|n| json!({"name": format!("s{n}")})).collect();
    let error = refused(&service, json!({"steps": steps}).to_string()).await;
    tells(&error, "steps", "100001 steps are more than the limit of 100000");
}
