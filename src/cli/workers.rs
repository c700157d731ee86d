//! `mother workers`: who runs steps.

use std::process::ExitCode;

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use serde_json::json;

use super::args::Global;
use super::error::CliError;
use super::output::Output;
use super::table::{table, text};
use crate::client::Client;
use crate::wire::Worker;

#[derive(Debug, Args)]
pub(super) struct WorkersArgs {
    #[command(subcommand)]
    command: Option<WorkersCommand>,
}

#[derive(Debug, Subcommand)]
enum WorkersCommand {
    /// Tell workers to take nothing new; what they run goes on
    Drain {
        /// The name of workers, or the id of one
        #[arg(value_name = "NAME|ID")]
        worker: String,
    },
}

pub(super) async fn workers(
    global: &Global,
    args: WorkersArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let client = global.client()?;
    match args.command {
        None => list(&client.workers().await?, output)?,
        Some(WorkersCommand::Drain { worker }) => drain(&client, &worker, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(workers: &[Worker], output: Output) -> Result<(), CliError> {
    if output.is_json() {
        return Ok(output.json(&json!({"value": workers}))?);
    }
    let header =
        ["id", "name", "host", "labels", "lanes", "slots", "running", "state", "heartbeat"];
    let mut table = table(&header, output);
    for worker in workers {
        let labels: Vec<String> =
            worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let lanes: Vec<&str> = worker.lanes.iter().flatten().map(String::as_str).collect();
        table.add_row([
            worker.id.clone(),
            worker.name.clone(),
            worker.host.clone(),
            if labels.is_empty() { "-".to_owned() } else { labels.join(",") },
            if lanes.is_empty() { "all".to_owned() } else { lanes.join(",") },
            worker.slots.to_string(),
            worker.running.to_string(),
            worker.state.clone(),
            // By the clock of the database; the one here may show another time.
            worker.heartbeat_date_time.to_rfc3339_opts(SecondsFormat::Secs, true),
        ]);
    }
    Ok(output.line(&text(&table))?)
}

/// Drains all that are called so and not lost: a worker that came back has its name again.
async fn drain(client: &Client, called: &str, output: Output) -> Result<(), CliError> {
    let workers = client.workers().await?;
    let is_meant =
        |worker: &&Worker| worker.id == called || worker.name == called && worker.state != "lost";
    let meant: Vec<&Worker> = workers.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let message = format!("no worker is called `{called}`; `mother workers` lists them");
        return Err(CliError::BadSetting(message));
    }
    let mut drained = Vec::new();
    for worker in meant {
        drained.push(client.drain_worker(&worker.id).await?);
    }
    if output.is_json() {
        return Ok(output.json(&json!({"value": drained}))?);
    }
    for worker in drained {
        let Worker { name, id, state, running, .. } = worker;
        output.line(&format!("worker {name} ({id}) is {state}; it runs {running}"))?;
    }
    Ok(())
}
