//! `mother op`: operations on a server.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::args::{Global, graph_format};
use super::causality::CausalityCommand;
use super::error::CliError;
use super::follow::{Follow, OnInterrupt};
use super::output::Output;
use super::people::{self, PeopleCommand};
use super::signals::Signals;
use super::steer::{self, SteerCommand};
use super::table::{ended_by, state, table, text};
use super::{causality, tail, why};
use crate::client::{Client, Question};
use crate::wire::graph::Format;
use crate::wire::{Event, Operation, Step};

#[derive(Debug, Args)]
pub(super) struct OpArgs {
    #[command(subcommand)]
    command: OpCommand,
}

#[derive(Debug, Subcommand)]
enum OpCommand {
    /// List operations: those that have not ended first
    List(ListArgs),
    /// Show one operation
    Show {
        /// The operation
        id: String,
    },
    /// List the steps of an operation
    Steps {
        /// The operation
        id: String,
    },
    /// Print what a step wrote
    Output {
        /// The operation
        id: String,
        /// The step
        step: String,
        /// Its attempt [default: the latest]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// Only this stream [default: both]
        #[arg(long)]
        stream: Option<Stream>,
        /// Go on until the attempt has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Draw the steps of an operation and what they wait for
    Graph {
        /// The operation
        id: String,
        /// What the drawing is written in
        #[arg(long, default_value = "dot", value_parser = graph_format())]
        format: Format,
    },
    /// Say why an operation, or one of its steps, does not go on
    Explain {
        /// The operation
        id: String,
        /// The step [default: all that wait]
        step: Option<String>,
    },
    /// Print what happened to an operation and its steps
    Events {
        /// The operation
        id: String,
        /// Go on until the operation has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Follow an operation to its end; Ctrl-C leaves it running
    Watch {
        /// The operation
        id: String,
    },
    /// Stop an operation and its running steps; what is for its end runs
    Cancel {
        /// The operation
        id: String,
        /// Kill everything at once, what would clean up too
        #[arg(long)]
        force: bool,
        /// Why, for those who look at it later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    #[command(flatten)]
    Causality(CausalityCommand),
    #[command(flatten)]
    Steer(SteerCommand),
    #[command(flatten)]
    People(PeopleCommand),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Which ones: `status eq 'failed' and labels/branch eq 'main'`
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
    /// In which order: `createdDateTime desc`
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    order: Option<String>,
    /// Words in name, labels or error: `timeout NOT nightly`
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// All of them
    #[arg(long, conflicts_with = "top")]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

pub(super) async fn op(
    global: &Global,
    args: OpArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let client = global.client()?;
    match args.command {
        OpCommand::List(ListArgs { filter, order, search, top, all }) => {
            let is_narrow = filter.is_some() || search.is_some();
            let question = Question { filter, order, search, top: (!all).then_some(top) };
            list(&client.list(&question).await?, is_narrow, output)?;
        }
        OpCommand::Show { id } => show(&client.operation(&id).await?, output)?,
        OpCommand::Steps { id } => steps(&client.steps(&id).await?, output)?,
        OpCommand::Output { id, step, attempt, stream, follow } => {
            let stream = stream.map(Stream::name);
            if follow {
                tail::output(&client, (&id, &step), attempt, stream, output).await?;
            } else if output.is_json() {
                let pieces = client.output_pieces(&id, &step, attempt, stream).await?;
                output.json(&json!({"value": pieces}))?;
            } else {
                let bytes = client.output(&id, &step, attempt, stream).await?;
                std::io::stdout().lock().write_all(&bytes)?;
            }
        }
        OpCommand::Events { id, follow: true } => tail::events(&client, &id, output).await?,
        OpCommand::Events { id, follow: false } => events(&client, &id, output).await?,
        OpCommand::Watch { id } => {
            let (client, id, on_interrupt) = (&client, &id, OnInterrupt::Leave);
            let follow = Follow { client, id, on_interrupt, remains: true, output };
            return follow.to_the_end(&mut Signals::new()?).await;
        }
        OpCommand::Cancel { id, force, reason } => {
            let reason = reason.as_deref();
            let stopped = if force {
                client.abort(&id, reason).await
            } else {
                client.cancel(&id, reason).await
            };
            show(&stopped?, output)?;
        }
        OpCommand::Graph { id, format } => {
            let drawing = client.graph(&id, format).await?;
            std::io::stdout().lock().write_all(&drawing)?;
        }
        OpCommand::Explain { id, step } => explain(&client, &id, step.as_deref(), output).await?,
        OpCommand::Causality(command) => {
            causality::causality(&client, command, output).await?;
        }
        OpCommand::Steer(command) => return steer::steer(&client, command, output).await,
        OpCommand::People(command) => people::people(&client, command, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(operations: &[Operation], is_narrow: bool, output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(&json!({"value": operations}))?);
    }
    if operations.is_empty() && is_narrow {
        return Ok(output.line("no operations are like that")?);
    }
    if operations.is_empty() {
        return Ok(output.line("no operations yet; `mother run FILE` makes one")?);
    }
    let mut rows = table(&["id", "name", "state", "done", "created"], output);
    for operation in operations {
        rows.add_row([
            operation.id.as_str().into(),
            operation.name.as_str().into(),
            state(&operation.state),
            format!("{} %", operation.percent_complete).into(),
            operation.created_date_time.format("%F %T").into(),
        ]);
    }
    Ok(output.line(&text(&rows))?)
}

/// Prints why a step, or the operation, does not go on.
pub(super) async fn explain(
    client: &Client,
    id: &str,
    step: Option<&str>,
    output: Output,
) -> Result<(), CliError> {
    match step {
        Some(step) => why::print_step(&client.explain_step(id, step).await?, output)?,
        None => why::print_operation(&client.explain_operation(id).await?, output)?,
    }
    Ok(())
}

pub(super) fn show(operation: &Operation, output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(operation)?);
    }
    let field = |name: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { output.line(&format!("{name:<10}{value}")) }
    };
    let pairs = |pairs: Vec<String>| pairs.join(", ");
    let counts = operation.step_counts.iter().map(|(state, count)| format!("{count} {state}"));
    let labels = operation.labels.iter().map(|(key, value)| format!("{key}={value}"));
    field("id", &operation.id)?;
    field("name", &operation.name)?;
    field("state", &output.state(&operation.state))?;
    field("done", &format!("{} %", operation.percent_complete))?;
    field("steps", &pairs(counts.collect()))?;
    field("created", &operation.created_date_time.format("%F %T UTC").to_string())?;
    field("labels", &pairs(labels.collect()))?;
    field("error", operation.error.as_ref().map_or("", |error| &error.message))?;
    let detail =
        |value: &Option<Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    field("cancelled", &detail(&operation.cancellation))?;
    field("result", &detail(&operation.result))?;
    Ok(())
}

pub(super) fn steps(steps: &[Step], output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(&json!({"value": steps}))?);
    }
    let mut rows = table(&["n", "step", "state", "attempt", "since", "ended by"], output);
    for step in steps {
        rows.add_row([
            step.n.into(),
            step.name.as_str().into(),
            state(&step.state),
            step.attempt.into(),
            step.entered_date_time.format("%F %T").into(),
            ended_by(step).into(),
        ]);
    }
    Ok(output.line(&text(&rows))?)
}

pub(super) async fn events(client: &Client, id: &str, output: Output) -> Result<(), CliError> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let page = client.events(id, all.last().map_or(0, |event| event.seq)).await?;
        let more = page.next_link.is_some() && !page.value.is_empty();
        all.extend(page.value);
        if !more {
            break;
        }
    }
    print_events(&all, output)
}

pub(super) fn print_events(events: &[Event], output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(&json!({"value": events}))?);
    }
    let mut rows = table(&["seq", "at", "step", "attempt", "what", "from", "to"], output);
    for event in events {
        let attempt = event.attempt.map(|number| number.to_string()).unwrap_or_default();
        rows.add_row([
            event.seq.into(),
            event.at.format("%T%.3f").into(),
            event.step.as_deref().unwrap_or_default().into(),
            attempt.into(),
            event.action.as_deref().unwrap_or(&event.kind).into(),
            event.from.as_deref().unwrap_or_default().into(),
            state(event.to.as_deref().or(event.state.as_deref()).unwrap_or_default()),
        ]);
    }
    Ok(output.line(&text(&rows))?)
}
