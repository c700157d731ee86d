//! `mother op events --follow` and `mother op output --follow`: what comes, as it comes.

use std::io::Write as _;
use std::pin::pin;

use data_encoding::BASE64;
use futures_util::{Stream, StreamExt as _};

use super::error::CliError;
use super::output::Output;
use super::signals::Signals;
use crate::client::{Client, ClientError};
use crate::wire::{Event, OutputPiece};

/// Hands each document of a stream to `print`, until it ends or Ctrl-C.
async fn each<T>(
    documents: impl Stream<Item = Result<T, ClientError>>,
    mut print: impl FnMut(T) -> std::io::Result<()>,
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let mut documents = pin!(documents);
    loop {
        tokio::select! {
            document = documents.next() => match document {
                Some(document) => print(document?)?,
                None => return Ok(()),
            },
            () = signals.next() => return Err(CliError::Interrupted),
        }
    }
}

/// Prints the events of an operation until it has ended: a line each.
pub(super) async fn events(client: &Client, id: &str, output: Output) -> Result<(), CliError> {
    let print = |event: Event| {
        if output.is_json() { output.json(&event) } else { output.line(&line(&event, output)) }
    };
    each(client.follow_events(id, 0), print).await
}

/// An event in a line: `12:01:03.450  17  unit #2  fail  Running -> Failed`.
fn line(event: &Event, output: Output) -> String {
    let mut parts = vec![output.faint(&event.at.format("%T%.3f").to_string())];
    parts.push(output.faint(&format!("{:>4}", event.seq)));
    if let Some(step) = &event.step {
        let attempt = event.attempt.map(|number| format!(" #{number}")).unwrap_or_default();
        parts.push(format!("{}{attempt}", output.bold(step)));
    }
    parts.push(event.action.as_ref().unwrap_or(&event.kind).clone());
    if let (Some(from), Some(to)) = (&event.from, &event.to) {
        parts.push(format!("{from} -> {}", output.state(to)));
    }
    if let Some(state) = &event.state {
        parts.push(format!("(operation: {})", output.state(state)));
    }
    parts.join("  ")
}

/// Prints what an attempt of a step writes until it has ended.
pub(super) async fn output(
    client: &Client,
    (id, step): (&str, &str),
    attempt: Option<u32>,
    stream: Option<&str>,
    output: Output,
) -> Result<(), CliError> {
    let print = |piece: OutputPiece| {
        if output.is_json() {
            return output.json(&piece);
        }
        let mut stdout = std::io::stdout().lock();
        match (&piece.text, &piece.base64) {
            (Some(text), _) => stdout.write_all(text.as_bytes())?,
            (None, Some(base64)) => {
                let bytes = BASE64.decode(base64.as_bytes()).map_err(std::io::Error::other)?;
                stdout.write_all(&bytes)?;
            }
            (None, None) => {}
        }
        stdout.flush()
    };
    each(client.follow_output(id, step, attempt, stream), print).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "seq": 17, "at": "2026-01-31T12:01:03.450Z", "kind": "moved", "step": "unit",
            "attempt": 2, "action": "fail", "from": "Running", "to": "Failed", "state": "Failed",
        }))
        .unwrap();
        assert_eq!(
            line(&event, Output::plain()),
            "12:01:03.450    17  unit #2  fail  Running -> Failed  (operation: Failed)"
        );
    }
}
