//! Storing what workers that are gone have left in spools.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use super::{EXTENSION, Frame, Head, Spooled, root};
use crate::engine::AttemptKey;
use crate::runner::held::Held;
use crate::runner::mask::Mask;
use crate::runner::output::{Capture, Outbox};
use crate::runner::place::off_thread;
use crate::runner::secrets::mask_for;
use crate::runner::source::WorkSource;

/// What recovers the spools of others.
#[derive(Debug)]
pub(in crate::runner) struct Recovery {
    /// The folder that incarnations share.
    pub(in crate::runner) work_dir: PathBuf,
    /// Where the values of secrets are.
    pub(in crate::runner) secrets_dir: Option<PathBuf>,
    /// The way to storage.
    pub(in crate::runner) outbox: Outbox,
    /// How often it is looked for spools without owner.
    pub(in crate::runner) every: Duration,
}

impl Recovery {
    /// Looks for spools without owner and stores what is in them. Never ends; may be dropped at any
    /// time, because a spool is removed only when all of it is stored.
    pub(in crate::runner) async fn go_on<S: WorkSource>(&self, source: &S) {
        let root = root(&self.work_dir);
        loop {
            let folder = root.clone();
            let found = off_thread(move || Held::abandoned(&folder)).await;
            for abandoned in found.unwrap_or_else(|error| told(&root, &error)) {
                let folder = abandoned.folder().to_owned();
                if let Err(error) = self.recover(source, abandoned).await {
                    told::<()>(&folder, &error);
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }

    async fn recover<S: WorkSource>(&self, source: &S, from: Held) -> io::Result<()> {
        let folder = from.folder().to_owned();
        for file in off_thread(move || spools(&folder)).await? {
            let path = file.clone();
            let bytes = off_thread(move || fs::read(path)).await?;
            if !self.store(source, &Spooled::read(&bytes)).await {
                return Ok(());
            }
            tracing::info!(file = %file.display(), "runner.spool.recovered");
            off_thread(move || fs::remove_file(file)).await?;
        }
        off_thread(move || from.remove_empty()).await
    }

    /// Whether it is stored; otherwise this incarnation is over.
    async fn store<S: WorkSource>(&self, source: &S, spooled: &Spooled<'_>) -> bool {
        // Torn before even its first line was whole: there is nothing in it.
        let Ok(head) = serde_json::from_slice::<Head>(spooled.head) else { return true };
        let Head { operation, step, attempt, secrets, cap } = head;
        let of = AttemptKey { operation, step, attempt };
        let (mask, unknown) = match mask_for(secrets, self.secrets_dir.clone()).await {
            Ok(mask) => (mask, None),
            Err(name) => (Mask::default(), Some(name)),
        };
        let mut capture = Capture::new(self.outbox.clone(), of, Arc::new(mask), None, cap);
        let (raw, kept): (Vec<&Frame<'_>>, Vec<_>) =
            spooled.frames.iter().partition(|frame| frame.is_raw);
        for frame in kept {
            capture.replay(frame.stream.into(), frame.data, at(frame, source)).await;
        }
        let saved = match &unknown {
            _ if raw.is_empty() => "[the worker died; its output up to here was saved]".to_owned(),
            None => {
                "[the worker died; what the step had still written was saved by the process that \
                     watched over it]"
                    .to_owned()
            }
            Some(name) => {
                let bytes: usize = raw.iter().map(|frame| frame.data.len()).sum();
                format!(
                    "[the worker died; {bytes} bytes that the step had still written are not shown, \
                     because this worker does not know the secret `{name}`]"
                )
            }
        };
        capture.remark(&saved, source.now()).await;
        for frame in raw.into_iter().filter(|_| unknown.is_none()) {
            capture.take(frame.stream.into(), frame.data, at(frame, source)).await;
        }
        capture.finish(source.now()).await
    }
}

/// When a piece was read.
fn at<S: WorkSource>(frame: &Frame<'_>, source: &S) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_micros(frame.at).unwrap_or_else(|| source.now())
}

fn told<T: Default>(path: &Path, error: &io::Error) -> T {
    tracing::warn!(%error, path = %path.display(), "runner.spool.unreadable");
    T::default()
}

fn spools(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(EXTENSION)) {
            found.push(path);
        }
    }
    Ok(found)
}
