//! Reports on their way to the engine: gathered while the last batch is being stored.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::source::WorkSource;
use super::under_way::UnderWay;
use crate::engine::{AttemptReport, EngineError, Report};

/// Reports per batch.
const BATCH_MAX: usize = 500;
/// While batches follow each other as fast as this, one waits for this part of the attempts that are
/// under way, and no longer than this: storing a report takes as long as a small step if each is
/// stored alone.
const GATHER: Duration = Duration::from_millis(10);
const PART: usize = 4;
/// The wait before a report is sent again to a database that is away.
const RETRY: Duration = Duration::from_millis(250);

/// Where attempts hand in their reports. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    sender: mpsc::UnboundedSender<Option<Report>>,
}

impl Desk {
    pub(super) const fn new(sender: mpsc::UnboundedSender<Option<Report>>) -> Self {
        Self { sender }
    }

    /// Hands in a report. After the lease is lost nobody reads it, and nobody should.
    pub(super) fn report(&self, report: Report) {
        let _fenced = self.sender.send(Some(report));
    }

    /// Says that no report follows.
    pub(super) fn close(&self) {
        let _fenced = self.sender.send(None);
    }
}

/// Sends reports until the desk is closed and all were answered. Batches do not wait for each other:
/// the lanes of the engine gather what comes while they are at work.
pub(super) async fn settle<S: WorkSource>(
    source: Arc<S>,
    under_way: Arc<UnderWay>,
    mut inbox: mpsc::UnboundedReceiver<Option<Report>>,
) {
    let batches = TaskTracker::new();
    let mut received = Vec::new();
    let mut is_open = true;
    let mut hurry_until = Instant::now();
    while is_open && inbox.recv_many(&mut received, BATCH_MAX).await > 0 {
        let until = hurry_until.min(Instant::now() + GATHER);
        while received.len() < under_way.running() / PART {
            let more = inbox.recv_many(&mut received, BATCH_MAX);
            if timeout_at(until, more).await.unwrap_or(0) == 0 {
                break;
            }
        }
        hurry_until = Instant::now() + GATHER;
        is_open = received.iter().all(Option::is_some);
        let reports = received.drain(..).flatten().collect();
        batches.spawn(send(Arc::clone(&source), reports));
    }
    batches.close();
    batches.wait().await;
}

async fn send<S: WorkSource>(source: Arc<S>, mut reports: Vec<Report>) {
    let mut again = false;
    while !reports.is_empty() {
        let answers = source.settle(reports.clone(), again).await;
        let mut left = Vec::new();
        for (report, answer) in reports.into_iter().zip(answers) {
            match answer {
                Ok(()) => {}
                Err(error) if is_temporary(&error) => left.push(report),
                Err(error @ EngineError::LeaseLost) => {
                    tracing::warn!(%error, operation = %report.operation, "runner.report.late");
                }
                Err(EngineError::Stale(stale)) => tracing::warn!(%stale, "runner.report.stale"),
                Err(error) => left.extend(without_record(report, &error)),
            }
        }
        reports = left;
        again = true;
        if !reports.is_empty() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A report whose record the store refuses is sent once more with the reason in place of the record,
/// so that a step never hangs because of what it wrote.
fn without_record(mut report: Report, error: &EngineError) -> Option<Report> {
    let error = error as &dyn std::error::Error;
    let refused = json!({"type": "UnstorableRecord", "message": "the record could not be stored"});
    let is_second = report.record.as_ref().is_none_or(|r| r.exception.as_ref() == Some(&refused));
    tracing::error!(error, operation = %report.operation, "runner.report.refused");
    if is_second {
        return None;
    }
    report.record = Some(AttemptReport { exception: Some(refused), ..AttemptReport::default() });
    Some(report)
}

/// Whether a report should be sent again.
fn is_temporary(error: &EngineError) -> bool {
    error.is_outage() || matches!(error, EngineError::Overloaded)
}
