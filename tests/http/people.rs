//! People and steps: instructions and replies; prompts and messages of running programs are in
//! [`talk`], the causal order of all of it in [`causal`]. The names give the row of the table of
//! source systems that a test is about.

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Service, Submitted, own_service, service, targets};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

mod causal;
mod talk;

fn instruction(text: &str) -> Value {
    json!({"steps": [{"name": "ask", "run": {"instruction": {"text": text}}}]})
}

/// A jobset of one step that takes messages.
fn listener(text: &str) -> Value {
    json!({"steps": [{"name": "ask", "stdin": "messages", "run": {"shell": text}}]})
}

/// Ends when a line is found in the output of the step.
async fn until_output(service: &Service, url: &str, step: &str, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = service.get(&format!("{url}/steps/{step}/output")).await.expect(200);
        if output.text().contains(text) {
            return output.text().to_owned();
        }
        assert!(Instant::now() < deadline, "{}", output.text());
        sleep(std::time::Duration::from_millis(20)).await; // Output tells nobody that it came.
    }
}

impl Service {
    async fn post_json(&self, url: &str, body: &Value) -> crate::support::Answer {
        self.send("POST", url, &JSON, Some(body.to_string().into_bytes())).await
    }

    /// The prompts that are open once there is one.
    async fn waiting(&self, url: &str) -> Vec<Value> {
        let waiting = format!("{url}/waiting");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.get_with(&waiting, "prefer", "wait=10").await.expect(200).json();
            let value = page["value"].as_array().expect("a list").clone();
            if !value.is_empty() {
                return value;
            }
            assert!(Instant::now() < deadline, "nothing waits at {url}");
        }
    }

    async fn asked(&self, job: &Value) -> (Submitted, Value) {
        let submitted = self.submit(job).await;
        let prompt = self.waiting(&submitted.url).await.remove(0);
        (submitted, prompt)
    }

    async fn reply(&self, url: &str, prompt: &Value, body: &Value) -> crate::support::Answer {
        let id = prompt["id"].as_str().expect("an id");
        self.post_json(&format!("{url}/prompts/{id}/reply"), body).await
    }

    async fn messages(&self, url: &str, step: &str) -> Vec<Value> {
        let page = self.get(&format!("{url}/steps/{step}/messages")).await.expect(200).json();
        page["value"].as_array().expect("a list").clone()
    }
}

#[tokio::test]
async fn row_3_3_instruction_that_was_done_succeeds_with_the_value() {
    let service = service().await;
    let mut job = instruction("replace disk {{ context.disk }}");
    job["context"] = json!({"disk": "sdb"});
    job["steps"][0]["run"]["instruction"]["who"] = json!("ops");
    let next =
        json!({"name": "next", "run": {"command": ["echo", "{{ steps.ask.result.value }}"]}});
    job["steps"].as_array_mut().unwrap().push(next);
    job["successPairs"] = json!([["ask", "next"]]);
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    assert_eq!(prompt["kind"], "instruction");
    assert_eq!(prompt["text"], "replace disk sdb");
    assert_eq!((&prompt["who"], &prompt["step"]), (&json!("ops"), &json!("ask")));
    assert_eq!((&prompt["n"], &prompt["attempt"]), (&json!(0), &json!(1)));
    assert_eq!(prompt["operation"], submitted.id());
    assert!(prompt.get("reply").is_none());
    assert_eq!(service.get(url).await.json()["attention"], true);
    let body = json!({"value": "serial 7", "comment": "took a while"});
    let replied = service.reply(url, &prompt, &body).await.expect(200).json();
    assert_eq!(replied["reply"]["status"], "done");
    assert_eq!(replied["reply"]["value"], "serial 7");
    assert!(replied["reply"]["repliedDateTime"].is_string());
    let ended = service.ended(url).await;
    assert_eq!(ended["state"], "Succeeded");
    assert_eq!(ended["attention"], false);
    assert_eq!(ended["result"]["ask"], json!({"value": "serial 7", "comment": "took a while"}));
    until_output(&service, url, "next", "serial 7").await;
    let listed = service.get(&format!("{url}/prompts")).await.expect(200).json();
    assert_eq!(listed["value"], json!([replied]));
    let waiting = service.get(&format!("{url}/waiting")).await.expect(200).json();
    assert_eq!(waiting["value"], json!([]));
}

