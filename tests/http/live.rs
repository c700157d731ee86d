//! Streams of events and of output.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use crate::support::{PATIENCE, Service, own_service, service, shell};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A stream, read event by event.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
    /// Lines that were only there to keep it alive.
    beats: usize,
}

impl Stream {
    pub(crate) async fn open(service: &Service, url: &str) -> Self {
        Self::after(service, url, "").await
    }

    async fn after(service: &Service, url: &str, id: &str) -> Self {
        let headers = [EVENTS, ("last-event-id", id)];
        let count = if id.is_empty() { 1 } else { 2 };
        let response = service.open(url, &headers[..count]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), beats: 0 }
    }

    /// The next block of lines, whether or not it is an event.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("in time");
            self.text += std::str::from_utf8(&chunk.expect("no fault")?).expect("UTF-8");
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(str::to_owned)
            };
            self.beats += usize::from(block.starts_with(':'));
            if let Some(data) = field("data: ") {
                return Some(Event {
                    id: field("id: ").unwrap_or_default(),
                    name: field("event: ").expect("a name"),
                    data: serde_json::from_str(&data).expect("JSON"),
                });
            }
        }
    }

    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// A file for which a step waits.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        Self(folder.join("gate"))
    }

    pub(crate) fn wait(&self) -> String {
        format!("until [ -e '{}' ]; do sleep 0.02; done", self.0.display())
    }

    pub(crate) fn open(&self) {
        std::fs::write(&self.0, "").expect("a file");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(self.0.parent().expect("a folder"));
    }
}

fn path(id: &str) -> String {
    format!("/v1.0/operations/{id}/events")
}

/// All events, as the collection lists them.
async fn listed(service: &Service, id: &str, query: &str) -> Vec<Value> {
    let page = service.get(&format!("{}?$top=10000{query}", path(id))).await.expect(200).json();
    page["value"].as_array().expect("a list").clone()
}

#[track_caller]
fn same(streamed: &[Event], listed: &[Value]) {
    let (ended, told) = streamed.split_last().expect("an end");
    assert_eq!(ended.name, "end");
    assert_eq!(
        told.iter().map(|event| &event.data).collect::<Vec<_>>(),
        listed.iter().collect::<Vec<_>>()
    );
    for event in told {
        assert_eq!(event.id, event.data["seq"].to_string());
        assert_eq!(event.name, event.data["kind"].as_str().expect("a kind"));
    }
}

#[tokio::test]
async fn history_then_what_comes_then_the_end() {
    let (service, gate) = (service().await, Gate::new());
    let submitted = service.submit(&shell(&gate.wait())).await;
    let id = submitted.id();
    service.running(&submitted.url).await;
    let known = listed(&service, &id, "").await;
    let mut stream = Stream::open(&service, &path(&id)).await;
    let mut events = Vec::new();
    while events.len() < known.len() {
        events.push(stream.next().await.expect("history"));
    }
    gate.open();
    events.extend(stream.rest().await);
    assert!(events.len() > known.len() + 1);
    same(&events, &listed(&service, &id, "").await);
    assert_eq!(events.last().expect("an end").data, json!({"state": "Succeeded"}));
    // Once more, of an operation that has ended; and after its last event.
    same(&Stream::open(&service, &path(&id)).await.rest().await, &listed(&service, &id, "").await);
    let last = (events.len() - 1).to_string();
    let rest = Stream::after(&service, &path(&id), &last).await.rest().await;
    assert_eq!((rest.len(), rest[0].name.as_str()), (1, "end"));
}

