//! `Operation-Id`: the id that the client chose is the id (Azure REST API Guidelines).

use serde_json::{Value, json};

use super::{assert_replayed, job, key};
use crate::support::{Answer, Service, own_service, service, shell};

const ID: &str = "operation-id";

/// The ids of the members of a collection.
async fn ids(service: &Service, url: &str) -> Vec<String> {
    let page = service.get(url).await.expect(200).json();
    let members = page["value"].as_array().expect("a page").iter();
    members.map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn row_076_the_id_is_the_chosen_one() {
    let service = own_service(|_| {}).await;
    let answer = service.post_named(&job(), ID, "my-op-1").await.expect(202);
    assert_eq!(answer.json()["id"], "my-op-1");
    let url = answer.header("operation-location");
    assert_eq!(url, format!("{}/v1.0/operations/my-op-1", service.base));
    assert_eq!(answer.header("location"), url);
    let ended = service.ended(url).await;
    assert_eq!(ended["id"], "my-op-1");
    let place = ended["resourceLocation"].as_str().expect("a link");
    assert_eq!(place, format!("{}/v1.0/jobsets/my-op-1", service.base));
    let jobset = service.get(place).await.expect(200).json();
    assert_eq!((&jobset["id"], &jobset["operationLocation"]), (&json!("my-op-1"), &json!(url)));
}

#[tokio::test]
async fn row_077_the_same_request_is_replayed() {
    let (service, id) = (service().await, key());
    let first = service.post_named(&job(), ID, &id).await;
    service.ended(first.header("operation-location")).await;
    assert_replayed(&first, &service.post_named(&job(), ID, &id).await);
}

#[tokio::test]
async fn row_078_another_request_is_a_conflict() {
    let (service, id) = (service().await, key());
    service.post_named(&job(), ID, &id).await.expect(202);
    let error = service.post_named(&shell("true"), ID, &id).await.error(409);
    assert_eq!(error["target"], "Operation-Id");
    let body = Some(job().to_string().into());
    let headers = [(ID, id.as_str()), ("content-type", "application/json")];
    service.send("POST", "/beta/jobsets", &headers, body).await.error(409);
}

#[tokio::test]
async fn row_079_ids_that_cannot_be_one() {
    let service = own_service(|s| s.slots = 0).await;
    let own = service.submit(&job()).await.id();
    let (longest, too_long) = ("i".repeat(128), "i".repeat(300));
    for id in [
        "a/b", "a b", "a:b", "$count", ".", "..", "", "a%2Fb", "a?b", "a#b", "a\tb", "\u{e4}",
        "\"a\"", &own, &too_long,
    ] {
        let error = service.post_named(&job(), ID, id).await.error(400);
        assert_eq!(error["target"], "Operation-Id", "{id}: {error}");
    }
    let twice = [(ID, "a"), (ID, "b")];
    service.post(job().to_string(), &twice).await.error(400);
    assert_eq!(service.count().await, 1);
    for id in ["7d444840-9dc0-11d1-b245-5ffdce74fad2", "A.b_c~d-9", "...", "pause", &longest] {
        let answer = service.post_named(&job(), ID, id).await.expect(202);
        let operation = service.get(answer.header("operation-location")).await.expect(200);
        assert_eq!(operation.json()["id"], id);
    }
}

#[tokio::test]
async fn every_route_takes_the_chosen_id() {
    let service = own_service(|_| {}).await;
    let document = json!({"name": "held", "steps": [
        {"name": "ask", "run": {"instruction": {"text": "look"}}},
        {"name": "talk", "run": {"shell": "echo hello; sleep 60"}},
    ]});
    let url = service.submit_with(&document, &[(ID, "all")]).await.url;
    service.until(&url, |operation| operation["stepCounts"]["Running"] == 2).await;
    for path in [
        "",
        "/steps",
        "/steps/talk",
        "/steps/talk/output",
        "/steps/talk/explain",
        "/explain",
        "/events",
        "/events/1",
        "/events/2/causes",
        "/steps/talk/concurrent",
        "/causality",
        "/graph",
        "/context",
        "/waiting",
        "/prompts",
        "/steps/talk/messages",
    ] {
        service.get(&format!("{url}{path}")).await.expect(200);
    }
    service.get("/v1.0/jobsets/all/graph").await.expect(200);
    assert_eq!(service.get(&format!("{url}/explain")).await.json()["id"], "all");
    for waiting in ["/v1.0/waiting", "/v1.0/operations/all/waiting", "/v1.0/operations/all/prompts"]
    {
        let prompt = service.get(waiting).await.json()["value"][0].clone();
        assert_eq!(prompt["operation"], "all", "{waiting}");
    }
    let others = service.get(&format!("{url}/steps/talk/concurrent")).await.json();
    assert_eq!(others["value"][0]["operation"], "all", "{others}");
    let page = service.get(&format!("{url}/events?$top=1")).await.json();
    let steps = service.get_with(&format!("{url}/steps"), "prefer", "maxpagesize=1").await.json();
    assert!(page["@odata.nextLink"].is_null(), "{page}");
    let next = steps["@odata.nextLink"].as_str().expect("a link");
    assert!(next.starts_with(&format!("{url}/steps?")), "{next}");
    service.get(next).await.expect(200);

    let json = [("content-type", "application/json")];
    let post = async |path: &str, body: Value| -> Answer {
        let url = format!("{url}{path}");
        service.send("POST", &url, &json, Some(body.to_string().into())).await
    };
    post("/messages", json!({"message": 1})).await.expect(200);
    post("/interrupt", json!({"steps": ["talk"]})).await.expect(200);
    let prompt = service.get(&format!("{url}/prompts")).await.json()["value"][0]["id"].clone();
    let reply = format!("/prompts/{}/reply", prompt.as_str().expect("an id"));
    let replied = post(&reply, json!({"status": "done"})).await.expect(200).json();
    assert_eq!(replied["operation"], "all");
    post("", json!({})).await.error(405);
    service.send("PATCH", &format!("{url}/context"), &json, Some("{}".into())).await.expect(200);
    let many = service.send("POST", "/v1.0/operations/cancel?$filter=id%20eq%20'all'", &json, None);
    assert_eq!(many.await.expect(200).json()["value"][0]["id"], "all");
    assert_eq!(service.ended(&url).await["status"], "canceled");
    let deleted = service.delete(&url).await.expect(200).json();
    assert_eq!((&deleted["id"], &deleted["status"]), (&json!("all"), &json!("canceled")));

    let forked = post("/rerun", json!({})).await.expect(202).json();
    assert_eq!(forked["forkedFrom"], "all");
    let listed = ids(&service, "/v1.0/operations?$filter=forkedFrom%20eq%20'all'").await;
    assert_eq!(listed, [forked["id"].as_str().expect("an id")]);
    service.delete(&format!("/v1.0/operations/{}", listed[0])).await;
}

#[tokio::test]
async fn unknown_ids_are_none() {
    let service = service().await;
    for id in ["never-made", "a%00b", "%24x", "7d444840-9dc0-11d1-b245-5ffdce74fad2"] {
        service.get(&format!("/v1.0/operations/{id}")).await.error(404);
        service.get(&format!("/v1.0/operations/{id}/steps/a")).await.error(404);
        service.delete(&format!("/v1.0/operations/{id}")).await.error(404);
    }
}

#[tokio::test]
async fn questions_know_the_chosen_ids() {
    let service = own_service(|s| s.slots = 0).await;
    let own = service.submit(&job()).await.id();
    for id in ["b", "a", "C"] {
        service.post_named(&job(), ID, id).await.expect(202);
    }
    let list = async |query: &str| ids(&service, &format!("/v1.0/operations?{query}")).await;
    // Equal bytes, in the order of the bytes.
    assert_eq!(list("").await, [own.as_str(), "b", "a", "C"]);
    assert_eq!(list("$orderby=id").await, [own.as_str(), "C", "a", "b"]);
    assert_eq!(list("$orderby=id%20desc").await, ["b", "a", "C", own.as_str()]);
    assert_eq!(list("$filter=id%20eq%20'a'").await, ["a"]);
    assert_eq!(list("$filter=id%20eq%20'A'").await, [""; 0]);
    assert_eq!(list("$filter='b'%20eq%20id").await, ["b"]);
    assert_eq!(list(&format!("$filter=id%20eq%20'{own}'")).await, [own.as_str()]);
    assert_eq!(list("$filter=id%20in%20('a','b')").await, ["b", "a"]);
    assert_eq!(list("$filter=id%20gt%20'a'").await, ["b"]);
    assert_eq!(list("$filter=startswith(id,'C')%20or%20id%20eq%20'b'").await, ["b", "C"]);
    assert_eq!(list("$filter=not%20(id%20ne%20'a')").await, ["a"]);
    // Page by page, also in the order of the ids.
    let (mut seen, mut next) = (Vec::new(), Some("/v1.0/operations?$orderby=id".to_owned()));
    while let Some(url) = next {
        let page = service.get_with(&url, "prefer", "maxpagesize=1").await.expect(200).json();
        seen.push(page["value"][0]["id"].as_str().expect("an id").to_owned());
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, [own.as_str(), "C", "a", "b"]);
}

#[tokio::test]
async fn the_stream_of_all_events_tells_the_chosen_id() {
    let service = own_service(|_| {}).await;
    let filter = "/v1.0/events?$filter=operation%20eq%20'followed'";
    let mut stream = service.open(filter, &[("accept", "text/event-stream")]).await;
    service.post_named(&job(), ID, "followed").await.expect(202);
    let mut text = String::new();
    while !text.contains("\"operation\":\"followed\"") {
        let chunk = stream.chunk().await.expect("a stream").expect("more");
        text += std::str::from_utf8(&chunk).expect("UTF-8");
    }
}