#[tokio::test]
async fn row_2_6_instruction_takes_falsy_replies_for_what_they_are() {
    let service = service().await;
    for value in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
        let (submitted, prompt) = service.asked(&instruction("look")).await;
        service.reply(&submitted.url, &prompt, &json!({"value": value})).await.expect(200);
        let ended = service.ended(&submitted.url).await;
        assert_eq!(ended["state"], "Succeeded", "{value}");
        assert_eq!(ended["result"]["ask"], json!({"value": value}));
        let listed = service.get(&format!("{}/prompts", submitted.url)).await.json();
        assert_eq!(listed["value"][0]["reply"].get("value"), Some(&value));
    }
    let (submitted, prompt) = service.asked(&instruction("no value")).await;
    service.reply(&submitted.url, &prompt, &json!({})).await.expect(200);
    let ended = service.ended(&submitted.url).await;
    assert_eq!(ended["result"]["ask"], json!({"value": null}));
}

#[tokio::test]
async fn row_3_3_instruction_not_done_fails_and_follows_the_policies() {
    let service = service().await;
    let mut job = instruction("turn the key");
    job["steps"][0]["retry"] = json!({"maxAttempts": 2, "backoff": "10ms", "on": ["exception"]});
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    let body = json!({"status": "notDone", "comment": "no key"});
    service.reply(url, &prompt, &body).await.expect(200);
    // The second attempt asks again.
    let again = loop {
        let again = service.waiting(url).await.remove(0);
        if again["attempt"] == 2 {
            break again;
        }
    };
    assert_ne!(again["id"], prompt["id"]);
    service.reply(url, &again, &json!({"status": "notDone"})).await.expect(200);
    let ended = service.ended(url).await;
    assert_eq!(ended["state"], "Failed");
    let step = service.step(url, "ask").await;
    assert_eq!(step["exception"]["type"], "InstructionNotDone");
    let first = &step["attempts"][0]["exception"];
    assert_eq!(first["message"], "the reply says that it was not done: no key");
}

#[tokio::test]
async fn row_2_6_instruction_without_a_reply_in_time_times_out() {
    let service = service().await;
    let mut job = instruction("be quick");
    job["steps"][0]["timeout"] = json!("100ms");
    let (submitted, url) = {
        let submitted = service.submit(&job).await;
        let url = submitted.url.clone();
        (submitted, url)
    };
    let ended = service.ended(&url).await;
    assert_eq!(ended["stepCounts"], json!({"TimedOut": 1}), "{ended}");
    let listed = service.get(&format!("{url}/prompts")).await.json();
    let error = service.reply(&url, &listed["value"][0], &json!({})).await.error(410);
    assert_eq!(error["code"], "PromptClosed");
    let all = service.get("/v1.0/waiting?$top=1000").await.expect(200).json();
    let all = all["value"].as_array().unwrap();
    assert!(all.iter().all(|prompt| prompt["operation"] != submitted.id()));
}

#[tokio::test]
async fn row_9_4_a_reply_must_fit_the_schema() {
    let service = service().await;
    let mut job = instruction("measure");
    job["steps"][0]["run"]["instruction"]["schema"] = json!({
        "type": "object", "required": ["volts"], "additionalProperties": false,
        "properties": {"volts": {"type": "number"}, "pins": {"items": {"type": "integer"}}}});
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    let bad = json!({"value": {"volts": "many", "pins": [1, "x"]}});
    let error = service.reply(url, &prompt, &bad).await.error(422);
    assert_eq!(error["code"], "ValueDoesNotFit");
    let mut places = targets(&error);
    places.sort_unstable();
    assert_eq!(places, ["value.pins[1]", "value.volts"]);
    let error = service.reply(url, &prompt, &json!({"comment": "later"})).await.error(422);
    assert_eq!(targets(&error), ["value"]);
    let error = service.reply(url, &prompt, &json!({"value": null})).await.error(422);
    assert_eq!(targets(&error), ["value"]);
    service.reply(url, &prompt, &json!({"value": {"volts": 5}})).await.expect(200);
    assert_eq!(service.ended(url).await["result"]["ask"]["value"], json!({"volts": 5}));
}

