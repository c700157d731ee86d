//! Following an operation to its end.
//!
//! A task polls the operation and its history ([`watch`]). What it finds goes to one of three
//! reporters: a bar on a terminal, plain lines elsewhere, or JSON lines. At the end the output of
//! the steps that failed is shown, so that most failures need no second command ([`summary`]).

mod bar;
mod json;
mod lines;
mod moves;
mod summary;
mod watch;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use super::error::{CliError, INTERRUPTED};
use super::output::Output;
use super::signals::Signals;
use crate::client::{Client, ClientError};
use crate::wire::{Event, Operation};
pub(super) use moves::{Move, Moves, elapsed};
pub(super) use summary::quoted;
pub(super) use watch::{Update, watch};

/// How often a terminal is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(200);
/// What a cancellation by Ctrl-C gives as its reason.
const INTERRUPT_REASON: &str = "interrupted at the terminal";

/// What the first Ctrl-C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnInterrupt {
    /// Cancels the operation and waits for its end; the second one leaves.
    Cancel,
    /// Leaves; the operation goes on.
    Leave,
}

impl OnInterrupt {
    /// What is said to whoever does not wait for the end.
    const fn farewell(self) -> &'static str {
        match self {
            Self::Cancel => "leaving before the operation has ended",
            Self::Leave => "leaving; the operation goes on",
        }
    }
}

/// An operation to be followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follow<'a> {
    pub(super) client: &'a Client,
    pub(super) id: &'a str,
    pub(super) on_interrupt: OnInterrupt,
    /// Whether the server is still there afterwards, so that its URL is worth telling.
    pub(super) remains: bool,
    pub(super) output: Output,
}

/// Who tells what happens.
trait Reporter {
    /// Something happened; if a step moved, that is said too.
    fn event(&mut self, event: &Event, moved: Option<&Move>) -> io::Result<()>;
    /// The operation has changed.
    fn operation(&mut self, operation: &Operation) -> io::Result<()>;
    /// Something that the person should know.
    fn remark(&mut self, text: &str) -> io::Result<()>;
    /// Time has passed.
    fn tick(&mut self) {}
    /// Nothing more comes.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Follow<'_> {
    /// How the operation ended, in a line, and where it is found.
    pub(super) fn summary(self, ended: &Operation) -> String {
        summary::line(self, ended)
    }

    /// Follows the operation to its end, tells it, and hands back the exit code.
    pub(super) async fn to_the_end(self, signals: &mut Signals) -> Result<ExitCode, CliError> {
        let mut reporter = self.reporter();
        let mut moves = Moves::default();
        let mut updates = watch(self.client.clone(), self.id.to_owned());
        let mut ticks = tokio::time::interval(TICK);
        let mut interrupted = false;
        let ended = loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Some(Ok(Update::Events(events))) => {
                        for event in &events {
                            reporter.event(event, moves.read(event).as_ref())?;
                        }
                    }
                    Some(Ok(Update::Operation(operation))) => reporter.operation(&operation)?,
                    Some(Ok(Update::Ended(operation))) => break operation,
                    Some(Ok(Update::Silence)) => {
                        reporter.remark("the server does not answer; trying again")?;
                    }
                    Some(Err(error)) => {
                        reporter.finish()?;
                        return Err(error.into());
                    }
                    None => return Err(CliError::HostEnded),
                },
                _ = ticks.tick() => reporter.tick(),
                () = signals.next() => {
                    if interrupted || self.on_interrupt == OnInterrupt::Leave {
                        reporter.remark(self.on_interrupt.farewell())?;
                        reporter.finish()?;
                        return Err(CliError::Interrupted);
                    }
                    interrupted = true;
                    self.cancel(reporter.as_mut(), signals).await?;
                }
            }
        };
        reporter.operation(&ended)?;
        reporter.finish()?;
        if !self.output.is_json() {
            tokio::select! {
                shown = summary::failures(self, &moves) => match shown {
                    // How it ended is known, whether or not the output can still be read.
                    Err(CliError::Client(error)) => self.output.complain(&error.to_string())?,
                    shown => shown?,
                },
                () = signals.next() => return Err(CliError::Interrupted),
            }
            self.output.line(&self.summary(&ended))?;
        }
        Ok(match ended.status.as_str() {
            _ if interrupted => ExitCode::from(INTERRUPTED),
            "succeeded" => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }

    fn reporter(self) -> Box<dyn Reporter> {
        if self.output.is_json() {
            Box::new(json::Json::new(self.output))
        } else if self.output.is_terminal() {
            Box::new(bar::Bar::new(self.output))
        } else {
            Box::new(lines::Lines::new(self.output))
        }
    }

    /// Asks for the end of the operation. A refusal is told, and the operation is followed on.
    async fn cancel(
        self,
        reporter: &mut dyn Reporter,
        signals: &mut Signals,
    ) -> Result<(), CliError> {
        reporter.remark("cancelling; Ctrl-C again leaves at once")?;
        let outcome: Result<Operation, ClientError> = tokio::select! {
            outcome = self.client.cancel(self.id, Some(INTERRUPT_REASON)) => outcome,
            () = signals.next() => {
                reporter.finish()?;
                return Err(CliError::Interrupted);
            }
        };
        if let Err(error) = outcome {
            reporter.remark(&format!("not cancelled: {error}"))?;
        }
        Ok(())
    }
}
