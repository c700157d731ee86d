//! What a word may go on with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::follow::quoted;
use super::choice::{OPTIONS, STATE, SWITCHES};
use super::command::{REPLIES, first_words, is_verb};
use super::words::Split;
use crate::domain::StepState;
use crate::wire::Step;
use crate::wire::graph::Format;

/// The names of an operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Of its steps, in topological order.
    pub(super) steps: Vec<String>,
    /// The values of each tag.
    pub(super) tags: BTreeMap<String, BTreeSet<String>>,
    pub(super) states: BTreeSet<String>,
    /// The actions that only its own machines have.
    pub(super) actions: BTreeSet<String>,
    /// The ids of open prompts, as far as they were seen.
    pub(super) prompts: Vec<String>,
}

impl Names {
    /// The names that the steps have, and those in the definition of the jobset.
    pub(super) fn of(steps: &[Step], definition: &Value) -> Self {
        let mut names = Self::default();
        for step in steps {
            names.steps.push(step.name.clone());
            for (key, value) in &step.tags {
                names.tags.entry(key.clone()).or_default().insert(value.clone());
            }
        }
        names.states = StepState::DEFAULT.iter().map(|state| state.name().to_owned()).collect();
        let machines = definition["machines"].as_object().into_iter().flatten();
        for (_, machine) in machines {
            let states = machine["states"].as_object().into_iter().flatten();
            names.states.extend(states.map(|(name, _)| name.clone()));
            let transitions = machine["transitions"].as_array().into_iter().flatten();
            let actions = transitions.filter_map(|transition| transition["action"].as_str());
            names.actions.extend(actions.map(str::to_owned));
        }
        names.actions.retain(|action| first_words().all(|word| word != action));
        names
    }
}

/// Where the word at the end of `before` starts, and what it may become. A word that is complete
/// then ends with a blank.
pub(super) fn complete(before: &str, names: &Names) -> (usize, Vec<String>) {
    let mut split = Split::of(before);
    let last = split.words.pop_if(|_| split.touched);
    let (start, partial) = last.map_or((before.len(), String::new()), |w| (w.start, w.text));
    let words: Vec<&str> = split.words.iter().map(|word| word.text.as_str()).collect();
    let known = candidates(&words, &partial, names);
    let lower = partial.to_lowercase();
    let fits = |word: &String| word.to_lowercase().starts_with(&lower);
    (start, known.into_iter().filter(fits).map(finished).collect())
}

/// A word as it is typed: in quotes where it needs them, and with a blank after it unless it is
/// only the first half.
fn finished(word: String) -> String {
    if word == STATE || is_key(&word) { word } else { format!("{} ", quoted(&word)) }
}

fn is_key(word: &str) -> bool {
    word.ends_with('=') && quoted(word) == word
}

/// All words that may come after `words`.
fn candidates(words: &[&str], partial: &str, names: &Names) -> Vec<String> {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words {
        [] => first_words().map(str::to_owned).chain(names.actions.iter().cloned()).collect(),
        ["act"] => names.actions.iter().cloned().collect(),
        ["act", _, chosen @ ..] => choice(chosen, partial, names),
        [verb, chosen @ ..] if *verb == "steps" || is_verb(verb, names) => {
            choice(chosen, partial, names)
        }
        ["explain" | "output" | "send"] => names.steps.clone(),
        ["reply"] => names.prompts.iter().cloned().chain(strings(&REPLIES)).collect(),
        ["reply", prompt] if !REPLIES.contains(prompt) => strings(&REPLIES),
        ["graph"] => strings(&Format::ALL.map(Format::name)),
        _ => Vec::new(),
    }
}

