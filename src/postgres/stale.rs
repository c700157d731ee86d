//! Lock files of postgres that name a process which is somebody else by now.
//!
//! postgres believes its `postmaster.pid` whenever the process id in it is in use by the same user.
//! In a container, where ids are few, a killed cluster's id soon belongs to a thread of our own,
//! and postgres would refuse to start for ever. Removing the file is the usual advice and a bad
//! one: its other lines are how postgres finds out whether backends of the killed server still run.
//! So only the id is replaced, by ours: postgres takes its parent's id for an old one, and checks
//! the rest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::home::Home;

/// Disarms the lock files of the cluster and of its socket where they name a stranger. The caller
/// holds the lock, and postgres has refused to start.
///
/// # Errors
/// A lock file cannot be replaced.
pub(super) fn disown_strangers(home: &Home) -> io::Result<()> {
    let cluster = home.cluster().canonicalize()?;
    for file in [cluster.join("postmaster.pid"), home.socket().with_extension("5432.lock")] {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let (pid, rest) = text.split_once('\n').unwrap_or((&text, ""));
        if is_stranger(pid.trim(), &cluster) {
            tracing::warn!(file = %file.display(), pid, "the process id belongs to a stranger now");
            replace(home, &file, &format!("{}\n{rest}", std::process::id()))?;
        }
    }
    Ok(())
}

/// Every process of a server works in the folder of its cluster. Who cannot be looked at is no
/// stranger: it may be a zombie, and goes away by itself.
fn is_stranger(pid: &str, cluster: &Path) -> bool {
    let link = PathBuf::from(format!("/proc/{pid}/cwd"));
    fs::read_link(link).is_ok_and(|folder| folder != cluster)
}

fn replace(home: &Home, file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let _ = fs::remove_file(&new);
    // A new file, so that root follows no link that lies in a folder of another account.
    File::options().write(true).create_new(true).open(&new)?.write_all(text.as_bytes())?;
    home.account().give(&new)?;
    fs::rename(&new, file)
}
