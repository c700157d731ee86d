//! Reading a jobset document, with everything that is wrong with it.
//!
//! A good document is read in one pass. For a bad one, serde knows only the first error, so the
//! document is also held against its own published schema, which tells them all.

use std::sync::OnceLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde::Deserialize as _;
use serde_json::Value;
use utoipa::{PartialSchema, ToSchema};

use super::duration::DurationText;
use super::jobset::JobsetDocument;
use super::retry::RetryOnText;
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
            Err(error) => return Err(vec![not_json(&error)]),
        },
        Err(error) => error,
    };
    let path = match first.path().to_string() {
        path if path == "." => String::new(),
        path => path,
    };
    let mut value = match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => value,
        Err(error) => return Err(vec![not_json(&error)]),
    };
    prune(&mut value);
    let mut problems: Vec<Problem> = validator()
        .iter_errors(&value)
        .flat_map(|error| explain(&error))
        .take(PROBLEMS_MAX)
        .collect();
    // serde's own words are the only ones where a rule is not in the schema.
    if !problems.iter().any(|problem| is_at(&problem.path, &path)) {
        problems.insert(0, Problem::new(path, plain(&first.inner().to_string())));
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

/// Of each list and object, no more members are held against the schema.
const MEMBERS_MAX: usize = 1_000;

/// Cuts off what would take long to look through; what serde found first is told all the same.
fn prune(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.truncate(MEMBERS_MAX);
            items.iter_mut().for_each(prune);
        }
        Value::Object(fields) => {
            while fields.len() > MEMBERS_MAX
                && let Some(last) = fields.keys().next_back().cloned()
            {
                fields.remove(&last);
            }
            fields.values_mut().for_each(prune);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether `path` is `outer` or a place in it.
fn is_at(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || (!outer.is_empty() && rest.starts_with(['.', '['])))
}

pub(super) fn not_json(error: &serde_json::Error) -> Problem {
    let what = plain(&error.to_string());
    let message = match (what.as_str(), error.line(), error.column()) {
        ("recursion limit exceeded", ..) => "has more than 128 levels of nesting".to_owned(),
        ("EOF while parsing a value", 1, 0) => "is empty; a jobset was expected".to_owned(),
        (what, line, column) => format!("is not JSON: {what} at line {line}, column {column}"),
    };
    Problem::new("", message)
}

/// Without the position in the text, which says nothing once there is a path.
pub(super) fn plain(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    match message.strip_prefix("duplicate field ") {
        Some(name) => format!("{name} stands twice"),
        None => message.to_owned(),
    }
}

fn explain(error: &ValidationError<'_>) -> Vec<Problem> {
    let path = dotted(error.instance_path().as_str());
    let instance = error.instance();
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            return unexpected.iter().map(|name| unknown_field(&path, name)).collect();
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            match nearest_form(context) {
                Some(errors) => return errors.iter().flat_map(explain).collect(),
                None => forms(&path, instance),
            }
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => forms(&path, instance),
        ValidationErrorKind::Required { property } => {
            format!("the field `{}` is missing", property.as_str().unwrap_or_default())
        }
        ValidationErrorKind::Pattern { .. } => match reread(&path, instance) {
            Some(message) => message,
            None => return Vec::new(),
        },
        ValidationErrorKind::Type { kind } => {
            format!("must be {}, not {}", expected_type(kind), type_of(instance))
        }
        ValidationErrorKind::Enum { options } => match instance.as_str() {
            Some(text) => not_among(text, options),
            None => return Vec::new(), // Its type tells it.
        },
        ValidationErrorKind::MinItems { limit } => format!("needs at least {limit} of them"),
        ValidationErrorKind::MaxItems { limit } => format!("has more than {limit} items"),
        ValidationErrorKind::MinLength { .. } => "must not be empty".to_owned(),
        ValidationErrorKind::MaxLength { limit } => format!("has more than {limit} characters"),
        _ => error.to_string(),
    };
    vec![Problem::new(path, message)]
}

fn unknown_field(path: &str, name: &str) -> Problem {
    let known = known_fields(path);
    let near = hint(name, known.iter().map(String::as_str));
    let at = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    Problem::new(at, format!("unknown field `{}`{near}", name.escape_debug()))
}