/// What steps can be chosen by, without the names that were said already.
fn choice(chosen: &[&str], partial: &str, names: &Names) -> Vec<String> {
    let states = || names.states.iter().map(|state| format!("{STATE}{state}"));
    match chosen.last().copied() {
        Some("--step") => return names.steps.clone(),
        Some("--state") => return names.states.iter().cloned().collect(),
        Some("--tag") => return tags(partial, names),
        Some(flag) if OPTIONS.contains(&flag) => return Vec::new(),
        Some(_) | None => {}
    }
    if partial.starts_with('-') {
        return SWITCHES.iter().chain(&OPTIONS).map(|flag| (*flag).to_owned()).collect();
    }
    if partial.to_lowercase().starts_with(STATE) {
        return states().collect();
    }
    let steps = names.steps.iter().filter(|step| !chosen.contains(&step.as_str()));
    let mut all: Vec<String> = steps.cloned().collect();
    all.extend(tags(partial, names));
    all.push(STATE.to_owned());
    all
}

/// The keys of tags, or the values where the key is complete.
fn tags(partial: &str, names: &Names) -> Vec<String> {
    match partial.split_once('=').and_then(|(key, _)| names.tags.get_key_value(key)) {
        Some((key, values)) => values.iter().map(|value| format!("{key}={value}")).collect(),
        None => names.tags.keys().map(|key| format!("{key}=")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(name: &str, tags: &Value) -> Step {
        serde_json::from_value(json!({
            "name": name, "n": 0, "tags": tags, "state": "Ready", "attempt": 0, "actions": [],
            "enteredDateTime": "2026-01-31T12:00:00Z",
        }))
        .unwrap()
    }

    fn names() -> Names {
        let steps = [
            step("build", &json!({"kind": "make"})),
            step("unit", &json!({"suite": "fast"})),
            step("unit-slow", &json!({"suite": "very slow"})),
            step("my report", &json!({})),
        ];
        let definition = json!({"machines": {"door": {
            "states": {"Shut": {}, "Ajar": {}},
            "transitions": [{"from": "Shut", "action": "open", "to": "Ajar"},
                            {"from": "Ajar", "action": "skip", "to": "Shut"}],
        }}});
        let prompts = vec!["p1".to_owned()];
        Names { prompts, ..Names::of(&steps, &definition) }
    }

    /// What the line may become.
    fn check(before: &str, expected: &[&str]) {
        let (start, words) = complete(before, &names());
        let lines: Vec<String> =
            words.iter().map(|word| format!("{}{word}", &before[..start])).collect();
        assert_eq!(lines, expected, "{before}");
    }

    #[test]
    fn first_words_are_verbs_commands_and_actions() {
        check("sk", &["skip "]);
        check("  st", &["  start ", "  status ", "  steps "]);
        check("op", &["open "]);
        assert_eq!(complete("", &names()).1.len(), first_words().count() + 1);
        check("zz", &[]);
    }

    #[test]
    fn verbs_go_on_with_what_chooses_steps() {
        check("pause un", &["pause unit ", "pause unit-slow "]);
        check("pause unit un", &["pause unit unit-slow "]);
        check("pause UNIT-", &["pause unit-slow "]);
        check("open my", &["open 'my report' "]);
        check("open 'my r", &["open 'my report' "]);
        check("act open bu", &["act open build "]);
        check("skip su", &["skip suite="]);
        check("skip suite=", &["skip suite=fast ", "skip 'suite=very slow' "]);
        check("skip state:a", &["skip state:Ajar "]);
        check("skip sta", &["skip state:"]);
        check("skip --d", &["skip --dry-run "]);
        check("skip --state Skip", &["skip --state Skipped "]);
        check("skip --filter ", &[]);
        check(
            "skip ",
            &[
                "skip build ",
                "skip unit ",
                "skip unit-slow ",
                "skip 'my report' ",
                "skip kind=",
                "skip suite=",
                "skip state:",
            ],
        );
    }

    #[test]
    fn other_commands_go_on_with_what_they_take() {
        check("output b", &["output build "]);
        check("output build ", &[]);
        check("reply ", &["reply p1 ", "reply done ", "reply not-done "]);
        check("reply p1 n", &["reply p1 not-done "]);
        check("reply done ", &[]);
        check("graph m", &["graph mermaid "]);
        check("steps kind=", &["steps kind=make "]);
        check("status ", &[]);
    }
}
