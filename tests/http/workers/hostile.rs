//! Calls of workers that are wrong, or not meant well: they are refused and change nothing.

use serde_json::{Value, json};

use super::{registration, server};
use crate::steering::step;
use crate::support::{Answer, OwnService, Service, targets};

/// A worker made of bare requests.
struct BareWorker<'a> {
    service: &'a Service,
    id: String,
    secret: String,
}

impl<'a> BareWorker<'a> {
    async fn register(service: &'a OwnService, name: &str, slots: u32) -> Self {
        let answer = service.post_to("/v1.0/workers", &[], &registration(name, slots)).await;
        let registered = answer.expect(201).json();
        let text = |name: &str| registered[name].as_str().expect("a text").to_owned();
        Self { service, id: text("id"), secret: text("secret") }
    }

    async fn call(&self, what: &str, body: &Value) -> Answer {
        self.call_as(&self.secret, what, body).await
    }

    async fn call_as(&self, secret: &str, what: &str, body: &Value) -> Answer {
        let url = format!("/v1.0/workers/{}/{what}", self.id);
        self.service.post_to(&url, &[("worker-secret", secret)], body).await
    }

    /// The first attempts that it is given.
    async fn given(&self) -> Vec<Value> {
        let polled = self.call("poll", &json!({"waitSeconds": 20})).await.expect(200).json();
        polled["assignments"].as_array().expect("a list").clone()
    }
}

fn of(assignment: &Value) -> Value {
    json!({
        "operation": assignment["operation"], "step": assignment["step"],
        "attempt": assignment["attempt"],
    })
}

fn report(of: &Value, ending: &Value) -> Value {
    json!({"reports": [{"of": of, "ending": ending, "record": {"exitCode": 0}}]})
}

