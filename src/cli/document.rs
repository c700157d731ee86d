//! Jobset files: JSON or YAML, from a path or from stdin.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::error::CliError;
use crate::domain::{Definition, Jobset, Limits, Problem};
use crate::wire;

/// The name that stands for stdin.
const STDIN: &str = "-";

/// A jobset file as JSON.
#[derive(Debug)]
pub(super) struct Document {
    /// What messages call it.
    pub(super) file: String,
    /// Its text, which is JSON, though maybe not a valid jobset.
    pub(super) json: Vec<u8>,
}

impl Document {
    /// Reads a file; YAML becomes JSON.
    pub(super) fn read(path: &str) -> Result<Self, CliError> {
        let file = if path == STDIN { "stdin".to_owned() } else { path.to_owned() };
        let text = match text_of(path) {
            Ok(text) => text,
            Err(source) => return Err(CliError::Unreadable { file, source }),
        };
        match to_json(path, text) {
            Ok(json) => Ok(Self { file, json }),
            Err(problem) => Err(CliError::Invalid { file, problems: vec![problem] }),
        }
    }

    /// The definition and its compiled form, or everything that is wrong with it.
    pub(super) fn compile(&self, limits: &Limits) -> Result<(Definition, Jobset), Vec<Problem>> {
        let definition = wire::read_jobset(&self.json)?.into_definition();
        let jobset = Jobset::compile(definition.clone(), limits)?;
        Ok((definition, jobset))
    }

    /// Everything that is wrong with it.
    pub(super) fn problems(&self, limits: &Limits) -> Vec<Problem> {
        self.compile(limits).err().unwrap_or_default()
    }

    /// Adds to the object `field`, over what stands there.
    pub(super) fn merge(
        &mut self,
        field: &str,
        entries: Map<String, Value>,
    ) -> Result<(), CliError> {
        if entries.is_empty() {
            return Ok(());
        }
        let invalid = |path: &str, message: String| CliError::Invalid {
            file: self.file.clone(),
            problems: vec![Problem::new(path, message)],
        };
        let mut document: Map<String, Value> = serde_json::from_slice(&self.json)
            .map_err(|error| invalid("", format!("not a jobset: {error}")))?;
        match document.entry(field).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(object) => object.extend(entries),
            _ => return Err(invalid(field, "is not an object".to_owned())),
        }
        self.json = Value::Object(document).to_string().into_bytes();
        Ok(())
    }
}

fn text_of(path: &str) -> io::Result<Vec<u8>> {
    if path != STDIN {
        return fs::read(path);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

/// The text as JSON. What is neither called `.json` nor `.yaml` is JSON when it begins like it.
fn to_json(path: &str, text: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    let is_json = match extension {
        Some("json") => true,
        Some("yaml" | "yml") => false,
        Some(_) | None => text.trim_ascii_start().starts_with(b"{"),
    };
    if is_json {
        return Ok(text);
    }
    let text = str::from_utf8(&text)
        .map_err(|error| Problem::new("", format!("neither JSON nor YAML: {error}")))?;
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        Problem::new("", format!("not YAML: {message}"))
    })?;
    Ok(value.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_are_told_apart() {
        let json = |path, text: &str| {
            to_json(path, text.as_bytes().to_vec()).map(|json| String::from_utf8(json).unwrap())
        };
        assert_eq!(json("-", " {\"a\": 1}").unwrap(), " {\"a\": 1}");
        assert_eq!(json("-", "a: [1, x]").unwrap(), r#"{"a":[1,"x"]}"#);
        assert_eq!(json("x.yaml", "{a: 1}").unwrap(), r#"{"a":1}"#);
        assert_eq!(json("x.json", "a: 1").unwrap(), "a: 1");
        assert!(json("x.yml", "a: [1").is_err());
        assert!(json("x.yml", "a: 1\na: 2").is_err());
    }

    #[test]
    fn merging_adds_and_replaces() {
        let json = br#"{"steps":[],"labels":{"a":"1","b":"2"}}"#.to_vec();
        let mut document = Document { file: "f".to_owned(), json };
        let entries = Map::from_iter([("b".to_owned(), "3".into()), ("c".to_owned(), "4".into())]);
        document.merge("labels", entries.clone()).unwrap();
        document.merge("context", entries).unwrap();
        let value: Value = serde_json::from_slice(&document.json).unwrap();
        assert_eq!(value["labels"], serde_json::json!({"a": "1", "b": "3", "c": "4"}));
        assert_eq!(value["context"], serde_json::json!({"b": "3", "c": "4"}));
        assert!(document.merge("steps", Map::from_iter([("a".to_owned(), 1.into())])).is_err());
    }
}
