//! A copy of the database in one file, and a database from such a copy.
//!
//! The programs of PostgreSQL do the work: `pg_dump` reads everything as of one moment while others
//! go on writing, and `pg_restore` makes all of it or nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::binaries;
use super::error::ClusterError;
use super::tool::run;
use super::{Cluster, Settings};

/// How often it is told how far a copy is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

impl Cluster {
    /// Writes a copy of the database to `file`, as of the moment of the call; answers its size in
    /// bytes. `told` hears from time to time how many bytes there are. The file appears when it is
    /// complete; one that is there already is replaced if `force` says so.
    ///
    /// # Errors
    /// [`ClusterError::FileExists`], [`ClusterError::ProgramMissing`], [`ClusterError::Tool`],
    /// [`ClusterError::Io`].
    pub async fn back_up(
        &self,
        file: &Path,
        force: bool,
        told: impl Fn(u64),
    ) -> Result<u64, ClusterError> {
        if !force && file.exists() {
            return Err(ClusterError::FileExists { file: file.to_owned() });
        }
        let pg_dump = self.program("pg_dump").await?;
        let part = Part::of(file);
        let size = dump(&pg_dump, &self.url(), &part.0, told).await?;
        fs::rename(&part.0, file).map_err(ClusterError::io("move the copy to", file))?;
        sync_folder_of(file).map_err(ClusterError::io("sync the folder of", file))?;
        Ok(size)
    }

    /// Makes everything that a copy has, in a database that has nothing: all or nothing.
    ///
    /// # Errors
    /// [`ClusterError::ProgramMissing`], [`ClusterError::Tool`] with what `pg_restore` said,
    /// [`ClusterError::Io`].
    pub async fn restore(&self, file: &Path) -> Result<(), ClusterError> {
        let mut restore = Command::new(self.program("pg_restore").await?);
        restore.args(["--single-transaction", "--exit-on-error", "--no-owner"]);
        restore.arg("--dbname").arg(self.url()).arg(file).env("LC_ALL", "C");
        run(restore, "").await.map(drop)
    }

    async fn program(&self, name: &'static str) -> Result<PathBuf, ClusterError> {
        let home = &self.home;
        let found = binaries::find(home.bin_dir(), home.data_dir(), &home.cluster()).await?;
        found.other_program(home.data_dir(), name).await
    }
}

/// Says what is wrong with a file that should be a copy, before anything is made of it.
///
/// # Errors
/// [`ClusterError::ProgramMissing`], [`ClusterError::Tool`] with what `pg_restore` said about it,
/// [`ClusterError::Io`].
pub async fn check_copy(settings: &Settings, file: &Path) -> Result<(), ClusterError> {
    File::open(file).map_err(ClusterError::io("open", file))?;
    let data_dir = &settings.data_dir;
    let found =
        binaries::find(settings.bin_dir.as_deref(), data_dir, &data_dir.join("cluster")).await?;
    let mut list = Command::new(found.other_program(data_dir, "pg_restore").await?);
    list.arg("--list").arg(file).env("LC_ALL", "C");
    run(list, "").await.map(drop)
}

/// A file that is not complete yet; goes when it is not moved to its place.
struct Part(PathBuf);

impl Part {
    fn of(file: &Path) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".part-{}", std::process::id()));
        Self(path.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Runs `pg_dump` into a new file that only its owner reads: there is everything in it.
async fn dump(
    pg_dump: &Path,
    url: &str,
    part: &Path,
    told: impl Fn(u64),
) -> Result<u64, ClusterError> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)
        .map_err(ClusterError::io("create", part))?;
    let child = tokio::process::Command::new(pg_dump)
        .args(["--format=custom", "--no-owner", "--dbname", url])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(ClusterError::io("share", part))?)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(ClusterError::io("run", pg_dump))?;
    let mut often = interval(PROGRESS_EVERY);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    often.tick().await; // The first tick comes at once.
    let mut ended = std::pin::pin!(child.wait_with_output());
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.map_err(ClusterError::io("wait for", pg_dump))?,
            _ = often.tick() => told(file.metadata().map_or(0, |file| file.len())),
        }
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let (program, status) = (pg_dump.to_owned(), output.status);
        return Err(ClusterError::Tool { program, status, output: said });
    }
    file.sync_all().map_err(ClusterError::io("sync", part))?;
    Ok(file.metadata().map_err(ClusterError::io("look at", part))?.len())
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
