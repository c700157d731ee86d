//! Machines that a jobset declares, seen by a client: their names in steps, events and filters, and
//! what is said about those that make no sense.

use serde_json::{Value, json};

use crate::support::{own_service, service, targets};

/// A door that is opened when the key was found, and that shuts by itself.
fn door() -> Value {
    json!({
        "initial": "Shut",
        "states": {
            "Shut": {},
            "Open": {"run": {"shell": "true"}, "outcomes": {"succeed": "shut", "fail": "jam"}},
            "Done": {"final": "succeeded"},
            "Jammed": {"final": "failed"}
        },
        "transitions": [
            {"from": "Shut", "action": "open", "to": "Open", "automatic": true,
             "when": [{"key": ["Succeeded"]}]},
            {"from": "Open", "action": "shut", "to": "Done"},
            {"from": "Open", "action": "jam", "to": "Jammed"}
        ]
    })
}

fn house() -> Value {
    json!({
        "name": "house",
        "machines": {"door": door()},
        "steps": [
            {"name": "key", "run": {"shell": "true"}},
            {"name": "front", "machine": "door"},
            {"name": "enter", "when": {"front": ["Done"]}}
        ]
    })
}

async fn refused(job: &Value) -> Value {
    let service = service().await;
    service.post(job.to_string(), &[]).await.error(400)
}