#[tokio::test]
async fn row_9_4_a_schema_is_checked_when_it_is_submitted() {
    let service = service().await;
    for (run, place) in [
        (json!({"text": "x", "schema": {"type": "strin"}}), "schema.type"),
        (json!({"text": "x", "schema": {"$ref": "http://127.0.0.1:1/x"}}), "schema"),
        (json!({"text": "x", "schema": {"description": "y".repeat(70_000)}}), "schema"),
        (json!({"text": " "}), "text"),
        (json!({"text": "x", "who": "\u{0}"}), "who"),
        (json!({"text": "x", "whom": "y"}), "whom"),
    ] {
        let job = json!({"steps": [{"name": "ask", "run": {"instruction": run}}]});
        let error = service.post(job.to_string(), &[]).await.error(400);
        let place = format!("steps[0].run.instruction.{place}");
        assert_eq!(targets(&error), [place.as_str()], "{error}");
    }
    for run in [json!({"instruction": {"text": "x"}}), json!(null)] {
        let job = json!({"steps": [{"name": "ask", "stdin": "messages", "run": run}]});
        let error = service.post(job.to_string(), &[]).await.error(400);
        assert_eq!(targets(&error), ["steps[0].stdin"]);
    }
}

#[tokio::test]
async fn row_9_4_of_many_replies_one_wins() {
    let service = service().await;
    let (submitted, prompt) = service.asked(&instruction("who is first?")).await;
    let url = submitted.url.as_str();
    let replies = (0..8).map(|n| {
        let (service, prompt) = (service.clone(), &prompt);
        async move { service.reply(url, prompt, &json!({"value": n})).await }
    });
    let answers = futures_util::future::join_all(replies).await;
    let taken: Vec<&crate::support::Answer> =
        answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(taken.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.error(409)["code"], "AlreadyReplied");
    }
    let value = taken[0].json()["reply"]["value"].clone();
    assert_eq!(service.ended(url).await["result"]["ask"]["value"], value);
    let error = service.reply(url, &prompt, &json!({})).await.error(409);
    assert_eq!(error["code"], "AlreadyReplied");
}

#[tokio::test]
async fn row_9_4_replies_that_cannot_be() {
    let service = service().await;
    let (submitted, prompt) = service.asked(&instruction("x")).await;
    let url = &submitted.url;
    for id in ["0-1-2", "0-2-1", "9-9-9", "x", "0-1", "0-1-1-1", "-1-1-1", "%00"] {
        let answer = service.post_json(&format!("{url}/prompts/{id}/reply"), &json!({})).await;
        assert_eq!(answer.error(404)["code"], "NotFound", "{id}");
    }
    for (body, place) in [
        (json!({"status": "maybe"}), "status"),
        (json!({"valeu": 1}), "valeu"),
        (json!({"comment": "\u{0}"}), "comment"),
    ] {
        let error = service.reply(url, &prompt, &body).await.error(400);
        assert_eq!(error["target"], place, "{error}");
    }
    let large = json!({"value": "x".repeat(70_000)});
    assert_eq!(service.reply(url, &prompt, &large).await.error(413)["target"], "value");
    service.delete(url).await;
    service.ended(url).await;
}

#[tokio::test]
async fn row_3_3_instruction_is_ended_by_a_cancellation() {
    let service = service().await;
    let (submitted, prompt) = service.asked(&instruction("wait")).await;
    let url = &submitted.url;
    // 202 while it is being ended, 200 once it has.
    assert!([200, 202].contains(&service.delete(url).await.status));
    assert_eq!(service.ended(url).await["state"], "Cancelled");
    assert_eq!(service.step(url, "ask").await["state"], "Cancelled");
    let error = service.reply(url, &prompt, &json!({})).await.error(410);
    assert_eq!(error["code"], "PromptClosed");
}