/// Of several forms the one that was probably meant: it fails deepest inside.
fn nearest_form<'a>(
    forms: &'a [Vec<ValidationError<'static>>],
) -> Option<&'a [ValidationError<'static>]> {
    let depth = |errors: &[ValidationError<'_>]| {
        errors.iter().map(|e| e.instance_path().as_str().matches('/').count()).max()
    };
    let is_null = |errors: &[ValidationError<'_>]| match errors {
        [one] => matches!(
            one.kind(),
            ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Null) }
        ),
        _ => false,
    };
    let forms: Vec<_> = forms.iter().filter(|errors| !is_null(errors)).collect();
    let deepest = forms.iter().map(|errors| depth(errors)).max()?;
    let mut candidates = forms.iter().filter(|errors| depth(errors) == deepest);
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first.as_slice())
}

/// The forms that something may have, for people.
fn forms(path: &str, instance: &Value) -> String {
    let field = path.rsplit('.').next().unwrap_or_default();
    let expected = match field.split('[').next().unwrap_or_default() {
        "run" => {
            let unknown = instance.as_object().and_then(|run| run.keys().next());
            let near = unknown
                .map(|name| hint(name, ["command", "shell", "instruction"]))
                .unwrap_or_default();
            return format!(
                "must be one of {{\"command\": [\"program\", ...]}}, {{\"shell\": \"...\"}} and \
                 {{\"instruction\": {{\"text\": \"...\"}}}}{near}"
            );
        }
        "need" => "must be `all`, `any` or a number",
        "when" => "must be an object of step names with lists of states, or a list of such objects",
        _ => "has none of the forms that are allowed here",
    };
    expected.to_owned()
}

/// What the reader of a text of a certain form says; nothing where it takes more than the schema.
fn reread(path: &str, instance: &Value) -> Option<String> {
    let field = path.rsplit('.').next().unwrap_or_default();
    match field.split('[').next().unwrap_or_default() {
        "deadline" | "timeout" | "grace" | "backoff" | "maxBackoff" => {
            DurationText::deserialize(instance).err().map(|error| error.to_string())
        }
        "on" => RetryOnText::deserialize(instance).err().map(|error| error.to_string()),
        "name" if instance == "" => None, // Its length tells it.
        "name" if path.starts_with("steps[") => Some(
            "must not have control characters or a `/`, begin with `$`, or begin or end with a blank"
                .to_owned(),
        ),
        _ => Some("must not have control characters".to_owned()),
    }
}

