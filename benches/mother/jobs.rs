//! The jobsets that are run.

use serde_json::{Value, json};

fn jobset(steps: &[Value], pairs: &[[String; 2]]) -> String {
    json!({"name": "bench", "steps": steps, "successPairs": pairs}).to_string()
}

fn milestones(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"name": format!("s{n}")})).collect()
}

/// `count` steps without work, one after the other.
pub(crate) fn chain(count: usize) -> String {
    let pairs: Vec<_> = (1..count).map(|n| [format!("s{}", n - 1), format!("s{n}")]).collect();
    jobset(&milestones(count), &pairs)
}

/// `count` steps without work: one, then all but two side by side, then one.
pub(crate) fn fan(count: usize) -> String {
    let last = count - 1;
    let pairs: Vec<_> = (1..last)
        .flat_map(|n| [["s0".to_owned(), format!("s{n}")], [format!("s{n}"), format!("s{last}")]])
        .collect();
    jobset(&milestones(count), &pairs)
}

/// One step that waits until it is started.
pub(crate) fn manual() -> String {
    json!({"name": "bench", "start": "manual", "steps": milestones(1)}).to_string()
}

/// `count` steps side by side that run a program.
pub(crate) fn programs(count: usize, command: &[&str]) -> String {
    let steps: Vec<_> =
        (0..count).map(|n| json!({"name": format!("s{n}"), "run": {"command": command}})).collect();
    jobset(&steps, &[])
}
