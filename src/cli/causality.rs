//! `mother op suspects`, `causes` and `causality`: what ran meanwhile, and what happened before.

use std::io::Write;

use chrono::TimeDelta;
use clap::Subcommand;
use serde_json::json;

use super::args::graph_format;
use super::error::CliError;
use super::follow::elapsed;
use super::op::print_events;
use super::output::Output;
use super::table::{state, table, text};
use crate::client::Client;
use crate::wire::ConcurrentAttempt;
use crate::wire::graph::Format;

#[derive(Debug, Subcommand)]
pub(super) enum CausalityCommand {
    /// List what ran causally concurrent with a step: who may have disturbed it
    Suspects {
        /// The operation
        id: String,
        /// The step
        step: String,
        /// Its attempt [default: the latest]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
    },
    /// Print what happened before an event, as far as it could know
    Causes {
        /// The operation
        id: String,
        /// The number of the event, as `mother op events` prints it
        seq: u32,
    },
    /// Draw which attempts had ended before which began
    Causality {
        /// The operation
        id: String,
        /// What the drawing is written in
        #[arg(long, default_value = "mermaid", value_parser = graph_format())]
        format: Format,
    },
}

pub(super) async fn causality(
    client: &Client,
    command: CausalityCommand,
    output: Output,
) -> Result<(), CliError> {
    match command {
        CausalityCommand::Suspects { id, step, attempt } => {
            suspects(client, &id, &step, attempt, output).await
        }
        CausalityCommand::Causes { id, seq } => {
            print_events(&client.causes(&id, seq).await?, output)
        }
        CausalityCommand::Causality { id, format } => {
            let drawing = client.causality(&id, format).await?;
            Ok(std::io::stdout().lock().write_all(&drawing)?)
        }
    }
}

async fn suspects(
    client: &Client,
    id: &str,
    step: &str,
    attempt: Option<u32>,
    output: Output,
) -> Result<(), CliError> {
    let attempt = match attempt {
        Some(attempt) => Some(attempt),
        None => Some(client.step(id, step).await?.attempt).filter(|attempt| *attempt > 0),
    };
    let suspects = client.concurrent(id, step, attempt).await?;
    if output.is_json() {
        return Ok(output.json(&json!({"value": suspects}))?);
    }
    let attempt = attempt.unwrap_or_default();
    let count = match suspects.len() {
        0 => "nothing".to_owned(),
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    let asked = output.bold(&format!("{step} #{attempt}"));
    output.line(&format!("concurrent with {asked} of {id}: {count}"))?;
    if suspects.is_empty() {
        return Ok(());
    }
    let Some(begin) = client.begin_of(id, step, attempt).await? else { return Ok(()) };
    let is_shared = suspects.iter().any(|other| other.resource.is_some());
    let mut header = vec!["operation", "step", "attempt", "began", "took", "state"];
    header.extend(is_shared.then_some("resource"));
    let mut rows = table(&header, output);
    for other in &suspects {
        let operation = if other.operation == id { "-" } else { other.operation.as_str() };
        let mut row = vec![
            operation.into(),
            other.step.as_str().into(),
            other.attempt.into(),
            relative(other.started_date_time - begin.at).into(),
            took(other).into(),
            state(&other.state),
        ];
        row.extend(is_shared.then(|| other.resource.as_deref().unwrap_or_default().into()));
        rows.add_row(row);
    }
    Ok(output.line(&text(&rows))?)
}

/// How much later something began: `+0.3 s`, or earlier: `-2 min 1 s`.
fn relative(later: TimeDelta) -> String {
    let sign = if later < TimeDelta::zero() { '-' } else { '+' };
    format!("{sign}{}", elapsed(later.abs().to_std().unwrap_or_default()))
}

fn took(attempt: &ConcurrentAttempt) -> String {
    let ended = attempt.ended_date_time.map(|ended| ended - attempt.started_date_time);
    ended.map_or_else(|| "runs".to_owned(), |took| elapsed(took.to_std().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_relative_to_the_attempt() {
        let of = |millis| relative(TimeDelta::milliseconds(millis));
        assert_eq!(
            [of(0), of(320), of(-1_500), of(-185_000)],
            ["+0.0 s", "+0.3 s", "-1.5 s", "-3 min 5 s"]
        );
    }
}
