//! The operating system account that postgres runs as.
//!
//! PostgreSQL refuses to run as root, and refuses a user id without a passwd entry. Both are common
//! in containers, so both get an answer here: root hands the cluster to `postgres` or `nobody`, and
//! the refusals are told before anything is written.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use super::error::ClusterError;

/// Variables that postgres takes defaults from and that belong to the caller's own PostgreSQL.
const FOREIGN_ENV: [&str; 5] =
    ["PGDATA", "PGPORT", "PGDATESTYLE", "PGCLIENTENCODING", "PG_OOM_ADJUST_FILE"];

/// Who runs postgres and owns its files.
#[derive(Debug)]
pub(super) struct Account {
    user: User,
    /// Whether we are root and have to become this user.
    switch: bool,
}

impl Account {
    /// Ourselves; for root the owner of the existing cluster, else `postgres`, else `nobody`.
    ///
    /// # Errors
    /// No such account, or a cluster that another user owns.
    pub(super) fn choose(cluster: &Path) -> Result<Self, ClusterError> {
        let me = geteuid();
        let owner = fs::metadata(cluster).ok().map(|folder| folder.uid());
        if !me.is_root() {
            let user = lookup(me.as_raw())?;
            return match owner {
                Some(owner) if owner != me.as_raw() => Err(ClusterError::ForeignCluster {
                    cluster: cluster.to_owned(),
                    owner,
                    uid: me.as_raw(),
                }),
                Some(_) | None => Ok(Self { user, switch: false }),
            };
        }
        if let Some(owner) = owner.filter(|&owner| owner != 0) {
            return Ok(Self { user: lookup(owner)?, switch: true });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self { user, switch: true })
            .ok_or(ClusterError::NoAccount)
    }

    /// The numeric user id.
    pub(super) fn uid(&self) -> u32 {
        self.user.uid.as_raw()
    }

    /// Whether files that we make have to be handed over.
    pub(super) fn is_other(&self) -> bool {
        self.switch
    }

    /// A program that runs as this account, in the C locale, in a process group of its own: a
    /// Ctrl-C in the terminal is for us, and we still need the database to shut down in order.
    ///
    /// `Command::uid` also drops root's supplementary groups.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        for name in FOREIGN_ENV {
            command.env_remove(name);
        }
        if self.switch {
            command.gid(self.user.gid.as_raw()).uid(self.uid());
        }
        command
    }

    /// Makes this account the owner of a file or folder; of a symbolic link itself, not of what it
    /// leads root to.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        if !self.switch {
            return Ok(());
        }
        lchown(path, Some(self.uid()), Some(self.user.gid.as_raw()))
    }

    /// Checks that this account may enter a folder and everything above it.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] names the outermost folder that it may not enter.
    pub(super) fn check_reach(&self, folder: &Path) -> Result<(), ClusterError> {
        if !self.switch {
            return Ok(());
        }
        let mut way: Vec<&Path> = folder.ancestors().collect();
        way.reverse();
        for step in way {
            let meta = fs::metadata(step).map_err(ClusterError::io("look at", step))?;
            let class = if meta.uid() == self.uid() {
                0o100
            } else if meta.gid() == self.user.gid.as_raw() {
                0o010
            } else {
                0o001
            };
            if meta.permissions().mode() & class == 0 {
                return Err(ClusterError::Unreachable {
                    account: self.user.name.clone(),
                    folder: step.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn lookup(uid: u32) -> Result<User, ClusterError> {
    User::from_uid(uid.into()).ok().flatten().ok_or(ClusterError::NoPasswdEntry { uid })
}
