//! What is wrong with a document, and where.

use std::fmt;

use serde_json::Value;

/// One thing that is wrong with a jobset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place as a path into the JSON document: `steps[3].retry.backoff`.
    pub path: String,
    /// What is wrong there and, where it can be said, what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at `path`. Both texts are cut where a client sent names of absurd length.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: shortened(path.into()), message: shortened(message.into()) }
    }

    /// The same problem of a document that stands at `outer` in another one.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: shortened(format!("{outer}{dot}{}", self.path)), ..self }
    }
}

/// More of a text helps nobody.
const TEXT_BYTES_MAX: usize = 1_000;

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text += "...";
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Finds a NUL character, which PostgreSQL does not keep, in any string of `value`, which stands at
/// `path`.
///
/// # Errors
/// The place of the first one.
pub fn refuse_nul(value: &Value, path: &str) -> Result<(), Problem> {
    let found = |path: &str| Problem::new(path, "must not have NUL characters");
    match value {
        Value::String(text) if text.contains('\0') => Err(found(path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| refuse_nul(item, &format!("{path}[{index}]"))),
        Value::Object(fields) => fields.iter().try_for_each(|(key, field)| {
            let dot = if path.is_empty() { "" } else { "." };
            let inner = format!("{path}{dot}{}", key.escape_debug());
            if key.contains('\0') { Err(found(&inner)) } else { refuse_nul(field, &inner) }
        }),
    }
}

/// How many problems are collected before the rest goes untold.
pub const PROBLEMS_MAX: usize = 100;

/// Longer names are not compared, because that costs the product of their lengths.
const COMPARED_BYTES_MAX: usize = 200;

/// The known name that was probably meant by `name`, if one is near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED_BYTES_MAX)
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate)
        })
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 4)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_refuses_strangers() {
        let known = ["success", "failure", "timeout"];
        assert_eq!(nearest("sucess", known), Some("success"));
        assert_eq!(nearest("TimeOut", known), Some("timeout"));
        assert_eq!(nearest("banana", known), None);
    }
}
