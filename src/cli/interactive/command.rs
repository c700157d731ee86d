//! What a line asks for. Nothing here asks the server; what only it can know, it refuses.

use serde_json::Value;

use super::super::args::json_or_text;
use super::super::steer::EVERY_STEP;
use super::choice::{Chosen, chosen};
use super::complete::Names;
use super::words::{Split, Word};
use crate::client::Verb;
use crate::domain::problem::hint;
use crate::wire::graph::Format;
use crate::wire::{ReplyRequest, ReplyStatus, ScopeDocument, SteerRequest};

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Steer { verb: Verb, request: SteerRequest },
    Status,
    Steps(SteerRequest),
    Explain(Option<String>),
    Waiting,
    Reply { prompt: Option<String>, request: ReplyRequest },
    Send { step: String, message: Value },
    Output { step: String, attempt: Option<u32> },
    Events,
    Graph(Format),
    Cancel,
    Wait,
    Help,
    Quit,
}

/// What a verb means where no steps are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unchosen {
    /// The operation as a whole.
    Operation,
    /// Those that the server chooses.
    Server,
    /// Nothing: it would be bad news for steps that were not meant.
    Nothing,
}

/// The verbs of any operation.
static VERBS: [(Verb, Unchosen, &str); 13] = [
    (Verb::Start, Unchosen::Server, "start steps that wait for the order to"),
    (Verb::Pause, Unchosen::Operation, "pause steps, or alone: the operation"),
    (Verb::Resume, Unchosen::Operation, "let steps, or alone: the operation, go on"),
    (Verb::Interrupt, Unchosen::Nothing, "stop running steps"),
    (Verb::Skip, Unchosen::Nothing, "leave steps out; those after them go on"),
    (Verb::Unskip, Unchosen::Nothing, "take back a skip that has not come about"),
    (Verb::Rerun, Unchosen::Server, "run steps again, alone: those that went wrong"),
    (Verb::Block, Unchosen::Nothing, "close steps, and with them what comes after"),
    (Verb::Unblock, Unchosen::Nothing, "take a block back"),
    (Verb::Next, Unchosen::Server, "release the next paused steps: `next 2`"),
    (Verb::Hold, Unchosen::Nothing, "have steps held for a person when they fail"),
    (Verb::Unhold, Unchosen::Nothing, "take a hold back"),
    (Verb::RunNow, Unchosen::Nothing, "run steps that wait for their next attempt"),
];

/// The other commands: name, arguments, what they do.
static OTHERS: [(&str, &str, &str); 14] = [
    ("act", "NAME STEPS", "take an action that the jobset names itself"),
    ("status", "", "show the operation, and the steps that have not succeeded"),
    ("steps", "[STEPS]", "list steps"),
    ("explain", "[STEP]", "say why the operation, or a step, does not go on"),
    ("waiting", "", "list what steps ask of people"),
    ("reply", "[ID] done|not-done [JSON]", "reply to what a step asks"),
    ("send", "STEP JSON", "send a message to a running step"),
    ("output", "STEP [ATTEMPT]", "print what a step wrote"),
    ("events", "", "print what happened"),
    ("graph", "[dot|mermaid|svg]", "draw the steps"),
    ("cancel", "", "stop the operation and its running steps"),
    ("wait", "", "wait until the operation has ended or needs a person"),
    ("help", "", "print this"),
    ("quit", "", "leave; the operation goes on"),
];

/// What can be replied.
pub(super) const REPLIES: [&str; 2] = ["done", "not-done"];

/// All first words of lines, but for the actions of the jobset.
pub(super) fn first_words<'a>() -> impl Iterator<Item = &'a str> {
    let others = OTHERS.iter().map(|(name, ..)| *name);
    VERBS.iter().map(|(verb, ..)| verb.name()).chain(others)
}

/// Whether steps are chosen after this first word.
pub(super) fn is_verb(word: &str, names: &Names) -> bool {
    VERBS.iter().any(|(verb, ..)| verb.name() == word) || names.actions.contains(word)
}

