//! What running programs ask and tell, and what they are told.

use super::*;

#[tokio::test]
async fn row_3_3_prompt_of_a_running_program() {
    let service = service().await;
    let job = listener(
        r#"echo '{"prompt": {"id": "lamp", "text": "Is it green?", "who": "lab", "schema": {"type": "boolean"}}}' >>"$SUT_EVENTS"
           read -r reply; printf '%s' "$reply" >"$SUT_OUTPUT""#,
    );
    let (submitted, prompt) = service.asked(&job).await;
    let url = &submitted.url;
    assert_eq!(prompt["kind"], "prompt");
    assert_eq!((&prompt["text"], &prompt["who"]), (&json!("Is it green?"), &json!("lab")));
    service.reply(url, &prompt, &json!({"value": "yes"})).await.error(422);
    service.reply(url, &prompt, &json!({"value": false, "comment": "red"})).await.expect(200);
    let ended = service.ended(url).await;
    let reply = json!({"prompt": "lamp", "status": "done", "value": false, "comment": "red"});
    assert_eq!(ended["result"]["ask"], json!({"reply": reply}), "{ended}");
}

#[tokio::test]
async fn row_3_2_steps_waiting_for_user_input_are_those_with_open_prompts() {
    let service = own_service(|_| {}).await;
    // A reply is told from a message: two prompts and two lines of input leave nothing open only if
    // both were replies.
    let job = listener(
        r#"echo '{"prompt": {"text": "first"}}' >>"$SUT_EVENTS"
           echo '{"prompt": {"text": "second"}}' >>"$SUT_EVENTS"
           read -r a; read -r b; read -r c; echo "$a $b $c""#,
    );
    let one = service.submit(&job).await.url;
    let asked = loop {
        let asked = service.waiting(&one).await;
        if asked.len() == 2 {
            break asked;
        }
    };
    assert_eq!((&asked[0]["text"], &asked[1]["text"]), (&json!("first"), &json!("second")));
    let (other, _) = service.asked(&instruction("third")).await;
    let message = json!({"message": "none of your questions"});
    service.post_json(&format!("{one}/messages"), &message).await.expect(200);
    until_acknowledged(&service, &one, 1).await;
    let texts = |page: &Value| -> Vec<String> {
        let value = page["value"].as_array().unwrap().iter();
        value.map(|prompt| prompt["text"].as_str().unwrap().to_owned()).collect()
    };
    let all = service.get("/v1.0/waiting").await.expect(200).json();
    assert_eq!(texts(&all), ["first", "second", "third"], "oldest first, of all operations");
    // In pages, by the links.
    let mut paged = Vec::new();
    let mut next = Some("/v1.0/waiting".to_owned());
    while let Some(url) = next {
        let answer = service.get_with(&url, "prefer", "odata.maxpagesize=1").await.expect(200);
        let page = answer.json();
        assert!(page["value"].as_array().unwrap().len() <= 1);
        paged.extend(texts(&page));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(paged, ["first", "second", "third"]);
    let top = service.get("/v1.0/waiting?$top=2").await.expect(200).json();
    assert_eq!(texts(&top), ["first", "second"]);
    assert!(top.get("@odata.nextLink").is_none());
    service.reply(&one, &asked[1], &json!({"value": 0})).await.expect(200);
    let of_one = service.get(&format!("{one}/waiting")).await.expect(200).json();
    assert_eq!(texts(&of_one), ["first"]);
    service.reply(&one, &asked[0], &json!({"value": 0})).await.expect(200);
    service.ended(&one).await;
    let output = until_output(&service, &one, "ask", "none of your questions").await;
    assert!(output.contains(r#""prompt":"2""#) && output.contains(r#""prompt":"1""#), "{output}");
    let all = service.get("/v1.0/waiting").await.expect(200).json();
    assert_eq!(texts(&all), ["third"]);
    let error = service.get("/v1.0/waiting?$filter=true").await.error(400);
    assert_eq!(error["code"], "UnknownParameter");
    service.get("/v1.0/operations/00000000-0000-7000-8000-000000000000/waiting").await.error(404);
    service.delete(&other.url).await;
    service.ended(&other.url).await;
}

/// The members of all pages.
async fn all_pages(service: &Service, url: &str) -> Vec<Value> {
    let mut listed = Vec::new();
    let mut next = Some(url.to_owned());
    while let Some(link) = next {
        let page = service.get(&link).await.expect(200).json();
        listed.extend(page["value"].as_array().expect("a list").clone());
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    listed
}

/// Ends when so many messages to the step were acknowledged.
async fn until_acknowledged(service: &Service, url: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let messages = service.messages(url, "ask").await;
        let is_acknowledged = |message: &&Value| message["acknowledgedDateTime"].is_string();
        if messages.iter().filter(is_acknowledged).count() >= count {
            return messages;
        }
        assert!(Instant::now() < deadline, "{messages:?}");
        sleep(std::time::Duration::from_millis(20)).await; // Acknowledgements tell nobody.
    }
}

#[tokio::test]
async fn row_2_5_send_message_to_steps_in_order_and_falsy_ones_too() {
    let service = service().await;
    let url = service.submit(&listener("while read -r line && [ \"$line\" != '{\"message\":\"end\",\"seq\":157}' ]; do echo \"$line\"; done")).await.url;
    service.running(&url).await;
    let falsy = [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})];
    let many = (0..150).map(|n| json!({"n": n}));
    let all: Vec<Value> = falsy.into_iter().chain(many).chain([json!("end")]).collect();
    for (index, message) in all.iter().enumerate() {
        let body = json!({"message": message});
        let sent = service.post_json(&format!("{url}/messages"), &body).await.expect(200).json();
        let receiver = json!({"name": "ask", "n": 0, "attempt": 1, "seq": index + 1});
        assert_eq!(sent, json!({"value": [receiver]}));
    }
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let output = service.get(&format!("{url}/steps/ask/output")).await.expect(200);
    let read: Vec<Value> =
        output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> =
        (1..).zip(&all[..156]).map(|(seq, m)| json!({"message": m, "seq": seq})).collect();
    assert_eq!(read, expected);
    let listed = all_pages(&service, &format!("{url}/steps/ask/messages")).await;
    assert_eq!(listed.len(), all.len());
    for (message, stored) in all.iter().zip(&listed) {
        assert_eq!(stored.get("message"), Some(message));
        assert_eq!(stored["direction"], "toStep");
        assert!(stored["acknowledgedDateTime"].is_string(), "{stored}");
    }
    let error = service.post_json(&format!("{url}/messages"), &json!({"message": 1})).await;
    assert_eq!(error.error(409)["code"], "OperationEnded");
}

#[tokio::test]
async fn row_2_5_send_message_to_steps_that_have_a_channel_only() {
    let service = service().await;
    let job = json!({"steps": [
        {"name": "deaf", "run": {"shell": "cat; sleep 60"}, "tags": {"team": "a"}},
        {"name": "red", "stdin": "messages", "run": {"shell": "read -r line"}, "tags": {"team": "a", "x": "1"}},
        {"name": "blue", "stdin": "messages", "run": {"shell": "read -r line"}, "tags": {"team": "b"}},
        {"name": "person", "run": {"instruction": {"text": "look"}}},
        {"name": "late", "stdin": "messages", "run": {"shell": "read -r line"}},
    ], "successPairs": [["deaf", "late"]]});
    let url = service.submit(&job).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 4).await;
    let names = |sent: &Value| -> Vec<String> {
        let value = sent["value"].as_array().unwrap().iter();
        value.map(|to| format!("{}:{}", to["name"].as_str().unwrap(), to["seq"])).collect()
    };
    let messages = format!("{url}/messages");
    let send = |body: Value| {
        let (service, messages) = (service.clone(), messages.clone());
        async move { service.post_json(&messages, &body).await }
    };
    let sent = send(json!({"message": 1, "dryRun": true})).await.expect(200).json();
    assert_eq!(names(&sent), ["red:0", "blue:0"]);
    let sent = send(json!({"message": 1, "tags": {"team": "a"}})).await.expect(200).json();
    assert_eq!(names(&sent), ["red:1"]);
    let sent = send(json!({"message": 1, "steps": ["deaf", "person", "late"]})).await;
    assert_eq!(names(&sent.expect(200).json()), [""; 0]);
    let sent = send(json!({"message": 1, "steps": ["blue"], "tags": {"team": "a"}})).await;
    assert_eq!(names(&sent.expect(200).json()), [""; 0]);
    send(json!({"message": 1, "steps": ["bleu"]})).await.error(404);
    send(json!({"tags": {}})).await.error(400);
    send(json!({"message": "x".repeat(70_000)})).await.error(413);
    service.delete(&url).await;
    service.ended(&url).await;
}

