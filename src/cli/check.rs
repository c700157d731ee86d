//! `mother check`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::args::graph_format;
use super::document::Document;
use super::error::{CliError, REJECTED, details, lines};
use super::output::Output;
use crate::domain::{Limits, Problem};
use crate::wire::graph::{Format, Graph};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Jobset files, JSON or YAML; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Print the graph of each good file: what waits for what
    #[arg(long, value_name = "FORMAT", value_parser = graph_format())]
    graph: Option<Format>,
}

/// Checks every file, also when one before it is not good.
pub(super) fn check(args: &CheckArgs, output: Output) -> Result<ExitCode, CliError> {
    let mut reports = Vec::new();
    let mut all_good = true;
    for path in &args.files {
        let Checked { file, problems, warnings, graph } = check_one(path, args.graph)?;
        all_good &= problems.is_empty();
        if output.is_json() {
            let mut report = json!({
                "file": file,
                "valid": problems.is_empty(),
                "details": details("InvalidValue", &problems),
            });
            if !warnings.is_empty() {
                report["warnings"] = json!(details("JobsetWarning", &warnings));
            }
            if let Some(graph) = graph {
                report["graph"] = graph.into();
            }
            reports.push(report);
            continue;
        }
        output.warn(&file, &warnings)?;
        if !problems.is_empty() {
            output.complain(&lines(&file, &problems))?;
        } else if let Some(graph) = graph {
            output.line(graph.trim_end())?;
        } else {
            output.line(&format!("{file}: {}", output.state("ok")))?;
        }
    }
    if output.is_json() {
        output.json(&json!({"value": reports}))?;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) })
}

/// What was found about a file.
struct Checked {
    file: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    graph: Option<String>,
}

fn check_one(path: &str, format: Option<Format>) -> Result<Checked, CliError> {
    let bad = |file, problems| Ok(Checked { file, problems, warnings: Vec::new(), graph: None });
    let document = match Document::read(path) {
        Ok(document) => document,
        Err(CliError::Invalid { file, problems }) => return bad(file, problems),
        Err(CliError::Unreadable { file, source }) => {
            return bad(file, vec![Problem::new("", format!("cannot be read: {source}"))]);
        }
        Err(error) => return Err(error),
    };
    let (definition, jobset) = match document.compile(&Limits::default()) {
        Ok(compiled) => compiled,
        Err(problems) => return bad(document.file, problems),
    };
    let graph = format.map(|format| Graph::of(&definition, &jobset).render(format)).transpose();
    let graph =
        graph.map_err(|error| CliError::BadSetting(format!("{}: {error}", document.file)))?;
    Ok(Checked { file: document.file, problems: Vec::new(), warnings: jobset.warnings, graph })
}
