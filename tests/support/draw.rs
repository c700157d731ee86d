//! Random jobsets and random verbs.

use serde_json::{Map, Value, json};

/// The verbs of steps, those of the jobsets' own machine among them.
const VERBS: [&str; 16] = [
    "start",
    "pause",
    "resume",
    "interrupt",
    "skip",
    "unskip",
    "rerun",
    "block",
    "unblock",
    "next",
    "hold",
    "unhold",
    "run-now",
    "open",
    "lock",
    "unlock",
];

const STATES: [&str; 12] = [
    "Waiting",
    "Running",
    "Paused",
    "Interrupted",
    "Error",
    "ToSkip",
    "Skipped",
    "Blocked",
    "Succeeded",
    "Failed",
    "Shut",
    "Locked",
];

/// The steps of every jobset.
const STEPS: usize = 7;

/// Groups of operations, by label.
pub(crate) const GROUPS: usize = 10;

/// `SplitMix64`: the same storm for the same seed, as far as the clients' race allows.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("small");
        usize::try_from((z ^ (z >> 31)) % limit).expect("below the limit")
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A jobset of milestones, short processes, failures of all kinds and a machine of its own. Every
/// process carries `mark` in its environment.
pub(crate) fn jobset(chance: &mut Chance, mark: &str) -> Value {
    let run = |name: &str, text: &str| json!({"name": name, "run": {"shell": text}, "env": {"STORM_STEP": mark}, "grace": "200ms"});
    let mut steps = [
        json!({"name": "s0"}),
        run("s1", "sleep 0.05"),
        run("s2", "[ $SUT_ATTEMPT -ge 3 ]"),
        run("s3", "[ $SUT_ATTEMPT -ge 2 ]"),
        run("s4", "sleep 1000 & sleep 0.2; kill %1"),
        run("s5", "exit 1"),
        json!({"name": "s6", "machine": "door", "env": {"STORM_STEP": mark}, "grace": "200ms"}),
    ];
    steps[2]["retry"] = json!({"maxAttempts": 2, "backoff": "30ms"});
    for n in [2, 3, 5] {
        let policies = ["fail", "hold", "continue", "skip"];
        steps[n]["onFailure"] = json!(chance.of(&policies));
    }
    for step in &mut steps {
        step["tags"] = json!({"kind": chance.of(&["x", "y"])});
        if step.get("machine").is_none() && chance.one_in(8) {
            step["initialState"] = json!("Paused");
        }
    }
    if chance.one_in(3) {
        steps[4]["guards"] = json!({"pause": {"s1": ["Waiting", "Succeeded"]}});
    }
    let (mut success, mut failure) = (Vec::new(), Vec::new());
    for n in 1..STEPS {
        let pair = |from: usize| json!([format!("s{from}"), format!("s{n}")]);
        if chance.one_in(2) {
            success.push(pair(chance.below(n)));
        } else if n > 2 && chance.one_in(2) {
            failure.push(pair(*chance.of(&[2, 3, 5][..if n > 5 { 3 } else { n - 2 }.min(2)])));
        }
    }
    if chance.one_in(4) {
        steps[6]["need"] = json!("any");
    }
    if chance.one_in(3) {
        steps[4]["ensure"] = json!(true);
    }
    if chance.one_in(4) {
        steps[3]["queueTimeout"] = json!("40ms");
        steps[2]["totalTimeout"] = json!("50ms");
    }
    let mut steps = steps.to_vec();
    let mut undo = run("undo", "sleep 0.02");
    undo["compensates"] = json!("s1");
    let mut notify = run("notify", "sleep 0.02");
    notify["cleanUp"] = json!(true);
    steps.extend([undo, notify]);
    let on_cancel = chance.of(&["nothing", "cleanUp", "compensate"]);
    let mut jobset = json!({
        "name": "storm", "steps": steps, "onCancel": on_cancel, "successPairs": success, "failurePairs": failure,
        "labels": {"group": format!("g{}", chance.below(GROUPS))}, "machines": {"door": door()}
    });
    limit(chance, &mut jobset);
    jobset
}

/// What some operations do not do, not all at once, or not for long.
fn limit(chance: &mut Chance, jobset: &mut Value) {
    if chance.one_in(5) {
        jobset["start"] = json!("manual");
    }
    if chance.one_in(8) {
        jobset["deadline"] = json!("500ms");
    }
    if chance.one_in(4) {
        jobset["maxConcurrency"] = json!(1 + chance.below(2));
    }
    if chance.one_in(4) {
        // Nobody waits for one that operators hold.
        jobset["concurrency"] =
            json!({"key": "{{ labels.group }}", "limit": 2, "onConflict": "cancelRunning"});
    }
    if chance.one_in(4) {
        jobset["rateLimit"] = json!({"key": "storm", "limit": 2, "per": "50ms"});
    }
}

/// A door that is opened by whoever comes, with a process while it is open.
fn door() -> Value {
    let rule =
        |from: &str, action: &str, to: &str| json!({"from": from, "action": action, "to": to});
    let mut enter = rule("Closed", "enter", "Shut");
    enter["automatic"] = json!(true);
    json!({
        "initial": "Closed",
        "states": {
            "Closed": {}, "Shut": {}, "Locked": {},
            "Open": {"run": {"shell": "sleep 0.05; [ $SUT_ATTEMPT -ge 2 ]"},
                     "outcomes": {"succeed": "leave", "fail": "slam"}},
            "Done": {"final": "succeeded"}, "Broken": {"final": "failed"}
        },
        "transitions": [enter, rule("Shut", "open", "Open"), rule("Shut", "lock", "Locked"),
            rule("Locked", "unlock", "Shut"), rule("Open", "leave", "Done"),
            rule("Open", "slam", "Shut"), rule("Open", "lock", "Locked"),
            rule("Shut", "skip", "Broken")]
    })
}

/// What a client sends.
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    /// The action by which the history tells it.
    pub(crate) action: &'static str,
    pub(crate) body: Value,
    pub(crate) is_trial: bool,
}

/// A verb with a random selection.
pub(crate) fn verb(chance: &mut Chance) -> Asked {
    let verb = *chance.of(&VERBS);
    let mut body = Map::new();
    let name = |chance: &mut Chance| format!("s{}", chance.below(STEPS));
    match chance.below(8) {
        0 => {}
        1 => _ = body.insert("tags".into(), json!({"kind": chance.of(&["x", "y"])})),
        2 => _ = body.insert("states".into(), json!([chance.of(&STATES), chance.of(&STATES)])),
        3 => _ = body.insert("filter".into(), json!(format!("n ge {}", chance.below(STEPS)))),
        _ => _ = body.insert("steps".into(), json!([name(chance), name(chance)])),
    }
    if chance.one_in(10) {
        body.insert("branch".into(), json!(true));
    }
    if verb == "next" && chance.one_in(2) {
        body.insert("count".into(), json!(1 + chance.below(3)));
    }
    if verb == "rerun" {
        if chance.one_in(3) {
            body.insert("cascade".into(), json!(true));
        }
        if chance.one_in(4) {
            body.insert("env".into(), json!({"EDITED": "yes"}));
        }
    }
    if ["pause", "resume"].contains(&verb) && chance.one_in(6) {
        body.clear();
        body.insert("scope".into(), json!("operation"));
    }
    let is_trial = chance.one_in(8);
    if is_trial {
        body.insert("dryRun".into(), json!(true));
    }
    let action = if verb == "next" { "resume" } else { verb };
    Asked { verb, action, body: Value::Object(body), is_trial }
}
