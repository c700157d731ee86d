//! The packed columns: one byte per step, 32 bytes per open attempt and per step with a note. Attempts
//! of neighbouring steps that are alike, because they were given to a worker together, take 64 bytes
//! however many there are, so that what a transition rewrites does not grow with what runs beside it.
//!
//! The checked bridge between bytes and domain types: bytes that cannot be are an error that names
//! the row, never a guess.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::{Note, OpenAttempt, StepState};

/// Up to so many steps stand in the operation's own row; more are kept in chunks of this size, so
/// that a transition rewrites one chunk and its cost does not grow with the operation.
pub const CHUNK: usize = 256;

const ATTEMPT_BYTES: usize = 32;

/// In place of an attempt's number: the record is a note.
const NOTE: u32 = u32::MAX;
/// In place of an attempt's number: the steps from the one of the record before up to this one have
/// attempts like that.
const ALIKE: u32 = u32::MAX - 1;
/// In place of the time there: a version of this program that does not know such records refuses it.
const NO_TIME: i64 = i64::MAX;
/// No jobset has so many steps; this bounds what a damaged row can make it do.
const ALIKE_MAX: u32 = 10_000_000;
/// So many states fit into a note; machines go back by one at a time and never so deep.
const NOTE_STATES: usize = 14;

/// In the number of losses: the attempt was admitted.
const ADMITTED: u32 = 1 << 31;
/// In the number of losses: the step has left the attempt's state.
const LEAVING: u32 = 1 << 30;

/// In the number of losses: the step waits for a worker.
const QUEUED: u32 = 1 << 29;

/// One byte per step.
pub(super) fn pack_steps(steps: &[StepState]) -> Vec<u8> {
    steps.iter().map(|state| state.code()).collect()
}

/// The states that the bytes stand for.
pub(super) fn unpack_steps(row: Uuid, bytes: &[u8]) -> Result<Vec<StepState>, StoreError> {
    bytes
        .iter()
        .map(|byte| {
            StepState::from_code(*byte)
                .ok_or_else(|| StoreError::corrupt("operation", "steps", &row, &byte))
        })
        .collect()
}

/// Four bytes per step: the number of the event by which it last moved.
pub(super) fn pack_moved(moved: &[i32]) -> Vec<u8> {
    moved.iter().flat_map(|seq| seq.to_be_bytes()).collect()
}

/// The numbers that the bytes stand for.
pub(super) fn unpack_moved(row: Uuid, bytes: &[u8]) -> Result<Vec<i32>, StoreError> {
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        let found = "a length that is no multiple of 4";
        return Err(StoreError::corrupt("step_chunk", "moved", &row, &found));
    }
    Ok(numbers.iter().copied().map(i32::from_be_bytes).collect())
}

/// Attempts, big-endian: step, attempt, failures, losses and flags (4 bytes each), holder (0 for
/// none), since in microseconds of the Unix epoch (8 bytes each); behind one that others are like: the
/// last step of those, [`ALIKE`], 16 bytes of nothing, [`NO_TIME`]. Notes: step, [`NOTE`], whether it
/// is held on failure (0 unsaid, 1 yes, 2 no), how many states follow, the states, when its first
/// attempt began in microseconds (0 unsaid).
pub(super) fn pack_open(open: &BTreeMap<u32, OpenAttempt>, notes: &BTreeMap<u32, Note>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut open = open.iter().peekable();
    while let Some((first, attempt)) = open.next() {
        pack_attempt(&mut bytes, *first, attempt);
        let mut last = *first;
        while open.next_if(|(step, next)| **step == last + 1 && *next == attempt).is_some() {
            last += 1;
        }
        if last > *first {
            bytes.extend(last.to_be_bytes());
            bytes.extend(ALIKE.to_be_bytes());
            bytes.extend([0; 16]);
            bytes.extend(NO_TIME.to_be_bytes());
        }
    }
    for (step, note) in notes {
        let states = &note.before[..note.before.len().min(NOTE_STATES)];
        bytes.extend(step.to_be_bytes());
        bytes.extend(NOTE.to_be_bytes());
        bytes.push(match note.hold {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        });
        bytes.push(u8::try_from(states.len()).expect("few"));
        bytes.extend(states.iter().map(|state| state.code()));
        bytes.resize(bytes.len() + NOTE_STATES - states.len(), 0);
        bytes.extend(note.first.map_or(0, |first| first.timestamp_micros()).to_be_bytes());
    }
    bytes
}

fn pack_attempt(bytes: &mut Vec<u8>, step: u32, open: &OpenAttempt) {
    let admitted = if open.admitted { ADMITTED } else { 0 };
    let leaving = if open.leaving { LEAVING } else { 0 };
    let queued = if open.queued { QUEUED } else { 0 };
    bytes.extend(step.to_be_bytes());
    bytes.extend(open.attempt.to_be_bytes());
    bytes.extend(open.failures.to_be_bytes());
    bytes.extend((open.losses | admitted | leaving | queued).to_be_bytes());
    bytes.extend(open.holder.unwrap_or(0).to_be_bytes());
    bytes.extend(open.since.timestamp_micros().to_be_bytes());
}

