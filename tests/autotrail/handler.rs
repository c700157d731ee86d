//! Table 2.5: the calls of the handler API, over the real socket to a real server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sutbot::client::{
    ClientError, OperationHandler, StatusField, StepId, extract_step_ids, filter_steps_by_action,
    filter_steps_by_states, filter_steps_by_tags, make_api_client,
};

use crate::place::{handlers, service, socket};
use crate::steering::{endless, step};
use crate::support::Service;

type Tags = BTreeMap<String, String>;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn names(ids: &[StepId]) -> Vec<&str> {
    ids.iter().map(|id| id.name.as_str()).collect()
}

/// Two that run, two that wait for one of them.
fn job() -> Value {
    let tagged = |mut step: Value, kind: &str| {
        step["tags"] = json!({"kind": kind, "dry_run": "yes"});
        step
    };
    json!({
        "context": {"colour": "red"},
        "steps": [tagged(endless("load"), "long"), tagged(endless("soak"), "long"),
                  tagged(step("report", "true"), "short"), tagged(step("mail", "true"), "short")],
        "successPairs": [["load", "report"], ["report", "mail"]]
    })
}

async fn submit(service: &Service, job: &Value) -> (String, OperationHandler) {
    let submitted = service.submit(job).await;
    let handler = handlers().await.operation(submitted.id());
    (submitted.url, handler)
}

/// The operation once both endless steps run.
async fn running(service: &Service) -> (String, OperationHandler) {
    let (url, handler) = submit(service, &job()).await;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    (url, handler)
}

#[tokio::test]
async fn row_2_5_get_serialized_context() {
    let service = service().await;
    let job = json!({"context": {"colour": "red"}, "steps": [
        step("greet", "echo 7 >$SUT_OUTPUT"), step("fail", "exit 3"), {"name": "none"}]});
    let (url, handler) = submit(&service, &job).await;
    service.ended(&url).await;
    let context = handler.get_serialized_context().await.unwrap();
    assert_eq!(context["colour"], "red", "the original leaves out all but `step_data`");
    assert_eq!(context["step_data"]["greet"], json!({"return_value": 7, "exception": null}));
    assert_eq!(context["step_data"]["none"], json!({"return_value": null, "exception": null}));
    let failed = &context["step_data"]["fail"];
    assert_eq!(
        (&failed["return_value"], &failed["exception"]["type"]),
        (&Value::Null, &json!("ExitStatus"))
    );
}

