//! `mother worker`: a worker in a process of its own.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::Global;
use super::error::CliError;
use super::host::{self, HostError, HostSettings};
use super::output::Output;
use super::serve::{self, OfferArgs, WorkerArgs};
use super::signals::Signals;
use crate::client::Client;
use crate::remote::{RemotePlace, Told};
use crate::runner::{self, WorkerSettings};

#[derive(Debug, Args)]
pub(super) struct WorkerCommandArgs {
    /// What people call the worker [default: the name of this host and the number of the process]
    #[arg(long, env = "MOTHER_WORKER_NAME", hide_env_values = true)]
    name: Option<String>,
    /// Where workspaces and the files of attempts are made [default: `operations` in the data folder]
    #[arg(long, value_name = "DIR", env = "MOTHER_WORK_DIR", hide_env_values = true)]
    work_dir: Option<PathBuf>,
    #[command(flatten)]
    offer: OfferArgs,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// A worker for the server that was named, or for all on the same database.
pub(super) async fn worker(
    global: &Global,
    args: WorkerCommandArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let settings = HostSettings {
        profile: args.offer.profile()?,
        name: args.name,
        work_dir: args.work_dir,
        ..serve::settings(global, &args.worker)?
    };
    match global.named_client()? {
        Some(client) => remote(client, &settings, output).await,
        None => serve::host(settings, |_| Ok(())).await,
    }
}

/// Works for a server until the first signal, then drains and leaves; the second signal leaves at
/// once.
async fn remote(
    client: Client,
    settings: &HostSettings,
    output: Output,
) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let zygote_exe = std::env::current_exe().map_err(HostError::Program)?;
    let settings = host::worker_settings(settings, zygote_exe);
    let stop = CancellationToken::new();
    let place = RemotePlace::new(client.clone(), stop.clone(), teller(client, &settings, output));
    let mut working = pin!(runner::work(&place, settings, stop.clone()));
    let outcome = tokio::select! {
        outcome = &mut working => outcome,
        () = signals.next() => {
            tracing::info!("draining; a second signal leaves at once");
            stop.cancel();
            tokio::select! {
                outcome = working => outcome,
                () = signals.next() => return Err(CliError::Interrupted),
            }
        }
    };
    outcome.map_err(HostError::Worker)?;
    match place.refusal() {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What tells people how the worker fares.
fn teller(
    client: Client,
    settings: &WorkerSettings,
    output: Output,
) -> impl Fn(Told<'_>) + Send + Sync + 'static {
    let WorkerSettings { name, slots, .. } = settings.clone();
    move |told| {
        let server = client.place();
        let said = match told {
            Told::Registered(id) if output.is_json() => {
                let document = json!({"worker": name, "id": id, "server": server, "slots": slots});
                output.json(&document)
            }
            Told::Registered(_) => {
                let s = if slots == 1 { "" } else { "s" };
                output.line(&format!("worker {name} registered at {server} with {slots} slot{s}"))
            }
            Told::Away(error) => output.complain(&format!(
                "{server} does not answer ({error}); what runs goes on as long as its lease allows"
            )),
            Told::Back => output.complain(&format!("{server} answers again")),
            Told::Draining => output.complain("told to drain: nothing new is taken"),
        };
        if let Err(error) = said {
            tracing::debug!(%error, "nobody reads what the worker says");
        }
    }
}
