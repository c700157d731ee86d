//! Section F, where a question is asked: pages, links and counts.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{LIST, asking, encode};
use crate::support::{Service, own_service};

fn ids(page: &Value) -> Vec<String> {
    let members = page["value"].as_array().expect("a list");
    members.iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

/// The pages from `url` on, of so many members.
async fn follow(service: &Service, url: &str, size: usize) -> Vec<Value> {
    let prefer = format!("maxpagesize={size}");
    let mut pages: Vec<Value> = Vec::new();
    let mut next = Some(url.to_owned());
    while let Some(url) = next {
        let page = service.get_with(&url, "prefer", &prefer).await.expect(200).json();
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
        pages.push(page);
    }
    pages
}

#[tokio::test]
async fn row_101_links_carry_the_question() {
    let (service, world) = asking().await;
    let filter = encode("name ne 'x&y=z +%#\"é' and labels/branch eq 'main'");
    let query = format!("$filter={filter}&$orderby=name+desc&$select=id,name&$count=true");
    let url = format!("{LIST}?{query}&$top=3");
    let pages = follow(&service, &url, 1).await;
    let numbers: Vec<usize> = pages.iter().flat_map(|page| world.numbers(page)).collect();
    assert_eq!(numbers, [6, 0, 1]);
    for page in &pages {
        assert_eq!(page["@odata.count"], 4);
        assert_eq!(page["value"][0].as_object().unwrap().len(), 2);
    }
    let link = pages[0]["@odata.nextLink"].as_str().unwrap();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?&=%$".contains(&byte);
    assert!(link.bytes().all(plain), "{link}");
    // With nothing but the link.
    let path = link.strip_prefix(&service.base).expect("absolute");
    let answer = service
        .raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let pages = follow(&service, &format!("{LIST}?$search=main&$skip=1"), 1).await;
    assert_eq!(pages.len(), 3);
}

#[tokio::test]
async fn row_102_changes_between_the_pages_of_a_question() {
    let service = own_service(|s| s.slots = 0).await;
    let mut all = Vec::new();
    for n in 0..12 {
        let branch = if n % 2 == 0 { "main" } else { "dev" };
        let job = json!({"labels": {"branch": branch}, "steps": [{"name": "a", "run": {"shell": "true"}}]});
        all.push((service.submit(&job).await.id(), job));
    }
    for order in
        ["", "&$orderby=createdDateTime", "&$orderby=createdDateTime+desc", "&$orderby=state,id"]
    {
        let filter = encode("labels/branch eq 'main' and state ne 'Failed'");
        let url = format!("{LIST}?$filter={filter}{order}");
        let before: Vec<String> = follow(&service, &url, 100).await.iter().flat_map(ids).collect();
        let first = service.get_with(&url, "prefer", "maxpagesize=2").await.expect(200).json();
        let gone = &before[0];
        service.delete(&format!("{LIST}/{gone}")).await.expect(200);
        service.submit(&all[0].1).await;
        let next = first["@odata.nextLink"].as_str().expect("more");
        let rest: Vec<String> = follow(&service, next, 2).await.iter().flat_map(ids).collect();
        let seen: HashSet<String> = ids(&first).into_iter().chain(rest).collect();
        assert!(before.iter().all(|id| seen.contains(id)), "{order}");
    }
}

#[tokio::test]
async fn row_103_places_of_other_questions() {
    let (service, _) = asking().await;
    let link = async |query: &str| -> String {
        let url = format!("{LIST}?{query}");
        let page = service.get_with(&url, "prefer", "maxpagesize=1").await.expect(200).json();
        let link = page["@odata.nextLink"].as_str().expect("more").to_owned();
        let token = link.split("$skiptoken=").nth(1).expect("a token");
        token.split('&').next().expect("its value").to_owned()
    };
    let default = link("").await;
    let by_name = link("$orderby=name").await;
    let by_two = link("$orderby=name,percentComplete").await;
    for (query, token) in [
        ("$orderby=name&", &default),
        ("", &by_name),
        ("$orderby=name&", &by_two),
        ("$orderby=percentComplete&", &by_name),
        ("$orderby=lastActionDateTime&", &by_name),
        ("$orderby=percentComplete&", &format!("{}A", &by_name[..by_name.len() / 2])),
    ] {
        let answer = service.get(&format!("{LIST}?{query}$skiptoken={token}")).await;
        assert_eq!(answer.error(400)["target"], "$skiptoken", "{query}");
    }
}

#[tokio::test]
async fn row_105_109_110_top_and_skip_with_a_question() {
    let (service, world) = asking().await;
    let filter = encode("labels/branch ne null");
    for (query, expected) in [
        ("$top=3", &[0, 1, 2][..]),
        ("$skip=2&$top=3", &[2, 4, 5]),
        ("$top=3&$skip=2", &[2, 4, 5]),
        ("$skip=6", &[7]),
        ("$skip=7", &[]),
        ("$skip=1000000", &[]),
        ("$top=0", &[]),
    ] {
        let url = format!("{LIST}?$filter={filter}&$orderby=createdDateTime&{query}");
        let pages = follow(&service, &url, 2).await;
        let numbers: Vec<usize> = pages.iter().flat_map(|page| world.numbers(page)).collect();
        assert_eq!(numbers, expected, "{query}");
    }
}

#[tokio::test]
async fn row_111_114_counts_of_a_question() {
    let (service, _) = asking().await;
    for (query, expected) in [
        ("$filter=labels/branch+eq+'main'", 4),
        ("$filter=labels/branch+eq+'main'&$search=alpha", 1),
        ("$search=main", 4),
        ("$filter=false", 0),
    ] {
        for more in ["", "&$top=1", "&$skip=2", "&$top=0", "&$orderby=name"] {
            let page = service.get(&format!("{LIST}?{query}&$count=true{more}")).await.expect(200);
            assert_eq!(page.json()["@odata.count"], expected, "{query}{more}");
        }
        let answer = service.get(&format!("{LIST}/$count?{query}")).await.expect(200);
        assert!(answer.header("content-type").starts_with("text/plain"));
        assert_eq!(answer.text(), expected.to_string(), "{query}");
    }
    service.get(&format!("{LIST}/$count?$filter=nosuch")).await.error(400);
    service.get(&format!("{LIST}/$count?$top=1")).await.error(400);
}