#[tokio::test]
async fn row_2_5_start_starts_all_that_are_ready() {
    let service = service().await;
    let mut job = job();
    job["start"] = json!("manual");
    let (url, handler) = submit(&service, &job).await;
    handler.pause(false, &tags(&[("name", "mail")])).await.unwrap();
    let trial = handler.start(true).await.unwrap();
    assert_eq!(service.get(&url).await.json()["stepCounts"], json!({"Ready": 3, "Paused": 1}));
    let started = handler.start(false).await.unwrap();
    assert_eq!(trial, started);
    assert_eq!(names(&started), ["load", "soak", "report"]);
    assert!(handler.start(false).await.unwrap().is_empty(), "nothing is ready any more");
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_shutdown_interrupts_all_and_ends_the_operation() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    let trial = handler.shutdown(true).await.unwrap();
    assert_eq!(names(&trial), ["load", "soak"]);
    assert_eq!(service.get(&url).await.json()["state"], "Running", "a trial does nothing");
    assert_eq!(handler.shutdown(false).await.unwrap(), trial);
    let ended = service.ended(&url).await;
    assert_eq!(
        (&ended["state"], &ended["cancellation"]["reason"]),
        (&json!("Cancelled"), &json!("shut down"))
    );
    assert!(service.told(&url, "report").await[0].starts_with("pause "));
    // Nothing can be done after it, and asking again is no error.
    assert!(handler.shutdown(false).await.unwrap().is_empty());
    let error = handler.pause(false, &Tags::new()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(status, _) if status.as_u16() == 409));
    // The other operations of the server go on.
    service.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn row_2_5_list_in_topological_order_with_the_automatic_tags() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    let all = handler.list(&Tags::new()).await.unwrap();
    let order: Vec<(&str, &str)> =
        all.iter().map(|tags| (tags["n"].as_str(), tags["name"].as_str())).collect();
    assert_eq!(order, [("0", "load"), ("1", "soak"), ("2", "report"), ("3", "mail")]);
    let short = handler.list(&tags(&[("kind", "short")])).await.unwrap();
    assert_eq!(short.len(), 2);
    assert_eq!(short[0]["dry_run"], "yes", "no name is kept from being a tag");
    assert!(handler.list(&tags(&[("kind", "short"), ("name", "load")])).await.unwrap().is_empty());
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_status_fields_states_tags() {
    let service = service().await;
    let job = json!({"steps": [
        step("greet", "echo hello; echo more >&2; echo 7 >$SUT_OUTPUT"), step("fail", "exit 3"),
        {"name": "later", "initialState": "Paused", "run": {"shell": "true"}}],
        "successPairs": [["greet", "later"]]});
    let (url, handler) = submit(&service, &job).await;
    service.in_state(&url, "greet", "Succeeded").await;
    service.in_state(&url, "fail", "Failed").await;
    let none = Tags::new();
    let all = [
        StatusField::Tags,
        StatusField::State,
        StatusField::Actions,
        StatusField::Output,
        StatusField::ReturnValue,
        StatusField::Exception,
    ];
    let status = handler.status(Some(&all), Some(&["succeeded"]), &none).await.unwrap();
    let greet = serde_json::to_value(&status).unwrap()[0].clone();
    let output = greet["output"].as_str().unwrap();
    assert!(output.contains("hello\n") && output.contains("more\n"), "{output}");
    assert_eq!(
        [&greet["name"], &greet["n"], &greet["state"], &greet["return_value"], &greet["exception"]],
        [&json!("greet"), &json!(0), &json!("Succeeded"), &json!(7), &Value::Null]
    );
    assert_eq!(greet["tags"], json!({"n": "0", "name": "greet"}));
    // Only what was asked for; number and name always.
    let short = handler.status(Some(&[StatusField::State]), None, &none).await.unwrap();
    let short = serde_json::to_value(&short).unwrap();
    let by_name: BTreeMap<&str, &Value> = short
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap(), step))
        .collect();
    assert_eq!(by_name.len(), 3);
    assert_eq!(by_name["fail"].as_object().unwrap().len(), 3, "{short}");
    // `actions` are those that are possible now: each is taken, and no other one.
    let actions = [StatusField::Actions];
    let later = tags(&[("name", "later")]);
    let status = handler.status(Some(&actions), Some(&["Paused", "Ready"]), &later).await.unwrap();
    let possible = status[0].actions.clone().unwrap();
    let verbs = [
        "start",
        "pause",
        "resume",
        "interrupt",
        "skip",
        "unskip",
        "rerun",
        "block",
        "unblock",
        "hold",
        "unhold",
        "run-now",
    ];
    for verb in verbs {
        let trial = json!({"steps": ["later"], "dryRun": true});
        let is_possible = service.verb(&url, verb, &trial).await.status == 200;
        assert_eq!(
            possible.iter().any(|action| action == verb),
            is_possible,
            "{verb} {possible:?}"
        );
    }
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_steps_that_run_are_not_all_waiting_for_user_input() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    assert!(handler.steps_waiting_for_user_input(&Tags::new()).await.unwrap().is_empty());
    let status = handler.status(None, Some(&["Running"]), &Tags::new()).await.unwrap();
    assert_eq!(status.len(), 2);
    for step in status {
        assert_eq!(step.io.map(|prompts| prompts.len()), Some(0));
        assert!(step.output.is_some() && step.actions.is_some(), "without fields all are told");
    }
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_pause_and_resume() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    let trial = handler.pause(true, &Tags::new()).await.unwrap();
    assert_eq!(names(&trial), ["report", "mail"], "what runs cannot be paused");
    assert!(service.get(&url).await.json()["stepCounts"].get("Paused").is_none());
    let mail = tags(&[("kind", "short"), ("n", "3")]);
    assert_eq!(names(&handler.pause(false, &mail).await.unwrap()), ["mail"]);
    assert_eq!(names(&handler.pause(false, &Tags::new()).await.unwrap()), ["report"]);
    assert!(handler.pause(false, &Tags::new()).await.unwrap().is_empty());
    let short = tags(&[("kind", "short")]);
    assert_eq!(names(&handler.resume(false, &short).await.unwrap()), ["report", "mail"]);
    assert_eq!(service.get(&url).await.json()["stepCounts"], json!({"Running": 2, "Waiting": 2}));
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_interrupt() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    let all = handler.interrupt(true, &Tags::new()).await.unwrap();
    assert_eq!(names(&all), ["load", "soak"]);
    let soak = tags(&[("name", "soak")]);
    assert_eq!(names(&handler.interrupt(false, &soak).await.unwrap()), ["soak"]);
    assert!(handler.interrupt(false, &soak).await.unwrap().is_empty());
    assert_eq!(service.states(&url).await["load"], "Running");
    service.gone(&url, "soak").await;
    // What ended is told as interrupted, by SIGINT and not by SIGTERM.
    let step = service.step(&url, "soak").await;
    assert_eq!((&step["exception"]["type"], &step["signal"]), (&json!("Interrupted"), &json!(2)));
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_rerun() {
    let service = service().await;
    let mut job = json!({"steps": [step("good", "true"), step("bad", "[ $SUT_ATTEMPT -ge 2 ]")]});
    job["steps"][1]["onFailure"] = json!("hold");
    let (url, handler) = submit(&service, &job).await;
    service.in_state(&url, "good", "Succeeded").await;
    service.in_state(&url, "bad", "Error").await;
    let trial = handler.rerun(true, &Tags::new()).await.unwrap();
    assert_eq!(names(&trial.steps), ["bad"], "without tags those that went wrong");
    let reran = handler.rerun(false, &tags(&[("name", "bad")])).await.unwrap();
    assert_eq!((names(&reran.steps), reran.operation.is_none()), (vec!["bad"], true));
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.step(&url, "good").await["attempt"], 1);
    // When it has ended, another operation runs them and keeps the rest.
    let again = handler.rerun(false, &tags(&[("name", "bad")])).await.unwrap();
    assert_eq!(names(&again.steps), ["bad"]);
    let operation = again.operation.expect("a new one");
    assert_eq!(operation.forked_from, Some(url.rsplit('/').next().unwrap().to_owned()));
    let other = format!("/v1.0/operations/{}", operation.id);
    assert_eq!(service.step(&other, "good").await["state"], "Succeeded", "that is kept");
    service.end(&other).await;
}

