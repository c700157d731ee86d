//! Many operations by one request: all of them or none.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sutbot::client::Client;
use sutbot::wire::{BatchMember, BatchRequest, JobsetDocument, JobsetRun, JobsetRuns};

use crate::support::{Answer, Service, own_service, service, shell, targets, two_services};

const BATCH: &str = "/v1.0/jobsets:batch";

impl Service {
    async fn post_batch(&self, jobsets: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let body = json!({"jobsets": jobsets}).to_string();
        self.send("POST", BATCH, &all, Some(body.into())).await
    }
}

/// A jobset that has ended as soon as a worker has it.
fn milestone() -> Value {
    json!({"steps": [{"name": "only"}]})
}

fn ids(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let members = answer["value"].as_array().expect("operations").iter();
    members.map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn members_of_both_forms_run() {
    let service = service().await;
    let definition = json!({
        "name": "many", "labels": {"of": "all"}, "context": {"who": "all"},
        "steps": [{"name": "only", "run": {"shell": "true"}}],
    });
    let mut alone = definition.clone();
    alone["labels"] = json!({"of": "one"});
    let runs = json!([{}, {"labels": {"of": "own"}}, {"labels": {}, "context": {"who": "own"}}]);
    let jobsets = json!([alone, {"jobset": definition, "runs": runs}, shell("true")]);
    let answer = service.post_batch(&jobsets, &[]).await.expect(202);
    assert_eq!(answer.header("retry-after"), "1");
    let all = answer.json()["value"].as_array().expect("operations").clone();
    let mut seen = Vec::new();
    for accepted in &all {
        let url = accepted["operationLocation"].as_str().expect("a link");
        let ended = service.ended(url).await;
        assert_eq!((&ended["id"], &ended["status"]), (&accepted["id"], &json!("succeeded")));
        let context = service.get(&format!("{url}/context")).await.expect(200).json();
        seen.push((ended["labels"]["of"].clone(), context["who"].clone()));
    }
    let expected = [("one", "all"), ("all", "all"), ("own", "all")];
    let mut expected: Vec<_> = expected.map(|(of, who)| (json!(of), json!(who))).into();
    expected.extend([(Value::Null, json!("own")), (Value::Null, Value::Null)]);
    assert_eq!(seen, expected);
    assert!(ids(&answer).is_sorted(), "they are in the order of the request");
    let digest = async |n: usize| {
        let jobset = service.get(&format!("/v1.0/jobsets/{}", ids(&answer)[n])).await.expect(200);
        jobset.json()["digest"].clone()
    };
    assert_eq!(digest(0).await, digest(1).await, "a definition is the same in both forms");
}

#[tokio::test]
async fn thousands_run_and_are_counted() {
    let service = own_service(|_| {}).await;
    let jobsets = json!([{"jobset": milestone(), "runs": vec![json!({}); 1_500]}]);
    let minimal = [("prefer", "return=minimal, wait=5")];
    let answer = service.post_batch(&jobsets, &minimal).await.expect(202);
    assert_eq!(answer.header("preference-applied"), "return=minimal");
    assert_eq!(answer.json()["value"][0].as_object().expect("an operation").len(), 1);
    let all = ids(&answer);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1_500);
    join_all(all.iter().map(async |id| {
        let ended = service.ended(&format!("/v1.0/operations/{id}")).await;
        assert_eq!(ended["status"], "succeeded");
    }))
    .await;
    assert_eq!(service.count().await, 1_500);
    let metrics = service.get("/metrics").await.expect(200);
    assert!(metrics.text().contains("\nmother_operations_submitted_total 1500\n"));
}

