//! `mother interactive`: a prompt to steer an operation, above which appears what happens to it.
//!
//! One task owns everything. It waits for a line ([`input`]) and for news ([`print`]) at the same
//! time, reads the line ([`command`]) and does what it says ([`session`]); news that come while a
//! command is done are told after it. Errors are told, and the next line is asked for.
//!
//! Without a terminal the lines are a script: no prompt, no news, no questions, and exit code 1 if
//! one of them failed. The others are done all the same, as they would be for a person.

mod choice;
mod command;
mod complete;
mod input;
mod print;
mod session;
mod words;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use super::args::Global;
use super::error::CliError;
use super::output::Output;
use super::signals::Signals;
use super::table::{state, table, text};
use crate::client::{Client, Question as Wanted};
use crate::wire::Operation;
use input::{Input, Marked, Question, Terminal, Typed};
use session::Session;

/// What is not a running operation is not offered.
const RUNNING: &str = "status eq 'notstarted' or status eq 'running'";
/// Operations to choose from.
const OFFERED_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
At the prompt:
  pause                 the operation: what runs ends, nothing new starts
  skip suite=slow       steps with that tag; also by name and by state:NAME
  rerun --cascade build
  help                  everything else

Where stdin is not a terminal, its lines are done one after the other; the exit code is 1 if one of \
them failed.")]
pub(super) struct InteractiveArgs {
    /// The operation [default: the one that runs, or one of those that do]
    id: Option<String>,
}

pub(super) async fn interactive(
    global: &Global,
    args: InteractiveArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let client = global.client()?;
    let mut signals = Signals::new()?;
    // Who wants JSON is a program, even at a terminal.
    let is_person = io::stdin().is_terminal() && output.is_terminal() && !output.is_json();
    let mut input = if is_person { Input::Terminal(Terminal::open()?) } else { Input::script() };
    let chosen = match args.id {
        Some(id) => Some(id),
        None => choose(&client, &mut input, output, &mut signals).await?,
    };
    let Some(id) = chosen else { return Ok(ExitCode::SUCCESS) };
    Session::of(client, &id, input, output).await?.run(&mut signals).await
}

/// The operation that runs. Of several, a person chooses one; nothing if they leave.
async fn choose(
    client: &Client,
    input: &mut Input,
    output: Output,
    signals: &mut Signals,
) -> Result<Option<String>, CliError> {
    let filter = Some(RUNNING.to_owned());
    let wanted = Wanted { filter, top: Some(OFFERED_MAX), ..Wanted::default() };
    let mut running = client.list(&wanted).await?;
    if running.len() < 2 {
        let none = "no operation runs; name one: mother interactive OP (`mother op list` has all)";
        return running
            .pop()
            .map(|only| Some(only.id))
            .ok_or_else(|| CliError::BadSetting(none.to_owned()));
    }
    if let Input::Script(_) = input {
        let ids: Vec<&str> = running.iter().map(|operation| operation.id.as_str()).collect();
        let message = format!("several operations run; name one: {}", ids.join(", "));
        return Err(CliError::BadSetting(message));
    }
    output.line(&offer(&running, output))?;
    loop {
        let prompt = Marked::fixed(&format!("which one, 1 to {}? ", running.len()));
        input.ask(Question { prompt, names: None });
        let typed = tokio::select! {
            typed = input.typed() => typed,
            () = signals.next() => return Ok(None),
        };
        let Typed::Line(line) = typed else { return Ok(None) };
        let number = line.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(index) = number.filter(|index| *index < running.len()) {
            return Ok(Some(running.swap_remove(index).id));
        }
    }
}

fn offer(running: &[Operation], output: Output) -> String {
    let mut rows = table(&["", "id", "name", "state", "created"], output);
    for (index, operation) in running.iter().enumerate() {
        rows.add_row([
            (index + 1).into(),
            operation.id.as_str().into(),
            operation.name.as_str().into(),
            state(&operation.state),
            operation.created_date_time.format("%F %T").into(),
        ]);
    }
    text(&rows)
}
