//! Lanes, priorities and labels that steps require, from the document to the worker.

use serde_json::{Value, json};
use sutbot::cli::HostSettings;

use crate::support::{Service, own_service, service, targets, two_services_apart};

fn label(key: &str, value: &str) -> impl Fn(&mut HostSettings) {
    move |settings| _ = settings.profile.labels.insert(key.to_owned(), value.to_owned())
}

fn requiring(labels: &Value) -> Value {
    json!({"steps": [{"name": "a", "run": {"shell": "true"}, "requires": labels}]})
}

async fn because(service: &Service, url: &str) -> String {
    let explained = service.get(&format!("{url}/steps/a/explain")).await.expect(200).json();
    explained["because"][0]["message"].as_str().expect("a cause").to_owned()
}

#[tokio::test]
async fn of_two_servers_the_one_with_the_label_runs_the_step() {
    let [plain, gpu] = two_services_apart(|settings| settings.slots = 1, label("gpu", "yes")).await;
    for _ in 0..3 {
        let url = plain.submit(&requiring(&json!({"gpu": "yes"}))).await.url;
        assert_eq!(plain.ended(&url).await["status"], "succeeded");
    }
    let url = gpu.submit(&requiring(&json!({"gpu": "yes", "os": "plan9"}))).await.url;
    assert_eq!(
        because(&gpu, &url.replace(&plain.base, &gpu.base)).await,
        "`a` waits: no worker with gpu=yes, os=plan9 is registered; of 2 workers, 1 lacks gpu=yes, \
         2 lack os=plan9"
    );
    gpu.delete(&url).await.expect(200);
    plain.end().await;
    gpu.end().await;
}

#[tokio::test]
async fn what_waits_in_a_lane_that_nobody_serves_says_so() {
    let serves = |settings: &mut HostSettings| {
        settings.profile.lanes = Some(["default".to_owned()].into());
    };
    let service = own_service(serves).await;
    let job = json!({"lane": "nightly", "priority": -5,
        "steps": [{"name": "a", "run": {"shell": "true"}}]});
    let url = service.submit(&job).await.url;
    assert_eq!(
        because(&service, &url).await,
        "`a` waits: no worker for the lane `nightly` is registered; of 1 worker, 1 does not take from \
         that lane"
    );
    // Those that it serves are not held up by that.
    let job = json!({"priority": 100, "steps": [{"name": "a", "run": {"shell": "true"}}]});
    let other = service.submit(&job).await.url;
    assert_eq!(service.ended(&other).await["status"], "succeeded");
    service.delete(&url).await.expect(200);
    service.end().await;
}

#[tokio::test]
async fn labels_that_cannot_be_are_told() {
    let service = service().await;
    let many: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    for (labels, target) in [
        (json!({"": "x"}), "steps[0].requires."),
        (json!({"a": "x\u{0}"}), "steps[0].requires.a"),
        (json!({"a": "x\ny"}), "steps[0].requires.a"),
        (json!({"a": "x".repeat(1_001)}), "steps[0].requires"),
        (Value::Object(many), "steps[0].requires"),
    ] {
        let body = requiring(&labels).to_string();
        let error = service.post(body, &[("content-type", "application/json")]).await.error(400);
        let found = targets(&error);
        assert!(error["target"] == target || found.contains(&target), "{error}");
    }
}
