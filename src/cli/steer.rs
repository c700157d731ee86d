//! `mother op VERB`: steering the steps of an operation.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::args::pair;
use super::error::{CliError, NOT_POSSIBLE};
use super::op::show;
use super::output::Output;
use super::table::{state, table, text};
use crate::client::{Client, SteerOutcome, Verb};
use crate::wire::{ScopeDocument, SteerRequest, Steered};

#[derive(Debug, Subcommand)]
pub(super) enum SteerCommand {
    /// Start steps that wait for the order to; all of them unless some are chosen
    Start(Selection),
    /// Pause the operation, so that nothing new starts; or steps, if some are chosen
    Pause(Selection),
    /// Let the operation go on; or steps that are paused, interrupted or held after an error
    Resume(Selection),
    /// Stop running steps
    Interrupt(Selection),
    /// Leave steps out; those after them go on
    Skip(Selection),
    /// Take a skip back that has not come about yet
    Unskip(Selection),
    /// Run steps again, those that went wrong unless some are chosen; on an operation that has
    /// ended, as a new operation
    Rerun(RerunArgs),
    /// Close steps, and with them what comes after
    Block(Selection),
    /// Take a block back
    Unblock(Selection),
    /// Release the next paused steps
    Next {
        #[command(flatten)]
        selection: Selection,
        /// How many [default: 1]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        count: Option<u32>,
    },
    /// Have steps held for a person when they fail
    Hold(Selection),
    /// Take a hold back
    Unhold(Selection),
    /// Run steps now that wait for the time of their next attempt
    RunNow(Selection),
    /// Take an action that a machine of the jobset names itself
    Act {
        /// The action
        #[arg(long, value_name = "NAME")]
        action: String,
        #[command(flatten)]
        selection: Selection,
    },
}

/// What a condition is that every step fits, in the query language.
pub(super) const EVERY_STEP: &str = "n ge 0";

/// Which steps are meant. What is given together must all hold.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The operation
    id: String,
    /// This step; may be given many times
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<String>,
    /// Steps with this tag; may be given many times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Steps in this state; may be given many times
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Steps for which this holds: `tags/suite eq 'unit' and attempt gt 1`
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// All steps
    #[arg(long, conflicts_with_all = ["steps", "tags", "states", "filter"])]
    all: bool,
    /// Also the steps that can be reached only through a chosen one
    #[arg(long)]
    branch: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct RerunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Also run the steps again that follow a chosen one and already ran
    #[arg(long)]
    cascade: bool,
    /// A variable of the environment of the next attempt; may be given many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// What to change in the context before: a JSON object, in which null removes
    #[arg(long, value_name = "JSON", value_parser = object)]
    context: Option<Map<String, Value>>,
    /// The shell text of the next attempt, in place of the step's
    #[arg(long, value_name = "TEXT", conflicts_with = "command")]
    shell: Option<String>,
    /// The program of the next attempt and its arguments, in place of the step's; takes the rest of
    /// the line
    #[arg(long, value_name = "WORD", num_args = 1.., allow_hyphen_values = true)]
    command: Option<Vec<String>>,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("write a JSON object: {error}"))
}

impl Selection {
    fn is_empty(&self) -> bool {
        self.steps.is_empty()
            && self.tags.is_empty()
            && self.states.is_empty()
            && self.filter.is_none()
    }

    /// The operation, and the request for the chosen steps.
    fn request(self) -> (String, SteerRequest) {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let request = SteerRequest {
            steps: some(self.steps),
            tags: self.tags.into_iter().collect::<BTreeMap<_, _>>(),
            states: some(self.states),
            filter: self.filter,
            branch: self.branch,
            dry_run: self.dry_run,
            ..SteerRequest::default()
        };
        (self.id, request)
    }

    /// For verbs that would be bad news for steps that were not meant.
    fn chosen(self) -> Result<(String, SteerRequest), CliError> {
        if self.is_empty() && !self.all {
            let message = "say which steps are meant: --step, --tag, --state, --filter, or --all";
            return Err(CliError::BadSetting(message.to_owned()));
        }
        Ok(self.request())
    }

    /// For verbs that mean the operation where no steps are chosen.
    fn steps_or_operation(self) -> Result<(String, SteerRequest), CliError> {
        if !self.is_empty() || self.all {
            return Ok(self.request());
        }
        if self.branch {
            let message = "--branch is about chosen steps; name one with --step";
            return Err(CliError::BadSetting(message.to_owned()));
        }
        let (id, request) = self.request();
        Ok((id, SteerRequest { scope: ScopeDocument::Operation, ..request }))
    }
}

impl RerunArgs {
    fn request(self) -> (String, SteerRequest) {
        let is_all = self.selection.all;
        let (id, request) = self.selection.request();
        let request = SteerRequest {
            // The verb itself chooses where nothing does, so "all" must be said.
            filter: if is_all { Some(EVERY_STEP.to_owned()) } else { request.filter },
            cascade: self.cascade,
            env: self.env.into_iter().collect(),
            command: self.command,
            shell: self.shell,
            context: self.context,
            ..request
        };
        (id, request)
    }
}

