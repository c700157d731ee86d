//! The columns `stamp` and `clock`: the checked bridge between bytes and interval tree clocks.
//!
//! A clock begins with how many roots have yet to begin, then the trunk, then what was known when the
//! context was last changed (no bytes for nothing). Branches follow, or stand with the chunk of their
//! step: the number of the step, how many followers wait plus 1 (0 for not known), the stamp. Numbers
//! are LEB128; a stamp is its length and its bytes (`Stamp::encode`).

use std::collections::BTreeMap;
use std::fmt;

use super::error::StoreError;
use crate::domain::{Branch, Stamps};
use crate::itc::Stamp;

/// Stamps are made by this program only; this bounds what a damaged row can make it do.
pub(super) const NODES_MAX: usize = 10_000_000;

/// The stamp that the bytes stand for.
pub(super) fn unpack_stamp(
    table: &'static str,
    row: &dyn fmt::Display,
    bytes: &[u8],
) -> Result<Stamp, StoreError> {
    Stamp::decode(bytes, NODES_MAX)
        .map_err(|error| StoreError::corrupt(table, "stamp", row, &error))
}

/// What belongs to the operation as a whole.
pub(super) fn pack_clock(stamps: &Stamps) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    number(&mut bytes, stamps.roots);
    stamp(&mut bytes, Some(&stamps.trunk));
    stamp(&mut bytes, stamps.context.as_ref());
    bytes
}

/// What belongs to steps, in order of their numbers.
pub(super) fn pack_branches<'a>(
    bytes: &mut Vec<u8>,
    branches: impl Iterator<Item = (&'a u32, &'a Branch)>,
) {
    for (step, branch) in branches {
        number(bytes, *step);
        number(bytes, branch.waiting.map_or(0, |waiting| waiting.saturating_add(1)));
        stamp(bytes, Some(&branch.stamp));
    }
}

/// What the bytes of an operation and of its chunks stand for.
pub(super) fn unpack_clock(
    row: &dyn fmt::Display,
    whole: &[u8],
    chunks: &[u8],
) -> Result<Stamps, StoreError> {
    let mut reader = Reader { row, bytes: whole };
    let roots = reader.number()?;
    let trunk = reader.stamp()?.ok_or_else(|| reader.corrupt(&"no trunk"))?;
    let context = reader.stamp()?;
    let mut branches = BTreeMap::new();
    reader.branches(&mut branches)?;
    reader.bytes = chunks;
    reader.branches(&mut branches)?;
    Ok(Stamps::restore(trunk, roots, context, branches))
}

fn number(bytes: &mut Vec<u8>, mut number: u32) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

fn stamp(bytes: &mut Vec<u8>, stamp: Option<&Stamp>) {
    let encoded = stamp.map(Stamp::encode).unwrap_or_default();
    number(bytes, u32::try_from(encoded.len()).expect("a stamp is far below 4 GiB"));
    bytes.extend(encoded);
}

struct Reader<'a> {
    row: &'a dyn fmt::Display,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn corrupt(&self, found: &dyn fmt::Display) -> StoreError {
        StoreError::corrupt("operation", "clock", self.row, found)
    }

    fn number(&mut self) -> Result<u32, StoreError> {
        let mut number = 0_u32;
        for place in (0..u32::BITS).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or_else(|| self.corrupt(&"cut off"))?;
            self.bytes = rest;
            number |= u32::from(byte & 0x7f) << place;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.corrupt(&"a number that does not end"))
    }

    fn stamp(&mut self) -> Result<Option<Stamp>, StoreError> {
        let length = self.number()? as usize;
        let parts = self.bytes.split_at_checked(length);
        let (bytes, rest) = parts.ok_or_else(|| self.corrupt(&"cut off"))?;
        self.bytes = rest;
        let stamp = (length > 0).then(|| Stamp::decode(bytes, NODES_MAX)).transpose();
        stamp.map_err(|error| self.corrupt(&error))
    }

    fn branches(&mut self, branches: &mut BTreeMap<u32, Branch>) -> Result<(), StoreError> {
        while !self.bytes.is_empty() {
            let step = self.number()?;
            let waiting = self.number()?.checked_sub(1);
            let stamp = self.stamp()?.ok_or_else(|| self.corrupt(&"a branch without a stamp"))?;
            branches.insert(step, Branch { stamp, waiting });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_come_back_as_they_went() {
        let mut trunk = Stamp::seed().event().unwrap();
        let branches: BTreeMap<u32, Branch> = [(0, None), (300, Some(0)), (70_000, Some(9_999))]
            .into_iter()
            .map(|(step, waiting)| (step, Branch { stamp: trunk.share(4).unwrap(), waiting }))
            .collect();
        let context = Some(trunk.peek());
        let stamps = Stamps::restore(trunk, 12_345, context, branches);
        let mut whole = pack_clock(&stamps);
        let mut chunks = Vec::new();
        pack_branches(&mut chunks, stamps.branches.iter());
        assert_eq!(unpack_clock(&"id", &whole, &chunks).unwrap(), stamps);
        let error = unpack_clock(&"id", &whole, &chunks[1..]).unwrap_err().to_string();
        assert!(error.contains("row id"), "{error}");
        whole.extend(&chunks);
        assert_eq!(unpack_clock(&"id", &whole, &[]).unwrap(), stamps);
    }
}
