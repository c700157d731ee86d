//! `mother op waiting`, `reply` and `send`: between steps and people.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{json_or_text, pair};
use super::error::CliError;
use super::output::Output;
use super::table::{table, text};
use crate::client::Client;
use crate::wire::{MessageRequest, MessageSent, Prompt, ReplyRequest, ReplyStatus};

#[derive(Debug, Subcommand)]
pub(super) enum PeopleCommand {
    /// List what steps ask of people and nobody has replied to
    Waiting {
        /// The operation [default: all of them]
        id: Option<String>,
    },
    /// Reply to what a step asks
    Reply(ReplyArgs),
    /// Send a message to running steps; to all of them unless some are chosen
    Send(SendArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReplyArgs {
    /// The operation
    id: String,
    /// The prompt, as `mother op waiting` names it
    prompt: String,
    /// It was not done
    #[arg(long)]
    not_done: bool,
    /// What was asked for: JSON, or text where it is none
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    value: Option<String>,
    /// A remark for the record
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The number of the event that led to the reply
    #[arg(long, value_name = "SEQ")]
    after: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The operation
    id: String,
    /// The message: JSON, or text where it is none
    #[arg(allow_negative_numbers = true)]
    message: String,
    /// To this step; may be given many times
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<String>,
    /// To steps with this tag; may be given many times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// The number of the event that led to the message
    #[arg(long, value_name = "SEQ")]
    after: Option<u32>,
    /// Say who would get it and send nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn people(
    client: &Client,
    command: PeopleCommand,
    output: Output,
) -> Result<(), CliError> {
    match command {
        PeopleCommand::Waiting { id: Some(id) } => waiting(&client.waiting(&id).await?, output),
        PeopleCommand::Waiting { id: None } => waiting(&client.waiting_everywhere().await?, output),
        PeopleCommand::Reply(args) => reply(client, args, output).await,
        PeopleCommand::Send(args) => send(client, args, output).await,
    }
}

pub(super) fn waiting(prompts: &[Prompt], output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(&json!({"value": prompts}))?);
    }
    if prompts.is_empty() {
        return Ok(output.line("no step waits for a person")?);
    }
    let mut rows = table(&["operation", "step", "prompt", "since", "who", "what"], output);
    for prompt in prompts {
        rows.add_row([
            prompt.operation.clone(),
            prompt.step.clone(),
            prompt.id.clone(),
            prompt.created_date_time.format("%F %T").to_string(),
            prompt.who.clone().unwrap_or_default(),
            prompt.text.clone(),
        ]);
    }
    Ok(output.line(&text(&rows))?)
}

async fn reply(client: &Client, args: ReplyArgs, output: Output) -> Result<(), CliError> {
    let status = if args.not_done { ReplyStatus::NotDone } else { ReplyStatus::Done };
    let value = args.value.map(json_or_text);
    let request = ReplyRequest { status, value, comment: args.comment, after: args.after };
    let prompt = client.reply(&args.id, &args.prompt, &request).await?;
    if output.is_json() {
        return Ok(output.json(&prompt)?);
    }
    Ok(output.line(&format!("{} has the reply", prompt.step))?)
}

async fn send(client: &Client, args: SendArgs, output: Output) -> Result<(), CliError> {
    let SendArgs { id, message, steps, tags, after, dry_run } = args;
    let message: Value = json_or_text(message);
    let tags: BTreeMap<_, _> = tags.into_iter().collect();
    let steps = (!steps.is_empty()).then_some(steps);
    let request = MessageRequest { message, tags, steps, after, dry_run };
    sent(&client.send_message(&id, &request).await?, output)
}

pub(super) fn sent(sent: &MessageSent, output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(sent)?);
    }
    if sent.value.is_empty() {
        return Ok(output.line("no running step is like that; nobody gets it")?);
    }
    let mut rows = table(&["n", "step", "attempt", "message"], output);
    for receiver in &sent.value {
        // A dry run sends nothing that would have a number.
        let number = if receiver.seq == 0 { "-".to_owned() } else { receiver.seq.to_string() };
        rows.add_row([
            receiver.n.to_string(),
            receiver.name.clone(),
            receiver.attempt.to_string(),
            number,
        ]);
    }
    Ok(output.line(&text(&rows))?)
}
