//! Makes a new cluster, so that it either exists complete or not at all.
//!
//! `initdb` takes half a second, and a `kill -9` may come at any moment of it. So everything
//! happens in a folder with another name, and the last step is a rename.

use std::fs::{self, File};

use super::binaries::Binaries;
use super::error::ClusterError;
use super::home::{DATABASE, Home, SUPERUSER, create_folder};
use super::tool::run;

/// What the name of an unfinished cluster starts with; the process id follows.
const HALF_MADE: &str = "cluster.new-";

/// Creates the cluster and in it the database. The caller holds the lock.
///
/// # Errors
/// `initdb` or postgres failed, or what the operating system says.
pub(super) async fn create(home: &Home, binaries: &Binaries) -> Result<(), ClusterError> {
    tracing::info!(data_dir = %home.data_dir().display(), "creating the PostgreSQL cluster");
    // Named by the process: an `initdb` whose parent was killed may still write to its own.
    let half = home.data_dir().join(format!("{HALF_MADE}{}", std::process::id()));
    create_folder(&half, 0o700).map_err(ClusterError::io("create", &half))?;
    home.account().give(&half).map_err(ClusterError::io("hand over", &half))?;

    let mut initdb = home.account().command(&binaries.program("initdb"), &half);
    initdb.args(["--locale=C", "--encoding=UTF8", "--auth=trust", "--username", SUPERUSER]);
    if !home.durable() {
        initdb.arg("--no-sync");
    }
    initdb.arg("--pgdata").arg(&half);
    run(initdb, "").await?;

    // Single-user mode: no socket, no second start, no moment in which the database is missing.
    let mut single = home.account().command(&binaries.program("postgres"), &half);
    single.args(["--single", "-c", "exit_on_error=on"]);
    if !home.durable() {
        single.args(["-c", "fsync=off"]);
    }
    single.arg("-D").arg(&half).arg("postgres");
    run(single, &format!("create database {DATABASE};\n")).await?;

    let cluster = home.cluster();
    fs::rename(&half, &cluster).map_err(ClusterError::io("move the new cluster to", &cluster))?;
    File::open(home.data_dir())
        .and_then(|folder| folder.sync_all())
        .map_err(ClusterError::io("sync", home.data_dir()))
}

/// Removes what killed processes left. Failure does no harm but to the disk, and the next start
/// tries again. The caller holds the lock.
pub(super) fn sweep(home: &Home) {
    for entry in fs::read_dir(home.data_dir()).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(HALF_MADE.as_bytes())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "could not remove a leftover");
        }
    }
}
