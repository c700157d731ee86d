//! Templates in `command`, `shell`, `env` and `cwd`.
//!
//! A text without `{{`, `{%` and `{#` is taken as it is. Others are rendered by a thread of their own
//! with a large stack and a bound on the work: deep nesting in a template must not be able to end the
//! process.

use std::sync::mpsc;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;
use tokio::sync::oneshot;

/// The longest template in bytes.
const SOURCE_MAX: usize = 256 * 1024;
/// Steps of the template machine per text.
const FUEL: u64 = 1_000_000;
const STACK: usize = 256 * 1024 * 1024;

type Job = (Vec<String>, Value, oneshot::Sender<Result<Vec<String>, String>>);

/// Renders templates.
#[derive(Debug)]
pub(super) struct Renderer {
    jobs: mpsc::Sender<Job>,
}

/// Whether a text has anything to render.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

impl Renderer {
    /// Starts the thread; it ends when the renderer is dropped.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new().name("templates".into()).stack_size(STACK).spawn(move || {
            let environment = environment();
            for (texts, values, reply) in inbox {
                let rendered = texts.iter().map(|text| render(&environment, text, &values));
                let _gone = reply.send(rendered.collect());
            }
        })?;
        Ok(Self { jobs })
    }

    /// Renders texts with `values`; says what is wrong with the first that cannot be.
    pub(super) async fn render(
        &self,
        texts: Vec<String>,
        values: Value,
    ) -> Result<Vec<String>, String> {
        let gone = || "the template thread has ended".to_owned();
        let (reply, answer) = oneshot::channel();
        self.jobs.send((texts, values, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    let syntax = syntax.expect("the usual delimiters are fine");
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment
}

fn render(environment: &Environment<'_>, text: &str, values: &Value) -> Result<String, String> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    if text.len() > SOURCE_MAX {
        return Err(format!("a template has {} bytes, more than {SOURCE_MAX}", text.len()));
    }
    let rendered = environment.render_str(text, minijinja::Value::from(Serde(values)));
    let rendered = rendered.map_err(|error| format!("{error} in {}", excerpt(text)))?;
    if rendered.contains('\0') {
        return Err(format!("a NUL character came out of {}", excerpt(text)));
    }
    Ok(rendered)
}

fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("`{short}{dots}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn check(text: &str, expected: Result<&str, &str>) {
        let renderer = Renderer::start().unwrap();
        let values =
            json!({"context": {"port": 80, "name": "a b"}, "steps": {"x-y": {"result": [1]}}});
        let texts = renderer.render(vec![text.to_owned()], values).await;
        match (texts, expected) {
            (Ok(texts), Ok(expected)) => assert_eq!(texts, [expected]),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (texts, expected) => panic!("{texts:?} instead of {expected:?}"),
        }
    }

    #[tokio::test]
    async fn renders_and_refuses() {
        check("plain ${HOME} {x}", Ok("plain ${HOME} {x}")).await;
        check("{{ context.port }}/{{ context.name }}\n", Ok("80/a b\n")).await;
        check("{{ steps['x-y'].result[0] }}", Ok("1")).await;
        check("{{ context.prot }}", Err("undefined")).await;
        check("{{ context.port ", Err("syntax error")).await;
        check("{% for i in range(100000000) %}x{% endfor %}", Err("")).await;
    }

    #[tokio::test]
    async fn deep_nesting_is_an_error() {
        let renderer = Renderer::start().unwrap();
        for text in [
            format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
            format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
            format!("{{{{ 1{} }}}}", "+1".repeat(50_000)),
        ] {
            let _either = renderer.render(vec![text], json!({})).await;
        }
        let fine = renderer.render(vec!["{{ 1 }}".to_owned()], json!({})).await;
        assert_eq!(fine, Ok(vec!["1".to_owned()]));
    }
}