#[tokio::test]
async fn a_declared_machine_shows_its_own_names() {
    let service = service().await;
    let submitted = service.submit(&house()).await;
    assert!(!submitted.answer.text().contains("warnings"), "{}", submitted.answer.text());
    let ended = service.ended(&submitted.url).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let steps = service.get(&format!("{}/steps", submitted.url)).await.expect(200).json();
    let states: Vec<(&str, &str)> = (steps["value"].as_array().expect("steps").iter())
        .map(|step| (step["name"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("key", "Succeeded"), ("front", "Done"), ("enter", "Succeeded")]);
    let events = service.get(&format!("{}/events", submitted.url)).await.expect(200).json();
    let moves: Vec<[&str; 3]> = (events["value"].as_array().expect("events").iter())
        .filter(|event| event["step"] == "front")
        .map(|event| ["action", "from", "to"].map(|key| event[key].as_str().unwrap_or("")))
        .collect();
    assert_eq!(moves, [["open", "Shut", "Open"], ["shut", "Open", "Done"]], "{events}");
}

#[tokio::test]
async fn names_of_declared_machines_can_be_filtered_by() {
    let service = service().await;
    let submitted = service.submit(&house()).await;
    service.ended(&submitted.url).await;
    for (filter, names) in [
        ("state eq 'Done'", vec!["front"]),
        ("state eq 'done'", vec!["front"]),
        ("state eq 'Open'", vec![]),
        ("state ne 'Done'", vec!["key", "enter"]),
        ("state in ('Done', 'Succeeded')", vec!["key", "front", "enter"]),
    ] {
        let filter = filter.replace(' ', "%20");
        let url = format!("{}/steps?$filter={filter}", submitted.url);
        let answer = service.get(&url).await.expect(200).json();
        let found: Vec<&str> = (answer["value"].as_array().expect("steps").iter())
            .map(|step| step["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{filter}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let with = |path: &str, value: Value| {
        let mut job = house();
        *job.pointer_mut(path).expect("a place") = value;
        job
    };
    for (path, value, place) in [
        ("/steps/1/machine", json!("dor"), "steps[1].machine"),
        ("/machines/door/initial", json!("Shot"), "machines.door.initial"),
        ("/machines/door/initial", json!("Open"), "machines.door.initial"),
        ("/machines/door/transitions/1/to", json!("Donne"), "machines.door.transitions[1].to"),
        (
            "/machines/door/transitions/0/when",
            json!({"kee": ["Succeeded"]}),
            "machines.door.transitions[0].when[0]",
        ),
        ("/machines/door/transitions/0/when", json!({"key": ["TimedOut"]}), "steps[1]"),
        (
            "/machines/door/states/Open/outcomes",
            json!({"succeed": "shut"}),
            "machines.door.states.Open.outcomes",
        ),
        (
            "/machines/door/states/Shut",
            json!({"colour": "red"}),
            "machines.door.states.Shut.colour",
        ),
        ("/machines/door/states/Done", json!({}), "machines.door.states.Done"),
        ("/steps/2/when", json!({"front": ["Opened"]}), "steps[2].when[0].front"),
    ] {
        let job = with(path, value);
        let error = refused(&job).await;
        assert!(targets(&error).contains(&place), "{place}: {error}");
    }
}

#[tokio::test]
async fn what_may_not_be_meant_is_told_with_the_202_only() {
    let service = service().await;
    let mut job = house();
    job["machines"]["spare"] = door();
    job["steps"].as_array_mut().unwrap().extend([
        json!({"name": "c", "when": [{"key": ["Failed"]}, {"d": ["Succeeded"]}],
               "guards": {"pause": {"key": ["TimedOut"]}}}),
        json!({"name": "d", "when": [{"key": ["Failed"]}, {"c": ["Succeeded"]}]}),
    ]);
    let submitted = service.submit(&job).await;
    let body = submitted.answer.json();
    let warnings = body["warnings"].as_array().expect("warnings");
    let told: Vec<&str> = warnings.iter().map(|w| w["target"].as_str().unwrap()).collect();
    assert_eq!(told, ["machines.spare", "steps[3].guards.pause", "steps[3]"], "{body}");
    assert!(warnings.iter().all(|warning| warning["code"] == "JobsetWarning"), "{body}");
    let text = warnings[2]["message"].as_str().unwrap();
    assert!(text.starts_with("after `key` Succeeded, `c` and `d` wait for each other"), "{text}");
    let ended = service.ended(&submitted.url).await;
    assert_eq!(ended["stepCounts"]["Unreachable"], 2, "{ended}");
    assert!(ended.get("warnings").is_none(), "{ended}");
    // Again, from the compiled form in memory.
    assert_eq!(service.submit(&job).await.answer.json()["warnings"], body["warnings"]);
}

#[tokio::test]
async fn steps_begin_where_the_jobset_says() {
    let service = service().await;
    let begin = |fields: Value| {
        let mut job = json!({"steps": [
            {"name": "a"},
            {"name": "b", "initialState": "Paused"},
            {"name": "front", "machine": "door"},
            {"name": "key"}
        ], "machines": {"door": door()}});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        job
    };
    for (fields, counts) in [
        (json!({"start": "manual"}), json!({"Ready": 3, "Paused": 1})),
        (
            json!({"start": "manual", "initialState": "Waiting"}),
            json!({"Ready": 1, "Paused": 1, "Waiting": 2}),
        ),
        (json!({"initialState": "Paused"}), json!({"Paused": 3, "Waiting": 1})),
        (json!({"initialState": "ready"}), json!({"Ready": 2, "Paused": 1, "Waiting": 1})),
    ] {
        let submitted = service.submit(&begin(fields)).await;
        let body = submitted.answer.json();
        assert_eq!(body["stepCounts"], counts, "{body}");
        service.delete(&submitted.url).await;
        assert_eq!(service.ended(&submitted.url).await["status"], "canceled");
    }
    for (state, words) in [("Runing", "did you mean `Running`"), ("Running", "cannot begin")] {
        let error = refused(&begin(json!({"initialState": state}))).await;
        assert!(targets(&error).contains(&"initialState"), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}

/// Of two steps that could be claimed together, the claim of one takes away what the other asks for.
#[tokio::test]
async fn a_claim_that_shuts_out_another_costs_no_slot() {
    let service = own_service(|s| s.slots = 2).await;
    let job = json!({"steps": [
        {"name": "first", "run": {"shell": "true"}},
        {"name": "early", "run": {"shell": "true"}, "when": {"first": ["Waiting"]}},
    ]});
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.step(&url, "early").await["state"], "Unreachable");
    // Both slots are there: these two meet.
    let meet = |own: &str, other: &str| {
        let wait = format!("until [ -e $SUT_WORKSPACE/{other} ]; do sleep 0.02; done");
        let shell = format!("touch $SUT_WORKSPACE/{own}; {wait}");
        json!({"name": own, "run": {"shell": shell}, "timeout": "20s"})
    };
    let url = service.submit(&json!({"steps": [meet("a", "b"), meet("b", "a")]})).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}
