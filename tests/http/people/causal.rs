//! What messages, prompts and replies say of the causal order, and what follows from them.

use sutbot::itc::{Causality, Stamp};

use super::*;

fn stamp(holder: &Value) -> Stamp {
    let text = holder["stamp"].as_str().unwrap_or_else(|| panic!("no stamp: {holder}"));
    text.parse().expect("a stamp")
}

/// The event by which a step entered a state.
async fn event(service: &Service, url: &str, step: &str, to: &str) -> Value {
    let page = service.get(&format!("{url}/events")).await.expect(200).json();
    let events = page["value"].as_array().expect("a list");
    let is_meant = |event: &&Value| event["step"] == step && event["to"] == to;
    events.iter().find(is_meant).unwrap_or_else(|| panic!("no {step} {to}: {page}")).clone()
}

/// The first message that a step sent.
async fn until_told(service: &Service, url: &str, step: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let messages = service.messages(url, step).await;
        if let Some(message) = messages.iter().find(|message| message["direction"] == "fromStep") {
            return message.clone();
        }
        assert!(Instant::now() < deadline, "{messages:?}");
        sleep(std::time::Duration::from_millis(20)).await; // Messages tell nobody that they came.
    }
}

#[tokio::test]
async fn a_message_orders_what_its_receiver_does() {
    let service = service().await;
    let job = json!({"steps": [
        {"name": "a", "stdin": "messages", "run": {"shell":
            r#"echo '{"message": "news"}' >>"$SUT_EVENTS"; read -r line"#}},
        {"name": "b", "stdin": "messages", "run": {"shell":
            r#"read -r line; echo '{"message": "thanks"}' >>"$SUT_EVENTS""#}},
    ]});
    for says_so in [true, false] {
        let url = service.submit(&job).await.url;
        service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
        let told = until_told(&service, &url, "a").await;
        let began = event(&service, &url, "a", "Running").await;
        assert_eq!(stamp(&told), stamp(&began).peek(), "it tells what it knows and owns nothing");
        assert_eq!(told["message"], "news");

        let mut body = json!({"message": told["message"], "steps": ["b"]});
        if says_so {
            body["after"] = began["seq"].clone();
        }
        service.post_json(&format!("{url}/messages"), &body).await.expect(200);
        service.until(&url, |operation| operation["stepCounts"]["Succeeded"] == 1).await;
        let messages = service.messages(&url, "b").await;
        assert_eq!(messages[0]["direction"], "toStep");
        assert_eq!(messages[0].get("stamp").is_some(), says_so, "{messages:?}");
        let thanks = until_told(&service, &url, "b").await;
        let ended = event(&service, &url, "b", "Succeeded").await;
        let own = event(&service, &url, "b", "Running").await;
        let order = if says_so { Causality::Before } else { Causality::Concurrent };
        assert_eq!(stamp(&began).compare(&stamp(&own)), Causality::Concurrent);
        assert_eq!(stamp(&began).compare(&stamp(&thanks)), order);
        assert_eq!(stamp(&began).compare(&stamp(&ended)), order);
        assert!(stamp(&thanks).happened_before(&stamp(&ended)));
        if says_so {
            assert_eq!(stamp(&messages[0]), stamp(&began).peek());
        }

        // What is passed on without saying after what is after nothing.
        let body = json!({"message": thanks["message"], "steps": ["a"]});
        service.post_json(&format!("{url}/messages"), &body).await.expect(200);
        assert_eq!(service.ended(&url).await["state"], "Succeeded");
        let last = event(&service, &url, "a", "Succeeded").await;
        assert_eq!(stamp(&last).compare(&stamp(&ended)), Causality::Concurrent);
    }
}

#[tokio::test]
async fn a_prompt_and_its_reply_order_what_the_step_does() {
    let service = service().await;
    let asks = r#"echo '{"prompt": {"text": "Go on?"}}' >>"$SUT_EVENTS"; read -r line"#;
    for work in [json!({"shell": asks}), json!({"instruction": {"text": "Go on?"}})] {
        for says_so in [true, false] {
            let mut job = listener("read -r line");
            let other = &mut job["steps"][0];
            other["name"] = json!("other");
            let mut ask = json!({"name": "ask", "run": work});
            if work["shell"].is_string() {
                ask["stdin"] = json!("messages");
            }
            job["steps"].as_array_mut().unwrap().push(ask);
            let (submitted, prompt) = service.asked(&job).await;
            let url = &submitted.url;
            service.until(url, |operation| operation["stepCounts"]["Running"] == 2).await;
            let own = event(&service, url, "ask", "Running").await;
            let cause = event(&service, url, "other", "Running").await;
            assert_eq!(stamp(&prompt), stamp(&own).peek());
            let mut body = json!({"value": 1});
            if says_so {
                body["after"] = cause["seq"].clone();
            }
            let replied = service.reply(url, &prompt, &body).await.expect(200).json();
            assert!(replied["reply"].get("after").is_none());
            assert_eq!(replied["stamp"], prompt["stamp"]);
            if says_so {
                assert_eq!(stamp(&replied["reply"]), stamp(&cause).peek());
            } else {
                assert!(replied["reply"].get("stamp").is_none());
            }
            service.until(url, |operation| operation["stepCounts"]["Succeeded"] == 1).await;
            let ended = event(&service, url, "ask", "Succeeded").await;
            let order = if says_so { Causality::Before } else { Causality::Concurrent };
            assert_eq!(stamp(&cause).compare(&stamp(&ended)), order, "{work}");
            assert!(stamp(&own).happened_before(&stamp(&ended)));
            service.delete(url).await;
            service.ended(url).await;
        }
    }
}

#[tokio::test]
async fn a_cause_that_is_none_is_refused_and_nothing_is_sent() {
    let service = service().await;
    let mut job = listener("read -r line");
    let person = json!({"name": "person", "run": {"instruction": {"text": "look"}}});
    job["steps"].as_array_mut().unwrap().push(person);
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    service.until(url, |operation| operation["stepCounts"]["Running"] == 2).await;
    let messages = format!("{url}/messages");
    let no_events = [json!(0), json!(1_000), json!(u32::MAX)];
    let no_numbers = [json!(-1), json!(1.5), json!("1"), json!(u64::MAX), json!("(0,1)")];
    let causes = [(&no_events[..], "UnknownEvent"), (&no_numbers[..], "InvalidBody")];
    for (causes, code) in causes {
        for after in causes {
            let body = json!({"message": 1, "after": after});
            let error = service.post_json(&messages, &body).await.error(400);
            assert_eq!((&error["code"], &error["target"]), (&json!(code), &json!("after")));
            let body = json!({"message": 1, "after": after, "dryRun": true});
            service.post_json(&messages, &body).await.error(400);
            let error = service.reply(url, &prompt, &json!({"after": after})).await.error(400);
            assert_eq!((&error["code"], &error["target"]), (&json!(code), &json!("after")));
        }
    }
    assert!(service.messages(url, "ask").await.is_empty());
    assert_eq!(service.waiting(url).await, std::slice::from_ref(&prompt));
    // `null` says nothing, as if it were left out.
    service.reply(url, &prompt, &json!({"after": null})).await.expect(200);
    service.post_json(&messages, &json!({"message": 1, "after": null})).await.expect(200);
    assert_eq!(service.ended(url).await["state"], "Succeeded");
}
