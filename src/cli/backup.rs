//! `mother backup` and `mother restore`: the private PostgreSQL in a file, and from one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::args::Global;
use super::error::CliError;
use super::output::Output;
use super::signals::Signals;
use crate::postgres::{self, Cluster};
use crate::store::{Store, StoreSettings};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where the copy goes
    file: PathBuf,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A file that `mother backup` wrote
    file: PathBuf,
}

/// `mother backup`: everything as of this moment, whether a server runs or not.
pub(super) async fn backup(
    global: &Global,
    args: &BackupArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let settings = private(global, "backup", "pg_dump")?;
    if !settings.data_dir.join("cluster").exists() {
        return Err(CliError::NoCluster(settings.data_dir.display().to_string()));
    }
    let mut signals = Signals::new()?;
    let work = async {
        let cluster = postgres::start(&settings).await?;
        output.complain(&format!("copying {}", settings.data_dir.display()))?;
        let told = |bytes| _ = output.complain(&format!("{} written", size(bytes)));
        let copied = cluster.back_up(&args.file, args.force, told).await;
        cluster.stop().await?;
        Ok::<u64, CliError>(copied?)
    };
    let bytes = tokio::select! {
        done = work => done?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    tell(output, &args.file, &format!("{}: {}", args.file.display(), size(bytes)), bytes)
}

/// `mother restore`: a database from a copy, in a data folder that has none.
pub(super) async fn restore(
    global: &Global,
    args: &RestoreArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let settings = private(global, "restore", "pg_restore")?;
    let mut signals = Signals::new()?;
    let work = async {
        postgres::check_copy(&settings, &args.file).await?;
        let cluster = postgres::start(&settings).await?;
        let restored = fill(&cluster, &settings.data_dir, &args.file, output).await;
        cluster.stop().await?;
        restored
    };
    tokio::select! {
        done = work => done?,
        () = signals.next() => return Err(CliError::Interrupted),
    }
    let bytes = std::fs::metadata(&args.file)?.len();
    let data_dir = settings.data_dir.display();
    tell(output, &args.file, &format!("restored to {data_dir}; `mother serve` goes on"), bytes)
}

/// Fills an empty cluster. What ran when the copy was made has lost its workers.
async fn fill(
    cluster: &Cluster,
    data_dir: &Path,
    file: &Path,
    output: Output,
) -> Result<(), CliError> {
    let store = Store::new(&StoreSettings::new(cluster.url()))?;
    if !store.is_empty().await? {
        return Err(CliError::HasData(data_dir.display().to_string()));
    }
    output.complain(&format!("restoring {} to {}", file.display(), data_dir.display()))?;
    cluster.restore(file).await?;
    store.begin_anew().await?;
    store.close().await;
    Ok(())
}

fn private(global: &Global, command: &str, tool: &str) -> Result<postgres::Settings, CliError> {
    if global.database_url().is_some() {
        return Err(CliError::BadSetting(format!(
            "`mother {command}` is for the private PostgreSQL, and a database is given \
             (--database-url or DATABASE_URL): use `{tool}` or the backups of that database"
        )));
    }
    Ok(postgres::Settings {
        bin_dir: global.pg_bin(),
        ..postgres::Settings::new(global.data_dir())
    })
}

fn tell(output: Output, file: &Path, text: &str, bytes: u64) -> Result<ExitCode, CliError> {
    if output.is_json() {
        output.json(&json!({"file": file.display().to_string(), "bytes": bytes}))?;
    } else {
        output.line(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes in the largest unit of which there are some.
fn size(bytes: u64) -> String {
    let (count, unit) = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(power, _)| bytes >> power > 0)
        .map_or((bytes, "B"), |(power, unit)| (bytes >> power, unit));
    format!("{count} {unit}")
}