#[tokio::test]
async fn whatever_is_wrong_is_told_and_nothing_is_made() {
    let service = own_service(|s| s.slots = 0).await;
    let gated = json!({"steps": [{"name": "a"}], "concurrency": {"key": "{{ labels.env }}"}});
    let jobsets = json!([
        milestone(),
        {"steps": [{"name": ""}]},
        {"steps": [{"name": "a"}], "successPairs": [["a", "b"]]},
        {"jobset": {"steps": [{"name": "a"}, {"name": "a"}]}, "runs": [{}]},
        {"jobset": gated, "runs": [{"labels": {"env": "x"}}, {}, {"label": {}}]},
        {"jobset": gated, "runs": [{"labels": {"env": "x"}}, {}]},
        {"jobset": milestone(), "runs": [{"operationId": "a b"}, {"operationId": "twin"}]},
        {"jobset": milestone(), "runs": [{"operationId": "twin"}, {"context": {"a": "\0"}}]},
        5,
    ]);
    let error = service.post_batch(&jobsets, &[]).await.error(400);
    assert_eq!(error["code"], "InvalidJobset");
    assert_eq!(
        targets(&error),
        [
            "jobsets[1].steps[0].name",
            "jobsets[2].successPairs[0][1]",
            "jobsets[3].jobset.steps[1].name",
            "jobsets[4].runs[2].label",
            "jobsets[5].runs[1]",
            "jobsets[6].runs[0].operationId",
            "jobsets[7].runs[1].context.a",
            "jobsets[8]",
            "jobsets[7].runs[0].operationId",
        ]
    );
    // However many are wrong, each of them is told.
    let many = vec![json!({"steps": [{"nmae": "a"}]}); 300];
    let error = service.post_batch(&json!(many), &[]).await.error(400);
    let told: BTreeSet<String> =
        targets(&error).iter().map(|target| target.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(told.len(), 300);
    for (body, target) in [("", ""), ("{}", ""), (r#"{"jobsets": []}"#, "jobsets"), ("[", "")] {
        let answer = service.send("POST", BATCH, &[], Some(body.into())).await;
        assert_eq!(answer.error(400)["target"], target, "{body}");
    }
    assert_eq!(service.count().await, 0);
}

#[tokio::test]
async fn one_request_has_limits() {
    let service = own_service(|settings| {
        settings.slots = 0;
        settings.max_batch = 3;
        settings.max_batch_steps = 5;
        settings.max_body_bytes = 1_000;
    })
    .await;
    let two = json!({"steps": [{"name": "a"}, {"name": "b"}]});
    let runs = |count| vec![json!({}); count];
    for (jobsets, status, code) in [
        (json!(vec![milestone(); 4]), 400, "BatchTooLarge"),
        (json!([{"jobset": milestone(), "runs": runs(4)}]), 400, "BatchTooLarge"),
        (json!([milestone(), {"jobset": milestone(), "runs": runs(3)}]), 400, "BatchTooLarge"),
        (json!([{"jobset": two, "runs": runs(3)}]), 400, "BatchTooLarge"),
        (
            json!([{"jobset": {"steps": [{"name": "a"}], "context": {"x": "y".repeat(400)}},
                "runs": runs(3)}]),
            413,
            "PayloadTooLarge",
        ),
        (json!([{"name": "x".repeat(1_000)}]), 413, "PayloadTooLarge"),
    ] {
        let error = service.post_batch(&jobsets, &[]).await.error(status);
        assert_eq!(error["code"], code, "{error}");
    }
    assert_eq!(service.count().await, 0);
    let most = json!([two, {"jobset": milestone(), "runs": runs(2)}]);
    let body = json!({"jobsets": most}).to_string();
    service.send("POST", "/beta/jobsets:batch", &[], Some(body.into())).await.expect(202);
    assert_eq!(service.count().await, 3);
}

#[tokio::test]
async fn a_named_request_is_carried_out_once() {
    let service = own_service(|_| {}).await;
    let runs = json!([{}, {"labels": {"n": "1"}}, {"operationId": "third"}]);
    let jobsets = json!([{"jobset": milestone(), "runs": runs}, milestone()]);
    let named = [("idempotency-key", "\"batch\"")];
    let first = service.post_batch(&jobsets, &named).await.expect(202);
    for id in ids(&first) {
        service.ended(&format!("/v1.0/operations/{id}")).await;
    }
    let again = service.post_batch(&jobsets, &named).await.expect(202);
    assert_eq!(first.text(), again.text());
    assert_eq!(ids(&first)[2], "third");
    let error = service.post_batch(&json!([milestone()]), &named).await.error(422);
    assert_eq!(error["target"], "Idempotency-Key");
    // A request for a single jobset is another one.
    service.post(milestone().to_string(), &named).await.error(422);
    let sent = super::idempotency::sent(chrono::TimeDelta::zero());
    let repeatable =
        [("repeatability-request-id", "batch"), ("repeatability-first-sent", sent.as_str())];
    let first = service.post_batch(&jobsets, &repeatable).await.expect(202);
    assert_eq!(first.header("repeatability-result"), "accepted");
    assert_eq!(service.post_batch(&jobsets, &repeatable).await.text(), first.text());
    // The third one was made by the first request.
    assert_eq!(service.count().await, 4 + 3);
    let error = service.post_batch(&jobsets, &[("operation-id", "x")]).await.error(400);
    assert_eq!(error["target"], "Operation-Id");
    let metrics = service.get("/metrics").await.expect(200);
    assert!(metrics.text().contains("\nmother_operations_submitted_total 7\n"));
}

#[tokio::test]
async fn a_run_with_an_id_is_made_once() {
    let service = own_service(|s| s.slots = 0).await;
    let named = |ids: &[&str], jobset: &Value| {
        let runs: Vec<Value> = ids.iter().map(|id| json!({"operationId": id})).collect();
        json!([{"jobset": jobset, "runs": runs}])
    };
    let first = service.post_batch(&named(&["a", "b"], &milestone()), &[]).await.expect(202);
    assert_eq!(ids(&first), ["a", "b"]);
    let url = format!("{}/v1.0/operations/a", service.base);
    assert_eq!(first.json()["value"][0]["operationLocation"], url);
    assert_eq!(service.get(&url).await.expect(200).json()["id"], "a");
    let more = service.post_batch(&named(&["c", "b", "a"], &milestone()), &[]).await.expect(202);
    assert_eq!(ids(&more), ["c", "b", "a"]);
    assert_eq!(service.count().await, 3);
    let other = named(&["d", "b", "e", "a"], &shell("true"));
    let error = service.post_batch(&other, &[]).await.error(409);
    assert_eq!(error["code"], "OperationIdTaken");
    let taken = ["jobsets[0].runs[1].operationId", "jobsets[0].runs[3].operationId"];
    assert_eq!(targets(&error), taken);
    assert_eq!(service.count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_race_make_operations_once() {
    let services = two_services(|s| s.slots = 0).await;
    let runs: Vec<Value> = (0..20).map(|n| json!({"operationId": format!("run-{n}")})).collect();
    let mut turned = runs.clone();
    turned.reverse();
    let [jobsets, turned] =
        [runs, turned].map(|runs| json!([{"jobset": milestone(), "runs": runs}]));
    let post = async |n: usize| {
        let (service, jobsets) = (&services[n % 2], if n % 4 < 2 { &jobsets } else { &turned });
        service.post_batch(jobsets, &[]).await.expect(202)
    };
    join_all((0..8).map(post)).await;
    assert_eq!(services[0].count().await, 20);
    let named = [("idempotency-key", "raced")];
    let jobsets = json!([{"jobset": milestone(), "runs": vec![json!({}); 50]}]);
    let post = async |n: usize| services[n % 2].post_batch(&jobsets, &named).await.expect(202);
    let answers = join_all((0..8).map(post)).await;
    let first = ids(&answers[0]);
    assert!(answers.iter().all(|answer| ids(answer) == first));
    assert_eq!(services[1].count().await, 70);
}

#[tokio::test]
async fn terms_lanes_and_priorities_are_those_of_the_jobset() {
    let service = own_service(|s| s.slots = 4).await;
    let folder = tempfile::tempdir().expect("a folder");
    // Were there two at once, one of them could not make the folder.
    let held = "mkdir \"$PLACE/held\" && rmdir \"$PLACE/held\" && echo $N >> \"$PLACE/order\"";
    let job = |n: u32, priority: i32| {
        json!({
            "lane": "slow", "priority": priority,
            "steps": [{"name": "only", "run": {"shell": held},
                "env": {"PLACE": folder.path(), "N": n.to_string()}}],
            "concurrency": {"key": "{{ labels.key }}"}, "labels": {"key": "one"},
        })
    };
    let jobsets = json!([job(0, 0), job(1, 0), job(2, 5), job(3, -5), job(4, 5)]);
    let answer = service.post_batch(&jobsets, &[]).await.expect(202);
    for id in ids(&answer) {
        let ended = service.ended(&format!("/v1.0/operations/{id}")).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    let order = std::fs::read_to_string(folder.path().join("order")).expect("an order");
    assert_eq!(order, "2\n4\n0\n1\n3\n");
}

#[tokio::test]
async fn the_client_submits_many() {
    let service = own_service(|s| s.slots = 0).await;
    let client = Client::new(&service.base, None).expect("an address");
    let document: JobsetDocument = serde_json::from_value(milestone()).expect("a jobset");
    let document = Box::new(document);
    let runs = JobsetRuns { jobset: document.clone(), runs: vec![JobsetRun::default(); 3] };
    let batch = BatchRequest { jobsets: vec![BatchMember::One(document), BatchMember::Many(runs)] };
    let first = client.submit_batch(&batch, Some("a \"batch\"")).await.expect("an answer");
    let again = client.submit_batch(&batch, Some("a \"batch\"")).await.expect("an answer");
    assert_eq!(first, again);
    assert_eq!((first.value.len(), service.count().await), (4, 4));
    let other = client.submit_batch(&batch, None).await.expect("an answer");
    assert_ne!(first.value[0].id, other.value[0].id);
}
