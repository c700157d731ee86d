//! `mother db`: the private PostgreSQL.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::args::Global;
use super::error::CliError;
use super::output::Output;
use crate::postgres;

#[derive(Debug, Args)]
pub(super) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Download PostgreSQL (25 MB) into the data folder, for a machine that has none
    Fetch,
    /// Print the connection URL, for `psql "$(mother db url)"`; starts nothing
    Url,
}

pub(super) async fn db(
    global: &Global,
    args: &DbArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let (name, value) = match args.command {
        DbCommand::Fetch => {
            let folder = postgres::fetch(&global.data_dir()).await?;
            ("folder", folder.display().to_string())
        }
        DbCommand::Url => ("url", url(global)?),
    };
    if output.is_json() {
        output.json(&json!({name: value}))?;
    } else {
        output.line(&value)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn url(global: &Global) -> Result<String, CliError> {
    if let Some(url) = global.database_url() {
        return Ok(url.to_owned());
    }
    let data_dir = global.data_dir();
    let missing = || CliError::NoCluster(data_dir.display().to_string());
    postgres::url(&postgres::Settings::new(&data_dir))?.ok_or_else(missing)
}
