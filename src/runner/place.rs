//! The files and the environment of an attempt.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use uuid::Uuid;

use super::process::Supplies;
use crate::domain::problem::refuse_nul;
use crate::engine::Assignment;

/// The largest result that a step may have, in bytes of JSON.
pub(super) const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// The files of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Shared by the operation's steps on this worker.
    workspace: PathBuf,
    context: PathBuf,
    output: PathBuf,
    /// A FIFO that the step writes prompts and messages to.
    events: PathBuf,
}

/// Runs file operations where they may block: one visit for several of them.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Place {
    /// The files of an attempt, wherever the work folder is.
    pub(super) fn of(root: &Path, assignment: &Assignment) -> Self {
        let operation = root.join(assignment.operation.to_string());
        let files = operation.join("files");
        let name = format!("{}-{}", assignment.step, assignment.attempt);
        Self {
            workspace: operation.join("workspace"),
            context: files.join(format!("{name}.context.json")),
            output: files.join(format!("{name}.output.json")),
            events: files.join(format!("{name}.events")),
        }
    }

    /// What is to be there before the attempt begins.
    pub(super) fn supplies(&self, context: &Value) -> Supplies {
        Supplies {
            folder: self.workspace.clone(),
            text: (self.context.clone(), context.to_string()),
            events: self.events.clone(),
            answer: self.output.clone(),
        }
    }

    /// Takes what is left of the files of the attempt away; the workspace stays for the other steps.
    /// Answers the JSON that the step wrote to `SUT_OUTPUT`, if it wrote any.
    pub(super) async fn collect(&self) -> Result<Option<Value>, String> {
        let place = self.clone();
        off_thread(move || {
            let result = read_result(&place.output);
            for file in [&place.context, &place.output, &place.events] {
                match fs::remove_file(file) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(%error, file = %file.display(), "runner.file.left");
                    }
                }
            }
            result
        })
        .await
    }

    /// The folders that the attempt may write to.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let files = self.output.parent().map(Path::to_owned);
        std::iter::once(self.workspace.clone()).chain(files).collect()
    }

    /// The whole environment of the attempt: what it inherits, without what are secrets of other
    /// steps, then what every step is told, then what the jobset says, then the secrets of the step
    /// itself.
    pub(super) fn environment(
        &self,
        assignment: &Assignment,
        inherited: BTreeMap<OsString, OsString>,
        own: &BTreeMap<String, String>,
        secrets: Vec<(OsString, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        let step = &assignment.jobset.step(assignment.step).definition.name;
        let mut environment = inherited;
        for name in &assignment.jobset.secrets {
            environment.remove(OsStr::new(name));
        }
        let told: [(&str, OsString); 8] = [
            ("SUT_OPERATION_ID", assignment.operation.to_string().into()),
            ("SUT_STEP", step.into()),
            ("SUT_ATTEMPT", assignment.attempt.to_string().into()),
            ("SUT_CONTEXT", self.context.clone().into()),
            ("SUT_OUTPUT", self.output.clone().into()),
            ("SUT_EVENTS", self.events.clone().into()),
            ("SUT_WORKSPACE", self.workspace.clone().into()),
            ("TRACEPARENT", traceparent(assignment).into()),
        ];
        environment.extend(told.map(|(name, value)| (name.into(), value)));
        environment.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
        environment.extend(secrets);
        environment.into_iter().collect()
    }
}

fn read_result(file: &Path) -> Result<Option<Value>, String> {
    let unreadable = |error: io::Error| format!("SUT_OUTPUT cannot be read: {error}");
    let size = match fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if size > RESULT_BYTES_MAX as u64 {
        return Err(format!("SUT_OUTPUT has {size} bytes, more than {RESULT_BYTES_MAX}"));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("SUT_OUTPUT is not JSON: {error}"))?;
    refuse_nul(&value, "SUT_OUTPUT").map_err(|problem| problem.to_string())?;
    Ok(Some(value))
}

/// W3C Trace Context: the operation is the trace, the attempt a span.
fn traceparent(assignment: &Assignment) -> String {
    let Assignment { operation, step, attempt, .. } = assignment;
    let trace: &Uuid = operation;
    format!("00-{}-{:08x}{attempt:08x}-01", trace.as_simple(), step.wrapping_add(1))
}
