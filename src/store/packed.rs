//! The packed columns: one byte per step, 32 bytes per open attempt.
//!
//! The checked bridge between bytes and domain types: bytes that cannot be are an error that names
//! the row, never a guess.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::{OpenAttempt, StepState};

/// Up to so many steps stand in the operation's own row; more are kept in chunks of this size, so
/// that a transition rewrites one chunk and its cost does not grow with the operation.
pub const CHUNK: usize = 256;

const ATTEMPT_BYTES: usize = 32;

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

/// Big-endian: step, attempt, failures, losses (4 bytes each), holder (0 for none), since in
/// microseconds of the Unix epoch (8 bytes each).
pub(super) fn pack_open(open: &BTreeMap<u32, OpenAttempt>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(open.len() * ATTEMPT_BYTES);
    for (step, open) in open {
        bytes.extend(step.to_be_bytes());
        bytes.extend(open.attempt.to_be_bytes());
        bytes.extend(open.failures.to_be_bytes());
        bytes.extend(open.losses.to_be_bytes());
        bytes.extend(open.holder.unwrap_or(0).to_be_bytes());
        bytes.extend(open.since.timestamp_micros().to_be_bytes());
    }
    bytes
}

/// The open attempts that the bytes stand for.
pub(super) fn unpack_open(
    row: Uuid,
    bytes: &[u8],
) -> Result<BTreeMap<u32, OpenAttempt>, StoreError> {
    let corrupt = |found: &str| StoreError::corrupt("operation", "open", &row, &found);
    let (attempts, rest) = bytes.as_chunks::<ATTEMPT_BYTES>();
    if !rest.is_empty() {
        return Err(corrupt("a length that is no multiple of 32"));
    }
    attempts
        .iter()
        .map(|bytes| {
            let (numbers, longs) = bytes.split_at(16);
            let (numbers, longs) = (numbers.as_chunks().0, longs.as_chunks().0);
            let [step, attempt, failures, losses]: [[u8; 4]; 4] =
                numbers.try_into().map_err(|_| corrupt("short"))?;
            let [holder, since]: [[u8; 8]; 2] = longs.try_into().map_err(|_| corrupt("short"))?;
            let since: DateTime<Utc> = DateTime::from_timestamp_micros(i64::from_be_bytes(since))
                .ok_or_else(|| corrupt("a time out of range"))?;
            let holder = i64::from_be_bytes(holder);
            let open = OpenAttempt {
                attempt: u32::from_be_bytes(attempt),
                failures: u32::from_be_bytes(failures),
                losses: u32::from_be_bytes(losses),
                holder: (holder != 0).then_some(holder),
                since,
            };
            Ok((u32::from_be_bytes(step), open))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_attempts_come_back_as_they_went() {
        let since = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let open = BTreeMap::from([
            (0, OpenAttempt { attempt: 1, failures: 0, losses: 0, holder: Some(7), since }),
            (70_000, OpenAttempt { attempt: 9, failures: 8, losses: 2, holder: None, since }),
        ]);
        assert_eq!(unpack_open(Uuid::nil(), &pack_open(&open)).unwrap(), open);
        assert!(unpack_open(Uuid::nil(), &[0; 33]).is_err());
    }

    #[test]
    fn an_unknown_state_is_an_error_that_names_the_row() {
        let error = unpack_steps(Uuid::nil(), &[0, 99]).unwrap_err();
        assert!(error.to_string().contains("row 00000000-0000-0000-0000-000000000000: 99"));
    }
}
