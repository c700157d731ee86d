//! Small files that end with their attempt, in memory where the host has some for that.
//!
//! What a step is told by a file, and its FIFO, are made before each attempt and removed after it. In
//! a file system on a disk that takes as long as a small program: it writes its journal, or looks for
//! inodes that were not freed just now. In `tmpfs` it takes microseconds and never waits.
//!
//! What a worker that was killed has left there is removed by the next one.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;

use super::held::Held;
use super::workspaces::remove;

/// Where every Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";
/// Larger files are worth their way to the disk, and not worth the memory: it may be as little as 64
/// MiB in a container.
const BYTES_MAX: usize = 64 * 1024;
/// Steps may be other users: they may go where they are told to, but not look around.
const PASSABLE: u32 = 0o711;

/// The place of an incarnation.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `None` where there is no memory for it.
    held: Option<Held>,
}

impl Scratch {
    /// Takes a place in memory, if there is one, and removes what others that are gone have left.
    pub(super) fn open() -> Self {
        let held = root().and_then(|root| {
            Held::abandoned(&root)?.iter().for_each(clear);
            let held = Held::make(&root)?;
            fs::set_permissions(held.folder(), Permissions::from_mode(PASSABLE))?;
            Ok(held)
        });
        if let Err(error) = &held {
            tracing::info!(%error, "runner.scratch.on_disk");
        }
        Self { held: held.ok() }
    }

    /// The folder for something of this name and size; `None` where it does not belong here.
    pub(super) fn folder(&self, name: &str, bytes: usize) -> Option<PathBuf> {
        let held = self.held.as_ref().filter(|_| bytes <= BYTES_MAX)?;
        Some(held.folder().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.held.iter().for_each(clear);
    }
}

/// Removes a folder with all that is in it.
fn clear(held: &Held) {
    if let Err(error) = remove(held.folder()) {
        tracing::warn!(%error, folder = %held.folder().display(), "runner.scratch.left");
    }
}

/// The folder of this user, which nobody else may have made.
fn root() -> io::Result<PathBuf> {
    if statfs(MEMORY)?.filesystem_type() != TMPFS_MAGIC {
        return Err(io::Error::other(format!("{MEMORY} is not in memory")));
    }
    let user = geteuid().as_raw();
    let root = Path::new(MEMORY).join(format!("mother-{user}"));
    match DirBuilder::new().mode(PASSABLE).create(&root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = root.symlink_metadata()?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{} is not this user's own", root.display())));
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_ends_with_its_owner_and_what_a_dead_one_left_with_the_next() {
        let Ok(root) = root() else { return };
        let left = Held::make(&root).unwrap().folder().to_owned();
        fs::create_dir(left.join("attempt")).unwrap();
        let scratch = Scratch::open();
        assert!(!left.exists());
        let folder = scratch.folder("attempt", 10).unwrap();
        assert_eq!(scratch.folder("attempt", BYTES_MAX + 1), None);
        fs::create_dir(&folder).unwrap();
        let other = Scratch::open();
        assert!(folder.exists());
        drop(scratch);
        assert!(!folder.exists());
        drop(other);
    }
}
