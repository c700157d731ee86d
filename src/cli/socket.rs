//! The Unix socket of `mother serve`.
//!
//! Whoever can open the socket can run commands as its owner, so there must be no moment in which
//! others can. Changing the umask would do, but that belongs to the whole process. So the socket is
//! made in a folder that only the owner can enter, gets its mode there, and then appears in its
//! place complete.
//!
//! What stands in the place is asked whether it answers. If it does, this server is refused. If
//! nobody listens any more, the socket of a dead server is replaced. Servers that start at once
//! would take each other's place between question and replacement, so they take turns: by a lock on
//! the folder, which leaves no lock file.
//!
//! The system limits the path that a socket is bound to, not the place it is moved to. It is bound
//! by way of `/proc/self/fd`, so that the name of the private folder takes nothing off that limit;
//! clients, which connect by the final path, are what it is kept for.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::api::Listen;

/// The longest path of a socket that Linux takes, in bytes.
const PATH_BYTES_MAX: usize = 107;
/// How long servers that start at the same time may keep this one waiting.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a socket cannot be listened on.
#[derive(Debug, Error)]
pub enum SocketError {
    /// No client could name it.
    #[error(
        "the path of the socket {} has {} bytes and a system allows {PATH_BYTES_MAX}; choose a \
         shorter one with --socket",
        .0.display(),
        .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    /// Another server listens there.
    #[error("another server listens on the socket {}; choose another one with --socket", .0.display())]
    InUse(PathBuf),
    /// What stands there is no socket.
    #[error("{} is there already and is no socket; choose another path with --socket", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on the socket {}; choose another one with --socket", .path.display())]
    Unusable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Listens on a socket; the file goes when this does.
#[derive(Debug)]
pub(super) struct SocketListener {
    /// First, so that the file is gone before connections are refused.
    _file: SocketFile,
    listener: UnixListener,
}

impl SocketListener {
    /// A socket at `path` that only the owner can connect to.
    pub(super) async fn bind(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let unusable = |source| SocketError::Unusable { path: path.to_owned(), source };
        let folder = PrivateFolder::beside(path).map_err(unusable)?;
        let (listener, socket) = folder.listen().map_err(unusable)?;
        let identity = identity(&socket).map_err(unusable)?;
        let _turn = turn(parent(path)).await.map_err(unusable)?;
        let appear = match stands(path).await.map_err(unusable)? {
            // A link, because that replaces nothing, whatever has come meanwhile.
            Stands::Nothing => fs::hard_link(&socket, path),
            Stands::Dead => fs::rename(&socket, path),
            Stands::Alive => return Err(SocketError::InUse(path.to_owned())),
            Stands::Other => return Err(SocketError::NotASocket(path.to_owned())),
        };
        appear.map_err(unusable)?;
        Ok(Self { _file: SocketFile { path: path.to_owned(), identity }, listener })
    }
}

impl Listen for SocketListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

/// What is found where the socket is to be.
enum Stands {
    Nothing,
    /// A socket on which nobody listens.
    Dead,
    Alive,
    Other,
}

async fn stands(path: &Path) -> io::Result<Stands> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Ok(Stands::Other),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stands::Nothing),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Ok(Stands::Alive),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Stands::Dead),
            // Its server has ended this very moment.
            ErrorKind::NotFound => Ok(Stands::Nothing),
            // It has more connections than it can take.
            ErrorKind::WouldBlock => Ok(Stands::Alive),
            _ => Err(error),
        },
    }
}

/// Waits until no other server looks for its place in this folder; until this is dropped none does.
async fn turn(folder: &Path) -> io::Result<Flock<File>> {
    let folder = File::open(folder)?;
    let lock = || {
        Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))
    };
    match timeout(TURN_TIMEOUT, tokio::task::spawn_blocking(lock)).await {
        Ok(locked) => locked?,
        Err(_) => {
            Err(io::Error::new(ErrorKind::TimedOut, "another program keeps its folder locked"))
        }
    }
}

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != OsStr::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A folder that only the owner can enter; goes with what is in it.
struct PrivateFolder {
    path: PathBuf,
    open: File,
}

impl PrivateFolder {
    /// In the folder where `place` is to be, because links do not reach further than a file system.
    fn beside(place: &Path) -> io::Result<Self> {
        let path = nix::unistd::mkdtemp(&parent(place).join(format!(".mother-{}", "X".repeat(6))))?;
        match File::open(&path) {
            Ok(open) => Ok(Self { path, open }),
            Err(error) => {
                let _best_effort = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// A path in it of a few bytes, however long its own is.
    fn entry(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.open.as_raw_fd()))
    }

    /// A new socket in it, and where that is.
    fn listen(&self) -> io::Result<(UnixListener, PathBuf)> {
        let path = self.entry("new");
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok((listener, path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.path);
    }
}

/// The file of a socket; removed at the end, unless another one stands there by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _best_effort = fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from all others.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn only_the_owner_gets_in_and_nothing_is_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = SocketListener::bind(&path).await.unwrap();
        assert_eq!((mode(&path), names(folder.path())), (0o600, vec!["s".to_owned()]));
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        drop(listener);
        assert!(names(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = SocketListener::bind(&path).await.unwrap();
        let refused = SocketListener::bind(&path).await.unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        let (client, server) = tokio::join!(UnixStream::connect(&path), first.accept());
        assert!(client.is_ok() && server.is_ok());
        assert_eq!(names(folder.path()), ["s"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_servers_over_one_dead_socket_one_gets_it() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let path = path.clone();
                all.spawn(async move { SocketListener::bind(&path).await });
            }
            let all = all.join_all().await;
            let bound: Vec<_> = all.into_iter().flatten().collect();
            assert_eq!(bound.len(), 1);
            let (client, server) = tokio::join!(UnixStream::connect(&path), bound[0].accept());
            assert!(client.is_ok() && server.is_ok());
            assert_eq!(names(folder.path()), ["s"]);
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let refused = SocketListener::bind(path).await.unwrap_err();
            assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        let nowhere = folder.path().join("none").join("s");
        let refused = SocketListener::bind(&nowhere).await.unwrap_err();
        assert!(matches!(refused, SocketError::Unusable { .. }), "{refused}");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = SocketListener::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = SocketListener::bind(&path).await.unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn paths_are_used_up_to_the_limit_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let room = PATH_BYTES_MAX - folder.path().as_os_str().len() - 1;
        let path = folder.path().join("s".repeat(room));
        assert_eq!(path.as_os_str().len(), PATH_BYTES_MAX);
        let listener = SocketListener::bind(&path).await.unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        let refused =
            SocketListener::bind(&folder.path().join("s".repeat(room + 1))).await.unwrap_err();
        assert!(matches!(refused, SocketError::TooLong(_)), "{refused}");
    }
}
