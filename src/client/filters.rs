//! Choosing steps out of a list that was read before.
//!
//! The functions take steps as [`Client::steps`](super::Client::steps) answers them, keep their
//! order and compute nothing before they are asked for the next step, so they can be put one on top
//! of another.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::wire::Step;

/// The automatic tag that is a step's number.
const N: &str = "n";
/// The automatic tag that is a step's name.
const NAME: &str = "name";

/// Which step of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StepId {
    /// Its topological number.
    pub n: u32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The steps that are in one of these states. Case is ignored, as everywhere in the API.
pub fn filter_steps_by_states<'a, S: AsRef<str>>(
    steps: impl IntoIterator<Item = &'a Step>,
    states: &[S],
) -> impl Iterator<Item = &'a Step> {
    steps
        .into_iter()
        .filter(|step| states.iter().any(|state| state.as_ref().eq_ignore_ascii_case(&step.state)))
}

/// The steps that have at least these tags with these values; all steps when there are none.
///
/// Beside its own tags each step has the automatic ones `n` (its topological number, in decimal) and
/// `name`. A tag of its own that is called so goes before the automatic one.
pub fn filter_steps_by_tags<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    tags: &BTreeMap<String, String>,
) -> impl Iterator<Item = &'a Step> {
    steps.into_iter().filter(|step| tags.iter().all(|(key, value)| has_tag(step, key, value)))
}

/// The steps with which a client may do this now, such as `pause`.
pub fn filter_steps_by_action<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    action: &str,
) -> impl Iterator<Item = &'a Step> {
    steps.into_iter().filter(move |step| step.actions.iter().any(|known| known == action))
}

/// Which steps those are.
pub fn extract_step_ids<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
) -> impl Iterator<Item = StepId> {
    steps.into_iter().map(|step| StepId { n: step.n, name: step.name.clone() })
}

/// Whether a tag is one that the client knows and the server does not.
pub(super) fn is_automatic(key: &str) -> bool {
    key == N || key == NAME
}

/// All tags of a step, the automatic ones included.
pub(super) fn all_tags(step: &Step) -> BTreeMap<String, String> {
    let mut tags = step.tags.clone();
    tags.entry(N.to_owned()).or_insert_with(|| step.n.to_string());
    tags.entry(NAME.to_owned()).or_insert_with(|| step.name.clone());
    tags
}

fn has_tag(step: &Step, key: &str, value: &str) -> bool {
    match (step.tags.get(key), key) {
        (Some(own), _) => own == value,
        (None, N) => step.n.to_string() == value,
        (None, NAME) => step.name == value,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps() -> Vec<Step> {
        let step = |n: u32, name: &str, state: &str, tags: serde_json::Value, actions: &[&str]| {
            json!({
                "name": name, "n": n, "tags": tags, "state": state, "attempt": 0,
                "enteredDateTime": "2026-01-31T12:01:03.450Z", "actions": actions
            })
        };
        serde_json::from_value(json!([
            step(0, "build", "Succeeded", json!({}), &["rerun"]),
            step(1, "unit", "Running", json!({"suite": "fast", "os": "linux"}), &["interrupt"]),
            step(2, "load", "Running", json!({"suite": "slow", "os": "linux"}), &["interrupt"]),
            step(3, "report", "Waiting", json!({"name": "unit"}), &["pause", "skip"]),
        ]))
        .unwrap()
    }

    fn tagged(tags: &[(&str, &str)]) -> Vec<u32> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (steps, tags) = (steps(), tags.collect());
        extract_step_ids(filter_steps_by_tags(&steps, &tags)).map(|id| id.n).collect()
    }

    #[test]
    fn tags_are_a_subset() {
        assert_eq!(tagged(&[]), [0, 1, 2, 3]);
        assert_eq!(tagged(&[("os", "linux")]), [1, 2]);
        assert_eq!(tagged(&[("os", "linux"), ("suite", "slow")]), [2]);
        assert_eq!(tagged(&[("os", "linux"), ("suite", "other")]), [0; 0]);
        assert_eq!(tagged(&[("nobody", "has it")]), [0; 0]);
    }

    #[test]
    fn number_and_name_are_tags_unless_a_step_has_its_own() {
        assert_eq!(tagged(&[("n", "2")]), [2]);
        assert_eq!(tagged(&[("n", "02")]), [0; 0]);
        assert_eq!(tagged(&[("name", "load")]), [2]);
        assert_eq!(tagged(&[("name", "load"), ("n", "1")]), [0; 0]);
        assert_eq!(tagged(&[("name", "unit")]), [1, 3]);
        assert_eq!(tagged(&[("name", "report")]), [0; 0]);
    }

    #[test]
    fn states_and_actions_choose() {
        let steps = steps();
        let names = |found: Vec<&Step>| -> Vec<String> {
            extract_step_ids(found).map(|id| id.to_string()).collect()
        };
        let running = filter_steps_by_states(&steps, &["running", "Error"]).collect();
        assert_eq!(names(running), ["unit", "load"]);
        assert_eq!(filter_steps_by_states::<&str>(&steps, &[]).count(), 0);
        assert_eq!(names(filter_steps_by_action(&steps, "pause").collect()), ["report"]);
        assert_eq!(filter_steps_by_action(&steps, "fly").count(), 0);
        let both = filter_steps_by_action(filter_steps_by_states(&steps, &["Waiting"]), "skip");
        assert_eq!(names(both.collect()), ["report"]);
    }
}
