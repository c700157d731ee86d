//! Between what stands on the wire and what the engine takes.

use crate::api::error::ApiError;
use crate::domain::Incarnation;
use crate::engine::{
    Assignment, AttemptKey, AttemptReport, DueMessage, Known, Order, OutputPiece, OutputStart,
    ReplyView, Report, StepMessage,
};
use crate::wire::{
    AssignmentDocument, AttemptRef, DueMessageDocument, OrderDocument, PieceDocument,
    RecordDocument, ReplyDocument, ReportDocument, StampBytes, StepMessageDocument,
};

/// The largest number that is stored.
const NUMBER_MAX: u32 = i32::MAX.cast_unsigned();

/// Names an attempt.
pub(super) fn key(of: AttemptRef) -> AttemptKey {
    let AttemptRef { operation, step, attempt } = of;
    AttemptKey { operation, step, attempt }
}

fn stored_key(operation: uuid::Uuid, step: i32, attempt: i32) -> AttemptRef {
    AttemptRef { operation, step: number(step), attempt: number(attempt) }
}

fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// What somebody knew. It owns nothing, whatever was sent.
pub(super) fn known(stamp: Option<StampBytes>) -> Option<Known> {
    stamp.map(|StampBytes(stamp)| Known::of(&stamp))
}

fn stamp(known: Option<&Known>) -> Option<StampBytes> {
    known.map(|known| StampBytes(known.stamp().clone()))
}

/// Refuses a number that cannot be one of a list that begins with 1.
pub(super) fn counted(seq: u32, target: &str) -> Result<u32, ApiError> {
    if (1..=NUMBER_MAX).contains(&seq) {
        return Ok(seq);
    }
    let message = format!("must be between 1 and {NUMBER_MAX}, not {seq}");
    Err(ApiError::bad_request("InvalidBody", message).target(target))
}

pub(super) fn assignment(assignment: &Assignment) -> AssignmentDocument {
    let key = assignment.key();
    AssignmentDocument {
        operation: key.operation,
        jobset: assignment.jobset_id,
        step: key.step,
        attempt: key.attempt,
        state: assignment.state.code(),
        knows: stamp(assignment.knows.as_ref()),
        has_context: assignment.has_context,
        has_results: assignment.has_results,
        has_edits: assignment.has_edits,
        until: assignment.until,
    }
}

pub(super) fn order(order: Order) -> OrderDocument {
    let Order { operation, step, attempt, interrupt, force } = order;
    OrderDocument { of: stored_key(operation, step, attempt), interrupt, force }
}

pub(super) fn report(report: ReportDocument, worker: Incarnation) -> Report {
    let ReportDocument { of, ending, heard, record } = report;
    let AttemptRef { operation, step, attempt } = of;
    let record = record.map(|record| {
        let RecordDocument { exit_code, signal, exception, result, usage } = record;
        AttemptReport { exit_code, signal, exception, result, usage }
    });
    Report { operation, step, attempt, worker, ending: ending.into(), heard: known(heard), record }
}

pub(super) fn piece(piece: PieceDocument) -> OutputPiece {
    let PieceDocument { of: AttemptRef { operation, step, attempt }, seq, at, stream, start, data } =
        piece;
    let [all, stdout, stderr] = start;
    let start = OutputStart { all, stdout, stderr };
    OutputPiece { operation, step, attempt, seq, at, stream, start, data: data.0 }
}

pub(super) fn message(message: StepMessageDocument) -> StepMessage {
    let StepMessageDocument { from, seq, body, stamp } = message;
    StepMessage { from: key(from), seq, body, stamp: known(stamp) }
}

pub(super) fn reply(view: ReplyView) -> ReplyDocument {
    ReplyDocument {
        of: stored_key(view.operation, view.step, view.attempt),
        seq: number(view.seq),
        own_id: view.own_id,
        stamp: stamp(view.reply_stamp.as_ref()),
        reply: view.reply,
    }
}

pub(super) fn due_message(message: DueMessage) -> DueMessageDocument {
    DueMessageDocument {
        to: stored_key(message.operation, message.step, message.attempt),
        seq: number(message.seq),
        stamp: stamp(message.stamp.as_ref()),
        body: message.body,
    }
}
