//! The end of an operation in words.

use super::super::error::CliError;
use super::super::table::ended_by;
use super::Follow;
use super::moves::{Moves, elapsed};
use crate::client::ClientError;
use crate::wire::Operation;

/// Failing steps whose output is shown; the others are named.
const SHOWN_MAX: usize = 10;
/// Lines of output that are shown of each.
const LINES_MAX: usize = 50;

/// Shows how each failing step ended and the end of what it wrote.
pub(super) async fn failures(follow: Follow<'_>, moves: &Moves) -> Result<(), CliError> {
    let shown = moves.troubled.iter().take(SHOWN_MAX);
    for name in shown {
        failure(follow, name).await?;
    }
    let others = moves.troubled.get(SHOWN_MAX..).unwrap_or_default();
    if !others.is_empty() {
        follow.output.line(&format!("\nalso not succeeded: {}", others.join(", ")))?;
    }
    if !moves.troubled.is_empty() {
        follow.output.line("")?;
    }
    Ok(())
}

async fn failure(follow: Follow<'_>, name: &str) -> Result<(), CliError> {
    let Follow { client, id, output, remains, .. } = follow;
    let step = client.step(id, name).await?;
    let mut title = format!("{name}: {}", step.state);
    for remark in [ended_by(&step), format!("attempt {}", step.attempt)] {
        if !remark.is_empty() {
            title = format!("{title}, {remark}");
        }
    }
    output.line(&format!("\n{}", output.bold(&title)))?;
    let written = match client.output(id, name, None, None).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // A step without an attempt has no output.
        Err(ClientError::Refused(status, _)) if status.as_u16() == 404 => String::new(),
        Err(error) => return Err(error.into()),
    };
    let lines: Vec<&str> = written.lines().collect();
    let hidden = lines.len().saturating_sub(LINES_MAX);
    if hidden > 0 {
        let mut command = format!("mother op output {id} {}", quoted(name));
        if remains {
            command = match client.socket() {
                Some(path) => {
                    format!("{command} --socket {}", quoted(&path.display().to_string()))
                }
                None => format!("{command} --server {}", client.server()),
            };
        }
        let hint = format!("  ... {hidden} lines before; all of them: {command}");
        output.line(&output.faint(&hint))?;
    }
    for line in &lines[hidden..] {
        output.line(&format!("  {line}"))?;
    }
    Ok(())
}

/// `Failed after 12 s: 1 Failed, 3 Succeeded  http://...`.
pub(super) fn line(follow: Follow<'_>, operation: &Operation) -> String {
    let Follow { client, id, output, remains, .. } = follow;
    let took = operation.last_action_date_time - operation.created_date_time;
    let took = elapsed(took.to_std().unwrap_or_default());
    let counts = operation.step_counts.iter().map(|(state, count)| format!("{count} {state}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let place = match client.socket() {
        // No browser opens a URL on a socket.
        Some(path) => format!(
            "to see it again: mother op show {id} --socket {}",
            quoted(&path.display().to_string())
        ),
        None if remains => client.operation_url(id),
        None => format!("to see it again: mother serve, then mother op show {id}"),
    };
    let state = output.state(&operation.state);
    let mut text = format!("{state} after {took}: {counts}\n{}", output.faint(&place));
    // The steps say why it failed; only what they cannot say is worth a line.
    if let Some(error) = operation.error.as_ref().filter(|error| error.code == "OperationTimeout") {
        text = format!("{}\n{text}", error.message);
    }
    text
}

/// A word as a shell reads it.
pub(in crate::cli) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@%+=,/".contains(&byte);
    if word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("unit-1.a"), "unit-1.a");
        assert_eq!(quoted("it's;rm"), r"'it'\''s;rm'");
    }
}
