//! The workspaces of operations that have ended are removed after a while.
//!
//! A workspace belongs to an operation, and a worker sees only attempts; so every few minutes it asks
//! which of the operations that it has folders of have ended. A folder of an operation that nobody
//! knows is removed too, once it is as old: the database was another one then, or was cleared.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::attempt::Bench;
use super::source::WorkSource;

/// The longest time between two looks, and the shortest.
const EVERY_MAX: Duration = Duration::from_mins(5);
const EVERY_MIN: Duration = Duration::from_millis(200);

/// How many operations are asked about at once.
const ASKED_MAX: usize = 1_000;

/// The folders of operations on this worker.
pub(super) struct Workspaces {
    folder: PathBuf,
    keep: Duration,
}

impl Workspaces {
    pub(super) fn of<S>(bench: &Bench<S>) -> Self {
        Self { folder: bench.settings.work_dir.clone(), keep: bench.settings.keep_workspaces }
    }

    /// Removes what is too old, again and again, until the handle is dropped.
    pub(super) fn keep_clean<S: WorkSource>(self, source: Arc<S>) -> AbortOnDropHandle<()> {
        let every = self.keep.clamp(EVERY_MIN, EVERY_MAX);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                if let Err(error) = self.clean(&*source).await {
                    tracing::warn!(%error, "runner.workspaces.left");
                }
            }
        }))
    }

    async fn clean<S: WorkSource>(&self, source: &S) -> Result<(), Box<dyn std::error::Error>> {
        for some in self.operations()?.chunks(ASKED_MAX) {
            for operation in source.ended(some, self.keep).await? {
                let folder = self.folder.join(operation.to_string());
                tokio::task::spawn_blocking(move || remove(&folder)).await??;
            }
        }
        Ok(())
    }

    /// The operations that have a folder which is old enough: one that was just made may be of an
    /// operation that another database knows.
    fn operations(&self) -> io::Result<Vec<Uuid>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let is_old = |entry: &fs::DirEntry| {
            let age = entry.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            (age >= self.keep).then_some(())
        };
        let old = entries.flatten().filter(|entry| is_old(entry).is_some());
        Ok(old.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }
}

/// Removes a folder with all that steps have left in it, also in folders that they closed to
/// themselves. Does not follow links.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the folders of this user writable: that, not the files in them, is what removal needs.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // The type of the entry itself: of a link, that it is one.
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn read_only_files_are_removed_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "text").unwrap();
        let workspace = folder.path().join("workspace");
        let closed = workspace.join("closed/deeper");
        fs::create_dir_all(&closed).unwrap();
        fs::write(closed.join("file"), "text").unwrap();
        symlink(&other, workspace.join("link")).unwrap();
        fs::set_permissions(closed.join("file"), Permissions::from_mode(0o400)).unwrap();
        for closed in [&closed, closed.parent().unwrap()] {
            fs::set_permissions(closed, Permissions::from_mode(0o500)).unwrap();
        }
        open_up(&workspace).unwrap();
        remove(&workspace).unwrap();
        assert!(!workspace.exists());
        assert!(other.join("kept").exists());
        remove(&workspace).unwrap();
    }
}
