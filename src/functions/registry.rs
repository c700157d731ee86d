//! Functions by name: how a process that was started anew finds what it is to call.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Exception, exception_safe_call};
use crate::domain::problem::hint;

type Callable = Box<dyn Fn(&[u8]) -> Result<Value, Exception> + Send + Sync>;

/// The functions of a program that can be called in processes of their own.
///
/// ```
/// use sutbot::Functions;
///
/// let functions = Functions::new()
///     .register("add", |(a, b): (i64, i64)| a.checked_add(b).ok_or("the sum is too large"))
///     .register("greet", |name: String| Ok::<_, std::convert::Infallible>(format!("hi {name}")));
/// assert_eq!(functions.call("add", b"[1, 2]").unwrap(), 3);
/// assert_eq!(functions.call("ad", b"[1, 2]").unwrap_err().kind, "UnknownFunction");
/// ```
#[derive(Default)]
pub struct Functions {
    by_name: BTreeMap<String, Callable>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Functions {
    /// No functions. [`stock`](super::stock) has some to begin with.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function. It takes one argument that comes as JSON (a tuple is an array, a struct an
    /// object, `()` is `null`) and its result is written as JSON; a number that is none becomes
    /// `null`.
    ///
    /// # Panics
    /// When there is a function of this name already. Registered when the program begins, that is
    /// seen before anything runs.
    #[must_use]
    pub fn register<A, R, E>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(A) -> Result<R, E> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let name = name.into();
        let callable = move |arguments: &[u8]| {
            let arguments = read_arguments(arguments)?;
            let result = function(arguments).map_err(|error| Exception::of_error(error.into()))?;
            serde_json::to_value(result).map_err(|error| {
                let message = format!("the result cannot be written as JSON: {error}");
                Exception::new(Exception::BAD_RESULT, message)
            })
        };
        assert!(!self.by_name.contains_key(&name), "there are two functions `{name}`");
        self.by_name.insert(name, Box::new(callable));
        self
    }

    /// The names, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Calls a function in this process, with arguments as JSON.
    ///
    /// # Errors
    /// [`Exception::UNKNOWN_FUNCTION`], [`Exception::BAD_ARGUMENTS`], [`Exception::BAD_RESULT`], and
    /// what [`exception_safe_call`] makes of the function's own errors and panics.
    pub fn call(&self, name: &str, arguments: &[u8]) -> Result<Value, Exception> {
        let callable = self.by_name.get(name).ok_or_else(|| self.unknown(name))?;
        exception_safe_call(|| callable(arguments))
    }

    fn unknown(&self, name: &str) -> Exception {
        let known: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let hint = hint(name, self.names());
        let message = format!("no function is called `{name}` (known: {known}){hint}");
        Exception::new(Exception::UNKNOWN_FUNCTION, message)
    }
}

fn read_arguments<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, Exception> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let bad = |message: String| Exception::new(Exception::BAD_ARGUMENTS, message);
    let arguments =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            match error.path().to_string().as_str() {
                "." => bad(error.inner().to_string()),
                path => bad(format!("{path}: {}", error.inner())),
            }
        })?;
    deserializer.end().map_err(|error| bad(error.to_string()))?;
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use expect_test::{Expect, expect};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: i32,
        y: i32,
    }

    fn check(name: &str, arguments: &str, expected: &Expect) {
        let functions = Functions::new()
            .register("sum", |Point { x, y }| Ok::<_, Infallible>(x + y))
            .register("nothing", |()| Ok::<_, Infallible>(()))
            .register("pairs", |()| Ok::<_, Infallible>(BTreeMap::from([((1, 2), 3)])))
            .register("own", |()| Err::<(), _>(Exception::new("Teapot", "short\0 and stout")))
            .register("text", |text: String| Err::<(), _>(text))
            .register("panic", |n: u32| -> Result<u32, Infallible> { panic!("no {n}") });
        let result = functions.call(name, arguments.as_bytes());
        let text = result.map_or_else(|e| e.to_string(), |value| value.to_string());
        expected.assert_eq(&text);
    }

    #[test]
    fn every_outcome_has_a_name() {
        check("sum", r#"{"x": 1, "y": 2}"#, &expect!["3"]);
        check("nothing", "null", &expect!["null"]);
        check(
            "pairs",
            "null",
            &expect!["BadResult: the result cannot be written as JSON: key must be a string"],
        );
        check("own", "null", &expect!["Teapot: short� and stout"]);
        check("text", r#""it rains""#, &expect!["Error: it rains"]);
        check("panic", "7", &expect!["Panic: no 7"]);
        check(
            "sum",
            r#"{"x": 1, "y": "2"}"#,
            &expect![[
                r#"BadArguments: y: invalid type: string "2", expected i32 at line 1 column 17"#
            ]],
        );
        check(
            "sum",
            r#"{"x": 1, "z": "2"}"#,
            &expect!["BadArguments: z: unknown field `z`, expected `x` or `y` at line 1 column 12"],
        );
        check(
            "sum",
            r#"{"x": 1, "y": 2} 3"#,
            &expect!["BadArguments: trailing characters at line 1 column 18"],
        );
        check("sum", "[", &expect!["BadArguments: EOF while parsing a list at line 1 column 1"]);
        check(
            "smu",
            "null",
            &expect![
                "UnknownFunction: no function is called `smu` (known: `nothing`, `own`, `pairs`, `panic`, `sum`, `text`); did you mean `sum`?"
            ],
        );
        check(
            "banana",
            "null",
            &expect![
                "UnknownFunction: no function is called `banana` (known: `nothing`, `own`, `pairs`, `panic`, `sum`, `text`)"
            ],
        );
    }

    #[test]
    #[should_panic(expected = "there are two functions `f`")]
    fn a_name_is_given_once() {
        let f = |()| Ok::<_, Infallible>(());
        _ = Functions::new().register("f", f).register("f", f);
    }
}
