//! Between what a worker takes and what stands on the wire.

use std::sync::Arc;

use crate::client::ClientError;
use crate::domain::{Incarnation, Jobset, StepState};
use crate::engine::{
    Assignment, AttemptKey, AttemptReport, DueMessage, EngineError, Known, Mail, NewPrompt, Order,
    OutputPiece, ReplyView, Report, StepMessage,
};
use crate::wire::{
    AskRequest, AssignmentDocument, AttemptRef, Bytes, DueMessageDocument, OrderDocument, PassedOn,
    PieceDocument, RecordDocument, ReplyDocument, ReportDocument, StampBytes, StepMessageDocument,
};

pub(super) fn of(key: AttemptKey) -> AttemptRef {
    let AttemptKey { operation, step, attempt } = key;
    AttemptRef { operation, step, attempt }
}

fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn stamp(known: Option<&Known>) -> Option<StampBytes> {
    known.map(|known| StampBytes(known.stamp().clone()))
}

fn known(stamp: Option<StampBytes>) -> Option<Known> {
    stamp.map(|StampBytes(stamp)| Known::of(&stamp))
}

/// An attempt to run. `None`: it is run for a state that this version does not know.
pub(super) fn assignment(
    document: AssignmentDocument,
    jobset: Arc<Jobset>,
    worker: Incarnation,
) -> Option<Assignment> {
    Some(Assignment {
        operation: document.operation,
        jobset,
        jobset_id: document.jobset,
        step: document.step,
        attempt: document.attempt,
        state: StepState::from_code(document.state)?,
        worker,
        knows: known(document.knows),
        has_context: document.has_context,
        has_results: document.has_results,
        has_edits: document.has_edits,
        until: document.until,
    })
}

pub(super) fn order(document: OrderDocument) -> Order {
    let OrderDocument { of: AttemptRef { operation, step, attempt }, interrupt, force } = document;
    Order { operation, step: number(step), attempt: number(attempt), interrupt, force }
}

pub(super) fn report(report: &Report) -> ReportDocument {
    let record = report.record.clone().map(|record| {
        let AttemptReport { exit_code, signal, exception, result, usage } = record;
        RecordDocument { exit_code, signal, exception, result, usage }
    });
    ReportDocument {
        of: of(report.key()),
        ending: report.ending.into(),
        heard: stamp(report.heard.as_ref()),
        record,
    }
}

pub(super) fn piece(piece: &OutputPiece) -> PieceDocument {
    PieceDocument {
        of: of(piece.of()),
        seq: piece.seq,
        at: piece.at,
        stream: piece.stream,
        start: [piece.start.all, piece.start.stdout, piece.start.stderr],
        data: Bytes(piece.data.clone()),
    }
}

pub(super) fn message(message: &StepMessage) -> StepMessageDocument {
    StepMessageDocument {
        from: of(message.from),
        seq: message.seq,
        body: message.body.clone(),
        stamp: stamp(message.stamp.as_ref()),
    }
}

pub(super) fn prompt(prompt: &NewPrompt) -> AskRequest {
    let NewPrompt { operation, step, attempt, .. } = *prompt;
    AskRequest {
        of: AttemptRef { operation, step, attempt },
        seq: prompt.seq,
        is_instruction: prompt.is_instruction,
        own_id: prompt.own_id.clone(),
        text: prompt.text.clone(),
        who: prompt.who.clone(),
        schema: prompt.schema.clone(),
        stamp: stamp(prompt.stamp.as_ref()),
    }
}

pub(super) fn reply(document: ReplyDocument) -> ReplyView {
    let ReplyDocument { of: AttemptRef { operation, step, attempt }, seq, own_id, reply, stamp } =
        document;
    let (step, attempt, seq) = (number(step), number(attempt), number(seq));
    ReplyView { operation, step, attempt, seq, own_id, reply, reply_stamp: known(stamp) }
}

pub(super) fn due_message(document: DueMessageDocument) -> DueMessage {
    let DueMessageDocument { to: AttemptRef { operation, step, attempt }, seq, body, stamp } =
        document;
    let (step, attempt, seq) = (number(step), number(attempt), number(seq));
    DueMessage { operation, step, attempt, seq, body, stamp: known(stamp) }
}

pub(super) fn passed_on(mail: &Mail) -> PassedOn {
    let (seq, is_reply) = match mail {
        Mail::Reply(reply) => (reply.seq, true),
        Mail::Message(message) => (message.seq, false),
    };
    PassedOn { to: of(mail.to()), seq: unsigned(seq), is_reply }
}

/// Why a question had no answer. What a server says is wrong with the question itself is final, and so
/// is that the worker may not act any more; all else may be asked again, until the lease is over.
pub(super) fn refusal(error: &ClientError) -> EngineError {
    if is_lost(error) {
        return EngineError::LeaseLost;
    }
    if is_final(error) {
        return EngineError::Refused(error.to_string());
    }
    tracing::debug!(error = error as &dyn std::error::Error, "remote.call.failed");
    EngineError::Unavailable
}

fn is_final(error: &ClientError) -> bool {
    // Who is not let in any more finds out with the next heartbeat.
    const NOT_ABOUT_THE_QUESTION: [u16; 4] = [401, 403, 408, 429];
    matches!(error, ClientError::Refused(status, _)
        if status.is_client_error() && !NOT_ABOUT_THE_QUESTION.contains(&status.as_u16()))
}

/// Whether the server says that the incarnation may not act any more.
pub(super) fn is_lost(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(status, _) if matches!(status.as_u16(), 404 | 410))
}