#[tokio::test]
async fn row_2_5_skip_and_unskip() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    let none = Tags::new();
    let trial = handler.skip(true, &none).await.unwrap();
    assert_eq!(names(&trial), ["report", "mail"]);
    assert_eq!(handler.skip(false, &none).await.unwrap(), trial);
    assert_eq!(service.states(&url).await["mail"], "ToSkip");
    assert_eq!(names(&handler.unskip(false, &tags(&[("n", "3")])).await.unwrap()), ["mail"]);
    assert_eq!(names(&handler.unskip(true, &none).await.unwrap()), ["report"]);
    service.moved_one(&url, "interrupt", "load").await;
    service.gone(&url, "load").await;
    assert_eq!(names(&handler.skip(false, &tags(&[("name", "load")])).await.unwrap()), ["load"]);
    service.in_state(&url, "report", "Skipped").await;
    // What has been skipped stays so.
    assert!(handler.unskip(false, &tags(&[("name", "report")])).await.unwrap().is_empty());
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_tags_are_a_subset_and_no_name_is_reserved() {
    let service = service().await;
    let (url, handler) = running(&service).await;
    for (chosen, expected) in [
        (tags(&[("kind", "short")]), vec!["report", "mail"]),
        (tags(&[("kind", "short"), ("dry_run", "yes")]), vec!["report", "mail"]),
        (tags(&[("kind", "short"), ("dry_run", "no")]), vec![]),
        (tags(&[("n", "2")]), vec!["report"]),
        (tags(&[("n", "02")]), vec![]),
        (tags(&[("nobody", "has it")]), vec![]),
    ] {
        assert_eq!(names(&handler.pause(true, &chosen).await.unwrap()), expected, "{chosen:?}");
    }
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_helpers_choose_among_steps() {
    let service = service().await;
    let (url, _) = running(&service).await;
    let api = handlers().await;
    let steps = api.client().steps(url.rsplit('/').next().unwrap()).await.unwrap();
    let chosen =
        |found: Vec<StepId>| -> Vec<String> { found.into_iter().map(|id| id.name).collect() };
    let waiting = filter_steps_by_states(&steps, &["Waiting"]);
    assert_eq!(chosen(extract_step_ids(waiting).collect()), ["report", "mail"]);
    let long = tags(&[("kind", "long"), ("n", "1")]);
    let long = filter_steps_by_tags(&steps, &long);
    assert_eq!(chosen(extract_step_ids(long).collect()), ["soak"]);
    let can = filter_steps_by_action(&steps, "interrupt");
    assert_eq!(chosen(extract_step_ids(can).collect()), ["load", "soak"]);
    service.end(&url).await;
}

#[tokio::test]
async fn row_2_5_make_api_client_says_what_went_wrong() {
    let api = make_api_client(socket().await, Duration::from_secs(5)).unwrap();
    // In the original the answer to all of these is None.
    let unknown = api.operation("00000000-0000-0000-0000-000000000000").list(&Tags::new()).await;
    assert!(matches!(unknown, Err(ClientError::Refused(status, _)) if status.as_u16() == 404));
    let nobody = make_api_client(socket().await.with_extension("none"), Duration::from_secs(5));
    let error = nobody.unwrap().operation("1").start(false).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}