/// What there is to say, for `help`.
pub(super) fn help(names: &Names) -> String {
    let line = |name: &str, about: &str| format!("  {name:<32}{about}\n");
    let verbs = VERBS.iter().map(|(verb, _, about)| line(verb.name(), about));
    let own = names.actions.iter().map(|name| line(name, "an action of this jobset"));
    let others = OTHERS
        .iter()
        .map(|(name, arguments, about)| line(format!("{name} {arguments}").trim_end(), about));
    let (verbs, own): (String, String) = (verbs.collect(), own.collect());
    let others: String = others.collect();
    format!(
        "Verbs, each with STEPS:\n{verbs}{own}Other commands:\n{others}\
         STEPS are names, KEY=VALUE for a tag, state:NAME, --filter EXPR or --all; what is given\n\
         together must all hold. --dry-run says what would be done, --branch takes along what only\n\
         a chosen step leads to. rerun takes --cascade, --env KEY=VALUE, --context JSON, --shell TEXT."
    )
}

/// What a line asks for; nothing where it is empty or a remark.
///
/// # Errors
/// In words.
pub(super) fn parse(line: &str, names: &Names) -> Result<Option<Command>, String> {
    let split = Split::of(line);
    let Some((first, words)) = split.words.split_first() else { return Ok(None) };
    if first.text.starts_with('#') {
        return Ok(None);
    }
    // What is sent to steps may have quotes of its own.
    if split.unclosed && !["send", "reply"].contains(&first.text.as_str()) {
        return Err("a quote is not closed".to_owned());
    }
    command(&first.text, &Said { line, words }, names).map(Some)
}

fn command(first: &str, said: &Said<'_>, names: &Names) -> Result<Command, String> {
    let known = VERBS.iter().find(|(verb, ..)| verb.name() == first);
    if let Some((verb, unchosen, _)) = known {
        return steer(verb.clone(), *unchosen, said.words, names);
    }
    Ok(match first {
        "act" => {
            let (action, rest) = said.words.split_first().ok_or("say which action: act NAME")?;
            return steer(Verb::Own(action.text.clone()), Unchosen::Nothing, rest, names);
        }
        "steps" => Command::Steps(listed(said.words, names)?),
        "explain" => Command::Explain(said.at_most(1)?.first().map(|word| word.text.clone())),
        "reply" => said.reply()?,
        "send" => said.send()?,
        "output" => said.output()?,
        "graph" => Command::Graph(said.format()?),
        "status" => said.alone(Command::Status)?,
        "waiting" => said.alone(Command::Waiting)?,
        "events" => said.alone(Command::Events)?,
        "cancel" => said.alone(Command::Cancel)?,
        "wait" => said.alone(Command::Wait)?,
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        own if names.actions.contains(own) => {
            return steer(Verb::Own(own.to_owned()), Unchosen::Nothing, said.words, names);
        }
        unknown => return Err(unknown_command(unknown, names)),
    })
}

fn unknown_command(word: &str, names: &Names) -> String {
    let own = names.actions.iter().map(String::as_str);
    let known = own.chain(first_words());
    match hint(word, known) {
        near if near.is_empty() => format!("there is no command `{word}`; `help` lists them"),
        near => format!("there is no command `{word}`{near}"),
    }
}

/// What stands after the first word.
struct Said<'a> {
    line: &'a str,
    words: &'a [Word],
}

impl Said<'_> {
    fn at_most(&self, count: usize) -> Result<&[Word], String> {
        match self.words.get(count) {
            Some(word) => Err(format!("`{}` is one word too many", word.text)),
            None => Ok(self.words),
        }
    }

    fn alone(&self, command: Command) -> Result<Command, String> {
        self.at_most(0)?;
        Ok(command)
    }

    /// The line from the word of this number on, as it was written.
    fn rest(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(|word| self.line[word.start..].trim_end())
    }

    fn reply(&self) -> Result<Command, String> {
        let status = |index: usize| match self.words.get(index)?.text.as_str() {
            "done" => Some(ReplyStatus::Done),
            "not-done" => Some(ReplyStatus::NotDone),
            _ => None,
        };
        let (prompt, status, value) = match (status(0), status(1)) {
            (Some(status), _) => (None, status, self.rest(1)),
            (None, Some(status)) => (Some(self.words[0].text.clone()), status, self.rest(2)),
            (None, None) => return Err("say `reply [ID] done|not-done [JSON]`".to_owned()),
        };
        let value = value.map(|text| json_or_text(text.to_owned()));
        let request = ReplyRequest { status, value, ..ReplyRequest::default() };
        Ok(Command::Reply { prompt, request })
    }

    fn send(&self) -> Result<Command, String> {
        let (Some(step), Some(message)) = (self.words.first(), self.rest(1)) else {
            return Err("say `send STEP JSON`".to_owned());
        };
        Ok(Command::Send { step: step.text.clone(), message: json_or_text(message.to_owned()) })
    }

    fn output(&self) -> Result<Command, String> {
        let words = self.at_most(2)?;
        let step = words.first().ok_or("say which step: output STEP")?.text.clone();
        let number = |word: &Word| {
            let bad = || format!("`{}` is not the number of an attempt", word.text);
            word.text.parse().map_err(|_| bad())
        };
        Ok(Command::Output { step, attempt: words.get(1).map(number).transpose()? })
    }

    fn format(&self) -> Result<Format, String> {
        let name = self.at_most(1)?.first().map_or(Format::Dot.name(), |word| &word.text);
        name.parse().map_err(|error| format!("there is no format `{name}`; {error}"))
    }
}

