//! JSON Schemas that replies must fit.
//!
//! Schemas come from jobsets and from running steps. They are compiled without a way to the network
//! or the file system, and patterns by an engine whose time is linear in the text: neither can hold
//! up the service.

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use super::problem::{PROBLEMS_MAX, Problem};

/// The longest schema, as text without blanks, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// The longest pattern when it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A schema that values can be held against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
}

impl Schema {
    /// Compiles a schema (draft 2020-12 unless it says otherwise).
    ///
    /// # Errors
    /// Says what is wrong with it; the path leads into the schema.
    pub fn compile(schema: &Map<String, Value>) -> Result<Self, Problem> {
        let schema = Value::Object(schema.clone());
        let length = schema.to_string().len();
        if length > SCHEMA_BYTES_MAX {
            let message = format!(
                "has {length} bytes, more than the limit of {SCHEMA_BYTES_MAX} of a schema"
            );
            return Err(Problem::new("", message));
        }
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().with_pattern_options(patterns).offline();
        match options.build(&schema) {
            Ok(validator) => Ok(Self { validator }),
            Err(error) => {
                let message = format!("is not a JSON Schema: {error}");
                Err(Problem::new(dotted("", error.instance_path().as_str()), message))
            }
        }
    }

    /// What is wrong with `value`, which stands at `path`; empty if it fits.
    #[must_use]
    pub fn problems(&self, value: &Value, path: &str) -> Vec<Problem> {
        let problem = |error: ValidationError<'_>| {
            Problem::new(dotted(path, error.instance_path().as_str()), error.to_string())
        };
        self.validator.iter_errors(value).take(PROBLEMS_MAX).map(problem).collect()
    }
}

/// `/steps/3/name` below `path` as `path.steps[3].name`.
fn dotted(path: &str, pointer: &str) -> String {
    let mut path = path.to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            path = format!("{path}[{part}]");
        } else if path.is_empty() {
            path = part;
        } else {
            path = format!("{path}.{part}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(schema: &Value) -> Result<Schema, Problem> {
        Schema::compile(schema.as_object().unwrap())
    }

    #[test]
    fn every_error_has_its_place() {
        let schema = compile(&json!({"type": "object", "required": ["a"], "properties": {
            "n": {"type": "integer", "minimum": 1}, "l": {"items": {"type": "string"}}}}));
        let schema = schema.unwrap();
        let problems = schema.problems(&json!({"n": 0, "l": ["x", 5]}), "value");
        let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["value", "value.l[1]", "value.n"]);
        assert!(schema.problems(&json!({"a": null, "n": 1}), "value").is_empty());
    }

    #[test]
    fn falsy_values_are_values() {
        let schema = compile(&json!({"enum": [null, false, 0, ""]})).unwrap();
        for value in [json!(null), json!(false), json!(0), json!("")] {
            assert!(schema.problems(&value, "value").is_empty(), "{value}");
        }
        assert!(!schema.problems(&json!(1), "value").is_empty());
    }

    #[test]
    fn what_is_no_schema_or_leads_elsewhere_is_refused() {
        for schema in [
            json!({"type": "strin"}),
            json!({"pattern": "("}),
            json!({"pattern": "(a)\\1"}),
            json!({"$ref": "http://127.0.0.1:1/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"description": "x".repeat(SCHEMA_BYTES_MAX)}),
        ] {
            assert!(compile(&schema).is_err(), "{}", Problem::new("", schema.to_string()));
        }
        let error = compile(&json!({"properties": {"a": {"type": 5}}})).unwrap_err();
        assert_eq!(error.path, "properties.a.type");
    }

    #[test]
    fn circles_end() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                "$ref": "#/$defs/a"}),
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
                "$ref": "#/$defs/a"}),
        ] {
            if let Ok(schema) = compile(&schema) {
                let _any = schema.problems(&json!({"a": 1}), "value");
            }
        }
    }
}
