//! Sections F, G and H: questions to the collections, over one small world of operations.

mod filter;
mod hostile;
mod order;
mod pages;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{Answer, OwnService, Service, own_service};

pub(crate) const LIST: &str = "/v1.0/operations";

/// The operations that all questions are about, in the order of their creation:
///
/// | | name | status | labels |
/// |---|---|---|---|
/// | 0 | `alpha` | succeeded, context `{"seed": 5}` | branch main, suite unit |
/// | 1 | `O'Neil` | failed | branch main |
/// | 2 | `100%_\` | failed: a step timed out | branch main |
/// | 3 | `ÄRGER` | succeeded | |
/// | 4 | `held` | running, wants attention | branch dev |
/// | 5 | `busy` | running | branch dev |
/// | 6 | `queued` | notstarted | branch main |
/// | 7 | `a&b=c` | canceled | branch dev |
pub(crate) struct World {
    service: OwnService,
    pub(crate) ids: Vec<String>,
}

async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_init(World::new).await
}

/// The world, and a client of its own for each test.
pub(crate) async fn asking() -> (Service, &'static World) {
    let world = world().await;
    (Service::at(world.service.base.clone()), world)
}

fn job(name: &str, labels: &Value, step: &Value) -> Value {
    let mut only = json!({"name": "only"});
    for (key, value) in step.as_object().expect("an object") {
        only[key] = value.clone();
    }
    json!({"name": name, "labels": labels, "steps": [only]})
}

impl World {
    async fn new() -> Self {
        let service = own_service(|s| s.slots = 1).await;
        let (main, dev) = (json!({"branch": "main"}), json!({"branch": "dev"}));
        let run = |text: &str| json!({"run": {"shell": text}});
        let mut alpha = job("alpha", &json!({"branch": "main", "suite": "unit"}), &run("true"));
        alpha["context"] = json!({"seed": 5, "deep": {"er": "yes"}, "flag": true});
        let mut timed = run("sleep 60");
        (timed["timeout"], timed["grace"]) = ("100ms".into(), "100ms".into());
        let mut ids = Vec::new();
        for ending in [
            alpha,
            job("O'Neil", &main, &run("exit 1")),
            job("100%_\\", &main, &timed),
            job("ÄRGER", &json!({}), &run("true")),
        ] {
            let submitted = service.submit(&ending).await;
            service.ended(&submitted.url).await;
            ids.push(submitted.id());
        }
        let mut held = run("exit 1");
        held["onFailure"] = "hold".into();
        let held = service.submit(&job("held", &dev, &held)).await;
        service.until(&held.url, |operation| operation["attention"] == true).await;
        let busy = service.submit(&job("busy", &dev, &run("sleep 600"))).await;
        service.running(&busy.url).await;
        let queued = service.submit(&job("queued", &main, &run("true"))).await;
        let gone = service.submit(&job("a&b=c", &dev, &run("true"))).await;
        service.delete(&gone.url).await.expect(200);
        ids.extend([held.id(), busy.id(), queued.id(), gone.id()]);
        Self { service, ids }
    }

    /// The numbers of the operations on a page.
    pub(crate) fn numbers(&self, page: &Value) -> Vec<usize> {
        let members = page["value"].as_array().expect("a list");
        let number = |member: &Value| self.ids.iter().position(|id| member["id"] == **id);
        members.iter().map(|member| number(member).expect("one of those known")).collect()
    }
}

/// Percent-encodes everything that could mean something in a URL.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect::<Vec<String>>()
        .concat()
}

/// Asks with one option.
pub(crate) async fn ask(service: &Service, option: &str, text: &str) -> Answer {
    service.get(&format!("{LIST}?{option}={}", encode(text))).await
}

/// Which operations meet each of these filters: as members, and as a number.
pub(crate) async fn hold(rows: &[(&str, &[usize])]) {
    let (service, world) = asking().await;
    for (filter, expected) in rows {
        let text = encode(filter);
        let answer = service.get(&format!("{LIST}?$filter={text}&$orderby=createdDateTime")).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.text());
        assert_eq!(world.numbers(&answer.json()), *expected, "{filter}");
        let answer = service.get(&format!("{LIST}/$count?$filter={text}")).await.expect(200);
        assert_eq!(answer.text(), expected.len().to_string(), "{filter}");
    }
}

/// Every filter is a 400 about `$filter` that says `word`; the service lives on.
pub(crate) async fn refused(rows: &[(&str, &str)]) {
    let (service, _) = asking().await;
    for (filter, word) in rows {
        let answer = ask(&service, "$filter", filter).await;
        assert_eq!(answer.status, 400, "{filter}: {}", answer.text());
        let error = answer.error(400);
        assert_eq!(error["target"], "$filter", "{filter}: {error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(word), "{filter}: {message}");
    }
}
