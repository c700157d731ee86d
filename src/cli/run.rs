//! `mother run`: submit a jobset and follow it to its end.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::args::{Global, json_or_text, pair};
use super::document::Document;
use super::error::CliError;
use super::follow::{Follow, OnInterrupt};
use super::output::Output;
use super::serve::{WorkerArgs, settings};
use super::signals::Signals;
use super::{Host, HostSettings};
use crate::client::{Client, ClientError, SubmissionKeys};
use crate::domain::Problem;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --server the run brings everything with it: a private PostgreSQL, a server on a free port \
of this machine and a worker. They end with it; what happened is kept.

Ctrl-C cancels the operation and waits for its end; a second Ctrl-C leaves at once.")]
pub(super) struct RunArgs {
    /// The jobset, JSON or YAML; `-` is stdin
    file: String,
    /// A label of this run; may be given many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A value of the context: JSON, or text where it is none; may be given many times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// The id of the operation: a run that is started again with it is the same run
    #[arg(long, value_name = "ID")]
    operation_id: Option<String>,
    /// Names this run: started again with the same key, for a day, it is the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// What is submitted, and what it is called.
struct Order {
    document: Document,
    keys: SubmissionKeys,
}

/// Runs the jobset on the server that was named, or on one of its own.
pub(super) async fn run(
    global: &Global,
    args: RunArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let mut document = Document::read(&args.file)?;
    let labels = args.label.into_iter().map(|(key, value)| (key, Value::String(value)));
    document.merge("labels", labels.collect())?;
    let context = args.set.into_iter().map(|(key, value)| (key, json_or_text(value)));
    document.merge("context", context.collect::<Map<_, _>>())?;
    let RunArgs { idempotency_key, operation_id, worker, .. } = args;
    let order = Order { document, keys: SubmissionKeys { idempotency_key, operation_id } };
    let mut signals = Signals::new()?;
    if let Some(client) = global.named_client()? {
        return submit(&client, order, true, &mut signals, output).await;
    }
    let settings = settings(global, &worker)?;
    // What is certainly refused is refused before a database is made.
    let problems = order.document.problems(&settings.limits);
    if !problems.is_empty() {
        return Err(CliError::Invalid { file: order.document.file, problems });
    }
    let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    on_own_host(HostSettings { listen, ..settings }, order, &mut signals, output).await
}

/// Starts a host, runs the jobset on it and stops it.
async fn on_own_host(
    settings: HostSettings,
    order: Order,
    signals: &mut Signals,
    output: Output,
) -> Result<ExitCode, CliError> {
    let host = tokio::select! {
        host = Host::start(settings) => host?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    let address = host.address().ok_or(CliError::HostEnded)?;
    let client = Client::new(&format!("http://{address}"), None)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = tokio::spawn(host.run_until(async { _ = stopped.await }));
    let outcome = tokio::select! {
        outcome = submit(&client, order, false, signals, output) => outcome,
        ended = &mut running => {
            return Err(ended.map_or(CliError::HostEnded, |ended| {
                ended.map_or_else(CliError::from, |()| CliError::HostEnded)
            }));
        }
    };
    if matches!(outcome, Err(CliError::Interrupted)) {
        return outcome;
    }
    drop(stop);
    tokio::select! {
        ended = running => ended.unwrap_or(Ok(()))?,
        () = signals.next() => return Err(CliError::Interrupted),
    }
    outcome
}

/// Submits the jobset and follows it. `remains` says whether the server is there afterwards.
async fn submit(
    client: &Client,
    order: Order,
    remains: bool,
    signals: &mut Signals,
    output: Output,
) -> Result<ExitCode, CliError> {
    let Document { file, json } = order.document;
    let submitted =
        client.submit_once(json, &order.keys).await.map_err(|error| rejected(&file, error))?;
    let told = submitted.operation.warnings.iter();
    let told = told.map(|d| Problem::new(d.target.clone().unwrap_or_default(), d.message.clone()));
    output.warn(&file, &told.collect::<Vec<_>>())?;
    let id = &submitted.operation.id;
    let follow = Follow { client, id, on_interrupt: OnInterrupt::Cancel, remains, output };
    follow.to_the_end(signals).await
}

/// The details of a refusal as problems of the file.
fn rejected(file: &str, error: ClientError) -> CliError {
    let ClientError::Refused(_, envelope) = &error else { return error.into() };
    if !error.is_rejection() || envelope.error.details.is_empty() {
        return error.into();
    }
    let details = envelope.error.details.iter();
    let problems = details.map(|detail| {
        Problem::new(detail.target.clone().unwrap_or_default(), detail.message.clone())
    });
    CliError::Invalid { file: file.to_owned(), problems: problems.collect() }
}
