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
    output: Output,
    /// The operation as it was told last.
    known: Operation,
    /// The number of the event that was told last.
    told: u32,
    moves: Moves,
    /// Where news come from, while somebody looks for them.
    updates: Option<mpsc::Receiver<Result<Update, ClientError>>>,
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
    /// What happens to an operation of which this is known, and the events up to `told`.
    pub(super) fn of(client: &Client, known: Operation, told: u32, output: Output) -> Self {
        let client = client.clone();
        Self { client, output, known, told, moves: Moves::default(), updates: None }
    }

    /// Starts to look, unless that is being done.
    pub(super) fn look(&mut self) {
        if self.updates.is_none() {
            self.updates = Some(watch(self.client.clone(), self.known.id.clone()));
        }
    }

    /// The next news; never any while nobody looks. Whoever gives up waiting gets it the next time.
    pub(super) async fn next(&mut self) -> News {
        let Some(updates) = &mut self.updates else { return std::future::pending().await };
        match updates.recv().await {
            Some(Ok(Update::Events(events))) => News::Happened(self.moves(&events).join("\n")),
            Some(Ok(Update::Operation(operation))) => {
                let lines = self.changes(&operation);
                self.known = operation;
                News::Happened(lines.join("\n"))
            }
            Some(Ok(Update::Ended(operation))) => {
                self.updates = None;
                News::Ended(ending(&self.client, &operation, self.output))
            }
            Some(Ok(Update::Silence)) => {
                News::Happened("the server does not answer; trying again".to_owned())
            }
            Some(Err(error)) => self.lost(&format!(": {error}")),
            None => self.lost(""),
        }
    }

    fn lost(&mut self, why: &str) -> News {
        self.updates = None;
        News::Lost(format!("what happens is not shown any more{why}; the next line tries again"))
    }

    /// The moves of steps that were not told. The history is read from its start, because how long
    /// an attempt took is found in it.
    fn moves(&mut self, events: &[Event]) -> Vec<String> {
        let mut lines = Vec::new();
        for event in events {
            let moved = self.moves.read(event).filter(|moved| !moved.is_preparation());
            if event.seq > self.told {
                self.told = event.seq;
                lines.extend(moved.map(|moved| moved.line(self.output)));
            }
        }
        lines
    }

    /// What is new about the operation and no move of a step says.
    fn changes(&self, operation: &Operation) -> Vec<String> {
        let known = &self.known;
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

/// How an operation ended, in a line, and where it is found.
pub(super) fn ending(client: &Client, ended: &Operation, output: Output) -> String {
    let (id, on_interrupt) = (&ended.id, OnInterrupt::Leave);
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
