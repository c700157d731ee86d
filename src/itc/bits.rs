//! The binary form: the encoding of the paper, as `encode/1` of its first author writes it
//! (ricardobcl/Interval-Tree-Clocks, `erlang/itc.erl`), bit by bit, the highest bit of a byte first.
//!
//! ```text
//! id      0:2 b:1            the leaf b
//!         1:2 r              (0, r)
//!         2:2 l              (l, 0)
//!         3:2 l r            (l, r)
//! event   0:1 0:2 r          (0, 0, r)
//!         0:1 1:2 l          (0, l, 0)
//!         0:1 2:2 l r        (0, l, r)
//!         0:1 3:2 0:1 0:1 n r     (n, 0, r)
//!         0:1 3:2 0:1 1:1 n l     (n, l, 0)
//!         0:1 3:2 1:1 n l r       (n, l, r)
//!         1:1 enc(n, 2)      the leaf n; n above is written in the same way
//! enc(n, b)   0:1 n:b                     if n < 2^b
//!             1:1 enc(n - 2^b, b + 1)     else
//! ```
//!
//! Each stamp has one form: the first that fits. The decoder refuses every other one.

use super::DEPTH_MAX;
use super::error::{DecodeError, Error, Unit};
use super::event::Event;
use super::id::Id;
use super::stamp::Stamp;

/// The width with which a number begins.
const WIDTH_MIN: u32 = 2;
/// Wider ones are larger than [`COUNTER_MAX`](super::COUNTER_MAX).
const WIDTH_MAX: u32 = 53;
const LONGER: &str = "a 0 that has a shorter form";

pub(super) fn encode(stamp: &Stamp) -> Vec<u8> {
    let mut writer = Writer { bytes: Vec::with_capacity(16), free: 0 };
    writer.id(stamp.id());
    writer.event(stamp.events());
    writer.bytes
}

/// The same for a stamp that owns one piece, the way to which is told level by level (whether it goes
/// right), and knows `base` and, in the piece, `more` events. `base` must know the same everywhere in
/// the piece, and nowhere on the way there more all around it: so what is written is in normal form.
pub(super) fn encode_piece(
    way: impl Iterator<Item = bool> + Clone,
    base: &Event,
    more: u64,
) -> Vec<u8> {
    let mut writer = Writer { bytes: Vec::with_capacity(16), free: 0 };
    for is_right in way.clone() {
        writer.bits(if is_right { 1 } else { 2 }, 2);
    }
    writer.bits(1, 3);
    if more > 0 {
        writer.raised(base, way, more);
    } else {
        writer.event(base);
    }
    writer.bytes
}

struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl Writer {
    fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// The lowest `width` bits of `value`.
    fn bits(&mut self, value: u64, mut width: u32) {
        while width > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = width.min(self.free);
            width -= now;
            self.free -= now;
            let [part, ..] = (value >> width & ((1 << now) - 1)).to_le_bytes();
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << self.free;
            }
        }
    }

    fn id(&mut self, id: &Id) {
        let Some((left, right)) = id.children() else {
            self.bits(u64::from(id.is_one()), 3);
            return;
        };
        let kind = match (left.is_zero(), right.is_zero()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.bits(kind, 2);
        if !left.is_zero() {
            self.id(left);
        }
        if !right.is_zero() {
            self.id(right);
        }
    }

    fn event(&mut self, event: &Event) {
        let Some((left, right)) = event.children() else {
            self.number(event.base());
            return;
        };
        let (is_left_zero, is_right_zero) = (left.is_zero(), right.is_zero());
        self.branch(event.base(), is_left_zero, is_right_zero);
        if !is_left_zero {
            self.event(left);
        }
        if !is_right_zero {
            self.event(right);
        }
    }

    /// A tree with `more` events at the end of the way, which is no higher than a leaf.
    fn raised(&mut self, event: &Event, mut way: impl Iterator<Item = bool>, more: u64) {
        let mut event = event;
        let mut right_halves = Vec::new();
        while let Some((left, right)) = event.children() {
            if way.next() == Some(true) {
                self.branch(event.base(), left.is_zero(), false);
                if !left.is_zero() {
                    self.event(left);
                }
                event = right;
            } else {
                self.branch(event.base(), false, right.is_zero());
                right_halves.push(right);
                event = left;
            }
        }
        let mut base = event.base();
        for is_right in way {
            self.branch(base, is_right, !is_right);
            base = 0;
        }
        self.number(base + more);
        for right in right_halves.into_iter().rev().filter(|right| !right.is_zero()) {
            self.event(right);
        }
    }

    /// What stands before the children of a branch.
    fn branch(&mut self, base: u64, is_left_zero: bool, is_right_zero: bool) {
        let (kind, width) = match (base, is_left_zero, is_right_zero) {
            (0, true, _) => (0b000, 3),
            (0, false, true) => (0b001, 3),
            (0, false, false) => (0b010, 3),
            (_, true, _) => (0b01100, 5),
            (_, false, true) => (0b01101, 5),
            (_, false, false) => (0b0111, 4),
        };
        self.bits(kind, width);
        if base > 0 {
            self.number(base);
        }
    }

    fn number(&mut self, mut number: u64) {
        self.bit(true);
        let mut width = WIDTH_MIN;
        while number >= 1 << width {
            self.bit(true);
            number -= 1 << width;
            width += 1;
        }
        self.bit(false);
        self.bits(number, width);
    }
}

pub(super) fn decode(bytes: &[u8], nodes_max: usize) -> Result<Stamp, DecodeError> {
    let mut reader = Reader { bytes, at: 0, nodes_left: nodes_max, nodes_max };
    let id = reader.id()?;
    let events = reader.event()?;
    let end = reader.at;
    while !reader.at.is_multiple_of(8) {
        if reader.bit()? {
            return Err(wrong(end, "bits follow the stamp"));
        }
    }
    if reader.at / 8 < bytes.len() {
        return Err(wrong(reader.at, "bytes follow the stamp"));
    }
    Ok(Stamp::new(id, events))
}

/// A branch that is not read to its end. The reader does not recurse: such branches stand on a stack
/// of its own.
struct Open<B, T> {
    begin: usize,
    base: B,
    left: Option<T>,
    is_right_written: bool,
}

/// Puts what was read into the branches that it completes. Answers the whole if that is all of them.
fn close<B: Copy, T: Clone>(
    open: &mut Vec<Open<B, T>>,
    leaf: T,
    zero: &T,
    branch: impl Fn(B, T, T) -> Result<T, Error>,
) -> Result<Option<T>, DecodeError> {
    let mut done = leaf;
    while let Some(last) = open.pop() {
        let (left, right) = match last.left {
            Some(left) => (left, done),
            None if last.is_right_written => {
                open.push(Open { left: Some(done), ..last });
                return Ok(None);
            }
            None => (done, zero.clone()),
        };
        let whole = branch(last.base, left, right);
        done = whole.map_err(|error| wrong(last.begin, error.to_string()))?;
    }
    Ok(Some(done))
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
    nodes_left: usize,
    nodes_max: usize,
}

fn wrong(position: usize, message: impl Into<String>) -> DecodeError {
    DecodeError { position, unit: Unit::Bit, message: message.into() }
}

