//! Where the programs of PostgreSQL are.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ClusterError;
use super::tool::run;

/// Where packages put versions side by side: parent folder, prefix of the version, subfolder.
const PACKAGED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

/// A folder with `postgres` and `initdb` of one version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The major version: the part that decides whether a cluster can be read.
    pub(super) major: u32,
}

impl Binaries {
    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Asks the programs of a folder for their version.
    ///
    /// # Errors
    /// `postgres --version` cannot be run, or fails.
    pub(super) async fn of(dir: PathBuf) -> Result<Self, ClusterError> {
        let major = major_of(&dir.join("postgres")).await?;
        Ok(Self { dir, major })
    }

    /// The path of a program that is not needed to serve, and that packages may keep elsewhere. It is
    /// of the same major version.
    ///
    /// # Errors
    /// [`ClusterError::ProgramMissing`].
    pub(super) async fn other_program(
        &self,
        data_dir: &Path,
        name: &'static str,
    ) -> Result<PathBuf, ClusterError> {
        for dir in std::iter::once(self.dir.clone()).chain(search_order(data_dir)) {
            let program = dir.join(name);
            if program.is_file() && major_of(&program).await.is_ok_and(|major| major == self.major)
            {
                return Ok(program);
            }
        }
        Err(ClusterError::ProgramMissing { name, major: self.major })
    }
}

/// Asks a program for its major version.
async fn major_of(program: &Path) -> Result<u32, ClusterError> {
    let mut command = std::process::Command::new(program);
    command.arg("--version").env("LC_ALL", "C");
    let said = run(command, "").await?;
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"; a beta says "18beta1".
    Ok(leading_number(said.split(") ").nth(1).unwrap_or_default()))
}

/// The binaries for a cluster: of its major version, or the first found for a new cluster.
///
/// # Errors
/// [`ClusterError::BinariesMissing`] or [`ClusterError::MajorDiffers`].
pub(super) async fn find(
    configured: Option<&Path>,
    data_dir: &Path,
    cluster: &Path,
) -> Result<Binaries, ClusterError> {
    let places = match configured {
        // postgres is started in another working folder.
        Some(dir) => vec![std::path::absolute(dir).map_err(ClusterError::io("find", dir))?],
        None => search_order(data_dir),
    };
    let major = cluster_major(cluster)?;
    let mut found = Vec::new();
    for dir in places.iter().filter(|dir| has_programs(dir)) {
        match Binaries::of(dir.clone()).await {
            Ok(binaries) if major.is_none_or(|major| major == binaries.major) => {
                return Ok(binaries);
            }
            Ok(binaries) => found.push(binaries),
            Err(error) if configured.is_some() => return Err(error),
            Err(error) => tracing::warn!(dir = %dir.display(), %error, "PostgreSQL does not run"),
        }
    }
    match major {
        Some(major) if !found.is_empty() => {
            Err(ClusterError::major_differs(data_dir, major, &found))
        }
        Some(_) | None => Err(ClusterError::BinariesMissing { searched: places }),
    }
}

fn search_order(data_dir: &Path) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(PACKAGED.into_iter().flat_map(|(parent, prefix, sub)| {
        versions_below(Path::new(parent), prefix).into_iter().map(move |dir| dir.join(sub))
    }));
    places.push(data_dir.join(super::fetch::FETCHED_BIN));
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| place.is_absolute() && seen.insert(place.clone()));
    places
}

/// The subfolders named by a prefix and a major version, the newest first.
fn versions_below(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path()))
        })
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn has_programs(dir: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|name| dir.join(name).is_file())
}

/// The major version that made a cluster; `None` when there is no cluster yet.
fn cluster_major(cluster: &Path) -> Result<Option<u32>, ClusterError> {
    let file = cluster.join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(leading_number(&text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClusterError::io("read", &file)(error)),
    }
}

/// The number that a version begins with; 0, which no version is, when it begins with none.
fn leading_number(version: &str) -> u32 {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}