fn expected_type(kind: &TypeKind) -> String {
    let name = |kind: JsonType| match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    };
    match kind {
        TypeKind::Single(kind) => name(*kind).to_owned(),
        TypeKind::Multiple(kinds) => {
            let kinds: Vec<_> =
                kinds.iter().filter(|kind| *kind != JsonType::Null).map(name).collect();
            kinds.join(" or ")
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn not_among(text: &str, options: &Value) -> String {
    let options: Vec<&str> =
        options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let near = hint(text, options.iter().copied());
    format!("`{}` is none of `{}`{near}", text.escape_debug(), options.join("`, `"))
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
    } else if path.starts_with("machines.") {
        match path.split('.').nth(2) {
            None => "MachineDocument",
            Some("states") => "StateDocument",
            Some(_) => "TransitionDocument",
        }
    } else if path.ends_with(']') {
        "StepDocument"
    } else if path.ends_with(".instruction") {
        "InstructionDocument"
    } else if path.ends_with(".function") {
        "FunctionDocument"
    } else if path.ends_with(".limits") {
        "LimitsDocument"
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

    fn step(fields: &str) -> String {
        format!(r#"{{"bad": 1, "steps": [{{"name": "a", "timeout": "1h30m", {fields}}}]}}"#)
    }

    #[test]
    fn tells_everything_that_is_wrong() {
        check(
            r#"{"nmae": "x", "steps": [{"name": "a", "runn": {}}, {"run": {"shell": 5}}, {"name": 7, "timeout": "soon"}], "maxConcurrency": "many"}"#,
            &expect![[r#"
                maxConcurrency: must be a whole number, not a string
                steps[0].runn: unknown field `runn`; did you mean `run`?
                steps[1].run.shell: must be a string, not a number
                steps[1]: the field `name` is missing
                steps[2].name: must be a string, not a number
                steps[2].timeout: `soon` is not a duration; write for example `90s`, `1h30m` or `PT5M`
                nmae: unknown field `nmae`; did you mean `name`?"#]],
        );
    }

    #[test]
    fn tells_what_is_not_json() {
        check(
            "{\"steps\": [",
            &expect!["is not JSON: EOF while parsing a list at line 1, column 11"],
        );
        check(
            "{\"steps\": [{\"name\": \"a\"}]} x",
            &expect!["is not JSON: trailing characters at line 1, column 28"],
        );
        check("[]", &expect!["must be an object, not a list"]);
        check("", &expect!["is empty; a jobset was expected"]);
        check(&"[".repeat(1_000), &expect!["has more than 128 levels of nesting"]);
        check(
            r#"{"name": "\ud800"}"#,
            &expect!["is not JSON: unexpected end of hex escape at line 1, column 17"],
        );
    }

    #[test]
    fn tells_which_form_was_meant() {
        check(
            &step(r#""run": {"shel": "x"}"#),
            &expect![[r#"
            steps[0].run: must be one of {"command": ["program", ...]}, {"shell": "..."} and {"instruction": {"text": "..."}}; did you mean `shell`?
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""run": {"command": ["a", 1]}"#),
            &expect![[r#"
            steps[0].run.command[1]: must be a string, not a number
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""run": {"command": ["a"], "shell": "x"}"#),
            &expect![[r#"
            steps[0].run: must be one of {"command": ["program", ...]}, {"shell": "..."} and {"instruction": {"text": "..."}}; did you mean `command`?
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""run": "make""#),
            &expect![[r#"
            steps[0].run: must be one of {"command": ["program", ...]}, {"shell": "..."} and {"instruction": {"text": "..."}}
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""when": {"b": "Failed"}"#),
            &expect![[r#"
            steps[0].when.b: must be a list, not a string
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""when": [{"b": ["Failed"]}, {"b": [5]}]"#),
            &expect![[r#"
            steps[0].when[1].b[0]: must be a string, not a number
            bad: unknown field `bad`"#]],
        );
    }

    #[test]
    fn tells_what_a_field_takes() {
        check(
            &step(r#""when": "b""#),
            &expect![[r#"
            steps[0].when: must be an object of step names with lists of states, or a list of such objects
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""need": "some""#),
            &expect![[r#"
            steps[0].need: must be `all`, `any` or a number
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""onFailure": "hodl""#),
            &expect![[r#"
            steps[0].onFailure: `hodl` is none of `fail`, `hold`, `continue`, `skip`; did you mean `hold`?
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""retry": {"maxAttempt": 3, "backoff": "-2s", "on": ["exit"]}"#),
            &expect![[r#"
            steps[0].retry.backoff: `-2s` is negative; a duration is zero or more
            steps[0].retry.on[0]: `exit` is none of `exit:N`, `signal:N`, `timeout` or `exception`
            steps[0].retry.maxAttempt: unknown field `maxAttempt`; did you mean `maxAttempts`?
            steps[0].retry: the field `maxAttempts` is missing
            bad: unknown field `bad`"#]],
        );
        check(
            &step(r#""grace": "soon", "tags": {"k": 5}, "env": []"#),
            &expect![[r#"
            steps[0].env: must be an object, not a list
            steps[0].grace: `soon` is not a duration; write for example `90s`, `1h30m` or `PT5M`
            steps[0].tags.k: must be a string, not a number
            bad: unknown field `bad`"#]],
        );
        check(
            r#"{"steps": [], "start": "later", "maxConcurrency": -1}"#,
            &expect![[r#"
                maxConcurrency: -1 is less than the minimum of 1
                start: `later` is none of `auto`, `manual`
                steps: needs at least 1 of them"#]],
        );
        check(
            r#"{"steps": [{"name": " a/b"}, {"name": ""}], "maxConcurrency": 1.5}"#,
            &expect![[r#"
            maxConcurrency: must be a whole number, not a fraction
            steps[0].name: must not have control characters or a `/`, begin with `$`, or begin or end with a blank
            steps[1].name: must not be empty"#]],
        );
    }

    #[test]
    fn tells_what_stands_twice() {
        check(
            r#"{"steps": [{"name": "a", "name": "b"}]}"#,
            &expect!["steps[0]: `name` stands twice"],
        );
        check(
            r#"{"steps": [{"name": "a", "env": {"x": "1", "x": "2"}}]}"#,
            &expect!["steps[0].env: `x` stands twice"],
        );
        check(
            r#"{"context": {"a": [{"b": 1, "b": 2}]}, "steps": [{"name": "a"}]}"#,
            &expect!["context.a[0]: `b` stands twice"],
        );
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
