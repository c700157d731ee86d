//! A line of JSON per event; the last line is the operation.

use std::io;

use super::super::output::Output;
use super::{Move, Reporter};
use crate::wire::{Event, Operation};

pub(super) struct Json {
    output: Output,
    last: Option<Operation>,
}

impl Json {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, last: None }
    }
}

impl Reporter for Json {
    fn event(&mut self, event: &Event, _: Option<&Move>) -> io::Result<()> {
        self.output.json(event)
    }

    fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        self.last = Some(operation.clone());
        Ok(())
    }

    fn remark(&mut self, text: &str) -> io::Result<()> {
        self.output.complain(text)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.last.take().map_or(Ok(()), |operation| self.output.json(&operation))
    }
}