/// Open attempts and notes by step.
type Open = (BTreeMap<u32, OpenAttempt>, BTreeMap<u32, Note>);

/// The open attempts and notes that the bytes stand for.
pub(super) fn unpack_open(row: Uuid, bytes: &[u8]) -> Result<Open, StoreError> {
    let corrupt = |found: &str| StoreError::corrupt("operation", "open", &row, &found);
    let (records, rest) = bytes.as_chunks::<ATTEMPT_BYTES>();
    if !rest.is_empty() {
        return Err(corrupt("a length that is no multiple of 32"));
    }
    let (mut attempts, mut notes) = Open::default();
    for record in records {
        let (numbers, longs) = record.split_at(16);
        let (numbers, longs) = (numbers.as_chunks().0, longs.as_chunks().0);
        let numbers: [[u8; 4]; 4] = numbers.try_into().map_err(|_| corrupt("short"))?;
        let [step, attempt, failures, losses] = numbers.map(u32::from_be_bytes);
        if attempt == NOTE {
            let note = unpack_note(&record[8..]).ok_or_else(|| corrupt("no note"))?;
            notes.insert(step, note);
            continue;
        }
        if attempt == ALIKE {
            let (first, open) = attempts.last_key_value().ok_or_else(|| corrupt("like nothing"))?;
            let (alike, open): (_, OpenAttempt) = (first.saturating_add(1)..=step, *open);
            if step.saturating_sub(*first) > ALIKE_MAX {
                return Err(corrupt("too many alike"));
            }
            attempts.extend(alike.map(|step| (step, open)));
            continue;
        }
        let longs: [[u8; 8]; 2] = longs.try_into().map_err(|_| corrupt("short"))?;
        let [holder, since] = longs.map(i64::from_be_bytes);
        let since: DateTime<Utc> =
            DateTime::from_timestamp_micros(since).ok_or_else(|| corrupt("a time out of range"))?;
        let open = OpenAttempt {
            attempt,
            failures,
            losses: losses & !(ADMITTED | LEAVING | QUEUED),
            holder: (holder != 0).then_some(holder),
            since,
            admitted: losses & ADMITTED != 0,
            leaving: losses & LEAVING != 0,
            queued: losses & QUEUED != 0,
        };
        attempts.insert(step, open);
    }
    Ok((attempts, notes))
}

fn unpack_note(bytes: &[u8]) -> Option<Note> {
    let [hold, count, rest @ ..] = bytes else { return None };
    let (states, first) = rest.split_at_checked(NOTE_STATES)?;
    let states = states.get(..usize::from(*count))?;
    let before = states.iter().map(|code| StepState::from_code(*code)).collect::<Option<_>>()?;
    let hold = match hold {
        0 => None,
        1 => Some(true),
        2 => Some(false),
        _ => return None,
    };
    let first = match i64::from_be_bytes(first.try_into().ok()?) {
        0 => None,
        micros => Some(DateTime::from_timestamp_micros(micros)?),
    };
    Some(Note { before, hold, first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_attempts_come_back_as_they_went() {
        let since = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let attempt = OpenAttempt {
            attempt: 1,
            failures: 0,
            losses: 0,
            holder: Some(7),
            since,
            admitted: true,
            leaving: true,
            queued: false,
        };
        let waiting = OpenAttempt {
            attempt: 9,
            failures: 8,
            losses: 2,
            holder: None,
            leaving: false,
            queued: true,
            ..attempt
        };
        let alike = (7..900).map(|step| (step, attempt));
        let open: BTreeMap<u32, OpenAttempt> =
            [(0, attempt), (3, attempt), (4, waiting), (70_000, waiting)]
                .into_iter()
                .chain(alike)
                .collect();
        let before = vec![StepState::READY, StepState::own(StepState::PAUSED, 15)];
        let notes = BTreeMap::from([
            (3, Note { before, hold: Some(false), first: Some(since) }),
            (9, Note { before: Vec::new(), hold: Some(true), first: None }),
        ]);
        let bytes = pack_open(&open, &notes);
        assert_eq!(bytes.len(), (4 + 2 + notes.len()) * ATTEMPT_BYTES);
        assert_eq!(unpack_open(Uuid::nil(), &bytes).unwrap(), (open, notes));
        assert!(unpack_open(Uuid::nil(), &[0; 33]).is_err());
    }

    #[test]
    fn last_moves_come_back_as_they_went() {
        let moved = [0, 1, i32::MAX];
        assert_eq!(unpack_moved(Uuid::nil(), &pack_moved(&moved)).unwrap(), moved);
        assert!(unpack_moved(Uuid::nil(), &[0; 5]).is_err());
    }

    #[test]
    fn an_unknown_state_is_an_error_that_names_the_row() {
        let error = unpack_steps(Uuid::nil(), &[0, 95]).unwrap_err();
        assert!(error.to_string().contains("row 00000000-0000-0000-0000-000000000000: 95"));
    }
}
