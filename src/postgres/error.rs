//! What can go wrong, each with what the reader needs to put it right.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::Binaries;

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The operating system refused a file operation or a process.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// A verb phrase that reads on into the path.
        doing: &'static str,
        /// The file, folder or program.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Root may not run PostgreSQL, and there is no account to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor a \
         user `nobody`: create one of them, or start mother as an ordinary user"
    )]
    NoAccount,
    /// PostgreSQL looks its user up and refuses a number without a name.
    #[error(
        "PostgreSQL refuses to run as uid {uid}, which has no entry in the passwd database: add \
         one (in a container: to /etc/passwd of the image), run as another user, or set \
         DATABASE_URL"
    )]
    NoPasswdEntry {
        /// The numeric user id.
        uid: u32,
    },
    /// Root gave a data folder that the account of PostgreSQL cannot get to.
    #[error(
        "started as root, PostgreSQL runs as user `{account}`, who may not enter {} on the way to \
         the data folder: choose another data folder (the default for root is /var/lib/mother), \
         or start mother as an ordinary user",
        folder.display()
    )]
    Unreachable {
        /// The account that runs postgres.
        account: String,
        /// The outermost folder that keeps it out.
        folder: PathBuf,
    },
    /// The cluster was created by another user.
    #[error(
        "the cluster {} belongs to uid {owner}, not to uid {uid}: run as that user, or choose \
         another data folder",
        cluster.display()
    )]
    ForeignCluster {
        /// The folder of the cluster.
        cluster: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Somebody else made the folder that should hold our socket.
    #[error(
        "the socket folder {} is not a folder that uid {uid} owns alone (mode 0700): remove it, or \
         choose a data folder with a shorter path",
        folder.display()
    )]
    SocketFolderTaken {
        /// The socket folder.
        folder: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// Neither `postgres` nor `initdb` anywhere.
    #[error(
        "no PostgreSQL binaries (`postgres` and `initdb`) in {}. Do one of these:\n\
         - install the package: `apt-get install postgresql` (Debian, Ubuntu), \
         `dnf install postgresql-server` (Fedora, RHEL), `apk add postgresql` (Alpine), \
         `brew install postgresql@17` (macOS)\n\
         - name the folder of the binaries in MOTHER_PG_BIN\n\
         - run `mother db fetch`, which downloads them into the data folder\n\
         - use another PostgreSQL: `docker compose up -d` and DATABASE_URL",
        list(searched)
    )]
    BinariesMissing {
        /// The folders that were looked into.
        searched: Vec<PathBuf>,
    },
    /// PostgreSQL cannot read the files of another major version.
    #[error(
        "the cluster in {} was made by PostgreSQL {major}, and only {} found: install PostgreSQL \
         {major} or name its folder in MOTHER_PG_BIN; or move the data with `pg_upgrade`; or \
         choose another data folder",
        data_dir.display(),
        versions(found)
    )]
    MajorDiffers {
        /// The data folder.
        data_dir: PathBuf,
        /// The major version that made the cluster.
        major: u32,
        /// The major versions that are installed, with their folders.
        found: Vec<(u32, PathBuf)>,
    },
    /// `initdb` or another helper failed.
    #[error("{} failed ({status}): {output}", program.display())]
    Tool {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed on its standard error.
        output: String,
    },
    /// A program of PostgreSQL that is not needed to serve.
    #[error(
        "there is no `{name}` of PostgreSQL {major}: install its client programs \
         (`apt-get install postgresql-client` on Debian and Ubuntu), or name a folder that has all \
         programs in MOTHER_PG_BIN"
    )]
    ProgramMissing {
        /// The program.
        name: &'static str,
        /// The major version of the others.
        major: u32,
    },
    /// The file for a copy is there already.
    #[error("{} is there already; --force replaces it", file.display())]
    FileExists {
        /// The file.
        file: PathBuf,
    },
    /// postgres ended instead of becoming ready.
    #[error("PostgreSQL ended while starting; {} says: {said}", log.display())]
    Ended {
        /// The log of postgres.
        log: PathBuf,
        /// The last lines it wrote in this start.
        said: String,
    },
    /// postgres runs but does not accept connections.
    #[error("PostgreSQL accepted no connection within {secs} s; see {}", log.display())]
    NotReady {
        /// The log of postgres.
        log: PathBuf,
        /// How long we waited, in seconds.
        secs: u64,
    },
    /// Another process holds the lock and its cluster does not answer.
    #[error(
        "another process holds {} but its PostgreSQL has not answered for {secs} s",
        lock.display()
    )]
    OwnerSilent {
        /// The lock file.
        lock: PathBuf,
        /// How long we waited, in seconds.
        secs: u64,
    },
    /// postgres did not end when asked to.
    #[error("PostgreSQL (process {pid}) did not end within {secs} s")]
    StopTimedOut {
        /// The process id of the postmaster.
        pid: i32,
        /// How long we waited, in seconds.
        secs: u64,
    },
}

impl ClusterError {
    /// Adds to an error of the operating system what was tried on what; for `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// The installed versions, none of which can read the cluster.
    pub(super) fn major_differs(data_dir: &Path, major: u32, found: &[Binaries]) -> Self {
        let found = found.iter().map(|binaries| (binaries.major, binaries.dir.clone())).collect();
        Self::MajorDiffers { data_dir: data_dir.to_owned(), major, found }
    }
}

/// Why `mother db fetch` got no binaries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no wheel for this kind of machine.
    #[error(
        "there are no PostgreSQL binaries to fetch for {os} on {arch}: install the package of your \
         system instead"
    )]
    Unsupported {
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// `PIP_INDEX_URL` is not a URL.
    #[error("PIP_INDEX_URL is not the URL of a package index")]
    Index,
    /// The package index or the file server could not be read.
    #[error("could not download {what}")]
    Download {
        /// The page or file.
        what: &'static str,
        /// What the HTTP client said.
        source: reqwest::Error,
    },
    /// The package index does not list the file.
    #[error("the package index (PIP_INDEX_URL) does not offer {file}")]
    NotOffered {
        /// The pinned file.
        file: &'static str,
    },
    /// The file is not the one that was pinned.
    #[error("{file} has the checksum {actual}, not {expected}: nothing was unpacked")]
    Checksum {
        /// The pinned file.
        file: &'static str,
        /// SHA-256 of what came, in hexadecimal.
        actual: String,
        /// SHA-256 that was pinned, in hexadecimal.
        expected: &'static str,
    },
    /// The file has the right checksum but cannot be read.
    #[error("could not unpack {file}")]
    Unpack {
        /// The pinned file.
        file: &'static str,
        /// What the reader of the archive said.
        source: zip::result::ZipError,
    },
    /// The operating system refused a file operation.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// A verb phrase that reads on into the path.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The binaries need a C library that this system does not have (musl, for one).
    #[error(
        "the fetched PostgreSQL does not run on this system: install the package of your system \
         instead"
    )]
    DoesNotRun(#[source] ClusterError),
}

impl FetchError {
    /// Adds to an error of the operating system what was tried on what; for `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

fn list(folders: &[PathBuf]) -> String {
    let names: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    names.join(", ")
}

fn versions(found: &[(u32, PathBuf)]) -> String {
    let names: Vec<_> =
        found.iter().map(|(major, dir)| format!("{major} ({})", dir.display())).collect();
    format!("{} {}", names.join(", "), if found.len() == 1 { "was" } else { "were" })
}