#[tokio::test]
async fn row_3_3_instruction_holds_no_slot() {
    let service = own_service(|s| s.slots = 1).await;
    let job = json!({"steps": [
        {"name": "one", "run": {"instruction": {"text": "one"}}},
        {"name": "two", "run": {"instruction": {"text": "two"}}},
        {"name": "work", "run": {"shell": "true"}},
    ]});
    let url = service.submit(&job).await.url;
    let both = |operation: &Value| {
        operation["stepCounts"]["Running"] == 2 && operation["stepCounts"]["Succeeded"] == 1
    };
    service.until(&url, both).await;
    let waiting = loop {
        let waiting = service.waiting(&url).await;
        if waiting.len() == 2 {
            break waiting;
        }
    };
    for prompt in &waiting {
        service.reply(&url, prompt, &json!({})).await.expect(200);
    }
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    // The slot was given back once per attempt, not twice: one step runs at a time.
    let job = json!({"steps": [
        {"name": "a", "run": {"shell": "mkdir $SUT_WORKSPACE/lock && sleep 0.2 && rmdir $SUT_WORKSPACE/lock"}},
        {"name": "b", "run": {"shell": "mkdir $SUT_WORKSPACE/lock && sleep 0.2 && rmdir $SUT_WORKSPACE/lock"}},
        {"name": "c", "run": {"shell": "mkdir $SUT_WORKSPACE/lock && sleep 0.2 && rmdir $SUT_WORKSPACE/lock"}},
    ]});
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
}

#[tokio::test]
async fn row_3_3_instruction_is_asked_again_after_a_restart() {
    let mut known = None;
    let first = own_service(|settings| known = Some(settings.clone())).await;
    let (submitted, prompt) = first.asked(&instruction("again?")).await;
    let path = format!("/v1.0/operations/{}", submitted.id());
    first.end().await;
    let mut settings = known.expect("settings");
    let second = own_service(|fresh| {
        std::mem::swap(fresh, &mut settings);
    })
    .await;
    let again = loop {
        let again = second.waiting(&format!("{}{path}", second.base)).await.remove(0);
        if again["attempt"] != 1 {
            break again;
        }
    };
    assert_eq!((&again["text"], &again["attempt"]), (&json!("again?"), &json!(2)));
    let error = second.reply(&path, &prompt, &json!({"value": "old"})).await.error(410);
    assert!(error["message"].as_str().unwrap().contains("attempt 1"), "{error}");
    second.reply(&path, &again, &json!({"value": "new"})).await.expect(200);
    assert_eq!(second.ended(&path).await["result"]["ask"]["value"], "new");
}

#[tokio::test]
async fn the_runbook_of_the_examples_is_done_by_replies() {
    let service = service().await;
    let text = include_str!("../../examples/runbook.yaml");
    let job: Value = serde_saphyr::from_str(text).expect("YAML");
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    assert_eq!(prompt["text"], "Replace disk sdb of db-3 and tell its serial number.");
    service.reply(url, &prompt, &json!({"value": {}})).await.error(422);
    service.reply(url, &prompt, &json!({"value": {"serial": "W-7"}})).await.expect(200);
    let prompt = loop {
        let prompt = service.waiting(url).await.remove(0);
        if prompt["step"] == "check" {
            break prompt;
        }
    };
    service.reply(url, &prompt, &json!({"value": true})).await.expect(200);
    let ended = service.ended(url).await;
    assert_eq!(ended["result"]["check"], json!({"serial": "W-7", "lamp": "green"}), "{ended}");
    assert_eq!(ended["state"], "Succeeded");
    let messages = service.messages(url, "check").await;
    assert_eq!(messages[0]["message"], "checking");

    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    let body = json!({"status": "notDone", "comment": "no spare disk"});
    service.reply(url, &prompt, &body).await.expect(200);
    let prompt = loop {
        let prompt = service.waiting(url).await.remove(0);
        if prompt["step"] == "call-for-help" {
            break prompt;
        }
    };
    service.reply(url, &prompt, &json!({})).await.expect(200);
    assert_eq!(service.ended(url).await["state"], "Succeeded", "the failure was handled");
}
