//! The data folder: what lies where, who may have it, and how to connect to it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Settings;
use super::account::Account;
use super::error::ClusterError;

/// The database that the service uses.
pub(super) const DATABASE: &str = "mother";
/// The superuser of the cluster: a fixed name, so that it does not depend on who runs postgres.
pub(super) const SUPERUSER: &str = "mother";

/// The name of the socket file is made of the port, even though nothing listens on that port.
const SOCKET_FILE: &str = ".s.PGSQL.5432";
/// The longest path of a Unix socket in bytes, without its final NUL: 107 on Linux, 103 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// A log larger than this is set aside when postgres starts.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A data folder that exists and that the account of postgres can work in.
#[derive(Debug)]
pub(super) struct Home {
    settings: Settings,
    account: Account,
    sockets: PathBuf,
}

/// The right to run a postmaster on a data folder, for as long as it is not dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Held open for its `flock`; children do not inherit it.
    _file: File,
}

impl Home {
    /// Creates the data folder where it is missing.
    ///
    /// # Errors
    /// No usable account, a folder that it cannot enter, or what the operating system says.
    pub(super) fn prepare(settings: &Settings) -> Result<Self, ClusterError> {
        let given = &settings.data_dir;
        let account = Account::choose(&given.join("cluster"))?;
        create_data_dir(given).map_err(ClusterError::io("create", given))?;
        // The canonical path, so that every process computes the same socket folder.
        let data_dir = given.canonicalize().map_err(ClusterError::io("find", given))?;
        account.check_reach(&data_dir)?;
        let sockets = socket_folder(&data_dir);
        Ok(Self { settings: Settings { data_dir, ..settings.clone() }, account, sockets })
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }

    pub(super) fn bin_dir(&self) -> Option<&Path> {
        self.settings.bin_dir.as_deref()
    }

    pub(super) fn durable(&self) -> bool {
        self.settings.durable
    }

    /// PGDATA. It exists only when it is complete.
    pub(super) fn cluster(&self) -> PathBuf {
        self.data_dir().join("cluster")
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.data_dir().join("lock")
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.data_dir().join("postgres.log")
    }

    pub(super) fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Creates the folder of the socket, or checks that nobody else did. For the owner of the lock.
    pub(super) fn claim_sockets(&self) -> Result<(), ClusterError> {
        claim_folder(&self.sockets, &self.account)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.sockets.join(SOCKET_FILE)
    }

    /// The URL of [`DATABASE`]; every byte that means something in a query is percent-encoded.
    pub(super) fn url(&self) -> String {
        use std::fmt::Write as _;

        let mut host = String::new();
        for &byte in self.sockets.as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                host.push(char::from(byte));
            } else {
                write!(host, "%{byte:02X}").expect("writing to a string does not fail");
            }
        }
        format!("postgres:///{DATABASE}?host={host}&user={SUPERUSER}")
    }

    /// The lock, unless another process (or another task of this one) has it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, ClusterError> {
        let path = self.lock_path();
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ClusterError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ClusterError::io("lock", &path)(error)),
        }
    }

    /// The log, open for appending; a large one is first set aside, which loses the one before it.
    pub(super) fn open_log(&self) -> Result<File, ClusterError> {
        let path = self.log_path();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            let old = path.with_extension("log.old");
            fs::rename(&path, &old).map_err(ClusterError::io("set aside", &path))?;
        }
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ClusterError::io("open", &path))
    }
}

/// `run` in the data folder, or, where the path of a socket in it would be too long, a folder in
/// `/tmp` named after the data folder. `/tmp` and not `XDG_RUNTIME_DIR`, because every process must
/// come to the same name, whether it was started by a login shell, cron or a service manager.
fn socket_folder(data_dir: &Path) -> PathBuf {
    let near = data_dir.join("run");
    if near.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return near;
    }
    let digest = format!("{:x}", Sha256::digest(data_dir.as_os_str().as_bytes()));
    Path::new("/tmp").join(format!("mother-{}", &digest[..16]))
}

/// Creates a folder that only the account may enter, or checks that it is one: in `/tmp` anybody
/// could have made it, and whoever owns it could pose as our PostgreSQL.
fn claim_folder(folder: &Path, account: &Account) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return account.give(folder).map_err(ClusterError::io("hand over", folder)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(ClusterError::io("create", folder)(error)),
    }
    let meta = fs::symlink_metadata(folder).map_err(ClusterError::io("look at", folder))?;
    // Root's own is fine too: a process that was killed between create and give.
    let ours = meta.uid() == account.uid() || (account.is_other() && meta.uid() == 0);
    if meta.is_dir() && ours && meta.permissions().mode() & 0o777 == 0o700 {
        return account.give(folder).map_err(ClusterError::io("hand over", folder));
    }
    Err(ClusterError::SocketFolderTaken { folder: folder.to_owned(), uid: account.uid() })
}

/// Creates the data folder, unless it exists. The account that runs postgres for root may pass
/// through it, but not look around.
pub(super) fn create_data_dir(data_dir: &Path) -> io::Result<()> {
    if data_dir.exists() {
        return Ok(());
    }
    create_folder(data_dir, if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 })
}

/// Creates a folder and its parents. The mode of the folder itself holds whatever the umask says.
pub(super) fn create_folder(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_data_folder_gets_a_short_socket_path() {
        let deep = PathBuf::from(format!("/{}", "d".repeat(120)));
        assert_eq!(socket_folder(Path::new("/data")), Path::new("/data/run"));
        let short = socket_folder(&deep);
        assert!(short.starts_with("/tmp"), "{}", short.display());
        assert!(short.join(SOCKET_FILE).as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        assert_ne!(short, socket_folder(&deep.join("other")));
    }
}