#[tokio::test]
async fn a_stream_that_was_cut_is_taken_up_without_loss_or_repetition() {
    let (service, gate) = (service().await, Gate::new());
    let mut steps = vec![json!({"name": "gate", "run": {"shell": gate.wait()}})];
    steps.extend((0..40).map(|n| {
        let when = if n % 2 == 0 { json!([]) } else { json!([{"gate": ["Succeeded"]}]) };
        json!({"name": format!("s{n}"), "run": {"shell": "true"}, "when": when})
    }));
    for step in &mut steps {
        if step["when"] == json!([]) {
            step.as_object_mut().expect("an object").remove("when");
        }
    }
    let id = service.submit(&json!({"steps": steps})).await.id();
    let mut whole = tokio::spawn({
        let (service, id) = (service.clone(), id.clone());
        async move { Stream::open(&service, &path(&id)).await.rest().await }
    });
    let (mut events, mut last, mut portion) = (Vec::new(), String::new(), 1);
    'ended: loop {
        let by_query = format!("{}?lastEventId={last}", path(&id));
        let mut stream = match portion % 2 {
            0 if !last.is_empty() => Stream::open(&service, &by_query).await,
            _ => Stream::after(&service, &path(&id), &last).await,
        };
        for _ in 0..portion {
            let event = stream.next().await.expect("an end first");
            let is_end = event.name == "end";
            last.clone_from(&event.id);
            events.push(event);
            if is_end {
                break 'ended;
            }
        }
        portion += 1;
        if portion == 5 {
            gate.open();
        }
    }
    same(&events, &listed(&service, &id, "").await);
    assert_eq!((&mut whole).await.expect("no panic"), events);
    // The header is newer than the parameter.
    let url = format!("{}?lastEventId=1&after=3", path(&id));
    let first = Stream::after(&service, &url, "7").await.next().await.expect("an event");
    assert_eq!(first.id, "8");
    let first = Stream::open(&service, &url).await.next().await.expect("an event");
    assert_eq!(first.id, "2");
}

#[tokio::test]
async fn a_filter_leaves_out_events_and_keeps_their_ids() {
    let service = service().await;
    let steps: Vec<_> =
        (0..5).map(|n| json!({"name": format!("s{n}"), "run": {"shell": "true"}})).collect();
    let submitted = service.submit(&json!({"steps": steps})).await;
    let filter = "$filter=kind%20eq%20'moved'%20and%20to%20eq%20'Succeeded'";
    let url = format!("{}?{filter}", path(&submitted.id()));
    let events = Stream::open(&service, &url).await.rest().await;
    assert_eq!(events.len(), 6);
    same(&events, &listed(&service, &submitted.id(), &format!("&{filter}")).await);
    for (query, target) in [
        ("$filter=nonsense%20eq%201", "$filter"),
        ("$top=3", "$top"),
        ("lastEventId=first", "Last-Event-ID"),
    ] {
        let url = format!("{}?{query}", path(&submitted.id()));
        let error = service.get_with(&url, EVENTS.0, EVENTS.1).await.error(400);
        assert_eq!(error["target"], target);
    }
    let nobody = path("01900000-0000-7000-8000-000000000000");
    service.get_with(&nobody, EVENTS.0, EVENTS.1).await.error(404);
    // An error that only shows on the way is told on the way.
    let url = format!("{}?$filter=1%20div%20(seq%20sub%201)%20eq%201", path(&submitted.id()));
    let events = Stream::open(&service, &url).await.rest().await;
    assert_eq!((events.len(), events[0].name.as_str()), (1, "fault"));
    assert!(events[0].data["error"]["code"].is_string());
}

#[tokio::test]
async fn all_operations_are_followed_and_taken_up_again() {
    let service = own_service(|_| {}).await;
    let ended = "/v1.0/events?$filter=state%20eq%20'Succeeded'%20or%20state%20eq%20'Failed'";
    let mut stream = Stream::open(&service, ended).await;
    let begin = stream.block().await.expect("a beginning");
    let begin = begin.lines().find_map(|line| line.strip_prefix("id: ")).expect("a place");
    let one = service.submit(&shell("true")).await;
    let first = stream.next().await.expect("an event");
    assert_eq!(first.data["operation"], one.id());
    assert_eq!(first.data["state"], "Succeeded");
    let list = listed(&service, &one.id(), "").await;
    let mut last = list.last().expect("an event").clone();
    last["operation"] = one.id().into();
    assert_eq!(first.data, last);
    drop(stream);
    let two = service.submit(&shell("exit 1")).await;
    service.ended(&two.url).await;
    let mut stream = Stream::after(&service, ended, &first.id).await;
    let second = stream.next().await.expect("an event");
    assert_eq!(
        (second.data["operation"].as_str(), &second.data["state"]),
        (Some(&*two.id()), &json!("Failed"))
    );
    // From the beginning, all events of one operation.
    let of_two = format!("/v1.0/events?$filter=operation%20eq%20'{}'", two.id());
    let mut stream = Stream::after(&service, &of_two, begin).await;
    for expected in listed(&service, &two.id(), "").await {
        let event = stream.next().await.expect("an event");
        assert_eq!(event.data["seq"], expected["seq"]);
        assert_eq!(event.name, expected["kind"].as_str().expect("a kind"));
    }
    // A place that this server does not know.
    for id in ["0123456789ab-5", "nonsense", &begin.replace("-0", "-999999")] {
        let mut stream = Stream::after(&service, "/v1.0/events", id).await;
        let reset = stream.next().await.expect("an event");
        assert_eq!(reset.name, "reset");
        assert!(reset.data["message"].as_str().expect("a message").contains("/v1.0/operations"));
        let three = service.submit(&shell("true")).await.id();
        let mut again = Stream::after(&service, "/v1.0/events", &reset.id).await;
        loop {
            let event = stream.next().await.expect("an event");
            assert_eq!(again.next().await.expect("an event"), event);
            if event.data["operation"] == three {
                break;
            }
        }
    }
    for accept in ["application/json", "*/*"] {
        let error = service.get_with("/v1.0/events", "accept", accept).await.error(406);
        assert!(error["message"].as_str().expect("a message").contains("text/event-stream"));
    }
    service.get("/v1.0/events").await.error(406);
}

