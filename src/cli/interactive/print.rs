//! What is printed while one types, and the words around it.

use tokio::sync::mpsc;

use super::super::follow::{Follow, Moves, OnInterrupt, Update, watch};
use super::super::output::Output;
use crate::client::{Client, ClientError};
use crate::wire::{Event, Operation};

/// What happens to an operation, as lines for people.
#[derive(Debug)]
pub(super) struct Live {
    client: Client,
    id: String,
    output: Output,
    updates: mpsc::Receiver<Result<Update, ClientError>>,
    moves: Moves,
    /// The operation as it was told last; nothing while the history is read that was there before.
    known: Option<Operation>,
}

/// What there is to tell, as lines for people.
#[derive(Debug)]
pub(super) enum News {
    /// Something happened; no text if that is worth none.
    Happened(String),
    /// The operation has ended, and nothing more comes.
    Ended(String),
    /// Nothing more comes, whatever happens.
    Lost(String),
}

impl Live {
    /// Starts to look at an operation.
    pub(super) fn of(client: &Client, id: &str, output: Output) -> Self {
        let updates = watch(client.clone(), id.to_owned());
        let (client, id) = (client.clone(), id.to_owned());
        Self { client, id, output, updates, moves: Moves::default(), known: None }
    }

    /// The next news. Whoever gives up waiting for it gets it the next time.
    pub(super) async fn next(&mut self) -> News {
        match self.updates.recv().await {
            Some(Ok(Update::Events(events))) => News::Happened(self.moves(&events).join("\n")),
            Some(Ok(Update::Operation(operation))) => {
                let lines = self.changes(&operation);
                self.known = Some(operation);
                News::Happened(lines.join("\n"))
            }
            Some(Ok(Update::Ended(operation))) => {
                News::Ended(ending(&self.client, &self.id, &operation, self.output))
            }
            Some(Ok(Update::Silence)) => {
                News::Happened("the server does not answer; trying again".to_owned())
            }
            Some(Err(error)) => lost(&format!(": {error}")),
            None => lost(""),
        }
    }

    /// The moves of steps, unless they were made before.
    fn moves(&mut self, events: &[Event]) -> Vec<String> {
        let moves = events.iter().filter_map(|event| self.moves.read(event));
        let moves = moves.filter(|moved| !moved.is_preparation());
        let lines: Vec<String> = moves.map(|moved| moved.line(self.output)).collect();
        if self.known.is_some() { lines } else { Vec::new() }
    }

    /// What is new about the operation and no move of a step says.
    fn changes(&self, operation: &Operation) -> Vec<String> {
        let Some(known) = &self.known else { return Vec::new() };
        let mut lines = Vec::new();
        if known.state != operation.state {
            lines.push(format!("the operation is {}", self.output.state(&operation.state)));
        }
        if known.paused != operation.paused {
            let paused = if operation.paused { "is paused" } else { "goes on" };
            lines.push(format!("the operation {paused}"));
        }
        if operation.attention && !known.attention {
            let hint = "`status` names the steps, `waiting` says what they ask";
            lines.push(format!("steps wait for a person: {}", self.output.faint(hint)));
        }
        lines
    }
}

fn lost(why: &str) -> News {
    News::Lost(format!("what happens is not shown any more{why}; the next command tries again"))
}

/// How an operation ended, in a line, and where it is found.
pub(super) fn ending(client: &Client, id: &str, ended: &Operation, output: Output) -> String {
    let on_interrupt = OnInterrupt::Leave;
    Follow { client, id, on_interrupt, remains: true, output }.summary(ended)
}

/// What a person is told first.
pub(super) fn greeting(operation: &Operation, output: Output) -> String {
    let counts = operation.step_counts.iter();
    let counts: Vec<String> =
        counts.map(|(state, count)| format!("{count} {}", output.state(state))).collect();
    let Operation { id, name, percent_complete, .. } = operation;
    let (name, state) = (output.bold(name), output.state(&operation.state));
    let paused = if operation.paused { ", paused" } else { "" };
    let hint = output.faint("Tab completes, `help` lists what can be said, Ctrl-D leaves");
    format!("{name} {id}: {state}{paused}, {percent_complete} %: {}\n{hint}", counts.join(", "))
}

/// Whether nothing more happens to an operation.
pub(super) fn has_ended(operation: &Operation) -> bool {
    matches!(operation.status.as_str(), "succeeded" | "failed" | "canceled")
}
