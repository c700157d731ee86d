//! What happened before what, and who ran meanwhile.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Service, own_service, service};

/// `first`, then `left` (which fails once) and `right` side by side, then `last`.
fn fork() -> Value {
    json!({
        "name": "fork",
        "steps": [
            {"name": "first", "run": {"shell": "true"}},
            {"name": "left", "run": {"shell": "test $SUT_ATTEMPT -ge 2"},
             "retry": {"maxAttempts": 2, "backoff": "1ms"}},
            {"name": "right", "run": {"shell": "true"}},
            {"name": "last", "run": {"shell": "true"}},
        ],
        "successPairs": [["first", "left"], ["first", "right"], ["left", "last"], ["right", "last"]],
    })
}

/// The URL of a fork that has ended.
async fn ended_fork(service: &Service) -> String {
    let submitted = service.submit(&fork()).await;
    assert_eq!(service.ended(&submitted.url).await["state"], "Succeeded");
    submitted.url
}

async fn values(service: &Service, url: &str) -> Vec<Value> {
    let page = service.get(url).await.expect(200).json();
    page["value"].as_array().expect("a collection").clone()
}

fn seqs(events: &[Value]) -> BTreeSet<u64> {
    events.iter().map(|event| event["seq"].as_u64().expect("a number")).collect()
}

/// The number of the event by which that attempt did that.
fn seq(events: &[Value], step: &str, attempt: u32, action: &str) -> u64 {
    let is_it = |event: &&Value| {
        event["step"] == step && event["attempt"] == attempt && event["action"] == action
    };
    let found = events.iter().find(is_it).expect("it happened");
    found["seq"].as_u64().expect("a number")
}

/// The events of one step.
fn of_step(events: &[Value], step: &str) -> BTreeSet<u64> {
    let own: Vec<Value> = events.iter().filter(|event| event["step"] == step).cloned().collect();
    seqs(&own)
}

/// `step #attempt`, in order.
fn names(attempts: &[Value]) -> Vec<String> {
    attempts
        .iter()
        .map(|other| format!("{} #{}", other["step"].as_str().expect("a name"), other["attempt"]))
        .collect()
}

#[tokio::test]
async fn events_are_asked_for_by_their_place_in_the_causal_order() {
    let service = service().await;
    let url = format!("{}/events", ended_fork(&service).await);
    let all = values(&service, &url).await;
    let [left, right] = ["left", "right"].map(|step| of_step(&all, step));
    let ask = async |filter: String| {
        seqs(&values(&service, &format!("{url}?$filter={}", filter.replace(' ', "+"))).await)
    };
    let end = seq(&all, "right", 1, "succeed");
    let begin = seq(&all, "last", 1, "run");
    // What ran beside it, whatever the clock says; never the event itself.
    assert_eq!(ask(format!("concurrentWith(stamp,'{end}')")).await, left);
    let before = ask(format!("happenedBefore(stamp,'{end}')")).await;
    assert!(of_step(&all, "first").is_subset(&before) && before.is_disjoint(&left));
    assert!(before.contains(&1) && !before.contains(&end));
    // All that came before the last step happened before it: nothing is concurrent with it.
    assert_eq!(ask(format!("happenedBefore(stamp,'{begin}')")).await, (1..begin).collect());
    assert_eq!(ask(format!("concurrentwith(stamp,'{begin}')")).await, BTreeSet::new());
    // In a larger question; and with a stamp as it is shown.
    let more = format!("step eq 'left' and not happenedBefore(stamp,'{end}') and attempt eq 1");
    let first_attempt = ask(more).await;
    assert!(!first_attempt.is_empty() && first_attempt.is_subset(&left));
    let stamps = values(&service, &format!("{url}?$select=stamp&$filter=seq+eq+{end}")).await;
    let stamp = stamps[0]["stamp"].as_str().expect("a stamp");
    assert_eq!(stamps[0].as_object().expect("an object").len(), 1);
    assert_eq!(ask(format!("concurrentWith(stamp,'{stamp}')")).await, left);
    assert_eq!(ask(format!("stamp eq '{stamp}'")).await, BTreeSet::from([end]));
    // The marks of an order; and an event that is not among those that are looked at.
    let order = format!("{url}?after={end}&$orderby=concurrentWith(stamp,'{end}')+desc,seq");
    let sorted = values(&service, &order).await;
    let later: Vec<u64> = left.iter().copied().filter(|seq| *seq > end).collect();
    let found: Vec<u64> =
        sorted.iter().map(|event| event["seq"].as_u64().expect("a number")).collect();
    assert_eq!(found[..later.len()], later);
    // A stream is asked in the same way.
    let filter = format!("$filter=concurrentWith(stamp,'{end}')");
    let answer = service.get_with(&format!("{url}?{filter}"), "accept", "text/event-stream").await;
    let told = answer.expect(200).text().matches("\nevent: moved\n").count();
    assert_eq!(told, left.len());
    assert!(!right.is_empty());
}