impl SteerCommand {
    /// What the server is asked for.
    fn request(self) -> Result<(Verb, (String, SteerRequest)), CliError> {
        Ok(match self {
            Self::Start(selection) => (Verb::Start, selection.request()),
            Self::Pause(selection) => (Verb::Pause, selection.steps_or_operation()?),
            Self::Resume(selection) => (Verb::Resume, selection.steps_or_operation()?),
            Self::Interrupt(selection) => (Verb::Interrupt, selection.chosen()?),
            Self::Skip(selection) => (Verb::Skip, selection.chosen()?),
            Self::Unskip(selection) => (Verb::Unskip, selection.chosen()?),
            Self::Rerun(args) => (Verb::Rerun, args.request()),
            Self::Block(selection) => (Verb::Block, selection.chosen()?),
            Self::Unblock(selection) => (Verb::Unblock, selection.chosen()?),
            Self::Next { selection, count } => {
                let (id, request) = selection.request();
                (Verb::Next, (id, SteerRequest { count, ..request }))
            }
            Self::Hold(selection) => (Verb::Hold, selection.chosen()?),
            Self::Unhold(selection) => (Verb::Unhold, selection.chosen()?),
            Self::RunNow(selection) => (Verb::RunNow, selection.chosen()?),
            Self::Act { action, selection } => (Verb::Own(action), selection.chosen()?),
        })
    }
}

pub(super) async fn steer(
    client: &Client,
    command: SteerCommand,
    output: Output,
) -> Result<ExitCode, CliError> {
    let (verb, (id, request)) = command.request()?;
    match client.steer(&id, &verb, &request).await? {
        SteerOutcome::Forked(submitted) => {
            show(&submitted.operation, output)?;
            Ok(ExitCode::SUCCESS)
        }
        SteerOutcome::Steered(steered) => {
            tell(&steered, &request, output)?;
            // Whoever named steps wanted at least one of them moved.
            let is_refused = steered.value.is_empty() && !steered.refused.is_empty();
            Ok(if is_refused { ExitCode::from(NOT_POSSIBLE) } else { ExitCode::SUCCESS })
        }
    }
}

/// Says which steps were moved and which were not.
pub(super) fn tell(
    steered: &Steered,
    request: &SteerRequest,
    output: Output,
) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(steered)?);
    }
    if !steered.value.is_empty() {
        let mut rows = table(&["n", "step", "from", "to"], output);
        for step in &steered.value {
            rows.add_row([
                step.n.into(),
                step.name.as_str().into(),
                state(&step.from),
                state(&step.to),
            ]);
        }
        output.line(&text(&rows))?;
    }
    for step in &steered.refused {
        output.line(&format!("{} is {}: {}", step.name, step.state, step.message))?;
    }
    if let Some(remark) = remark(steered, request) {
        output.line(&remark)?;
    }
    Ok(())
}

/// What the steps do not say.
fn remark(steered: &Steered, request: &SteerRequest) -> Option<String> {
    let about = match (request.scope, request.dry_run, steered.paused) {
        (ScopeDocument::Operation, false, true) => {
            "the operation is paused: what runs ends, nothing new starts"
        }
        (ScopeDocument::Operation, false, false) => "the operation is not paused",
        (ScopeDocument::Operation, true, _) => "this is about the operation; nothing was done",
        (ScopeDocument::Steps, true, _) if !steered.value.is_empty() => {
            "this is what would be done; nothing was done"
        }
        (ScopeDocument::Steps, ..) if steered.value.is_empty() && steered.refused.is_empty() => {
            "no step that is meant can be moved so"
        }
        (ScopeDocument::Steps, ..) => return None,
    };
    Some(about.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: SteerCommand,
    }

    fn request(line: &str) -> Result<(Verb, (String, SteerRequest)), CliError> {
        Line::try_parse_from(line.split(' ')).unwrap().command.request()
    }

    #[test]
    fn nothing_chosen_is_the_operation_or_a_question() {
        for line in ["op pause 7", "op resume 7 --dry-run"] {
            let (_, (id, request)) = request(line).unwrap();
            assert_eq!((id.as_str(), request.scope), ("7", ScopeDocument::Operation));
        }
        for line in ["op pause 7 --all", "op pause 7 --step a --branch"] {
            assert_eq!(request(line).unwrap().1.1.scope, ScopeDocument::Steps, "{line}");
        }
        for line in ["op skip 7", "op act 7 --action open", "op run-now 7", "op pause 7 --branch"] {
            assert!(request(line).is_err(), "{line}");
        }
        let (verb, (_, request)) = request("op next 7 --count 3").unwrap();
        assert_eq!((verb, request.count, request.steps), (Verb::Next, Some(3), None));
    }

    #[test]
    fn steps_are_chosen_as_they_are_told_to_the_server() {
        let line = "op skip 7 --step a --step b --tag suite=x=y --state Ready --dry-run";
        let (verb, (_, asked)) = request(line).unwrap();
        let expected = SteerRequest {
            steps: Some(vec!["a".to_owned(), "b".to_owned()]),
            tags: BTreeMap::from([("suite".to_owned(), "x=y".to_owned())]),
            states: Some(vec!["Ready".to_owned()]),
            dry_run: true,
            ..SteerRequest::default()
        };
        assert_eq!((verb, asked), (Verb::Skip, expected));
        let empty = request("op block 7 --all").unwrap().1.1;
        assert_eq!(empty, SteerRequest::default());
    }

    #[test]
    fn a_rerun_takes_what_the_next_attempt_is_to_be() {
        let line = r#"op rerun 7 --step a --env A=1 --context {"x":null} --command make -j4 --all"#;
        let asked = request;
        let (_, (_, request)) = asked(line).unwrap();
        assert_eq!(request.command.unwrap(), ["make", "-j4", "--all"]);
        assert_eq!(request.env, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        assert_eq!(request.context.unwrap(), Map::from_iter([("x".to_owned(), Value::Null)]));
        assert_eq!(asked("op rerun 7").unwrap().1.1, SteerRequest::default());
        let all = asked("op rerun 7 --all").unwrap().1.1;
        assert_eq!(all.filter.as_deref(), Some(EVERY_STEP));
        assert!(Line::try_parse_from(["op", "rerun", "7", "--all", "--context", "[]"]).is_err());
    }
}
