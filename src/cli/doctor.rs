//! `mother doctor`: what this host offers to a worker.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};

use super::args::Global;
use super::error::{CliError, NOT_POSSIBLE};
use super::output::Output;
use super::table;
use crate::postgres;
use crate::runner::process::{GroundChoice, examine};

/// The one without which no step runs.
const LOWEST: &str = "sweep";

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Where steps would get control groups: `auto` (below this process's own), `off`, or the folder
    /// of a group of version 2
    #[arg(long, value_name = "PATH", env = "MOTHER_CGROUP", hide_env_values = true)]
    #[arg(default_value = "auto")]
    cgroup: GroundChoice,
}

/// Something that was tried.
struct Finding {
    name: &'static str,
    outcome: Result<String, String>,
    /// What to do where it failed.
    advice: Option<&'static str>,
}

impl Finding {
    fn document(&self) -> Value {
        let status = if self.outcome.is_ok() { "ok" } else { "missing" };
        let (Ok(detail) | Err(detail)) = &self.outcome;
        let mut document = json!({"name": self.name, "status": status, "detail": detail});
        if let (Err(_), Some(advice)) = (&self.outcome, self.advice) {
            document["advice"] = advice.into();
        }
        document
    }
}

/// Tries everything and says of each whether it is there. Succeeds when steps can run at all.
pub(super) async fn doctor(
    global: &Global,
    args: &DoctorArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let exe = std::env::current_exe()?;
    let rungs = examine(&exe, &args.cgroup).await.into_iter();
    let mut findings: Vec<Finding> = rungs
        .map(|rung| Finding { name: rung.name, outcome: rung.outcome, advice: Some(rung.advice) })
        .collect();
    findings.push(programs(global).await);
    findings.push(work_folder(&global.data_dir()));
    let holds = findings.iter().any(|found| found.name == LOWEST && found.outcome.is_ok());
    tell(&findings, output)?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(NOT_POSSIBLE) })
}

async fn programs(global: &Global) -> Finding {
    let bin_dir = global.pg_bin();
    let settings = postgres::Settings { bin_dir, ..postgres::Settings::new(global.data_dir()) };
    let outcome = match postgres::programs(&settings).await {
        Ok((folder, major)) => Ok(format!("version {major} in {}", folder.display())),
        // It says itself what to do.
        Err(error) => Err(error.to_string()),
    };
    Finding { name: "postgresql", outcome, advice: None }
}

/// Whether the folder of workspaces can be written to, or made. Makes nothing.
fn work_folder(data_dir: &Path) -> Finding {
    let there = data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let outcome = access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map(|()| data_dir.display().to_string())
        .map_err(|errno| format!("{} cannot be written to: {}", there.display(), errno.desc()));
    Finding { name: "data folder", outcome, advice: Some("choose another one with --data-dir") }
}

fn tell(findings: &[Finding], output: Output) -> std::io::Result<()> {
    if output.is_json() {
        let all: Vec<Value> = findings.iter().map(Finding::document).collect();
        return output.json(&json!({"value": all}));
    }
    let mut rows = table::table(&["part", "status", "detail"], output);
    for found in findings {
        let (status, detail) = match (&found.outcome, found.advice) {
            (Ok(detail), _) => ("ok", detail.clone()),
            (Err(reason), Some(advice)) => ("missing", format!("{reason}; {advice}")),
            (Err(reason), None) => ("missing", reason.clone()),
        };
        rows.add_row([found.name, status, &detail]);
    }
    output.line(&table::text(&rows))
}
