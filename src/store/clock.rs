//! The columns `stamp` and `clock`: the checked bridge between bytes and interval tree clocks.
//!
//! What further stamps are made from follows from those of all events so far. So that a run with a long
//! history is loaded in time for its live branches, it is stored now and then ([`is_due`]) as
//! `operation.clock`, and only the events since are read.
//!
//! A clock is the number of the event that it was stored with, the trunk, what was known when the
//! context was last changed (no bytes for nothing), and the branches: the number of the step, the
//! stamp. Numbers are LEB128; a stamp is its length and its bytes (`Stamp::encode`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::{Branch, Run, Stamped, Stamps};
use crate::itc::Stamp;

/// Stamps are made by this program only; this bounds what a damaged row can make it do.
pub(super) const NODES_MAX: usize = 10_000_000;
/// So many events may be read again in any case.
const EVENTS_MIN: usize = 64;

/// Whether so much has happened since the clock was stored that it is stored again: more than its own
/// size, so that both what is written and what is read stay in proportion to what happens.
pub(super) fn is_due(run: &Run) -> bool {
    let stamps = run.stamps();
    let since = usize::try_from(run.version() - stamps.stored).unwrap_or(0);
    since > EVENTS_MIN + 2 * stamps.branches.len()
}

/// The stamp that the bytes stand for.
pub(super) fn unpack_stamp(
    table: &'static str,
    row: &dyn fmt::Display,
    bytes: &[u8],
) -> Result<Stamp, StoreError> {
    Stamp::decode(bytes, NODES_MAX)
        .map_err(|error| StoreError::corrupt(table, "stamp", row, &error))
}

/// As it is stored with event `version`.
pub(super) fn pack_clock(stamps: &Stamps, version: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(&mut bytes, version.unsigned_abs());
    stamp(&mut bytes, &stamps.trunk.encode());
    stamp(&mut bytes, &stamps.context.as_ref().map(Stamp::encode).unwrap_or_default());
    for (step, branch) in &stamps.branches {
        number(&mut bytes, *step);
        stamp(&mut bytes, &branch.stamp.encode());
    }
    bytes
}

/// What the bytes stand for; nothing stands for nothing.
pub(super) fn unpack_clock(
    row: &dyn fmt::Display,
    bytes: &[u8],
) -> Result<Option<Stamps>, StoreError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader { row, bytes };
    let version = reader.number()?;
    let stored = i32::try_from(version).map_err(|_| reader.corrupt(&version))?;
    let trunk = reader.stamp()?.ok_or_else(|| reader.corrupt(&"no trunk"))?;
    let context = reader.stamp()?;
    let mut branches = BTreeMap::new();
    while !reader.bytes.is_empty() {
        let step = reader.number()?;
        let stamp = reader.stamp()?.ok_or_else(|| reader.corrupt(&"a branch without a stamp"))?;
        branches.insert(step, Branch::new(stamp.into()));
    }
    Ok(Some(Stamps::stored_with(stored, trunk, context, branches)))
}

/// The events of each of these operations after a number, in order.
pub(super) async fn events_since(
    connection: &mut PgConnection,
    since: &[(Uuid, i32)],
) -> Result<HashMap<Uuid, Vec<Stamped>>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        operation: Uuid,
        seq: i32,
        kind: i16,
        step: Option<i32>,
        stamp: Option<Vec<u8>>,
    }
    const CONTEXT_CHANGED: i16 = 4;
    if since.is_empty() {
        return Ok(HashMap::new());
    }
    let (operations, seqs): (Vec<Uuid>, Vec<i32>) = since.iter().copied().unzip();
    let rows: Vec<Row> = sqlx::query_as(
        r#"
        -- clock/events_since
        select e.operation, e.seq, e.kind, e.step, e.stamp
        from unnest($1::uuid[], $2::int[]) as u (operation, seq)
        join event e on e.operation = u.operation and e.seq > u.seq
        order by e.operation, e.seq
        "#,
    )
    .bind(operations)
    .bind(seqs)
    .fetch_all(connection)
    .await?;
    let mut events: HashMap<Uuid, Vec<Stamped>> = HashMap::new();
    for Row { operation, seq, kind, step, stamp } in rows {
        let row = format_args!("{operation}/{seq}");
        let stamp = stamp.map(|bytes| unpack_stamp("event", &row, &bytes)).transpose()?;
        let (step, changes_context) =
            (step.and_then(|step| u32::try_from(step).ok()), kind == CONTEXT_CHANGED);
        events.entry(operation).or_default().push(Stamped { step, changes_context, stamp });
    }
    Ok(events)
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

fn stamp(bytes: &mut Vec<u8>, encoded: &[u8]) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_come_back_as_they_went() {
        let mut trunk = Stamp::seed().event().unwrap();
        let branches = [0, 300, 70_000]
            .into_iter()
            .map(|step| (step, Branch::new(trunk.share(4).unwrap().into())))
            .collect();
        let context = Some(trunk.peek());
        let stamps = Stamps::stored_with(12_345, trunk, context, branches);
        let bytes = pack_clock(&stamps, 12_345);
        assert_eq!(unpack_clock(&"id", &bytes).unwrap(), Some(stamps));
        assert_eq!(unpack_clock(&"id", &[]).unwrap(), None);
        let error = unpack_clock(&"id", &bytes[..bytes.len() - 1]).unwrap_err().to_string();
        assert!(error.contains("row id"), "{error}");
    }
}
