//! Section H: `$orderby`, `$select` and `$search`; and questions below an operation.

use serde_json::{Value, json};

use super::{LIST, ask, asking, encode};

/// The numbers of the operations in this order.
async fn ordered(order: &str) -> Vec<usize> {
    let (service, world) = asking().await;
    let answer = ask(&service, "$orderby", order).await;
    assert_eq!(answer.status, 200, "{order}: {}", answer.text());
    world.numbers(&answer.json())
}

#[tokio::test]
async fn row_168_directions() {
    assert_eq!(ordered("createdDateTime desc").await, [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(ordered("createdDateTime ASC").await, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ordered("percentComplete asc,createdDateTime desc").await, [6, 5, 4, 7, 2, 1, 3, 0]);
}

#[tokio::test]
async fn row_169_170_nulls_and_ties() {
    assert_eq!(ordered("labels/branch").await, [3, 4, 5, 7, 0, 1, 2, 6]);
    let descending = ordered("labels/branch desc").await;
    assert_eq!(descending.last(), Some(&3));
    let (service, world) = asking().await;
    for order in ["labels/branch", "labels/branch desc", "labels/suite desc,labels/branch"] {
        let whole = ordered(order).await;
        let mut paged = Vec::new();
        let mut next = Some(format!("{LIST}?$orderby={}", encode(order)));
        while let Some(url) = next {
            let page = service.get_with(&url, "prefer", "maxpagesize=1").await.expect(200).json();
            paged.extend(world.numbers(&page));
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
        }
        assert_eq!(paged, whole, "{order}");
    }
}

#[tokio::test]
async fn row_171_orders_that_are_none() {
    let (service, _) = asking().await;
    for order in
        ["nosuch", "name,", "", "name sideways", "labels", "error", "name desc desc", "context/x"]
    {
        let error = ask(&service, "$orderby", order).await.error(400);
        assert_eq!(error["target"], "$orderby", "{order}: {error}");
    }
}

#[tokio::test]
async fn row_172_173_expressions_and_strings() {
    let order = ordered("error/code desc,createdDateTime").await;
    assert_eq!(order, [1, 2, 0, 3, 4, 5, 6, 7]);
    let order = ordered("percentComplete gt 50 desc,createdDateTime").await;
    assert_eq!(order, [0, 1, 2, 3, 7, 4, 5, 6]);
    assert_eq!(ordered("name").await, [2, 1, 7, 0, 5, 4, 6, 3]);
    assert_eq!(ordered("status,name").await, [6, 5, 4, 0, 3, 2, 1, 7]);
}

#[tokio::test]
async fn row_174_175_select() {
    let (service, world) = asking().await;
    let url = format!("{LIST}?$select=id,status&$orderby=createdDateTime");
    let page = service.get_with(&url, "prefer", "maxpagesize=1").await.expect(200).json();
    assert_eq!(page["value"], json!([{"id": world.ids[0], "status": "succeeded"}]));
    let next = page["@odata.nextLink"].as_str().expect("more");
    let page = service.get_with(next, "prefer", "maxpagesize=1").await.expect(200).json();
    assert_eq!(page["value"], json!([{"id": world.ids[1], "status": "failed"}]));
    let filter = encode("name eq 'O''Neil'");
    let select = async |select: &str| -> Value {
        let url = format!("{LIST}?$filter={filter}&$select={select}");
        service.get(&url).await.expect(200).json()["value"][0].clone()
    };
    assert_eq!(select("error/code").await, json!({"error": {"code": "StepFailed"}}));
    assert_eq!(select("labels/branch").await, json!({"labels": {"branch": "main"}}));
    let all = service.get(&format!("{LIST}?$filter={filter}")).await.json();
    assert_eq!(select("*").await, all["value"][0]);
}

#[tokio::test]
async fn row_041_select_on_one_operation() {
    let (service, world) = asking().await;
    let url = format!("{LIST}/{}", world.ids[1]);
    let answer = service.get(&format!("{url}?$select=id,status,error/code")).await.expect(200);
    let expected = json!({"id": world.ids[1], "status": "failed", "error": {"code": "StepFailed"}});
    assert_eq!(answer.json(), expected);
    assert!(answer.has("etag"));
    let whole = service.get(&url).await.json();
    assert_eq!(service.get(&format!("{url}?select=*")).await.expect(200).json(), whole);
    for select in ["nosuch", "", "id,", "length(name)"] {
        let answer = service.get(&format!("{url}?$select={}", encode(select))).await;
        assert_eq!(answer.error(400)["target"], "$select", "{select}");
    }
}

#[tokio::test]
async fn row_176_selections_that_are_none() {
    let (service, _) = asking().await;
    for select in ["nosuch", "", "id,", "id status", "(id)", "error/nosuch"] {
        let error = ask(&service, "$select", select).await.error(400);
        assert_eq!(error["target"], "$select", "{select}: {error}");
    }
}

#[tokio::test]
async fn row_177_search() {
    let (service, world) = asking().await;
    for (search, expected) in [
        ("alpha", &[0][..]),
        ("ärger", &[3]),
        ("main NOT alpha", &[1, 2, 6]),
        ("main AND (alpha OR queued)", &[0, 6]),
        ("\"exit code 1\"", &[1]),
        ("100%_\\", &[2]),
        ("%", &[2]),
        ("nowhere", &[]),
    ] {
        let text = encode(search);
        let answer = service.get(&format!("{LIST}?$search={text}&$orderby=createdDateTime")).await;
        assert_eq!(answer.status, 200, "{search}: {}", answer.text());
        assert_eq!(world.numbers(&answer.json()), expected, "{search}");
        let count = service.get(&format!("{LIST}/$count?$search={text}")).await.expect(200);
        assert_eq!(count.text(), expected.len().to_string(), "{search}");
    }
    for search in ["", "AND", "a OR", "(a", "\"a", "\"\""] {
        let error = ask(&service, "$search", search).await.error(400);
        assert_eq!(error["target"], "$search", "{search}: {error}");
    }
}

#[tokio::test]
async fn steps_and_events_answer_questions_too() {
    let step = |name: &str, text: &str| json!({"name": name, "run": {"shell": text}});
    let steps = [step("a", "true"), step("b", "exit 1"), json!({"name": "c", "tags": {"k": "v"}})];
    let job = json!({"steps": steps, "deadline": "1h", "name": "below"});
    let own = crate::support::own_service(|s| s.slots = 4).await;
    let url = own.submit(&job).await.url;
    own.ended(&url).await;
    let names = async |query: &str| -> Vec<String> {
        let page = own.get(&format!("{url}/steps?{query}")).await.expect(200).json();
        let members = page["value"].as_array().expect("a list");
        members.iter().map(|step| step["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&format!("$filter={}", encode("state eq 'Failed'"))).await, ["b"]);
    assert_eq!(names(&format!("$filter={}", encode("tags/k eq 'v'"))).await, ["c"]);
    assert_eq!(names("$orderby=name+desc").await, ["c", "b", "a"]);
    assert_eq!(names("$search=v").await, ["c"]);
    let filter = encode("state ne 'Failed'");
    let steps = format!("{url}/steps?$filter={filter}&$count=true&$top=1&$select=name");
    let page = own.get(&steps).await.expect(200).json();
    assert_eq!((&page["@odata.count"], &page["value"]), (&json!(2), &json!([{"name": "a"}])));
    let filter = encode("kind eq 'moved' and step eq 'b' and to in ('Running','Failed')");
    let events = format!("{url}/events?$filter={filter}&$orderby=seq+desc&$select=to");
    let first = own.get_with(&events, "prefer", "maxpagesize=1").await.expect(200).json();
    assert_eq!(first["value"], json!([{"to": "Failed"}]));
    let next = first["@odata.nextLink"].as_str().expect("more");
    let second = own.get_with(next, "prefer", "maxpagesize=1").await.expect(200).json();
    assert_eq!(second["value"], json!([{"to": "Running"}]));
    for below in ["steps", "events"] {
        for slip in ["$filter=nosuch+eq+1", "$orderby=nosuch", "$select=nosuch", "$skiptoken=x"] {
            own.get(&format!("{url}/{below}?{slip}")).await.error(400);
        }
        let answer = own.get(&format!("{url}/{below}?$filter=1+div+0+eq+1")).await.error(400);
        assert_eq!(answer["target"], "$filter");
    }
}