#[tokio::test]
async fn a_question_about_an_event_that_there_is_not_tells_its_place() {
    let service = service().await;
    let operation = ended_fork(&service).await;
    let url = format!("{operation}/events");
    for (filter, code, part) in [
        ("happenedBefore(stamp,'999')", "InvalidArgument", "position 21 of $filter, at `'999'`"),
        ("concurrentWith(stamp,'0')", "InvalidArgument", "no event 0"),
        ("concurrentWith(stamp,'99999999999')", "InvalidArgument", "neither the number"),
        ("concurrentWith(stamp,'-1')", "InvalidArgument", "neither the number"),
        ("concurrentWith(stamp,'')", "InvalidArgument", "neither the number"),
        ("concurrentWith(stamp,'(0,1')", "InvalidArgument", "this is no stamp: at byte"),
        ("concurrentWith(stamp,step)", "InvalidArgument", "in quotes"),
        ("concurrentWith(stamp,null)", "InvalidArgument", "in quotes"),
        ("concurrentWith(step,'1')", "InvalidArgument", "`stamp`"),
        ("concurrentWith(stamp,1)", "TypeMismatch", "Edm.String"),
        ("concurrentWith(stamp)", "WrongArgumentCount", "2 arguments"),
        ("concurrentWit(stamp,'1')", "UnknownFunction", "did you mean `concurrentWith`?"),
        // Whether or not an event is ever judged by it.
        ("seq lt 0 and happenedBefore(stamp,'999')", "InvalidArgument", "no event 999"),
    ] {
        let filter = filter.replace(' ', "+");
        let error = service.get(&format!("{url}?$filter={filter}")).await.error(400);
        assert_eq!((&error["code"], &error["target"]), (&json!(code), &json!("$filter")));
        assert!(error["message"].as_str().expect("a text").contains(part), "{filter}: {error}");
        let stream = format!("{url}?$filter={filter}");
        service.get_with(&stream, "accept", "text/event-stream").await.error(400);
    }
    let order = format!("{url}?$orderby=happenedBefore(stamp,'999')");
    assert_eq!(service.get(&order).await.error(400)["target"], "$orderby");
    // Stamps order the events of one operation and nothing else.
    for other in ["/v1.0/operations".to_owned(), format!("{operation}/steps")] {
        let url = format!("{other}?$filter=happenedBefore(stamp,'1')");
        assert_eq!(service.get(&url).await.error(400)["code"], "UnknownFunction");
    }
}

