//! Reading a jobset document, with everything that is wrong with it.
//!
//! A good document is read in one pass. For a bad one, serde knows only the first error, so the
//! document is also held against its own published schema, which tells them all.

use std::sync::OnceLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use utoipa::{PartialSchema, ToSchema};

use super::jobset::JobsetDocument;
use crate::domain::Problem;
use crate::domain::problem::{PROBLEMS_MAX, hint};

/// Reads a jobset document from JSON.
///
/// # Errors
/// Everything that is wrong with its shape, each with its place; what it means is checked later.
pub fn read_jobset(bytes: &[u8]) -> Result<JobsetDocument, Vec<Problem>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let first = match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(document) => match deserializer.end() {
            Ok(()) => return Ok(document),
            Err(error) => return Err(vec![Problem::new("", error.to_string())]),
        },
        Err(error) => error,
    };
    let path = match first.path().to_string() {
        path if path == "." => String::new(),
        path => path,
    };
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        let message = format!("not JSON: {}", first.inner());
        return Err(vec![Problem::new("", message)]);
    };
    let mut problems: Vec<Problem> =
        validator().iter_errors(&value).flat_map(|error| explain(&error)).collect();
    // serde's own words are the better ones where both know of a problem at one place, and the only
    // ones where a rule is not in the schema.
    let known = problems.iter().any(|problem| {
        problem.path == path || (!path.is_empty() && problem.path.starts_with(&format!("{path}.")))
    });
    if !known {
        problems.insert(0, Problem::new(path, plain(&first.inner().to_string())));
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

/// Without the position in the text, which says nothing once there is a path.
fn plain(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

fn explain(error: &jsonschema::ValidationError<'_>) -> Vec<Problem> {
    let path = dotted(error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| {
                let known = known_fields(&path);
                let near = hint(name, known.iter().map(String::as_str));
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                Problem::new(at, format!("unknown field `{}`{near}", name.escape_debug()))
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Problem::new(path, format!("the field `{name}` is missing"))]
        }
        ValidationErrorKind::Pattern { .. } => {
            let shown = error.instance().to_string();
            vec![Problem::new(path, format!("{shown} does not have the right form"))]
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            vec![Problem::new(path, "has none of the forms that are allowed here".to_owned())]
        }
        _ => vec![Problem::new(path, error.to_string())],
    }
}

/// `/steps/3/name` as `steps[3].name`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|byte| byte.is_ascii_digit()) && !path.is_empty() {
            path = format!("{path}[{part}]");
        } else if path.is_empty() {
            path = part;
        } else {
            path = format!("{path}.{part}");
        }
    }
    path
}

/// The fields of the object at `path`, for a hint.
fn known_fields(path: &str) -> Vec<String> {
    let name = if path.is_empty() {
        "JobsetDocument"
    } else if path.ends_with(']') {
        "StepDocument"
    } else {
        "RetryDocument"
    };
    let pointer = format!("/$defs/{name}/properties");
    let fields = schema().pointer(&pointer).and_then(Value::as_object);
    fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

/// The published schema with its parts inside.
fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut parts = vec![("JobsetDocument".to_owned(), JobsetDocument::schema())];
        JobsetDocument::schemas(&mut parts);
        let defs: serde_json::Map<String, Value> = parts
            .into_iter()
            .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
            .collect();
        let text = serde_json::json!({"$ref": "#/$defs/JobsetDocument", "$defs": defs}).to_string();
        serde_json::from_str(&text.replace("#/components/schemas/", "#/$defs/")).unwrap_or_default()
    })
}

fn validator() -> &'static Validator {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        jsonschema::draft202012::new(schema()).expect("the published schema is a schema")
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(document: &str, expected: &Expect) {
        let problems = read_jobset(document.as_bytes()).unwrap_err();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn tells_everything_that_is_wrong() {
        check(
            r#"{"nmae": "x", "steps": [{"name": "a", "runn": {}}, {"run": {"shell": 5}}, {"name": 7, "timeout": "soon"}], "maxConcurrency": "many"}"#,
            &expect![[""]],
        );
    }

    #[test]
    fn tells_what_is_not_json() {
        check("{\"steps\": [", &expect![[""]]);
        check("{\"steps\": [{\"name\": \"a\"}]} x", &expect![[""]]);
        check("[]", &expect![[""]]);
        check("", &expect![[""]]);
    }

    #[test]
    fn reads_every_form_and_writes_it_again() {
        let text = r#"{"name":"n","context":{"a":1},"deadline":"PT1H","maxConcurrency":3,
            "labels":{"branch":"main"},"steps":[
            {"name":"a","run":{"command":["true"]},"tags":{"k":"v"},"retry":{"maxAttempts":3,"backoff":"2s","factor":2,
             "jitter":true,"on":["exit:75","signal:9","timeout","exception"]},"onFailure":"continue"},
            {"name":"b","run":{"shell":"true"},"when":{"$atLeast":1,"a":["Succeeded"]},"need":"any"},
            {"name":"c","when":[{"a":["Failed"]},{"b":["Succeeded"]}],"need":1}],
            "successPairs":[["a","b"]],"failurePairs":[["a","c"]]}"#;
        let document = read_jobset(text.as_bytes()).unwrap();
        let again = read_jobset(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(document, again);
        let stored = decode(&document.canonical());
        assert_eq!(stored, document.into_definition());
    }

    fn decode(text: &str) -> crate::domain::Definition {
        crate::wire::decode_definition(text).unwrap()
    }
}
