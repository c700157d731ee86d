//! The files and the environment of an attempt.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::fs;
use uuid::Uuid;

use crate::domain::problem::refuse_nul;
use crate::engine::Assignment;

/// The largest result that a step may write, in bytes.
const RESULT_MAX: u64 = 1024 * 1024;

/// The files of one attempt.
#[derive(Debug)]
pub(super) struct Place {
    /// Shared by the operation's steps on this worker.
    pub(super) workspace: PathBuf,
    context: PathBuf,
    output: PathBuf,
}

impl Place {
    /// Makes the folders and writes the context.
    pub(super) async fn prepare(
        root: &Path,
        assignment: &Assignment,
        context: &Value,
    ) -> io::Result<Self> {
        let operation = root.join(assignment.operation.to_string());
        let workspace = operation.join("workspace");
        let files = operation.join("files");
        fs::create_dir_all(&workspace).await?;
        fs::create_dir_all(&files).await?;
        let name = format!("{}-{}", assignment.step, assignment.attempt);
        let place = Self {
            workspace,
            context: files.join(format!("{name}.context.json")),
            output: files.join(format!("{name}.output.json")),
        };
        fs::write(&place.context, context.to_string()).await?;
        Ok(place)
    }

    /// The JSON that the step wrote to `SUT_OUTPUT`, if it wrote any.
    pub(super) async fn result(&self) -> Result<Option<Value>, String> {
        let size = match fs::metadata(&self.output).await {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("SUT_OUTPUT cannot be read: {error}")),
        };
        if size > RESULT_MAX {
            return Err(format!("SUT_OUTPUT has {size} bytes, more than {RESULT_MAX}"));
        }
        let bytes = fs::read(&self.output).await;
        let bytes = bytes.map_err(|error| format!("SUT_OUTPUT cannot be read: {error}"))?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| format!("SUT_OUTPUT is not JSON: {error}"))?;
        refuse_nul(&value, "SUT_OUTPUT").map_err(|problem| problem.to_string())?;
        Ok(Some(value))
    }

    /// Takes the files of the attempt away; the workspace stays for the other steps.
    pub(super) async fn clean(&self) {
        for file in [&self.context, &self.output] {
            match fs::remove_file(file).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, file = %file.display(), "runner.file.left"),
            }
        }
    }

    /// The whole environment of the attempt: the worker's, without what is the service's own, then
    /// what every step is told, then what the jobset says.
    pub(super) fn environment(
        &self,
        assignment: &Assignment,
        own: &BTreeMap<String, String>,
    ) -> Vec<(OsString, OsString)> {
        let step = &assignment.jobset.step(assignment.step).definition.name;
        let mut environment: BTreeMap<OsString, OsString> = inherited().collect();
        let told: [(&str, OsString); 7] = [
            ("SUT_OPERATION_ID", assignment.operation.to_string().into()),
            ("SUT_STEP", step.into()),
            ("SUT_ATTEMPT", assignment.attempt.to_string().into()),
            ("SUT_CONTEXT", self.context.clone().into()),
            ("SUT_OUTPUT", self.output.clone().into()),
            ("SUT_WORKSPACE", self.workspace.clone().into()),
            ("TRACEPARENT", traceparent(assignment).into()),
        ];
        environment.extend(told.map(|(name, value)| (name.into(), value)));
        environment.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
        environment.into_iter().collect()
    }
}

/// What steps inherit: not the way to the database, and nothing that configures the service.
fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name != "DATABASE_URL" && !name.starts_with("MOTHER_") && !name.starts_with("PG")
    })
}

/// W3C Trace Context: the operation is the trace, the attempt a span.
fn traceparent(assignment: &Assignment) -> String {
    let Assignment { operation, step, attempt, .. } = assignment;
    let trace: &Uuid = operation;
    format!("00-{}-{:08x}{attempt:08x}-01", trace.as_simple(), step.wrapping_add(1))
}