#[tokio::test]
async fn the_causal_past_of_an_event_is_a_collection() {
    let service = service().await;
    let url = format!("{}/events", ended_fork(&service).await);
    let all = values(&service, &url).await;
    let end = seq(&all, "left", 2, "succeed");
    let causes = format!("{url}/{end}/causes");
    let past = values(&service, &causes).await;
    assert_eq!(
        past,
        values(&service, &format!("{url}?$filter=happenedBefore(stamp,'{end}')")).await
    );
    assert!(seqs(&past).is_disjoint(&of_step(&all, "right")) && past[0]["seq"] == 1);
    assert!(past.iter().all(|event| event["seq"].as_u64() < Some(end)));
    let own = values(&service, &format!("{causes}?$filter=step+eq+'left'&$orderby=seq+desc")).await;
    assert_eq!(own[0]["action"], "run");
    let by_function = format!("{causes}?$filter=concurrentWith(stamp,'{end}')");
    assert_eq!(values(&service, &by_function).await, [json!(null); 0]);
    // Page by page.
    let mut next = Some(format!("{causes}?$top=100&$count=true&$select=seq"));
    let page = service.get_with(&next.clone().expect("a link"), "prefer", "maxpagesize=2").await;
    assert_eq!(page.json()["@odata.count"], past.len());
    let mut found = BTreeSet::new();
    while let Some(link) = next.take() {
        let page = service.get_with(&link, "prefer", "maxpagesize=2").await.expect(200).json();
        found.extend(seqs(page["value"].as_array().expect("a collection")));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(found, seqs(&past));
    // One event.
    let event = service.get(&format!("{url}/{end}")).await.expect(200).json();
    assert_eq!(event, all[usize::try_from(end).expect("small") - 1]);
    let few = service.get(&format!("{url}/{end}?$select=kind")).await.expect(200).json();
    assert_eq!(few, json!({"kind": "moved"}));
    for unknown in ["999", "0", "01", "-1", "x", "99999999999"] {
        service.get(&format!("{url}/{unknown}")).await.error(404);
        service.get(&format!("{url}/{unknown}/causes")).await.error(404);
    }
    assert_eq!(
        service.get(&format!("{causes}?$fliter=a")).await.error(400)["code"],
        "UnknownParameter"
    );
    assert_eq!(values(&service, &format!("{url}/1/causes")).await, [json!(null); 0]);
    service
        .get("/v1.0/operations/00000000-0000-7000-8000-000000000000/events/1/causes")
        .await
        .error(404);
}

#[tokio::test]
async fn what_ran_beside_an_attempt_is_listed_newest_first() {
    let service = service().await;
    let operation = ended_fork(&service).await;
    let of = |step: &str, more: &str| format!("{operation}/steps/{step}/concurrent{more}");
    let ask = async |step: &str, more: &str| values(&service, &of(step, more)).await;
    let beside = ask("right", "").await;
    assert_eq!(names(&beside), ["left #2", "left #1"]);
    assert_eq!([&beside[0]["state"], &beside[1]["state"]], ["Succeeded", "Waiting"]);
    for attempt in &beside {
        assert_eq!(attempt["operation"], operation.rsplit('/').next().expect("an id"));
        let [begin, end] = ["startedDateTime", "endedDateTime"].map(|name| attempt[name].as_str());
        assert!(begin.is_some() && begin <= end, "{attempt}");
        assert!(attempt["worker"].is_i64() && attempt.get("resource").is_none());
    }
    assert_eq!(names(&ask("left", "").await), ["right #1"]);
    // Not the second attempt of its own step, which followed from it.
    assert_eq!(names(&ask("left", "?attempt=1").await), ["right #1"]);
    for step in ["first", "last"] {
        assert_eq!(names(&ask(step, "").await), [""; 0]);
    }
    let some = ask("right", "?$filter=attempt+eq+1+and+state+ne+'failed'&$select=step").await;
    assert_eq!(some, [json!({"step": "left"})]);
    assert_eq!(names(&ask("right", "?$orderby=attempt").await), ["left #1", "left #2"]);
    assert_eq!(names(&ask("right", "?$skip=1").await), ["left #1"]);
    assert_eq!(names(&ask("right", "?$search=waiting").await), ["left #1"]);
    let page = service.get_with(&of("right", "?$count=true"), "prefer", "maxpagesize=1").await;
    let page = page.expect(200).json();
    assert_eq!(
        (page["@odata.count"].as_u64(), page["value"][0]["attempt"].as_u64()),
        (Some(2), Some(2))
    );
    let next = page["@odata.nextLink"].as_str().expect("a link");
    assert!(next.contains("attempt=1"), "{next}");
    assert_eq!(names(&values(&service, next).await), ["left #1"]);
    let error = service.get(&of("left", "?attempt=3")).await.error(404);
    assert_eq!(error["message"], "the step has no attempt 3; its last one is 2");
    service.get(&of("left", "?attempt=0")).await.error(404);
    assert_eq!(service.get(&of("left", "?attempt=x")).await.error(400)["target"], "attempt");
    let error = service.get(&of("lefd", "")).await.error(404);
    assert!(error["message"].as_str().expect("a text").contains("did you mean `left`?"));
}

#[tokio::test]
async fn an_attempt_that_runs_is_before_nothing() {
    let service = own_service(|_| {}).await;
    let submitted = service
        .submit(&json!({
            "steps": [
                {"name": "long", "run": {"shell": "exec sleep 300"}},
                {"name": "first", "run": {"shell": "true"}},
                {"name": "second", "run": {"shell": "false"}},
                {"name": "never", "run": {"shell": "true"}},
            ],
            "successPairs": [["first", "second"], ["second", "never"]],
        }))
        .await;
    let is_alone = |operation: &Value| operation["stepCounts"]["Unreachable"] == 1;
    service.until(&submitted.url, is_alone).await;
    let ask = async |step: &str| {
        values(&service, &format!("{}/steps/{step}/concurrent", submitted.url)).await
    };
    let beside = ask("second").await;
    assert_eq!(names(&beside), ["long #1"]);
    assert_eq!(beside[0]["state"], "Running");
    assert!(beside[0].get("endedDateTime").is_none());
    assert_eq!(names(&ask("long").await), ["second #1", "first #1"]);
    let error = service.get(&format!("{}/steps/never/concurrent", submitted.url)).await.error(404);
    assert_eq!(error["message"], "the step has had no attempt yet");
    service.delete(&submitted.url).await;
    service.ended(&submitted.url).await;
    // What a fork keeps was run by another operation.
    let body = br#"{"steps": ["second"]}"#.to_vec();
    let json_body = [("content-type", "application/json")];
    let rerun = format!("{}/rerun", submitted.url);
    let answer = service.send("POST", &rerun, &json_body, Some(body)).await.expect(202);
    let forked = answer.header("operation-location").to_owned();
    service.ended(&forked).await;
    assert_eq!(
        names(&values(&service, &format!("{forked}/steps/second/concurrent")).await),
        [""; 0]
    );
    service.get(&format!("{forked}/steps/first/concurrent")).await.error(404);
    let picture = service.get(&format!("{forked}/causality")).await.expect(200);
    assert_eq!(picture.text().matches(" #35;").count(), 1, "{}", picture.text());
}

#[tokio::test]
async fn the_causal_order_is_drawn() {
    let service = service().await;
    let url = format!("{}/causality", ended_fork(&service).await);
    let mermaid = service.get(&url).await.expect(200);
    assert_eq!(mermaid.header("content-type"), "text/vnd.mermaid; charset=utf-8");
    let text = mermaid.text();
    let node = |label: &str| {
        let line = text.lines().find(|line| line.contains(label)).expect("a node");
        line.trim().split('[').next().expect("a name").to_owned()
    };
    let [first, left, again, right, last] =
        ["first #35;1", "left #35;1", "left #35;2", "right #35;1", "last #35;1"].map(node);
    // The fewest arrows: none from the first attempt to the last step.
    let mut arrows: Vec<&str> = text.lines().filter(|line| line.contains("-->")).collect();
    let mut expected =
        [(&first, &left), (&left, &again), (&first, &right), (&again, &last), (&right, &last)]
            .map(|(from, to)| format!("  {from} --> {to}"));
    arrows.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrows, expected, "{text}");
    assert!(text.contains("left #35;1<br/>Waiting") && text.contains("flowchart LR"), "{text}");
    for (accept, kind) in [
        ("*/*", "text/vnd.mermaid; charset=utf-8"),
        ("text/vnd.graphviz", "text/vnd.graphviz; charset=utf-8"),
        ("image/*", "image/svg+xml"),
    ] {
        let answer = service.get_with(&url, "accept", accept).await.expect(200);
        assert_eq!(answer.header("content-type"), kind);
    }
    let dot = service.get(&format!("{url}?format=dot")).await.expect(200);
    assert!(dot.text().contains(r#"label="left #2\nSucceeded""#), "{}", dot.text());
    let tag = mermaid.header("etag").to_owned();
    assert_eq!(service.get_with(&url, "if-none-match", &tag).await.expect(304).header("etag"), tag);
    assert_eq!(service.get(&format!("{url}?format=png")).await.error(400)["target"], "format");
    service.get_with(&url, "accept", "application/json").await.error(406);
}

#[tokio::test]
async fn a_picture_of_too_many_attempts_is_refused() {
    let service = own_service(|settings| settings.slots = 8).await;
    let steps: Vec<Value> = (0..1_001).map(|n| json!({"name": format!("s{n}")})).collect();
    let submitted = service.submit(&json!({"steps": steps})).await;
    service.ended(&submitted.url).await;
    let error = service.get(&format!("{}/causality", submitted.url)).await.error(400);
    assert_eq!(error["code"], "GraphTooLarge");
    assert!(error["message"].as_str().expect("a text").contains("1001 attempts"), "{error}");
}

/// A jobset on a resource: `early`, then `late`, which ends when the file at `gate` is there.
fn on_resource(label: &str, gate: &str) -> Value {
    let wait = format!("until [ -e {gate} ]; do sleep 0.02; done");
    json!({
        "labels": {label: "bench 7"},
        "steps": [
            {"name": "early", "run": {"shell": "true"}},
            {"name": "late", "run": {"shell": wait}},
        ],
        "successPairs": [["early", "late"]],
    })
}

#[tokio::test]
async fn operations_that_share_a_resource_suspect_each_other() {
    let service = own_service(|settings| settings.slots = 8).await;
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path().join("gate").to_str().expect("ASCII").to_owned();
    let before = service.submit(&on_resource("resource", "/")).await;
    service.ended(&before.url).await;
    let stranger = service.submit(&on_resource("resources", &gate)).await;
    let first = service.submit(&on_resource("resource", &gate)).await;
    service.running(&first.url).await;
    // Its `early` has ended, its `late` runs.
    service.until(&first.url, |operation| operation["stepCounts"]["Succeeded"] == 1).await;
    let second = service.submit(&on_resource("resource.bench", &gate)).await;
    service.until(&second.url, |operation| operation["stepCounts"]["Succeeded"] == 1).await;
    std::fs::write(&gate, "").expect("a file");
    for operation in [&stranger, &first, &second] {
        service.ended(&operation.url).await;
    }
    let after = service.submit(&on_resource("resource", &gate)).await;
    service.ended(&after.url).await;
    let ask = async |operation: &str, step: &str| {
        let url = format!("{operation}/steps/{step}/concurrent?$filter=resource+ne+null");
        values(&service, &url).await
    };
    // What had ended when the second one was submitted happened before it.
    let beside = ask(&second.url, "early").await;
    assert_eq!(names(&beside), ["late #1"]);
    assert_eq!(
        (&beside[0]["operation"], &beside[0]["resource"]),
        (&json!(first.id()), &json!("bench 7"))
    );
    assert_eq!(names(&ask(&second.url, "late").await), ["late #1"]);
    assert_eq!(names(&ask(&first.url, "early").await), [""; 0]);
    assert_eq!(names(&ask(&first.url, "late").await), ["late #1", "early #1"]);
    for alone in [&before, &stranger, &after] {
        assert_eq!(names(&ask(&alone.url, "late").await), [""; 0]);
    }
}
