//! Folders of an incarnation, each with a lock that tells whether somebody may still write there.
//!
//! The lock (`flock`) is held by the worker and by those that it gives a hold to; the kernel gives it
//! back when the last of them is gone, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::unistd::mkdtemp;

/// The file that is locked.
const LOCK: &str = "lock";

/// A folder that is held as long as this or a [hold](Self::hold) lives.
#[derive(Debug)]
pub(super) struct Held {
    folder: PathBuf,
    lock: File,
}

impl Held {
    /// Makes a folder in `root`. It gets its name when it is locked: it never looks as if it had no
    /// owner.
    pub(super) fn make(root: &Path) -> io::Result<Self> {
        // Six of these are replaced by what makes the name a new one.
        let made = mkdtemp(&root.join(format!(".{}", "X".repeat(6))))?;
        let lock = File::create_new(made.join(LOCK))?;
        lock.lock()?;
        let name = made.file_name().unwrap_or_default().to_string_lossy().replacen('.', "", 1);
        let folder = root.join(name);
        fs::rename(&made, &folder)?;
        Ok(Self { folder, lock })
    }

    /// The folders in `root` that nobody holds any more. They are held now.
    pub(super) fn abandoned(root: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root)? {
            let folder = entry?.path();
            let is_being_made =
                folder.file_name().is_none_or(|name| name.as_encoded_bytes()[0] == b'.');
            if is_being_made {
                continue;
            }
            // Without the file, somebody has just removed it.
            let Ok(lock) = File::open(folder.join(LOCK)) else { continue };
            match lock.try_lock() {
                Ok(()) => found.push(Self { folder, lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Another hold on it.
    pub(super) fn hold(&self) -> io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }

    /// Removes it if there is nothing in it but the lock; otherwise all of it stays.
    pub(super) fn remove_empty(&self) -> io::Result<()> {
        if fs::read_dir(&self.folder)?.nth(1).is_some() {
            return Ok(());
        }
        fs::remove_file(self.folder.join(LOCK))?;
        fs::remove_dir(&self.folder)
    }
}
