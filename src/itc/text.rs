//! The text form of the paper: `0`, `1`, `(l,r)`; `n`, `(n,l,r)`; `(id,event)`. One text for each
//! stamp: no blanks, no leading zeros, normal form. The reader does not recurse: what is open stands
//! on a stack of its own, with where it began and what was read of it.

use super::DEPTH_MAX;
use super::error::{DecodeError, Error, Unit};
use super::event::Event;
use super::id::Id;
use super::stamp::Stamp;

pub(super) fn parse(text: &str, nodes_max: usize) -> Result<Stamp, DecodeError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, nodes_left: nodes_max, nodes_max };
    reader.expect(b'(')?;
    let id = reader.id()?;
    reader.expect(b',')?;
    let events = reader.event()?;
    reader.expect(b')')?;
    if reader.at < reader.bytes.len() {
        return Err(reader.wrong("something follows the stamp"));
    }
    Ok(Stamp::new(id, events))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes_left: usize,
    nodes_max: usize,
}

impl Reader<'_> {
    fn wrong(&self, message: impl Into<String>) -> DecodeError {
        DecodeError { position: self.at, unit: Unit::Byte, message: message.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.peek() != Some(byte) {
            return Err(self.wrong(format!("expected `{}`", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    /// A node begins here, so many levels below its root.
    fn node(&mut self, depth: usize) -> Result<(), DecodeError> {
        let nodes_max = self.nodes_max;
        self.nodes_left = self
            .nodes_left
            .checked_sub(1)
            .ok_or_else(|| self.wrong(format!("more than {nodes_max} nodes")))?;
        if depth > DEPTH_MAX {
            return Err(self.wrong(Error::TooDeep.to_string()));
        }
        Ok(())
    }

    fn id(&mut self) -> Result<Id, DecodeError> {
        let mut open: Vec<(usize, Option<Id>)> = Vec::new();
        loop {
            self.node(open.len())?;
            let mut done = match self.peek() {
                Some(b'0') => Id::ZERO,
                Some(b'1') => Id::ONE,
                Some(b'(') => {
                    open.push((self.at, None));
                    self.at += 1;
                    continue;
                }
                Some(_) | None => return Err(self.wrong("expected an id: `0`, `1` or `(l,r)`")),
            };
            self.at += 1;
            loop {
                match open.pop() {
                    None => return Ok(done),
                    Some((begin, None)) => {
                        self.expect(b',')?;
                        open.push((begin, Some(done)));
                        break;
                    }
                    Some((begin, Some(left))) => {
                        self.expect(b')')?;
                        done = Id::branch(left, done).map_err(|error| at(begin, &error))?;
                    }
                }
            }
        }
    }

    fn event(&mut self) -> Result<Event, DecodeError> {
        let mut open: Vec<(usize, u64, Option<Event>)> = Vec::new();
        loop {
            self.node(open.len())?;
            let begin = self.at;
            if self.peek() == Some(b'(') {
                self.at += 1;
                open.push((begin, self.number("expected a number")?, None));
                self.expect(b',')?;
                continue;
            }
            let count = self.number("expected an event tree: `n` or `(n,l,r)`")?;
            let mut done = Event::leaf(count).map_err(|error| at(begin, &error))?;
            loop {
                match open.pop() {
                    None => return Ok(done),
                    Some((begin, base, None)) => {
                        self.expect(b',')?;
                        open.push((begin, base, Some(done)));
                        break;
                    }
                    Some((begin, base, Some(left))) => {
                        self.expect(b')')?;
                        let tree = Event::branch(base, left, done);
                        done = tree.map_err(|error| at(begin, &error))?;
                    }
                }
            }
        }
    }

    fn number(&mut self, expected: &str) -> Result<u64, DecodeError> {
        let begin = self.at;
        let mut number = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.at > begin && number == 0 {
                return Err(at_with(begin, "a number begins with 0"));
            }
            let next = number.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
            number = next.ok_or_else(|| at(begin, &Error::Overflow))?;
            self.at += 1;
        }
        if self.at == begin { Err(self.wrong(expected)) } else { Ok(number) }
    }
}

fn at(position: usize, error: &Error) -> DecodeError {
    at_with(position, error.to_string())
}

fn at_with(position: usize, message: impl Into<String>) -> DecodeError {
    DecodeError { position, unit: Unit::Byte, message: message.into() }
}
