//! Jobset vectors: section 7 of the notes on the source systems.

use serde_json::{Value, json};

use crate::support::{Answer, Service, own_service, service};

async fn post(service: &Service, path: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    let url = format!("/v1.0/jvvset/{path}");
    service.send("POST", &url, &json, Some(body.to_string().into_bytes())).await
}

async fn done(service: &Service, path: &str, body: &Value) -> Value {
    post(service, path, body).await.expect(200).json()
}

/// Code and target of a refusal.
async fn refused(service: &Service, path: &str, body: &Value) -> (String, String) {
    let error = post(service, path, body).await.error(400);
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    (text("code"), text("target"))
}

fn pair(code: &str, target: &str) -> (String, String) {
    (code.to_owned(), target.to_owned())
}

fn node(stamp: &str, value: impl Into<Value>) -> Value {
    json!({"stamp": stamp, "value": value.into()})
}

fn leaf(value: u64) -> Value {
    json!({"isLeaf": true, "value": value, "left": null, "right": null})
}

fn branch(value: u64, left: impl Into<Value>, right: impl Into<Value>) -> Value {
    json!({"isLeaf": false, "value": value, "left": left.into(), "right": right.into()})
}

#[tokio::test]
async fn section_7_1_new_node_is_the_seed() {
    let service = service().await;
    let made = service.send("POST", "/v1.0/jvvset/nodes", &[], None).await.expect(200).json();
    let id = made["id"].as_str().expect("an id");
    assert_eq!(
        made,
        json!({
            "id": id, "value": 1, "hasConflict": false, "conflictValue1": null,
            "conflictValue2": null, "stamp": {"itcId": leaf(1), "itcEvent": leaf(0)},
        })
    );
    assert_eq!(id.len(), 36);
    let other = done(&service, "nodes?form=text", &json!({"value": null})).await;
    assert_ne!(other["id"], made["id"]);
    assert_eq!((&other["value"], &other["stamp"]), (&Value::Null, &json!("(1,0)")));
    service.send("POST", "/beta/jvvset/nodes", &[], None).await.expect(200);
    service.get("/v1.0/jvvset/nodes").await.error(405);
}

#[tokio::test]
async fn section_7_1_fork_event_join_as_trees() {
    let service = service().await;
    let seed = done(&service, "nodes", &json!({})).await;
    let both = done(&service, "fork", &seed).await;
    let (first, second) = (&both["node1"], &both["node2"]);
    assert_eq!(first["stamp"]["itcId"], branch(0, leaf(1), leaf(0)));
    assert_eq!(second["stamp"]["itcId"], branch(0, leaf(0), leaf(1)));
    assert!(first["id"] != seed["id"] && second["id"] != seed["id"] && first["id"] != second["id"]);
    let changed = done(&service, "event", first).await;
    assert_eq!((&changed["value"], &changed["id"]), (&json!(2), &first["id"]));
    assert_eq!(changed["stamp"]["itcEvent"], branch(0, leaf(1), leaf(0)));
    let joined = done(&service, "join", &json!({"node1": second, "node2": changed})).await;
    assert_eq!((&joined["value"], &joined["hasConflict"]), (&json!(2), &json!(false)));
    assert_eq!(joined["stamp"]["itcId"], leaf(1));
    assert_eq!(joined["stamp"]["itcEvent"], branch(0, leaf(1), leaf(0)));
    let last = done(&service, "event", &joined).await;
    assert_eq!(last["stamp"], json!({"itcId": leaf(1), "itcEvent": leaf(1)}));
}

#[tokio::test]
async fn section_7_1_join_when_both_changed() {
    let service = service().await;
    let mut ours = node("((1,0),0)", "draft");
    ours["newValue"] = json!({"text": "ours"});
    let ours = done(&service, "event", &ours).await;
    let mut theirs = node("((0,1),0)", "draft");
    theirs["newValue"] = Value::Null;
    let theirs = done(&service, "event", &theirs).await;
    let mut joined = done(&service, "join", &json!({"node1": ours, "node2": theirs})).await;
    assert_eq!((&joined["value"], &joined["hasConflict"]), (&json!(-1), &json!(true)));
    assert_eq!(joined["conflictValue1"], json!({"text": "ours"}));
    assert_eq!((&joined["conflictValue2"], &joined["stamp"]), (&Value::Null, &json!("(1,1)")));
    let missing = pair("MissingValue", "newValue");
    assert_eq!(refused(&service, "event", &joined).await, missing);
    let parts = done(&service, "fork", &joined).await;
    assert_eq!(parts["node2"]["conflictValue1"], json!({"text": "ours"}));
    joined["newValue"] = json!("agreed");
    let decided = done(&service, "event", &joined).await;
    assert_eq!((&decided["value"], &decided["hasConflict"]), (&json!("agreed"), &json!(false)));
    assert_eq!((&decided["conflictValue1"], &decided["stamp"]), (&Value::Null, &json!("(1,2)")));
}

