//! Concurrency keys and rate limits, as clients see them.

use serde_json::{Value, json};

use crate::support::{Service, service, targets, two_services};

fn job(key: &str, rule: &str, shell: &str) -> Value {
    json!({
        "steps": [{"name": "only", "grace": "100ms", "run": {"shell": shell}}],
        "concurrency": {"key": key, "onConflict": rule},
    })
}

async fn state(service: &Service, url: &str, state: &str) -> Value {
    let has = |operation: &Value| operation["state"] == state;
    service.until(url, has).await.json()
}

#[tokio::test]
async fn who_waits_is_told_for_whom() {
    let service = service().await;
    let first = service.submit(&job("told", "queue", "sleep 1000")).await;
    state(&service, &first.url, "Running").await;
    let second = service.submit(&job("told", "queue", "true")).await;
    let made = second.answer.json();
    assert_eq!((&made["status"], &made["awaitsAdmission"]), (&json!("notstarted"), &json!(true)));
    let third = service.submit(&job("told", "queue", "true")).await;
    let said = format!("it waits for the concurrency key `told`: 1 of 1 is held by {}", first.id());
    for (url, more) in [
        (second.url.clone(), ""),
        (format!("{}/steps/only", second.url), ""),
        (third.url.clone(), "; 1 operation stands before it in line"),
    ] {
        let told = service.get(&format!("{url}/explain")).await.expect(200).json();
        let because = told["because"].as_array().expect("causes");
        assert_eq!(because.len(), 1, "{told}");
        assert_eq!(because[0]["message"], format!("{said}{more}"));
        assert_eq!(because[0]["kind"], "operation");
    }
    let filter = "/v1.0/operations?$filter=awaitsAdmission and status eq 'notstarted'&$select=id";
    let listed = service.get(filter).await.expect(200).json();
    let ids: Vec<&Value> = listed["value"].as_array().expect("a page").iter().collect();
    assert!(ids.iter().any(|listed| listed["id"] == second.id()), "{listed}");
    service.delete(&second.url).await.expect(200);
    service.delete(&first.url).await.expect(202);
    let third = state(&service, &third.url, "Succeeded").await;
    assert_eq!(third.get("awaitsAdmission"), None);
}

#[tokio::test]
async fn the_answer_to_one_that_makes_way_is_not_its_end() {
    let service = service().await;
    let first = service.submit(&job("way", "queue", "sleep 1000")).await;
    state(&service, &first.url, "Running").await;
    let wait = [("prefer", "wait=30")];
    let made = service.submit_with(&job("way", "cancelNew", "true"), &wait).await;
    assert_eq!(made.answer.json()["status"], "notstarted");
    let ended = state(&service, &made.url, "Cancelled").await;
    let record = &ended["cancellation"];
    assert_eq!((&record["code"], &record["key"]), (&json!("ConcurrencyConflict"), &json!("way")));
    assert_eq!(record["heldBy"], first.id());
    let newer = service.submit(&job("way", "cancelRunning", "true")).await;
    let ended = state(&service, &first.url, "Cancelled").await;
    assert_eq!(ended["cancellation"]["supersededBy"], newer.id());
    state(&service, &newer.url, "Succeeded").await;
}

#[tokio::test]
async fn a_turn_is_waited_for_until_a_time() {
    let service = service().await;
    let limited = json!({
        "steps": [{"name": "only"}],
        "rateLimit": {"key": "hourly", "limit": 1, "per": "1h"},
    });
    let first = service.submit(&limited).await;
    state(&service, &first.url, "Succeeded").await;
    let second = service.submit(&limited).await;
    let told = loop {
        let told = service.get(&format!("{}/explain", second.url)).await.expect(200).json();
        if told["because"][0]["kind"] == "timer" {
            break told;
        }
    };
    let because = &told["because"][0];
    let until = because["until"].as_str().expect("a time");
    let said = format!("it waits for the rate limit `hourly` of 1 per 1h until {until}");
    assert_eq!(because["message"], said);
    let events = service.get(&format!("{}/events", first.url)).await.expect(200).json();
    let kinds: Vec<&str> =
        events["value"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds[..2], ["submitted", "admitted"]);
    service.delete(&second.url).await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_with_its_place() {
    let service = service().await;
    for (concurrency, target, part) in [
        (json!({"key": "{{ labels.env }}"}), "concurrency.key", "`labels.env` is not given"),
        (json!({"key": "{{ context.a.b }}"}), "concurrency.key", "`context.a.b` is no text"),
        (json!({"key": "{{ labels.env"}), "concurrency.key", "not closed"),
        (json!({"key": "{{ steps.a }}"}), "concurrency.key", "no placeholder"),
        (json!({"key": "{% if x %}"}), "concurrency.key", "only"),
        (json!({"key": ""}), "concurrency.key", "bytes"),
        (json!({"key": "a", "limit": 0}), "concurrency.limit", "between 1 and 1000"),
        (json!({"key": "a", "limit": 1001}), "concurrency.limit", "between 1 and 1000"),
        (json!({"key": "a", "onConflict": "fight"}), "concurrency.onConflict", "queue"),
    ] {
        let job = json!({
            "steps": [{"name": "a"}], "context": {"a": {"b": []}}, "concurrency": concurrency,
        });
        let error = service.post(job.to_string(), &[]).await.error(400);
        assert_eq!(targets(&error), [target], "{error}");
        let message = error["details"][0]["message"].as_str().expect("a message");
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn two_servers_keep_one_line() {
    let services = two_services(|_| {}).await;
    let mut urls = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..12 {
        let held = "mkdir \"$HOME_OF_KEY/held\" && sleep 0.05 && rmdir \"$HOME_OF_KEY/held\"";
        let mut job = job("one", "queue", held);
        job["steps"][0]["env"] = json!({"HOME_OF_KEY": folder.path()});
        urls.push(services[n % 2].submit(&job).await.url);
    }
    for (n, url) in urls.iter().enumerate() {
        let id = url.rsplit('/').next().expect("an id");
        let url = format!("/v1.0/operations/{id}");
        // Were there two at once, one of them could not make the folder.
        state(&services[(n + 1) % 2], &url, "Succeeded").await;
    }
    for service in services {
        service.end().await;
    }
}