impl Reader<'_> {
    fn bit(&mut self) -> Result<bool, DecodeError> {
        let byte = self.bytes.get(self.at / 8);
        let byte = byte.ok_or_else(|| wrong(self.at, "the stamp is cut off"))?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Ok(bit)
    }

    fn bits(&mut self, width: u32) -> Result<u64, DecodeError> {
        let mut value = 0;
        for _ in 0..width {
            value = value << 1 | u64::from(self.bit()?);
        }
        Ok(value)
    }

    /// A node begins here, so many levels below its root.
    fn node(&mut self, depth: usize) -> Result<(), DecodeError> {
        let (at, nodes_max) = (self.at, self.nodes_max);
        let left = self.nodes_left.checked_sub(1);
        self.nodes_left = left.ok_or_else(|| wrong(at, format!("more than {nodes_max} nodes")))?;
        if depth > DEPTH_MAX {
            return Err(wrong(at, Error::TooDeep.to_string()));
        }
        Ok(())
    }

    fn id(&mut self) -> Result<Id, DecodeError> {
        let mut open: Vec<Open<(), Id>> = Vec::new();
        loop {
            self.node(open.len())?;
            let begin = self.at;
            let kind = self.bits(2)?;
            if kind > 0 {
                let left = if kind == 1 { Some(Id::ZERO) } else { None };
                open.push(Open { begin, base: (), left, is_right_written: kind != 2 });
                self.unwritten(kind != 3, open.len())?;
                continue;
            }
            let leaf = if self.bit()? { Id::ONE } else { Id::ZERO };
            if leaf.is_zero() && !open.is_empty() {
                return Err(wrong(begin, LONGER));
            }
            let norm = |(), left, right| Id::branch(left, right);
            if let Some(done) = close(&mut open, leaf, &Id::ZERO, norm)? {
                return Ok(done);
            }
        }
    }

    fn event(&mut self) -> Result<Event, DecodeError> {
        let mut open: Vec<Open<u64, Event>> = Vec::new();
        loop {
            self.node(open.len())?;
            let begin = self.at;
            if !self.bit()? {
                let opened = self.branch(begin)?;
                let is_one_unwritten = opened.left.is_some() || !opened.is_right_written;
                open.push(opened);
                self.unwritten(is_one_unwritten, open.len())?;
                continue;
            }
            let count = self.counted(begin)?;
            if count == 0 && !open.is_empty() {
                return Err(wrong(begin, LONGER));
            }
            let leaf = Event::leaf(count).map_err(|error| wrong(begin, error.to_string()))?;
            if let Some(done) = close(&mut open, leaf, &Event::zero(), Event::branch)? {
                return Ok(done);
            }
        }
    }

    /// What stands before the children of an event branch, after its first bit.
    fn branch(&mut self, begin: usize) -> Result<Open<u64, Event>, DecodeError> {
        let (has_base, has_left, is_right_written) = match self.bits(2)? {
            0 => (false, false, true),
            1 => (false, true, false),
            2 => (false, true, true),
            _ if self.bit()? => (true, true, true),
            _ if self.bit()? => (true, true, false),
            _ => (true, false, true),
        };
        let base = if has_base { self.base()? } else { 0 };
        let left = if has_left { None } else { Some(Event::zero()) };
        Ok(Open { begin, base, left, is_right_written })
    }

    /// A leaf that takes no bits is a node all the same.
    fn unwritten(&mut self, is_there: bool, depth: usize) -> Result<(), DecodeError> {
        if is_there { self.node(depth) } else { Ok(()) }
    }

    fn base(&mut self) -> Result<u64, DecodeError> {
        let begin = self.at;
        if !self.bit()? {
            return Err(wrong(begin, "a tree where a number must stand"));
        }
        match self.counted(begin)? {
            0 => Err(wrong(begin, LONGER)),
            base => Ok(base),
        }
    }

    /// A number after its first bit.
    fn counted(&mut self, begin: usize) -> Result<u64, DecodeError> {
        let mut width = WIDTH_MIN;
        let mut passed = 0;
        while self.bit()? {
            passed += 1 << width;
            width += 1;
            if width > WIDTH_MAX {
                return Err(wrong(begin, Error::Overflow.to_string()));
            }
        }
        // What is too large all the same is refused by the tree that it is for.
        Ok(passed + self.bits(width)?)
    }
}
