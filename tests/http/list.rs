//! Section F: the collection, its order and its pages.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Answer, OwnService, own_service, shell};

const LIST: &str = "/v1.0/operations";

fn ids(page: &Value) -> Vec<String> {
    let members = page["value"].as_array().expect("a list");
    members.iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

/// A service on which nothing runs, with `members` operations; their ids in the order of creation.
async fn filled(members: usize) -> (OwnService, Vec<String>) {
    let service = own_service(|s| s.slots = 0).await;
    let mut ids = Vec::new();
    for _ in 0..members {
        ids.push(service.submit(&shell("true")).await.id());
    }
    (service, ids)
}

async fn list(service: &OwnService, query: &str) -> Value {
    service.get(&format!("{LIST}?{query}")).await.expect(200).json()
}

/// All pages from `url` on.
async fn follow(service: &OwnService, url: &str) -> Vec<Value> {
    let mut pages = vec![service.get(url).await.expect(200).json()];
    while let Some(next) = pages.last().and_then(|page| page.get("@odata.nextLink")) {
        let next = next.as_str().expect("never null");
        assert!(next.starts_with(&service.base), "{next}");
        let page = service.get(next).await.expect(200).json();
        pages.push(page);
    }
    pages
}

#[tokio::test]
async fn row_095_096_a_list_is_an_object() {
    let (service, _) = filled(0).await;
    assert_eq!(service.get(LIST).await.expect(200).json(), json!({"value": []}));
    service.submit(&shell("true")).await;
    let page = service.get(LIST).await.json();
    for field in ["id", "status", "state", "createdDateTime", "lastActionDateTime"] {
        assert!(page["value"][0][field].is_string(), "{field}: {page}");
    }
}

#[tokio::test]
async fn row_097_098_not_started_then_running_then_ended() {
    let service = own_service(|s| s.slots = 2).await;
    let mut expected: [Vec<String>; 3] = Default::default();
    for _ in 0..3 {
        let done = service.submit(&shell("true")).await;
        service.ended(&done.url).await;
        expected[2].push(done.id());
    }
    for _ in 0..2 {
        let running = service.submit(&shell("sleep 60")).await;
        service.running(&running.url).await;
        expected[1].push(running.id());
    }
    for _ in 0..3 {
        expected[0].push(service.submit(&shell("true")).await.id());
    }
    let cancelled = service.submit(&shell("true")).await;
    service.delete(&cancelled.url).await;
    expected[2].push(cancelled.id());
    let page = list(&service, "").await;
    assert_eq!(ids(&page), expected.concat());
    assert_eq!(ids(&list(&service, "$top=5").await), expected.concat()[..5]);
    let paged = follow_by(&service, 2).await;
    assert_eq!(paged, expected.concat());
}

/// The ids on all pages of this size.
async fn follow_by(service: &OwnService, size: usize) -> Vec<String> {
    let prefer = format!("maxpagesize={size}");
    let mut all = Vec::new();
    let mut next = Some(LIST.to_owned());
    while let Some(url) = next {
        let page = service.get_with(&url, "prefer", &prefer).await.expect(200).json();
        all.extend(ids(&page));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    all
}

#[tokio::test]
async fn row_099_to_101_pages() {
    let service = own_service(|s| (s.slots, s.max_page_size) = (0, 7)).await;
    let mut expected = Vec::new();
    for _ in 0..23 {
        expected.push(service.submit(&shell("true")).await.id());
    }
    let pages = follow(&service, &format!("{LIST}?$count=true")).await;
    assert_eq!(pages.iter().map(|page| ids(page).len()).collect::<Vec<_>>(), [7, 7, 7, 2]);
    assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), expected);
    assert!(pages.iter().all(|page| page["@odata.count"] == 23));
    // What fits exactly has no further page.
    let pages = follow(&service, &format!("{LIST}?$skip=16")).await;
    assert_eq!(pages.len(), 1);
    // Row 108.
    let pages = follow(&service, &format!("{LIST}?$top=20")).await;
    assert_eq!(pages.iter().map(|page| ids(page).len()).collect::<Vec<_>>(), [7, 7, 6]);
    let pages = follow(&service, &format!("{LIST}?$top=1000000000000")).await;
    assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn row_102_changes_between_pages() {
    let (service, expected) = filled(9).await;
    let prefer = "maxpagesize=3";
    let first = service.get_with(LIST, "prefer", prefer).await.json();
    service.delete(&format!("{LIST}/{}", expected[0])).await.expect(200);
    service.delete(&format!("{LIST}/{}", expected[2])).await.expect(200);
    let added = service.submit(&shell("true")).await.id();
    let next = first["@odata.nextLink"].as_str().expect("more");
    let rest: Vec<String> = follow(&service, next).await.iter().flat_map(ids).collect();
    let seen: HashSet<String> = ids(&first).into_iter().chain(rest.clone()).collect();
    assert!(expected.iter().chain([&added]).all(|id| seen.contains(id)), "{seen:?}");
    assert_eq!(rest[..6], expected[3..]);
}

#[tokio::test]
async fn row_103_tokens_that_we_never_gave() {
    let (service, _) = filled(0).await;
    for token in
        ["", "x", "1-", "9-00000000000070008000000000000000", "0-%00", "%27%20or%201", "-1"]
    {
        let error = service.get(&format!("{LIST}?$skiptoken={token}")).await.error(400);
        assert_eq!(error["target"], "$skiptoken", "{token}");
    }
}

#[tokio::test]
async fn row_104_the_page_size_is_a_preference() {
    let (service, expected) = filled(3).await;
    for prefer in ["odata.maxpagesize=2", "maxpagesize=2"] {
        let answer = service.get_with(LIST, "prefer", prefer).await;
        assert_eq!(ids(&answer.json()), expected[..2]);
        assert!(answer.json().get("@odata.nextLink").is_some());
        assert_eq!(answer.header("preference-applied"), "odata.maxpagesize=2");
    }
}

#[tokio::test]
async fn row_105_106_top() {
    let (service, expected) = filled(5).await;
    let prefer = "maxpagesize=2";
    let first = service.get_with(&format!("{LIST}?$top=3"), "prefer", prefer).await.json();
    assert_eq!(ids(&first), expected[..2]);
    let next = first["@odata.nextLink"].as_str().expect("one more");
    let second = service.get_with(next, "prefer", prefer).await.json();
    assert_eq!(ids(&second), expected[2..3]);
    assert!(second.get("@odata.nextLink").is_none());
    assert_eq!(list(&service, "$top=0").await, json!({"value": []}));
}

#[tokio::test]
async fn row_107_113_values_that_are_none() {
    let (service, _) = filled(0).await;
    for name in ["$top", "$skip"] {
        for value in ["-1", "abc", "1.5", "", "99999999999999999999", "0x10", "1e3", "%2B1"] {
            let error = service.get(&format!("{LIST}?{name}={value}")).await.error(400);
            assert_eq!(error["target"], name, "{value}");
        }
    }
    for query in ["$count=yes", "$count=", "$count", "$count=1"] {
        let error = service.get(&format!("{LIST}?{query}")).await.error(400);
        assert_eq!(error["target"], "$count", "{query}");
    }
}

#[tokio::test]
async fn row_109_110_skip() {
    let (service, expected) = filled(6).await;
    for query in ["$skip=2&$top=3", "$top=3&$skip=2"] {
        assert_eq!(ids(&list(&service, query).await), expected[2..5], "{query}");
    }
    for skip in ["6", "1000", "18446744073709551615", "9223372036854775807"] {
        let answer = service.get(&format!("{LIST}?$skip={skip}")).await;
        let accepted = answer.status == 200 && answer.json() == json!({"value": []});
        assert!(accepted || answer.status == 400, "{skip}: {}", answer.text());
    }
    assert_eq!(list(&service, "$skip=1000").await, json!({"value": []}));
}

#[tokio::test]
async fn row_110_skip_goes_over_the_ends_of_groups() {
    let (service, expected) = filled(6).await;
    for id in &expected[..3] {
        service.delete(&format!("{LIST}/{id}")).await.expect(200);
    }
    let order = [&expected[3..], &expected[..3]].concat();
    for skip in 0..=6 {
        assert_eq!(ids(&list(&service, &format!("$skip={skip}")).await), order[skip..], "{skip}");
    }
}

#[tokio::test]
async fn row_111_112_114_count() {
    let (service, _) = filled(4).await;
    for query in ["$count=true", "$count=true&$top=1", "$count=true&$skip=3", "$count=TRUE"] {
        assert_eq!(list(&service, query).await["@odata.count"], 4, "{query}");
    }
    for query in ["", "$count=false"] {
        assert!(list(&service, query).await.get("@odata.count").is_none(), "{query}");
    }
    let answer: Answer = service.get(&format!("{LIST}/$count")).await.expect(200);
    assert!(answer.header("content-type").starts_with("text/plain"));
    assert_eq!(answer.text(), "4");
    assert_eq!(service.get(&format!("{LIST}/%24count")).await.expect(200).text(), "4");
}

#[tokio::test]
async fn row_115_119_spellings_of_options() {
    let (service, expected) = filled(3).await;
    for query in ["top=1", "$TOP=1", "Top=1", "%24top=1", "$top=%31", "&$top=1&"] {
        assert_eq!(ids(&list(&service, query).await), expected[..1], "{query}");
    }
}

#[tokio::test]
async fn row_116_to_118_what_is_refused() {
    let (service, _) = filled(0).await;
    for query in ["$top=1&$top=1", "$top=1&top=2", "$skip=1&%24skip=1", "$count=true&COUNT=true"] {
        service.get(&format!("{LIST}?{query}")).await.error(400);
    }
    for name in ["$expand", "$apply", "$compute", "$foo", "foo", "expand"] {
        let error = service.get(&format!("{LIST}?{name}=x")).await.error(400);
        assert_eq!(error["target"], name);
    }
    let error = service.get(&format!("{LIST}?$tpo=1")).await.error(400);
    assert!(error["message"].as_str().unwrap().contains("did you mean `$top`?"), "{error}");
    list(&service, "api-version=2024-01-01").await;
}

#[tokio::test]
async fn row_120_data_is_split_before_it_is_decoded() {
    let (service, ids) = filled(2).await;
    for (id, query) in ids.iter().zip(["reason=a%26b%3Dc+d%20e", "reason=a%26b=c%20d+e"]) {
        let operation = service.delete(&format!("{LIST}/{id}?{query}")).await.expect(200).json();
        assert_eq!(operation["cancellation"]["reason"], "a&b=c d e");
    }
}

#[tokio::test]
async fn collections_below_an_operation_have_pages_too() {
    let service = own_service(|s| (s.slots, s.max_page_size) = (0, 4)).await;
    let steps: Vec<Value> = (0..10).map(|n| json!({"name": format!("s{n}")})).collect();
    let job = json!({"steps": steps, "deadline": "1h"});
    let url = service.submit(&job).await.url;
    let pages = follow(&service, &format!("{url}/steps?$count=true")).await;
    assert_eq!(pages.len(), 3);
    let numbers: Vec<u64> = pages
        .iter()
        .flat_map(|page| page["value"].as_array().unwrap())
        .map(|step| step["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert!(pages.iter().all(|page| page["@odata.count"] == 10));
    let pages = follow(&service, &format!("{url}/events?$count=true")).await;
    let seqs: Vec<u64> = pages
        .iter()
        .flat_map(|page| page["value"].as_array().unwrap())
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=pages[0]["@odata.count"].as_u64().unwrap()).collect::<Vec<_>>());
    let all = list_below(&service, &format!("{url}/events?after=1")).await;
    assert!(all["value"].as_array().unwrap().iter().all(|event| event["seq"] != 1));
}

async fn list_below(service: &OwnService, url: &str) -> Value {
    service.get(url).await.expect(200).json()
}