#[tokio::test]
async fn row_2_6_output_messages_of_a_step_and_lines_that_are_none() {
    let service = service().await;
    // Without a channel, and the last line has no end.
    let job = json!({"steps": [{"name": "ask", "run": {"shell":
        r#"printf '{"message": null}\n{"message": false}\nno json\n{"message": 0}\n' >>"$SUT_EVENTS"
           printf '{"prompt": {"text": "nobody can reply"}}\n' >"$SUT_EVENTS"
           cat; printf '{"message": ""}' >>"$SUT_EVENTS""#}}]});
    let url = service.submit(&job).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let sent: Vec<Value> =
        service.messages(&url, "ask").await.iter().map(|m| m["message"].clone()).collect();
    assert_eq!(sent, [json!(null), json!(false), json!(0), json!("")]);
    let output = service.get(&format!("{url}/steps/ask/output")).await.expect(200);
    assert!(output.text().contains("no json]"), "{}", output.text());
    assert!(output.text().contains("nobody can reply]"), "{}", output.text());
    let listed = service.get(&format!("{url}/prompts")).await.json();
    assert_eq!(listed["value"], json!([]));
}

#[tokio::test]
async fn row_2_6_a_step_that_does_not_read_holds_nothing_up() {
    let service = service().await;
    let text = r#"i=0; while [ $i -lt 2000 ]; do echo "{\"message\": $i}"; i=$((i+1)); done >>"$SUT_EVENTS"; sleep 60"#;
    let url = service.submit(&listener(text)).await.url;
    service.running(&url).await;
    // More than a pipe holds.
    let large = json!({"message": "x".repeat(60_000)});
    for _ in 0..4 {
        service.post_json(&format!("{url}/messages"), &large).await.expect(200);
    }
    let deadline = Instant::now() + PATIENCE;
    let listed = loop {
        let listed = all_pages(&service, &format!("{url}/steps/ask/messages")).await;
        if listed.len() == 2004 {
            break listed;
        }
        assert!(Instant::now() < deadline, "{}", listed.len());
    };
    let of = |direction: &str| -> Vec<Value> {
        listed.iter().filter(|message| message["direction"] == direction).cloned().collect()
    };
    let from: Vec<Value> =
        of("fromStep").iter().map(|message| message["message"].clone()).collect();
    assert_eq!(from, (0..2000).map(|n| json!(n)).collect::<Vec<_>>());
    assert!(of("toStep")[3].get("acknowledgedDateTime").is_none(), "it never read so much");
    service.delete(&url).await.expect(202);
    assert_eq!(service.ended(&url).await["state"], "Cancelled");
}

#[tokio::test]
async fn row_2_6_output_messages_have_the_limit_of_the_output() {
    let service = own_service(|settings| settings.output_cap_bytes = 1_000).await;
    let text = r#"for i in 1 2 3; do printf '{"message": "%0400d"}\n' $i; done >>"$SUT_EVENTS""#;
    let url = service.submit(&crate::support::shell(text)).await.url;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.messages(&url, "only").await.len(), 2);
    let output = service.get(&format!("{url}/steps/only/output")).await.expect(200);
    assert!(output.text().contains("more than 1000 bytes: \"0000"), "{}", output.text());
}

#[tokio::test]
async fn row_2_5_replies_and_messages_reach_a_worker_in_another_process() {
    let mut known = None;
    let front = own_service(|settings| {
        known = Some(settings.clone());
        settings.slots = 0;
        settings.heartbeat = std::time::Duration::from_millis(100);
    })
    .await;
    let _back = own_service(|settings| {
        *settings = known.take().expect("settings");
        // So rarely that only news can be what is quick.
        settings.lease = std::time::Duration::from_mins(3);
        settings.heartbeat = std::time::Duration::from_mins(1);
    })
    .await;
    let began = Instant::now();
    let mut job = listener("read -r a; read -r b; echo \"$a$b\"");
    let person = json!({"name": "person", "run": {"instruction": {"text": "look"}}});
    // Time for the first to learn, by its heartbeat, that there is another to be told.
    let pause = json!({"name": "pause", "run": {"shell": "sleep 1"}});
    job["steps"].as_array_mut().unwrap().extend([person, pause]);
    job["successPairs"] = json!([["pause", "ask"], ["pause", "person"]]);
    let (submitted, prompt) = front.asked(&job).await;
    let url = &submitted.url;
    front.until(url, |operation| operation["stepCounts"]["Running"] == 2).await;
    for message in [json!(false), json!(null)] {
        front.post_json(&format!("{url}/messages"), &json!({"message": message})).await.expect(200);
    }
    front.reply(url, &prompt, &json!({"value": 0})).await.expect(200);
    assert_eq!(front.ended(url).await["state"], "Succeeded");
    assert!(began.elapsed() < std::time::Duration::from_secs(45), "{:?}", began.elapsed());
    let output = front.get(&format!("{url}/steps/ask/output")).await.expect(200);
    assert_eq!(output.text(), "{\"message\":false,\"seq\":1}{\"message\":null,\"seq\":2}\n");
}