#[tokio::test]
async fn a_conflict_is_decided_before_there_is_another_one() {
    let service = service().await;
    let torn = json!({
        "stamp": "((1,0),(0,1,0))", "hasConflict": true, "conflictValue1": 1, "conflictValue2": 2,
    });
    let changed = node("((0,1),(0,0,1))", 3);
    let (one, other) =
        (json!({"node1": torn, "node2": changed}), json!({"node1": changed, "node2": torn}));
    let unresolved = |target| pair("UnresolvedConflict", target);
    assert_eq!(refused(&service, "join", &one).await, unresolved("node1.hasConflict"));
    assert_eq!(refused(&service, "join", &other).await, unresolved("node2.hasConflict"));
}

#[tokio::test]
async fn section_7_1_peek_and_compare() {
    let service = service().await;
    let known = node("((1,0),(0,2,0))", 7);
    let note = done(&service, "peek", &known).await;
    assert_eq!((&note["stamp"], &note["value"]), (&json!("(0,(0,2,0))"), &json!(7)));
    let anonymous = pair("AnonymousStamp", "stamp");
    assert_eq!(refused(&service, "event", &note).await, anonymous);
    for (first, second, result, changed, haskell) in [
        ("(0,1)", "(0,(1,0,1))", "before", "second", "before"),
        ("(0,(1,0,1))", "(0,1)", "after", "first", "after"),
        ("(1,1)", "(0,1)", "equal", "neither", "concurrent"),
        ("(0,(0,1,0))", "(0,(0,0,1))", "concurrent", "both", "concurrent"),
    ] {
        let two = json!({"first": {"stamp": first}, "second": {"stamp": second}});
        let expected = json!({"result": result, "changed": changed, "stampCompare": haskell});
        assert_eq!(done(&service, "compare", &two).await, expected);
        let before = json!({"result": result == "before"});
        assert_eq!(done(&service, "happenedBefore", &two).await, before);
    }
    // A message is read by a join with it.
    let two = json!({"node1": node("((0,1),0)", 1), "node2": note});
    let read = done(&service, "join", &two).await;
    assert_eq!((&read["value"], &read["stamp"]), (&json!(7), &json!("((0,1),(0,2,0))")));
}

#[tokio::test]
async fn stamps_are_answered_as_asked() {
    let service = service().await;
    let text = node("(1,3)", 1);
    let trees = done(&service, "peek?form=trees", &text).await;
    assert_eq!(trees["stamp"], json!({"itcId": leaf(0), "itcEvent": leaf(3)}));
    let back = done(&service, "peek?form=text", &trees).await;
    assert_eq!(back["stamp"], "(0,3)");
    let unknown = pair("InvalidParameter", "form");
    assert_eq!(refused(&service, "peek?form=xml", &text).await, unknown);
    assert_eq!(refused(&service, "peek?from=text", &text).await.0, "UnknownParameter");
}

#[tokio::test]
async fn overlapping_ids_are_refused() {
    let service = service().await;
    let two = json!({"node1": node("(((1,0),0),0)", 1), "node2": node("((1,0),1)", 2)});
    let error = post(&service, "join", &two).await.error(400);
    assert_eq!(error["code"], "OverlappingIds");
    assert_eq!(error["target"], "node2.stamp");
    assert_eq!(
        error["message"],
        "both stamps own the same part of the interval: `left` of their ids"
    );
}

#[tokio::test]
async fn what_is_no_stamp_is_refused_with_its_place() {
    let service = service().await;
    let trees = |id: Value, event: Value| json!({"stamp": {"itcId": id, "itcEvent": event}});
    let missing = json!({"isLeaf": false, "value": 0, "left": leaf(0)});
    let full = json!({"isLeaf": true, "value": 1, "left": leaf(0), "right": leaf(1)});
    for (body, place) in [
        (trees(leaf(2), leaf(0)), "stamp.itcId"),
        (trees(branch(0, leaf(1), leaf(2)), leaf(0)), "stamp.itcId.right"),
        (trees(branch(0, leaf(1), branch(0, leaf(1), leaf(1))), leaf(0)), "stamp.itcId.right"),
        (trees(branch(1, leaf(1), leaf(0)), leaf(0)), "stamp.itcId"),
        (trees(missing.clone(), leaf(0)), "stamp.itcId"),
        (trees(full, leaf(0)), "stamp.itcId"),
        (trees(leaf(1), branch(0, leaf(0), missing)), "stamp.itcEvent.right"),
        (trees(leaf(1), branch(0, leaf(1), leaf(2))), "stamp.itcEvent"),
        (trees(leaf(1), leaf(1 << 53)), "stamp.itcEvent"),
        (trees(leaf(1), branch((1 << 53) - 1, leaf(0), leaf(1))), "stamp.itcEvent"),
        (trees(leaf(1), json!({"isLeaf": true})), "stamp.itcEvent"),
        (json!({"stamp": "(1,(0,1,1))"}), "stamp"),
        (json!({"stamp": "(1,0)", "id": "seven"}), "id"),
        (json!({"stamp": "(1,0)", "conflictValue2": 1}), "conflictValue2"),
    ] {
        assert_eq!(refused(&service, "fork", &body).await, pair("InvalidNode", place), "{body}");
        let two = json!({"node1": {"stamp": "(0,0)"}, "node2": body});
        let place = format!("node2.{place}");
        assert_eq!(refused(&service, "join", &two).await, pair("InvalidNode", &place));
    }
    for (body, place) in [
        (json!({}), ""),
        (json!({"stamp": null}), "stamp"),
        (json!({"stamp": 1}), "stamp"),
        (json!({"stamp": "(1,0)", "hasConflict": "no"}), "hasConflict"),
        (json!({"stamp": "(1,0)", "newValue": 1}), "newValue"),
        (json!({"stamp": {"itcId": leaf(1)}}), "stamp"),
        (trees(leaf(1), json!({"isLeaf": true, "value": -1})), "stamp.itcEvent.value"),
        (
            trees(leaf(1), branch(0, json!({"isLeaf": true, "value": 0.5}), leaf(1))),
            "stamp.itcEvent.left.value",
        ),
    ] {
        assert_eq!(refused(&service, "peek", &body).await, pair("InvalidBody", place), "{body}");
    }
    let error = post(&service, "peek", &json!({"stamp": "(1, 0)"})).await.error(400);
    assert_eq!(
        error["message"],
        "not the text of a stamp: at byte 3: expected an event tree: `n` or `(n,l,r)`"
    );
}

