//! Two hundred descendants that resist: none is left once the service says that their step has ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sutbot::runner::process::GroundChoice;

use crate::processes::marked;
use crate::resist::{RESIST, rounds};
use crate::steering::step;
use crate::support::{OwnService, PATIENCE, own_service};

const GRACE: Duration = Duration::from_millis(300);

/// A step that resists, and that carries `mark`.
fn hostile(mark: &str, in_group: bool) -> Value {
    let mut step = step("hostile", RESIST);
    step["env"] = json!({"HOSTILE": mark});
    step["grace"] = json!("300ms");
    if in_group {
        step["containment"] = json!(["cgroup"]);
    }
    step
}

/// Whether this host has control groups for steps. Where it has none, both tests are about the sweep
/// alone.
async fn has_groups(service: &OwnService) -> bool {
    let mut probe = step("probe", "true");
    probe["containment"] = json!(["cgroup"]);
    let url = service.submit(&json!({"steps": [probe]})).await.url;
    service.ended(&url).await["state"] == "Succeeded"
}

/// Waits until all of them are up: each shell has a `sleep` below it.
async fn wait_for_all(mark: &str) {
    let deadline = Instant::now() + PATIENCE;
    while marked(mark).len() <= 400 {
        assert!(Instant::now() < deadline, "only {} are up", marked(mark).len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How the step is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Cancel,
    Abort,
    Timeout,
    Interrupt,
    Shutdown,
}

async fn service(walls: &GroundChoice) -> OwnService {
    own_service(|settings| {
        settings.cgroup = walls.clone();
        settings.drain = Duration::ZERO;
    })
    .await
}

/// Ends such a step and looks for what is left of it; how long that took beyond the grace time.
async fn round(end: End, walls: &GroundChoice, number: usize) -> Duration {
    let service = service(walls).await;
    let mark = format!("{end:?}-{walls:?}-{number}-{}", std::process::id());
    let mut hostile = hostile(&mark, has_groups(&service).await);
    if let End::Timeout = end {
        hostile["timeout"] = json!("3s");
    }
    let url = service.submit(&json!({"steps": [hostile]})).await.url;
    let begun = service.in_state(&url, "hostile", "Running").await;
    wait_for_all(&mark).await;
    let asked = Instant::now();
    match end {
        End::Cancel => _ = service.delete(&url).await.expect(202),
        End::Abort => _ = service.delete(&format!("{url}?force=true")).await.expect(202),
        End::Timeout => {}
        End::Interrupt => {
            service.verb(&url, "interrupt", &json!({"steps": ["hostile"]})).await.expect(200);
            service.gone(&url, "hostile").await;
        }
        End::Shutdown => {
            service.end().await;
            assert_eq!(marked(&mark), Vec::<String>::new(), "{end:?} with {walls:?}");
            return asked.elapsed().saturating_sub(GRACE);
        }
    }
    if !matches!(end, End::Interrupt) {
        service.ended(&url).await;
    }
    let took = asked.elapsed().saturating_sub(GRACE);
    assert_eq!(marked(&mark), Vec::<String>::new(), "{end:?} with {walls:?}, begun {begun}");
    let attempt = service.step(&url, "hostile").await["attempts"][0].clone();
    let swept = attempt["usage"]["swept"].as_u64();
    assert!(swept.is_some_and(|swept| swept >= 200), "{end:?} with {walls:?}: {attempt}");
    service.delete(&url).await;
    service.ended(&url).await;
    service.end().await;
    took
}

async fn none_is_left(walls: GroundChoice) {
    for end in [End::Cancel, End::Abort, End::Timeout, End::Interrupt, End::Shutdown] {
        let mut longest = Duration::ZERO;
        for number in 0..rounds(1) {
            longest = longest.max(round(end, &walls, number).await);
        }
        if !matches!(end, End::Timeout) {
            println!("{end:?}, {walls:?}: gone at most {longest:.2?} after the grace time");
        }
    }
}

#[tokio::test]
async fn none_of_two_hundred_is_left() {
    none_is_left(GroundChoice::Own).await;
}

#[tokio::test]
async fn none_of_two_hundred_is_left_without_control_groups() {
    none_is_left(GroundChoice::Nowhere).await;
}