fn piece(of: &Value, seq: u32) -> Value {
    json!({"of": of, "seq": seq, "at": "2026-01-01T00:00:00Z", "stream": 1, "start": [0, 0, 0],
        "data": "aGVsbG8K"})
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_and_a_report_may_be_repeated() {
    let service = server().await;
    let worker = BareWorker::register(&service, "bare", 2).await;
    let url = service.submit(&json!({"steps": [step("a", "true")]})).await.url;
    let first = worker.given().await;
    assert_eq!(first, worker.given().await, "it has not said that it was received");
    let attempt = of(&first[0]);
    let polled = worker.call("poll", &json!({"received": [attempt], "waitSeconds": 0})).await;
    assert_eq!(polled.expect(200).json()["assignments"], json!([]));
    let jobset = first[0]["jobset"].as_str().expect("an id");
    let path = format!("/v1.0/workers/{}/jobsets/{jobset}", worker.id);
    let header = [("worker-secret", worker.secret.as_str())];
    service.send("GET", &path, &header, None).await.expect(200);
    let unknown = format!("/v1.0/workers/{}/jobsets/nonsense", worker.id);
    service.send("GET", &unknown, &header, None).await.error(404);
    let pieces = json!({"pieces": [piece(&attempt, 1)]});
    for _ in 0..2 {
        worker.call("output", &pieces).await.expect(200);
    }
    for _ in 0..3 {
        let settled = worker.call("settle", &report(&attempt, &json!("succeeded"))).await;
        assert_eq!(settled.expect(200).json(), json!({"value": [{}]}));
    }
    assert_eq!(service.ended(&url).await["status"], "succeeded");
    assert_eq!(service.output_of(&url, "a").await, "hello\n");
    worker.call("heartbeat", &json!({})).await.expect(200);
    worker.call("leave", &json!({})).await.expect(200);
    assert_eq!(worker.call("heartbeat", &json!({})).await.error(410)["code"], "LeaseLost");
}

#[tokio::test]
async fn nobody_acts_for_another_worker() {
    let service = server().await;
    let worker = BareWorker::register(&service, "honest", 1).await;
    let thief = BareWorker::register(&service, "thief", 1).await;
    let url = service.submit(&json!({"steps": [step("a", "true")]})).await.url;
    let (holder, other) = tokio::select! {
        given = worker.given() => ((&worker, given), &thief),
        given = thief.given() => ((&thief, given), &worker),
    };
    let (holder, attempt) = (holder.0, of(&holder.1[0]));
    for secret in ["", "wrong", other.secret.as_str()] {
        let refused = holder.call_as(secret, "heartbeat", &json!({})).await;
        assert_eq!(refused.error(403)["code"], "NotTheWorker");
        let settle = report(&attempt, &json!("succeeded"));
        holder.call_as(secret, "settle", &settle).await.error(403);
        holder.call_as(secret, "leave", &json!({})).await.error(403);
    }
    // With its own secret it may not touch what another holds, either.
    let settled = other.call("settle", &report(&attempt, &json!({"exit": 3}))).await;
    let answer = settled.expect(200).json();
    assert_eq!(answer["value"][0]["error"]["code"], "StaleAttempt", "{answer}");
    let operation = attempt["operation"].clone();
    let message = json!({"messages": [{"from": attempt, "seq": 1, "body": null}]});
    let prompt = json!({"of": attempt, "seq": 1, "isInstruction": false, "text": "?"});
    let passed = json!({"to": attempt, "seq": 1, "isReply": true});
    let calls = [
        ("output", json!({"pieces": [piece(&attempt, 1)]}), 409),
        ("messages", message, 409),
        ("prompts", prompt, 409),
        ("prompts/before", attempt.clone(), 409),
        ("prompts/close", attempt.clone(), 409),
        ("mail/passed", passed, 409),
        ("data", json!({"operation": operation, "context": true}), 404),
    ];
    for (what, body, status) in calls {
        other.call(what, &body).await.error(status);
    }
    assert_eq!(service.output_of(&url, "a").await, "");
    assert_eq!(service.get(&url).await.json()["stepCounts"]["Running"], 1);
    holder.call("settle", &report(&attempt, &json!("succeeded"))).await.expect(200);
    assert_eq!(service.ended(&url).await["status"], "succeeded");
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_place() {
    let service = server().await;
    let wrong = json!({"name": "", "host": "h\n", "slots": 0, "leaseSeconds": 0.1, "lanes": [],
        "labels": {"": "x"}});
    let error = service.post_to("/v1.0/workers", &[], &wrong).await.error(400);
    assert_eq!(targets(&error), ["name", "host", "slots", "leaseSeconds", "labels.", "lanes"]);
    let worker = BareWorker::register(&service, "clumsy", 1).await;
    let url = service.submit(&json!({"steps": [step("a", "true")]})).await.url;
    let attempt = of(&worker.given().await[0]);
    let with = |field: &str, value: Value| {
        let mut piece = piece(&attempt, 1);
        piece[field] = value;
        json!({"pieces": [piece]})
    };
    let mut unknown = attempt.clone();
    unknown["operation"] = json!("00000000-0000-7000-8000-000000000000");
    let calls = [
        ("poll", json!({"wait": 1}), 400, "wait"),
        ("poll", json!({"waitSeconds": -1}), 400, "waitSeconds"),
        (
            "settle",
            json!({"reports": [{"of": attempt, "ending": "exploded"}]}),
            400,
            "reports[0].ending",
        ),
        ("settle", json!({"reports": [{"of": {"step": -1}}]}), 400, "reports[0].of.step"),
        ("output", with("seq", json!(0)), 400, "pieces[0].seq"),
        ("output", with("seq", json!(4_000_000_000_u32)), 400, "pieces[0].seq"),
        ("output", with("stream", json!(7)), 400, "pieces[0].stream"),
        ("output", with("data", json!("not base 64")), 400, "pieces[0].data"),
        ("output", json!({"pieces": [piece(&unknown, 1)]}), 409, ""),
        (
            "messages",
            json!({"messages": [{"from": attempt, "seq": 10_001, "body": 1}]}),
            400,
            "messages[0].seq",
        ),
        ("ended", json!({"operations": [], "ageSeconds": -3}), 400, "ageSeconds"),
    ];
    for (what, body, status, target) in calls {
        let error = worker.call(what, &body).await.error(status);
        assert_eq!(error["target"].as_str().unwrap_or_default(), target, "{what} {body}");
    }
    let huge = json!({"reports": [], "x": "y".repeat(17 * 1024 * 1024)});
    worker.call("settle", &huge).await.error(413);
    let settled = worker.call("settle", &report(&unknown, &json!("succeeded"))).await;
    let code = settled.expect(200).json()["value"][0]["error"]["code"].clone();
    assert_eq!(code, "NotFound");
    for id in ["0", "-1", "01", "99999", "nonsense", "9223372036854775808"] {
        let url = format!("/v1.0/workers/{id}/heartbeat");
        service.post_to(&url, &[("worker-secret", "x")], &json!({})).await.error(404);
        service.get(&format!("/v1.0/workers/{id}")).await.error(404);
    }
    assert_eq!(service.get(&url).await.json()["stepCounts"]["Running"], 1);
}