#[tokio::test]
async fn output_is_followed_to_the_end_of_the_attempt() {
    let (service, gate) = (service().await, Gate::new());
    let text = format!("echo one; {}; echo two >&2; echo three", gate.wait());
    let id = service
        .submit(&json!({"steps": [
            {"name": "first", "run": {"shell": text}},
            {"name": "second", "run": {"shell": "echo later"}, "when": [{"first": ["Succeeded"]}]},
            {"name": "never", "run": {"shell": "true"}, "when": [{"first": ["Failed"]}]},
        ]}))
        .await
        .id();
    let url = |step: &str| format!("/v1.0/operations/{id}/steps/{step}/output?follow=true");
    let mut plain = service.open(&url("first"), &[]).await;
    assert_eq!(plain.headers()["content-type"], "text/plain; charset=utf-8");
    let first = timeout(PATIENCE, plain.chunk()).await.expect("in time").expect("no fault");
    assert_eq!(first.as_deref(), Some(&b"one\n"[..]));
    let mut events = Stream::open(&service, &url("first")).await;
    let one = events.next().await.expect("a piece");
    assert_eq!((one.id.as_str(), one.name.as_str()), ("1-1", "output"));
    assert_eq!(one.data["text"], "one\n");
    // They wait for the first attempt, which may never come.
    let later = service.open(&url("second"), &[]).await;
    let mut never = Stream::open(&service, &url("never")).await;
    let resumed = Stream::after(&service, &url("first"), "1-1").await;
    let only = service.open(&format!("{}&stream=stderr&attempt=1", url("first")), &[]).await;
    gate.open();
    let mut rest = Vec::new();
    while let Some(chunk) = plain.chunk().await.expect("no fault") {
        rest.extend_from_slice(&chunk);
    }
    let rest = String::from_utf8(rest).expect("UTF-8");
    assert!(rest.contains("two\n") && rest.contains("three\n") && rest.len() == 10, "{rest}");
    assert_eq!(only.text().await.expect("no fault"), "two\n");
    assert_eq!(later.text().await.expect("no fault"), "later\n");
    let never = never.rest().await;
    assert_eq!((never.len(), &never[0].data), (1, &json!({})));
    for mut stream in [events, resumed] {
        let events = stream.rest().await;
        let (end, pieces) = events.split_last().expect("an end");
        assert_eq!((end.name.as_str(), &end.data), ("end", &json!({"attempt": 1})));
        let ids: Vec<_> = pieces.iter().map(|piece| piece.id.as_str()).collect();
        assert_eq!(ids, ["1-2", "1-3"]);
    }
    // The same of an attempt that has ended.
    assert_eq!(service.get(&url("second")).await.expect(200).text(), "later\n");
    service.get(&format!("{}&attempt=2", url("second"))).await.error(404);
    service.get_with(&url("second"), "accept", "application/json").await.error(406);
    let without = format!("/v1.0/operations/{id}/steps/second/output");
    assert_eq!(Stream::open(&service, &without).await.rest().await.len(), 2);
    let text = service.get_with(&without, "accept", "text/plain").await.expect(200);
    assert_eq!(text.text(), "later\n");
}

