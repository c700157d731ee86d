//! Which steps are meant: names, tags, states and flags.

use serde_json::{Map, Value};

use super::super::args::pair;
use super::complete::Names;
use super::words::Word;
use crate::client::Verb;
use crate::domain::problem::hint;
use crate::wire::SteerRequest;

/// Flags of verbs that stand alone.
pub(super) const SWITCHES: [&str; 4] = ["--dry-run", "--all", "--branch", "--cascade"];
/// Flags of verbs that take a value.
pub(super) const OPTIONS: [&str; 7] =
    ["--step", "--tag", "--state", "--filter", "--env", "--context", "--shell"];
/// What goes before the name of a state.
pub(super) const STATE: &str = "state:";

/// The steps that words choose, and how.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) request: SteerRequest,
    /// Whether all steps were asked for.
    pub(super) all: bool,
}

/// Reads which steps are meant.
///
/// # Errors
/// In words.
pub(super) fn chosen(verb: &Verb, words: &[Word], names: &Names) -> Result<Chosen, String> {
    let mut chosen = Chosen::default();
    let mut words = words.iter().map(|word| word.text.as_str());
    while let Some(word) = words.next() {
        let is_step = names.steps.iter().any(|name| name == word);
        if let Some(count) = count(verb, word) {
            chosen.request.count = Some(count?);
        } else if is_step {
            chosen.step(word);
        } else if word.starts_with("--") {
            chosen.flag(word, &mut words)?;
        } else if let Some(state) = word.strip_prefix(STATE) {
            chosen.state(state);
        } else if word.contains('=') {
            chosen.tag(word)?;
        } else {
            chosen.step(word);
        }
    }
    Ok(chosen)
}

/// How many steps `next` is about, if the word is a number.
fn count(verb: &Verb, word: &str) -> Option<Result<u32, String>> {
    let is_number = *verb == Verb::Next && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !word.is_empty()).then(|| match word.parse() {
        Ok(0) | Err(_) => Err(format!("`{word}` is no number of steps")),
        Ok(count) => Ok(count),
    })
}

impl Chosen {
    fn step(&mut self, name: &str) {
        self.request.steps.get_or_insert_default().push(name.to_owned());
    }

    fn state(&mut self, name: &str) {
        self.request.states.get_or_insert_default().push(name.to_owned());
    }

    fn tag(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = pair(text)?;
        match self.request.tags.get(&key) {
            Some(other) if *other != value => {
                Err(format!("no step has `{key}={other}` and `{text}` at once"))
            }
            Some(_) | None => {
                self.request.tags.insert(key, value);
                Ok(())
            }
        }
    }

    fn env(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = pair(text)?;
        self.request.env.insert(name, value);
        Ok(())
    }

    /// Reads a flag; its value is what is after `=`, or the next word.
    fn flag<'a>(
        &mut self,
        word: &'a str,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let (flag, given) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        };
        if OPTIONS.contains(&flag) {
            let missing = || format!("`{flag}` needs a value");
            return self.option(flag, given.or_else(|| rest.next()).ok_or_else(missing)?);
        }
        let request = &mut self.request;
        let switch = match flag {
            "--dry-run" => &mut request.dry_run,
            "--branch" => &mut request.branch,
            "--cascade" => &mut request.cascade,
            "--all" => &mut self.all,
            _ => {
                let known = SWITCHES.into_iter().chain(OPTIONS);
                return Err(format!("there is no flag `{flag}`{}", hint(flag, known)));
            }
        };
        if given.is_some() {
            return Err(format!("`{flag}` takes no value"));
        }
        *switch = true;
        Ok(())
    }

    fn option(&mut self, flag: &str, value: &str) -> Result<(), String> {
        let is_second = match flag {
            "--filter" => self.request.filter.replace(value.to_owned()).is_some(),
            "--context" => self.request.context.replace(object(value)?).is_some(),
            "--shell" => self.request.shell.replace(value.to_owned()).is_some(),
            _ => {
                match flag {
                    "--step" => self.step(value),
                    "--state" => self.state(value),
                    "--tag" => self.tag(value)?,
                    _ => self.env(value)?,
                }
                false
            }
        };
        if is_second { Err(format!("`{flag}` can be said once")) } else { Ok(()) }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("--context: write a JSON object: {error}"))
}
