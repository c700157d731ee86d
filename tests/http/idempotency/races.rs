//! Rows 72 and 80: many at once, on two servers, and connections that are cut.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{job, key};
use crate::support::{Answer, Service, own_service, two_services};

const POSTS: usize = 1_000;

/// Posts the same request from many clients, in turn to each of these services.
async fn post_at_once(
    services: &[&Service],
    posts: usize,
    headers: &[(&str, &str)],
) -> Vec<Answer> {
    let owned: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut tasks = JoinSet::new();
    for n in 0..posts {
        let service = Service::clone(services[n % services.len()]);
        let owned = owned.clone();
        tasks.spawn(async move {
            let headers: Vec<(&str, &str)> =
                owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            service.post(job().to_string(), &headers).await
        });
    }
    tasks.join_all().await
}

#[track_caller]
fn assert_one(answers: &[Answer]) {
    let ids: BTreeSet<String> =
        answers.iter().map(|answer| answer.json()["id"].to_string()).collect();
    assert!(answers.iter().all(|answer| answer.status == 202), "{ids:?}");
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_072_a_thousand_posts_with_one_key_are_one_operation() {
    let service = own_service(|_| {}).await;
    let now = super::sent(chrono::TimeDelta::zero());
    let (id, own) = (key(), key());
    for (count, headers) in [
        &[("idempotency-key", own.as_str())][..],
        &[("operation-id", "one-of-a-thousand")],
        &[("repeatability-request-id", id.as_str()), ("repeatability-first-sent", now.as_str())],
    ]
    .into_iter()
    .enumerate()
    {
        assert_one(&post_at_once(&[&service], POSTS, headers).await);
        assert_eq!(service.count().await, count as u64 + 1, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_072_two_servers_make_one_operation() {
    let [one, other] = two_services(|_| {}).await;
    for n in 1..=5 {
        let key = format!("\"{n}\"");
        let answers = post_at_once(&[&one, &other], 200, &[("idempotency-key", &key)]).await;
        // The servers have addresses of their own, so only the ids are the same.
        assert_one(&answers);
        assert_eq!((one.count().await, other.count().await), (n, n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_a_key_costs_others_nothing() {
    let [one, other] = two_services(|s| s.slots = 0).await;
    let mut tasks = JoinSet::new();
    for n in 0..POSTS {
        let service = Service::clone(if n % 2 == 0 { &one } else { &other });
        // Two of eight requests are a pair that races over the two servers.
        let key = format!("pair-{}", n / 8);
        tasks.spawn(async move {
            let headers = [("operation-id", key.as_str())];
            let named = n % 8 < 2;
            service.post(job().to_string(), if named { &headers } else { &[] }).await.expect(202)
        });
    }
    let answers = tasks.join_all().await;
    let ids: BTreeSet<String> =
        answers.iter().map(|answer| answer.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), POSTS - POSTS / 8);
    assert_eq!(one.count().await, ids.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_requests_that_race_for_an_id_one_is_refused() {
    let [one, other] = two_services(|s| s.slots = 0).await;
    for n in 0..20 {
        let id = format!("wanted-{n}");
        let jobs = ["a", "b"].map(|step: &str| json!({"steps": [{"name": step}]}));
        let post = async |service: &Service, job: &Value| {
            service.post_named(job, "operation-id", &id).await
        };
        let (first, second) = tokio::join!(post(&one, &jobs[0]), post(&other, &jobs[1]));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409]);
    }
    assert_eq!(one.count().await, 20);
}

/// The bytes of a request with a key.
fn request(key: &str, more: &str) -> String {
    let body = job().to_string();
    let length = body.len();
    format!(
        "POST /v1.0/jobsets HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         idempotency-key: \"{key}\"\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}

async fn connect(service: &Service) -> TcpStream {
    let address = service.base.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn row_080_a_client_that_was_cut_off_tries_again() {
    let service = own_service(|s| s.slots = 0).await;
    for n in 0..50 {
        let key = format!("cut-{n}");
        let mut stream = connect(&service).await;
        stream.write_all(request(&key, "").as_bytes()).await.expect("a service that reads");
        // Some are cut while they are worked on, some before their end was sent.
        if n % 2 == 0 {
            stream.shutdown().await.expect("a close");
        }
        drop(stream);
        let quoted = format!("\"{key}\"");
        let mut urls = BTreeSet::new();
        for _ in 0..2 {
            let answer = service.post_named(&job(), "idempotency-key", &quoted).await.expect(202);
            urls.insert(answer.header("operation-location").to_owned());
        }
        assert_eq!(urls.len(), 1);
    }
    assert_eq!(service.count().await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_080_an_answer_that_nobody_read() {
    let service = own_service(|s| s.slots = 0).await;
    let mut stream = connect(&service).await;
    // It is durable, and its answer waits for an end that does not come.
    let bytes = request("unread", "prefer: wait=60\r\n");
    stream.write_all(bytes.as_bytes()).await.expect("a service that reads");
    while service.count().await == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let again = service.post_named(&job(), "idempotency-key", "\"unread\"").await.expect(202);
    let page = service.get("/v1.0/operations").await.json();
    assert_eq!(page["value"].as_array().expect("a page").len(), 1);
    assert_eq!(page["value"][0]["id"], again.json()["id"]);
}
