//! Steering over HTTP, and waiting for what it leads to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, PATIENCE, Service};

/// A step that runs a shell text.
pub(crate) fn step(name: &str, text: &str) -> Value {
    json!({"name": name, "run": {"shell": text}})
}

/// A step that runs until it is stopped.
pub(crate) fn endless(name: &str) -> Value {
    step(name, "exec sleep 1000")
}

/// What a verb answered for a step: `name from to`.
pub(crate) fn moves(answer: &Value) -> Vec<String> {
    let moves = answer["value"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    moves
        .iter()
        .map(|m| format!("{} {} {}", text(&m["name"]), text(&m["from"]), text(&m["to"])))
        .collect()
}

impl Service {
    /// The answer to a verb.
    pub(crate) async fn verb(&self, url: &str, verb: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", &format!("{url}/{verb}"), &headers, Some(body.to_string().into())).await
    }

    /// Who was moved by a verb, and that a trial of it says the same and changes nothing.
    pub(crate) async fn moved(&self, url: &str, verb: &str, body: &Value) -> Vec<String> {
        let mut trial = body.clone();
        trial["dryRun"] = json!(true);
        let before = self.get(url).await.expect(200);
        let tried = self.verb(url, verb, &trial).await.expect(200).json();
        let after = self.get(url).await.expect(200);
        let done = self.verb(url, verb, body).await.expect(200).json();
        // What changed meanwhile by itself says nothing about the trial.
        if before.header("etag") == after.header("etag") {
            assert_eq!(tried["value"], done["value"], "a trial of `{verb}` says something else");
        }
        moves(&done)
    }

    /// Who was moved by a verb on one step.
    pub(crate) async fn moved_one(&self, url: &str, verb: &str, step: &str) -> Vec<String> {
        self.moved(url, verb, &json!({"steps": [step]})).await
    }

    /// Why a verb on one step is refused with 409.
    pub(crate) async fn refused(&self, url: &str, verb: &str, step: &str) -> String {
        let answer = self.verb(url, verb, &json!({"steps": [step]})).await;
        let error = answer.error(409);
        let details = error["details"].as_array().cloned().unwrap_or_default();
        let reason = details.first().map_or(&error["message"], |detail| &detail["message"]);
        reason.as_str().expect("a reason").to_owned()
    }

    pub(crate) async fn step(&self, url: &str, name: &str) -> Value {
        self.get(&format!("{url}/steps/{name}")).await.expect(200).json()
    }

    /// All steps in topological order.
    pub(crate) async fn steps(&self, url: &str) -> Vec<Value> {
        let page = self.get(&format!("{url}/steps")).await.expect(200).json();
        page["value"].as_array().expect("a list").clone()
    }

    /// The states by name.
    pub(crate) async fn states(&self, url: &str) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        self.steps(url).await.iter().map(|s| (text(&s["name"]), text(&s["state"]))).collect()
    }

    /// The whole history.
    pub(crate) async fn events(&self, url: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut next = format!("{url}/events");
        loop {
            let page = self.get(&next).await.expect(200).json();
            events.extend(page["value"].as_array().expect("a list").iter().cloned());
            match page["@odata.nextLink"].as_str() {
                Some(link) => link.clone_into(&mut next),
                None => return events,
            }
        }
    }

    /// What happened to a step: `action from to`.
    pub(crate) async fn told(&self, url: &str, step: &str) -> Vec<String> {
        let events = self.events(url).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = events.iter().filter(|event| event["step"] == step);
        own.filter(|event| event["kind"] == "moved")
            .map(|e| format!("{} {} {}", text(&e["action"]), text(&e["from"]), text(&e["to"])))
            .collect()
    }

    /// Waits until `enough` holds of the answer at `url` + `below`, which changes only with the
    /// operation at `url`.
    pub(crate) async fn until_below(
        &self,
        url: &str,
        below: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut known = String::new();
        loop {
            let wait = [("prefer", "wait=5"), ("if-none-match", known.as_str())];
            let asked = if known.is_empty() { &wait[..0] } else { &wait[..] };
            let operation = self.send("GET", url, asked, None).await;
            operation.header("etag").clone_into(&mut known);
            let found = self.get(&format!("{url}{below}")).await.expect(200).json();
            if enough(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{found}");
            if operation.status == 200 {
                let operation = operation.json();
                let is_final = ["succeeded", "failed", "canceled"]
                    .contains(&operation["status"].as_str().unwrap_or(""));
                assert!(!is_final, "it has ended: {operation} {found}");
            }
        }
    }

    /// The step once it is in this state.
    pub(crate) async fn in_state(&self, url: &str, name: &str, state: &str) -> Value {
        self.until_below(url, &format!("/steps/{name}"), |step| step["state"] == state).await
    }

    /// The operation once no process of the step is left that an operator interrupted.
    pub(crate) async fn gone(&self, url: &str, step: &str) {
        let is_end = |event: &Value| event["kind"] == "attemptEnded" && event["step"] == step;
        self.until_below(url, "/events", |page| {
            page["value"].as_array().is_some_and(|events| events.iter().any(is_end))
        })
        .await;
    }

    /// What the last attempt of a step wrote.
    pub(crate) async fn wrote(&self, url: &str, step: &str) -> String {
        let output = self.get(&format!("{url}/steps/{step}/output")).await.expect(200);
        output.text().to_owned()
    }

    /// Ends what a test leaves running.
    pub(crate) async fn end(&self, url: &str) {
        self.delete(url).await;
        self.ended(url).await;
    }
}
