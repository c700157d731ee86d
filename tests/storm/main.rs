//! Many operators at once: random verbs against a hundred living operations, over real HTTP, with
//! real processes. Afterwards every history is replayed by the rules of its machines, what the
//! clients were told is compared with what happened, and no process may be left.
//!
//! `SUTBOT_STORM_VERBS` says how many verbs there are, `SUTBOT_STORM_SEED` which.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/draw.rs"]
mod draw;
#[path = "../support/history.rs"]
mod history;
#[path = "../support/processes.rs"]
mod processes;
#[expect(dead_code, reason = "shared with the tests of the engine")]
#[path = "../engine/support.rs"]
mod support;
#[path = "../support/told.rs"]
mod told;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use draw::{Asked, Chance, GROUPS};
use futures_util::{StreamExt as _, stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use processes::marked;
use serde_json::{Value, json};
use sutbot::engine::Engine;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use told::{Move, done, note_moves};
use uuid::Uuid;

/// Verbs of an everyday run.
const VERBS: usize = 2_000;
const OPERATIONS: usize = 100;
const CLIENTS: usize = 8;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// What the clients share.
struct Storm {
    base: String,
    http: reqwest::Client,
    mark: String,
    /// The operations that are steered; one that has ended makes room for another.
    living: Mutex<Vec<Uuid>>,
    /// All that there ever were.
    all: Mutex<BTreeSet<Uuid>>,
    /// What the clients were told.
    told: Mutex<HashMap<Move, i64>>,
    trials: AtomicUsize,
    refusals: AtomicUsize,
    forks: AtomicUsize,
}

impl Storm {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1.0/{path}", self.base);
        let answer = self.http.post(url).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    async fn submit(&self, chance: &mut Chance) -> Uuid {
        loop {
            // What can never run is refused and drawn again.
            let (status, answer) = self.post("jobsets", &draw::jobset(chance, &self.mark)).await;
            if status == 202 {
                return self.note(&answer["id"]);
            }
            assert_eq!(status, 400, "{answer}");
        }
    }

    fn note(&self, id: &Value) -> Uuid {
        let id = id.as_str().unwrap().parse().unwrap();
        self.all.lock().unwrap().insert(id);
        id
    }

    fn take_note(&self, id: Uuid, asked: &Asked, moved: &Value) {
        if asked.is_trial {
            self.trials.fetch_add(1, Ordering::Relaxed);
            return;
        }
        note_moves(&mut self.told.lock().unwrap(), id, asked.action, moved);
    }

    async fn steer_one(&self, chance: &mut Chance) {
        let place = chance.below(OPERATIONS);
        let id = self.living.lock().unwrap()[place];
        if chance.one_in(60) {
            let force = if chance.one_in(3) { "?force=true" } else { "" };
            let url = format!("{}/v1.0/operations/{id}{force}", self.base);
            let status = self.http.delete(url).send().await.unwrap().status().as_u16();
            assert!([200, 202].contains(&status), "{status}");
            return;
        }
        let asked = draw::verb(chance);
        let (status, answer) =
            self.post(&format!("operations/{id}/{}", asked.verb), &asked.body).await;
        let next = match status {
            200 => {
                self.take_note(id, &asked, &answer["value"]);
                return;
            }
            202 => {
                self.forks.fetch_add(1, Ordering::Relaxed);
                Some(self.note(&answer["id"]))
            }
            409 => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                let is_over = answer["error"]["code"] != "TransitionNotAllowed";
                if is_over { Some(self.successor(chance, id).await) } else { None }
            }
            _ => panic!("{status} {answer} to {} {}", asked.verb, asked.body),
        };
        if let Some(next) = next {
            self.living.lock().unwrap()[place] = next;
        }
    }

    /// What takes the place of an operation that has ended: one that runs some of it again, or a new
    /// one.
    async fn successor(&self, chance: &mut Chance, id: Uuid) -> Uuid {
        if chance.one_in(3) {
            let body = json!({"cascade": chance.one_in(2), "tags": {"kind": "x"}});
            let (status, answer) = self.post(&format!("operations/{id}/rerun"), &body).await;
            if status == 202 {
                self.forks.fetch_add(1, Ordering::Relaxed);
                return self.note(&answer["id"]);
            }
        }
        self.submit(chance).await
    }

    /// The same verb for a group, or the end of some of it.
    async fn steer_many(&self, chance: &mut Chance) {
        let asked = draw::verb(chance);
        let is_end = chance.one_in(6);
        let group = chance.below(GROUPS);
        let filter = format!(
            "labels/group eq 'g{group}' and not (status in ('succeeded','failed','canceled'))"
        );
        let top = if is_end { 2 } else { 20 };
        let verb = if is_end { "cancel" } else { asked.verb };
        let body = if is_end { json!({"dryRun": asked.is_trial}) } else { asked.body.clone() };
        let mut url =
            reqwest::Url::parse(&format!("{}/v1.0/operations/{verb}", self.base)).unwrap();
        url.query_pairs_mut().append_pair("$filter", &filter).append_pair("$top", &top.to_string());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.unwrap();
        // The actions of machines are known only where an operation with that machine was found.
        if status == 404 && ["open", "lock", "unlock"].contains(&verb) {
            return;
        }
        assert_eq!(status, 200, "{verb} {body} {answer}");
        for operation in answer["value"].as_array().unwrap() {
            let id = operation["id"].as_str().unwrap().parse().unwrap();
            if !is_end {
                self.take_note(id, &asked, &operation["moved"]);
            }
            if operation["forked"].is_string() {
                self.note(&operation["forked"]);
            }
        }
    }

    async fn client(&self, number: u64, verbs: usize, seed: u64) {
        let mut chance = Chance(seed ^ (number << 32));
        for _ in 0..verbs {
            if chance.one_in(25) {
                self.steer_many(&mut chance).await;
            } else {
                self.steer_one(&mut chance).await;
            }
        }
    }

    async fn operation(&self, id: Uuid, wait: u32) -> Value {
        let url = format!("{}/v1.0/operations/{id}", self.base);
        let answer = self.http.get(url).header("prefer", format!("wait={wait}")).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// Lets an operation go on as far as it can, and then ends it.
    async fn finish(&self, id: Uuid) -> Value {
        let is_final = |operation: &Value| {
            ["succeeded", "failed", "canceled"].contains(&operation["status"].as_str().unwrap())
        };
        for _ in 0..4 {
            let operation = self.operation(id, 0).await;
            if is_final(&operation) {
                return operation;
            }
            let whole = json!({"scope": "operation"});
            self.post(&format!("operations/{id}/resume"), &whole).await;
            for verb in ["start", "unblock", "unskip", "resume", "run-now", "unlock", "open"] {
                let (status, answer) =
                    self.post(&format!("operations/{id}/{verb}"), &json!({})).await;
                if status == 200 {
                    let asked = Asked { verb, action: verb, body: Value::Null, is_trial: false };
                    self.take_note(id, &asked, &answer["value"]);
                }
            }
            self.operation(id, 1).await;
        }
        let url = format!("{}/v1.0/operations/{id}", self.base);
        self.http.delete(url).send().await.unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let operation = self.operation(id, 5).await;
            if is_final(&operation) {
                return operation;
            }
            assert!(Instant::now() < deadline, "it does not end: {operation}");
        }
    }

    /// What the clients were told is what happened, each move once; so trials moved nothing.
    fn compare(&self, happened: &HashMap<Move, i64>) {
        let told = self.told.lock().unwrap();
        let keys: BTreeSet<&Move> = told.keys().chain(happened.keys()).collect();
        let differing: Vec<_> = keys
            .into_iter()
            .map(|key| (key, told.get(key).unwrap_or(&0), happened.get(key).unwrap_or(&0)))
            .filter(|(_, told, happened)| told != happened)
            .collect();
        assert!(differing.is_empty(), "(step, told, happened): {differing:?}");
    }
}