#[tokio::test]
async fn events_without_a_value_count_whole_numbers_up() {
    let service = service().await;
    assert_eq!(done(&service, "event", &node("(1,0)", -3)).await["value"], -2);
    for value in [json!("text"), json!(0.5), json!(i64::MAX), Value::Null] {
        let refused = refused(&service, "event", &node("(1,0)", value)).await;
        assert_eq!(refused, pair("MissingValue", "newValue"));
    }
    let full = node("(1,9007199254740991)", 1);
    assert_eq!(refused(&service, "event", &full).await, pair("TooManyEvents", "stamp"));
}

/// An id of so many levels.
fn deep(levels: usize) -> String {
    format!("({}1{},0)", "(".repeat(levels), ",0)".repeat(levels))
}

#[tokio::test]
async fn deep_stamps_are_texts() {
    let service = service().await;
    let forked = done(&service, "fork?form=trees", &node(&deep(99), 1)).await;
    done(&service, "join", &forked).await;
    let refusal = refused(&service, "fork?form=trees", &node(&deep(100), 1)).await;
    assert_eq!(refusal, pair("StampTooDeep", "form"));
    done(&service, "fork", &node(&deep(999), 1)).await;
    let refusal = refused(&service, "fork", &node(&deep(1_000), 1)).await;
    assert_eq!(refusal, pair("StampTooDeep", "stamp"));
    let refusal = refused(&service, "fork", &node(&deep(1_001), 1)).await;
    assert_eq!(refusal, pair("InvalidNode", "stamp"));
    let mut tree = leaf(1);
    for _ in 0..200 {
        tree = branch(0, tree, leaf(0));
    }
    let nested = json!({"stamp": {"itcId": tree, "itcEvent": leaf(0)}});
    assert_eq!(refused(&service, "peek", &nested).await.0, "InvalidBody");
}

/// A tree of 2^levels places, no two neighbours being equal.
fn wide(levels: u32) -> Value {
    if levels == 0 {
        return leaf(0);
    }
    let (mut left, right) = (wide(levels - 1), wide(levels - 1));
    left["value"] = json!(left["value"].as_u64().expect("a number") + 1);
    branch(0, left, right)
}

#[tokio::test]
async fn large_stamps_are_limited_by_a_setting() {
    let shared = service().await;
    let large = json!({"stamp": {"itcId": leaf(1), "itcEvent": wide(12)}});
    let changed = done(&shared, "event", &{
        let mut large = large.clone();
        large["newValue"] = json!(1);
        large
    })
    .await;
    assert_eq!(changed["stamp"], json!({"itcId": leaf(1), "itcEvent": leaf(12)}));
    let mut same = large.clone();
    same["stamp"]["itcId"] = leaf(0);
    assert_eq!(done(&shared, "peek", &large).await["stamp"], same["stamp"]);

    let small = own_service(|settings| settings.max_stamp_nodes = 4).await;
    // 3 nodes and 1 are 4; the event makes it 6, the answer that is no request.
    let near = node("((1,0),0)", 1);
    done(&small, "peek", &near).await;
    assert_eq!(refused(&small, "event", &near).await, pair("StampTooLarge", "stamp"));
    let beyond = node("((1,0),(0,1,0))", 1);
    assert_eq!(refused(&small, "peek", &beyond).await, pair("InvalidNode", "stamp"));
    let beyond = json!({"stamp": {"itcId": leaf(0), "itcEvent": wide(2)}});
    let place = "stamp.itcEvent.left.right";
    assert_eq!(refused(&small, "peek", &beyond).await, pair("InvalidNode", place));
    small.end().await;
}
