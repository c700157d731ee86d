//! The files and the environment of an attempt.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use tokio::net::unix::pipe;
use uuid::Uuid;

use super::scratch::Scratch;
use super::workspaces::remove;
use crate::domain::problem::refuse_nul;
use crate::engine::Assignment;

/// The largest result that a step may have, in bytes of JSON.
pub(super) const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// The files of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Shared by the operation's steps on this worker.
    workspace: PathBuf,
    /// What the step makes, if it makes anything.
    output: PathBuf,
    /// What the step finds, in a folder of its own.
    told: PathBuf,
    is_in_memory: bool,
}

/// Runs file operations where they may block: one visit for several of them.
pub(super) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Place {
    /// Makes the folders, the context and the FIFO, which are there until they are
    /// [collected](Self::collect).
    pub(super) async fn prepare(
        root: &Path,
        scratch: &Scratch,
        assignment: &Assignment,
        context: String,
    ) -> io::Result<Self> {
        let Assignment { operation, step, attempt, .. } = assignment;
        let shared = root.join(operation.to_string());
        let (workspace, files) = (shared.join("workspace"), shared.join("files"));
        let name = format!("{step}-{attempt}");
        let output = files.join(format!("{name}.output.json"));
        let on_disk = Self { workspace, output, told: files.join(&name), is_in_memory: false };
        if !on_disk.workspace.is_dir() || !files.is_dir() {
            let workspace = on_disk.workspace.clone();
            let make = move || {
                fs::create_dir_all(workspace)?;
                fs::create_dir_all(files)
            };
            off_thread(make).await?;
        }
        if let Some(told) = scratch.folder(&format!("{operation}-{name}"), context.len()) {
            let place = Self { told, is_in_memory: true, ..on_disk.clone() };
            match place.tell(&context) {
                Ok(()) => return Ok(place),
                // It is full, or was cleared by somebody.
                Err(error) => {
                    tracing::debug!(%error, "runner.scratch.unusable");
                    place.forget();
                }
            }
        }
        off_thread(move || on_disk.tell(&context).map(|()| on_disk)).await
    }

    /// Makes what the step finds.
    fn tell(&self, context: &str) -> io::Result<()> {
        fs::create_dir(&self.told)?;
        fs::write(self.context(), context)?;
        Ok(mkfifo(&self.events_path(), Mode::S_IRUSR | Mode::S_IWUSR)?)
    }

    fn context(&self) -> PathBuf {
        self.told.join("context.json")
    }

    /// A FIFO that the step writes prompts and messages to.
    fn events_path(&self) -> PathBuf {
        self.told.join("events")
    }

    /// Opens the worker's end of `SUT_EVENTS`. For reading and writing, so that opening waits for
    /// nobody and the end never comes.
    pub(super) fn events(&self) -> io::Result<pipe::Receiver> {
        pipe::OpenOptions::new().read_write(true).open_receiver(self.events_path())
    }

    /// Takes the files of the attempt away; the workspace stays for the other steps. Answers the JSON
    /// that the step wrote to `SUT_OUTPUT`, if it wrote any.
    pub(super) async fn collect(&self) -> Result<Option<Value>, String> {
        if !self.is_in_memory || !self.forget() {
            let told = self.told.clone();
            if let Err(error) = off_thread(move || remove(&told)).await {
                tracing::warn!(%error, folder = %self.told.display(), "runner.file.left");
            }
        }
        if self.output.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let output = self.output.clone();
        off_thread(move || {
            let result = read_result(&output);
            if let Err(error) = fs::remove_file(&output) {
                tracing::warn!(%error, file = %output.display(), "runner.file.left");
            }
            result
        })
        .await
    }

    /// Takes away what was made for the step; whether that was all that there is.
    fn forget(&self) -> bool {
        for file in [self.context(), self.events_path()] {
            // What is left shows in the end.
            let _ = fs::remove_file(file);
        }
        fs::remove_dir(&self.told).is_ok()
    }

    /// The folders that the attempt may write to.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let files = self.output.parent().map(Path::to_owned);
        [self.workspace.clone()].into_iter().chain(files).chain([self.told.clone()]).collect()
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
            ("SUT_CONTEXT", self.context().into()),
            ("SUT_OUTPUT", self.output.clone().into()),
            ("SUT_EVENTS", self.events_path().into()),
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
