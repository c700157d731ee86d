//! A plain line per move of a step: for logs.

use std::io;

use super::super::output::Output;
use super::{Move, Reporter};
use crate::wire::{Event, Operation};

pub(super) struct Lines {
    output: Output,
}

impl Lines {
    pub(super) const fn new(output: Output) -> Self {
        Self { output }
    }
}

impl Reporter for Lines {
    fn event(&mut self, _: &Event, moved: Option<&Move>) -> io::Result<()> {
        match moved.filter(|moved| !moved.is_preparation()) {
            Some(moved) => self.output.line(&moved.line(self.output)),
            None => Ok(()),
        }
    }

    fn operation(&mut self, _: &Operation) -> io::Result<()> {
        Ok(())
    }

    fn remark(&mut self, text: &str) -> io::Result<()> {
        self.output.line(text)
    }
}
