//! What a running program writes to `SUT_EVENTS`: lines of JSON.
//!
//! ```text
//! {"prompt": {"text": "Is the lamp green?", "id": "lamp", "schema": {"type": "boolean"}, "who": "ops"}}
//! {"message": any JSON}
//! ```
//!
//! A line that is none of these is handed back as it is, to be shown in the output.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::mask::Mask;
use crate::domain::problem::refuse_nul;
use crate::domain::schema::Schema;

/// The longest line in bytes.
pub(super) const LINE_MAX: usize = 64 * 1024;
/// The longest name of a prompt in bytes.
const ID_MAX: usize = 200;

/// What a line says.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    Prompt(PromptLine),
    Message(Value),
}

/// A question to people.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PromptLine {
    pub(super) text: String,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) who: Option<String>,
    #[serde(default)]
    pub(super) schema: Option<Map<String, Value>>,
}

/// What was found in the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Line(Line),
    /// Bytes that were not understood, and why.
    Unknown(Vec<u8>, String),
}

impl Found {
    /// Masks secrets in all texts. (Bytes that were not understood are masked where they are shown.)
    pub(super) fn mask(&mut self, mask: &Mask) {
        match self {
            Self::Line(Line::Message(body)) => mask.document(body),
            Self::Line(Line::Prompt(PromptLine { text, id, who, schema })) => {
                let names = [id, who].into_iter().flatten();
                names.chain([text]).for_each(|text| mask.text(text));
                if let Some(schema) = schema {
                    mask.object(schema);
                }
            }
            Self::Unknown(..) => {}
        }
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// The line became too long; its rest is handed back piece by piece.
    is_too_long: bool,
}

impl Lines {
    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            found.extend(self.end());
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() > LINE_MAX {
            self.is_too_long = true;
            found.extend(self.cut());
        }
        found
    }

    /// The line under way ends here.
    pub(super) fn end(&mut self) -> Option<Found> {
        self.is_too_long |= self.begun.len() > LINE_MAX;
        let found = if self.is_too_long { self.cut() } else { self.whole() };
        self.is_too_long = false;
        found
    }

    fn cut(&mut self) -> Option<Found> {
        let bytes = std::mem::take(&mut self.begun);
        let why = format!("a line has more than {LINE_MAX} bytes");
        (!bytes.is_empty()).then_some(Found::Unknown(bytes, why))
    }

    fn whole(&mut self) -> Option<Found> {
        let bytes = std::mem::take(&mut self.begun);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        Some(match understand(&bytes) {
            Ok(line) => Found::Line(line),
            Err(why) => Found::Unknown(bytes, why),
        })
    }
}

fn understand(bytes: &[u8]) -> Result<Line, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
    refuse_nul(&value, "").map_err(|problem| problem.to_string())?;
    let line = Line::deserialize(value).map_err(|error| error.to_string())?;
    if let Line::Prompt(prompt) = &line {
        if prompt.text.trim().is_empty() {
            return Err("prompt.text: must not be empty".to_owned());
        }
        let names = [("id", &prompt.id), ("who", &prompt.who)];
        for (field, name) in names {
            if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > ID_MAX) {
                return Err(format!("prompt.{field}: takes 1 to {ID_MAX} bytes"));
            }
        }
        if let Some(schema) = &prompt.schema {
            Schema::compile(schema).map_err(|problem| format!("prompt.schema: {problem}"))?;
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(value: Value) -> Found {
        Found::Line(Line::Message(value))
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let text = b"{\"message\": null}\n\n{\"message\": false}\r\n{\"message\": \"\"}";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found: Vec<Found> =
                text.chunks(size).flat_map(|piece| lines.take(piece)).collect();
            found.extend(lines.end());
            let expected = [message(json!(null)), message(json!(false)), message(json!(""))];
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn what_is_not_understood_comes_back_and_loses_nothing() {
        let bad = [
            "no json",
            "5",
            "{}",
            r#"{"message": 1, "more": 2}"#,
            r#"{"promt": {"text": "x"}}"#,
            r#"{"prompt": {"text": " "}}"#,
            r#"{"prompt": {"text": "x", "id": ""}}"#,
            r#"{"prompt": {"text": "x", "schema": {"type": "none"}}}"#,
            r#"{"message": "\u0000"}"#,
        ];
        for text in bad {
            let mut lines = Lines::default();
            let found = lines.take(format!("{text}\n{{\"message\": 0}}\n").as_bytes());
            let [Found::Unknown(bytes, why), next] = found.as_slice() else {
                panic!("{text}: {found:?}")
            };
            assert_eq!((bytes.as_slice(), why.is_empty()), (text.as_bytes(), false));
            assert_eq!(*next, message(json!(0)));
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::default();
        let mut back = 0;
        for _ in 0..10 {
            for found in lines.take(&vec![b'x'; LINE_MAX / 2]) {
                let Found::Unknown(bytes, _) = found else { panic!("a line") };
                back += bytes.len();
            }
            assert!(lines.begun.len() <= LINE_MAX);
        }
        let found = lines.take(b"tail\n{\"message\": 1}\n");
        let [Found::Unknown(tail, _), next] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(back + tail.len(), 5 * LINE_MAX + 4);
        assert_eq!(*next, message(json!(1)));
    }
}
