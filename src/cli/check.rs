//! `mother check`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::document::Document;
use super::error::{CliError, REJECTED, details, lines};
use super::output::Output;
use crate::domain::{Limits, Problem};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Jobset files, JSON or YAML; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Checks every file, also when one before it is not good.
pub(super) fn check(args: &CheckArgs, output: Output) -> Result<ExitCode, CliError> {
    let mut reports = Vec::new();
    let mut all_good = true;
    for path in &args.files {
        let (file, problems) = problems_of(path)?;
        all_good &= problems.is_empty();
        if output.is_json() {
            reports.push(json!({
                "file": file, "valid": problems.is_empty(), "details": details(&problems),
            }));
        } else if problems.is_empty() {
            output.line(&format!("{file}: {}", output.state("ok")))?;
        } else {
            output.complain(&lines(&file, &problems))?;
        }
    }
    if output.is_json() {
        output.json(&json!({"value": reports}))?;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

fn problems_of(path: &str) -> Result<(String, Vec<Problem>), CliError> {
    match Document::read(path) {
        Ok(document) => {
            let problems = document.problems(&Limits::default());
            Ok((document.file, problems))
        }
        Err(CliError::Invalid { file, problems }) => Ok((file, problems)),
        Err(CliError::Unreadable { file, source }) => {
            Ok((file, vec![Problem::new("", format!("cannot be read: {source}"))]))
        }
        Err(error) => Err(error),
    }
}