#[tokio::test]
async fn output_comes_from_a_worker_of_another_process() {
    let mut database = None;
    let server = own_service(|s| {
        s.slots = 0;
        s.keep_alive = Duration::from_millis(100);
        database.clone_from(&s.database_url);
    })
    .await;
    let _worker = own_service(|s| s.database_url = database).await;
    let gate = Gate::new();
    let text = format!("echo one; {}; seq 1 3000", gate.wait());
    let id = server.submit(&shell(&text)).await.id();
    let mut events = Stream::open(&server, &path(&id)).await;
    let mut all = Stream::open(&server, "/v1.0/events?$filter=state%20eq%20'Succeeded'").await;
    let url = format!("/v1.0/operations/{id}/steps/only/output?follow=true");
    let mut output = server.open(&url, &[]).await;
    let first = timeout(PATIENCE, output.chunk()).await.expect("in time").expect("no fault");
    assert_eq!(first.as_deref(), Some(&b"one\n"[..]));
    gate.open();
    let numbers = output.text().await.expect("no fault");
    assert!(numbers.lines().map(str::to_owned).eq((1..=3000).map(|n| n.to_string())), "{numbers}");
    same(&events.rest().await, &listed(&server, &id, "").await);
    // The other process may have joined while this one listened: that is no loss, but may be told.
    let mut told = all.next().await.expect("an event");
    while told.name == "reset" {
        told = all.next().await.expect("an event");
    }
    assert_eq!(told.data["operation"], id);
    while all.beats == 0 {
        all.block().await.expect("a sign of life");
        all.beats += 1;
    }
}

/// Transactions of the database within three seconds.
async fn transactions(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("a database");
    let count = "select xact_commit from pg_stat_database where datname = current_database()";
    let mut counts = Vec::new();
    for _ in 0..2 {
        sleep(Duration::from_secs(3)).await;
        let now: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a count");
        counts.push(now);
    }
    counts[1] - counts[0]
}

#[tokio::test]
async fn idle_followers_leave_the_database_alone() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a higher limit");
    let mut database = String::new();
    let service = own_service(|s| database = s.database_url.clone().expect("a URL")).await;
    let gate = Gate::new();
    let submitted = service.submit(&shell(&gate.wait())).await;
    service.running(&submitted.url).await;
    let without = transactions(&database).await;
    let url = path(&submitted.id());
    let output = format!("/v1.0/operations/{}/steps/only/output?follow=true", submitted.id());
    let mut streams = Vec::new();
    for n in 0..500 {
        let url = match n % 10 {
            0 => "/v1.0/events",
            1 => &output,
            _ => &url,
        };
        let mut stream = Stream::open(&service, url).await;
        stream.block().await.expect("a beginning");
        streams.push(stream);
    }
    // A connection that idles tells its figures up to ten seconds late, so those of the beginning
    // may still be to come. If each follower asked but once in a window, none would be quiet.
    timeout(PATIENCE, async { while transactions(&database).await > without + 60 {} })
        .await
        .expect("as few as without followers");
    gate.open();
    for stream in streams.iter_mut().filter(|stream| stream.response.url().path() == url) {
        let events = stream.rest().await;
        assert_eq!(events.last().expect("an end").name, "end");
    }
}

#[tokio::test]
async fn more_followers_than_allowed_are_told_to_come_later() {
    let service = own_service(|s| s.max_followers = 2).await;
    let first = Stream::open(&service, "/v1.0/events").await;
    let _second = Stream::open(&service, "/v1.0/events").await;
    let error = service.get_with("/v1.0/events", EVENTS.0, EVENTS.1).await.error(429);
    assert_eq!(error["code"], "TooManyFollowers");
    let text = service.get("/metrics").await.expect(200).text().to_owned();
    assert!(text.contains("mother_http_followers 2"), "{text}");
    drop(first);
    timeout(PATIENCE, async {
        while service.open("/v1.0/events", &[EVENTS]).await.status() != 200 {}
    })
    .await
    .expect("a place is free again");
}

#[tokio::test]
async fn streams_end_when_the_server_shuts_down() {
    let service = own_service(|_| {}).await;
    let gate = Gate::new();
    let submitted = service.submit(&shell(&gate.wait())).await;
    service.running(&submitted.url).await;
    let output = format!("/v1.0/operations/{}/steps/only/output?follow=true", submitted.id());
    let mut plain = service.open(&output, &[]).await;
    let mut streams = Vec::new();
    for url in ["/v1.0/events", &path(&submitted.id()), &output] {
        let mut stream = Stream::open(&service, url).await;
        stream.block().await.expect("a beginning");
        streams.push(stream);
    }
    drop(service);
    let ended = timeout(Duration::from_secs(5), async {
        for stream in &mut streams {
            assert!(stream.rest().await.iter().all(|event| event.name != "end"));
        }
        assert_eq!(plain.chunk().await.expect("an orderly end"), None);
    });
    ended.await.expect("an end at once");
    gate.open();
}