fn steer(verb: Verb, unchosen: Unchosen, words: &[Word], names: &Names) -> Result<Command, String> {
    let Chosen { mut request, all } = chosen(&verb, words, names)?;
    let is_empty = request.steps.is_none()
        && request.tags.is_empty()
        && request.states.is_none()
        && request.filter.is_none();
    match (all, is_empty, unchosen) {
        (true, false, _) => return Err("--all is all steps; leave the others out".to_owned()),
        // The verb itself chooses where nothing does, so "all" must be said.
        (true, true, Unchosen::Server) => request.filter = Some(EVERY_STEP.to_owned()),
        (false, true, Unchosen::Operation) if request.branch => {
            return Err("--branch is about chosen steps; name one".to_owned());
        }
        (false, true, Unchosen::Operation) => request.scope = ScopeDocument::Operation,
        (false, true, Unchosen::Nothing) => {
            let usage = "say which steps are meant: names, KEY=VALUE, state:NAME or --all";
            return Err(usage.to_owned());
        }
        (true | false, ..) => {}
    }
    Ok(Command::Steer { verb, request })
}

/// Which steps are listed: here, without the server, which is why an expression cannot be said.
fn listed(words: &[Word], names: &Names) -> Result<SteerRequest, String> {
    let request = chosen(&Verb::Start, words, names)?.request;
    let SteerRequest { steps, tags, states, .. } = request.clone();
    if request != (SteerRequest { steps, tags, states, ..SteerRequest::default() }) {
        return Err("`steps` takes names, KEY=VALUE and state:NAME, and no flags".to_owned());
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            steps: ["build", "unit", "a=b", "2"].map(str::to_owned).to_vec(),
            actions: ["open".to_owned()].into(),
            ..Names::default()
        }
    }

    fn read(line: &str) -> Command {
        parse(line, &names()).unwrap().unwrap()
    }

    fn mistake(line: &str) -> String {
        parse(line, &names()).unwrap_err()
    }

    fn steered(line: &str) -> (String, Value) {
        match read(line) {
            Command::Steer { verb, request } => {
                (verb.name().to_owned(), serde_json::to_value(request).unwrap())
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    fn check(line: &str, verb: &str, request: &Value) {
        assert_eq!(steered(line), (verb.to_owned(), request.clone()), "{line}");
    }

    #[test]
    fn verbs_take_steps_tags_states_and_flags() {
        use serde_json::json;
        check("pause unit", "pause", &json!({"steps": ["unit"]}));
        check("pause", "pause", &json!({"scope": "operation"}));
        check("resume --all", "resume", &json!({}));
        check(
            "skip suite=slow --dry-run",
            "skip",
            &json!({
                "tags": {"suite": "slow"}, "dryRun": true
            }),
        );
        check(
            "block state:Ready state:Waiting x",
            "block",
            &json!({
                "steps": ["x"], "states": ["Ready", "Waiting"]
            }),
        );
        check("rerun --cascade build", "rerun", &json!({"steps": ["build"], "cascade": true}));
        check("rerun", "rerun", &json!({}));
        check("rerun --all", "rerun", &json!({"filter": EVERY_STEP}));
        check("run-now x --branch", "run-now", &json!({"steps": ["x"], "branch": true}));
        check("skip --filter 'attempt gt 1'", "skip", &json!({"filter": "attempt gt 1"}));
        check(
            r#"rerun u --env=A=1 --context '{"x": null}' --shell "make -j4""#,
            "rerun",
            &json!({
                "steps": ["u"], "env": {"A": "1"}, "context": {"x": null}, "shell": "make -j4"
            }),
        );
    }

    #[test]
    fn numbers_and_odd_names_are_what_they_look_like() {
        use serde_json::json;
        check("next 2", "next", &json!({"count": 2}));
        check("next --step 2 suite=a", "next", &json!({"steps": ["2"], "tags": {"suite": "a"}}));
        check("skip 2 a=b", "skip", &json!({"steps": ["2", "a=b"]}));
        check(
            "skip --tag a=b --state Error",
            "skip",
            &json!({
                "tags": {"a": "b"}, "states": ["Error"]
            }),
        );
        check("skip 'my step'", "skip", &json!({"steps": ["my step"]}));
        check("skip s=a s=a", "skip", &json!({"tags": {"s": "a"}}));
    }

    #[test]
    fn actions_of_the_jobset_are_verbs() {
        use serde_json::json;
        check("open unit", "open", &json!({"steps": ["unit"]}));
        check("act close unit", "close", &json!({"steps": ["unit"]}));
        assert!(mistake("open").starts_with("say which steps"));
    }

    #[test]
    fn what_is_sent_keeps_its_quotes() {
        use serde_json::json;
        let sent = |line| match read(line) {
            Command::Send { step, message } => (step, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(sent(r#"send unit {"a": "b c"} "#), ("unit".to_owned(), json!({"a": "b c"})));
        assert_eq!(sent("send 'my step' it's"), ("my step".to_owned(), json!("it's")));
        let replied = |line| match read(line) {
            Command::Reply { prompt, request } => (prompt, request.status, request.value),
            other => panic!("{other:?}"),
        };
        assert_eq!(replied("reply done"), (None, ReplyStatus::Done, None));
        let expected = (Some("7".to_owned()), ReplyStatus::NotDone, Some(json!(["x"])));
        assert_eq!(replied(r#"reply 7 not-done ["x"]"#), expected);
        assert!(parse("reply 7", &names()).is_err());
    }

    #[test]
    fn the_other_commands_are_read() {
        assert_eq!(parse("  ", &names()), Ok(None));
        assert_eq!(parse("# skip all", &names()), Ok(None));
        assert_eq!(read("status"), Command::Status);
        assert_eq!(read("explain unit"), Command::Explain(Some("unit".to_owned())));
        assert_eq!(read("graph svg"), Command::Graph(Format::Svg));
        let output = Command::Output { step: "unit".to_owned(), attempt: Some(2) };
        assert_eq!(read("output unit 2"), output);
        let steps = SteerRequest { states: Some(vec!["Error".to_owned()]), ..Default::default() };
        assert_eq!(read("steps state:Error"), Command::Steps(steps));
        assert_eq!(read("exit"), Command::Quit);
    }

    #[test]
    fn mistakes_are_told_in_words() {
        let told: Vec<String> = [
            "skup unit",
            "opne unit",
            "frobnicate",
            "skip",
            "skip --all unit",
            "pause --branch",
            "skip --dry unit",
            "skip --dry-rnu unit",
            "skip --step",
            "skip --all=x",
            "skip =x",
            "skip suite=a --tag suite=b",
            "skip --filter a --filter b",
            "next 0",
            "skip 'unit",
            "status now",
            "output",
            "output unit x",
            "graph png",
            "steps --dry-run",
            "send unit",
            "act",
        ]
        .into_iter()
        .map(|line| format!("{line}: {}", mistake(line)))
        .collect();
        expect_test::expect![[r#"
            skup unit: there is no command `skup`; did you mean `skip`?
            opne unit: there is no command `opne`; did you mean `open`?
            frobnicate: there is no command `frobnicate`; `help` lists them
            skip: say which steps are meant: names, KEY=VALUE, state:NAME or --all
            skip --all unit: --all is all steps; leave the others out
            pause --branch: --branch is about chosen steps; name one
            skip --dry unit: there is no flag `--dry`
            skip --dry-rnu unit: there is no flag `--dry-rnu`; did you mean `--dry-run`?
            skip --step: `--step` needs a value
            skip --all=x: `--all` takes no value
            skip =x: write KEY=VALUE
            skip suite=a --tag suite=b: no step has `suite=a` and `suite=b` at once
            skip --filter a --filter b: `--filter` can be said once
            next 0: `0` is no number of steps
            skip 'unit: a quote is not closed
            status now: `now` is one word too many
            output: say which step: output STEP
            output unit x: `x` is not the number of an attempt
            graph png: there is no format `png`; write dot, mermaid or svg
            steps --dry-run: `steps` takes names, KEY=VALUE and state:NAME, and no flags
            send unit: say `send STEP JSON`
            act: say which action: act NAME"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn help_names_everything() {
        let help = help(&names());
        for word in first_words().chain(["open", "--dry-run"]) {
            assert!(help.contains(word), "{word}");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