async fn serve(database: &str, folder: &Path, mark: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(["serve", "--listen", "127.0.0.1:0", "--slots", "16", "--database-url", database])
        .arg("--data-dir")
        .arg(folder)
        .env("STORM_SERVER", mark)
        .env("MOTHER_PASS_ENV", "STORM_SERVER")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    (child, line.strip_prefix("listening on ").expect("it is ready").to_owned())
}

/// Replays all histories; answers what operators did by them.
async fn replay(engine: &Engine, all: &BTreeSet<Uuid>) -> HashMap<Move, i64> {
    let mut happened = HashMap::new();
    for id in all {
        let found = engine.operation(*id).await.unwrap();
        let events = support::history(engine, *id).await;
        history::check(&found, &events);
        happened.extend(done(&found, &events, found.view.forked_from.is_some()));
    }
    happened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_operators_do_the_history_is_right_and_nothing_is_left() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let verbs = setting("SUTBOT_STORM_VERBS", VERBS);
    let seed = u64::try_from(setting("SUTBOT_STORM_SEED", 1)).unwrap();
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let database = support::database().await;
    let process = std::process::id();
    let (step_mark, server_mark) =
        (format!("storm-step-{process}-"), format!("storm-server-{process}-"));
    let (mut child, base) = serve(&database, folder.path(), &server_mark).await;
    let storm = Arc::new(Storm {
        base,
        http: reqwest::Client::new(),
        mark: step_mark.clone(),
        living: Mutex::default(),
        all: Mutex::default(),
        told: Mutex::default(),
        trials: AtomicUsize::new(0),
        refusals: AtomicUsize::new(0),
        forks: AtomicUsize::new(0),
    });
    let mut chance = Chance(seed);
    for _ in 0..OPERATIONS {
        let id = storm.submit(&mut chance).await;
        storm.living.lock().unwrap().push(id);
    }
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let storm = Arc::clone(&storm);
        clients.spawn(async move {
            storm.client(u64::try_from(number).unwrap() + 1, verbs / CLIENTS, seed).await;
        });
    }
    clients.join_all().await;
    let stormed = begun.elapsed();

    let all = storm.all.lock().unwrap().clone();
    let ended: Vec<Value> =
        stream::iter(&all).map(|id| storm.finish(*id)).buffer_unordered(CLIENTS).collect().await;
    assert_eq!(marked(&step_mark), [""; 0], "a process outlives its operation");
    assert!(!marked(&server_mark).is_empty(), "marks cannot be seen");
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
    support::within(child.wait()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !marked(&server_mark).is_empty() {
        assert!(Instant::now() < deadline, "left by the server: {:?}", marked(&server_mark));
    }

    let engine = support::engine(&database).await;
    let happened = replay(&engine, &all).await;
    engine.shut_down().await;
    storm.compare(&happened);
    let mut ends: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for operation in &ended {
        *ends.entry(operation["state"].as_str().unwrap()).or_default() += 1;
    }
    let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{verbs} verbs in {stormed:.1?}, {} moves told, {} trials, {} refusals, {} forks, {} \
         operations: {ends:?}; all in {:.1?}",
        storm.told.lock().unwrap().values().sum::<i64>(),
        number(&storm.trials),
        number(&storm.refusals),
        number(&storm.forks),
        all.len(),
        begun.elapsed()
    );
}
