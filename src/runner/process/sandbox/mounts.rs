//! The files that a step in a sandbox sees.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::super::sys::{self, Change};
use super::super::wire::{Refusal, Stage};
use super::{Sandbox, errno_of, refused};

/// Folders that are private and empty, with their permissions.
pub(super) const PRIVATE: [(&str, u32); 3] =
    [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)];

/// The devices that do no harm.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What programs expect in `/dev` besides.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// A folder that has to stay where it is, whatever is mounted above it.
struct Kept {
    path: PathBuf,
    folder: File,
    is_writable: bool,
}

/// Makes everything read-only but for what the step may write to. The calling process has a
/// namespace of mounts of its own.
pub(super) fn arrange(sandbox: &Sandbox, cwd: &CStr) -> Result<(), Refusal> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(refused("keep mounts to itself"))?;
    let cwd = PathBuf::from(OsStr::from_bytes(cwd.to_bytes()));
    let kept = keep(sandbox, &cwd).map_err(failed("open the folders of the attempt"))?;
    let devices = DEVICES.map(|name| open(&Path::new("/dev").join(name)).map(|file| (name, file)));

    sys::change_mounts(c"/", Change::ReadOnlyBelow).map_err(refused("make all files read-only"))?;
    for (folder, permissions) in PRIVATE {
        if Path::new(folder).symlink_metadata().is_ok_and(|found| found.is_dir()) {
            mount_empty(Path::new(folder), permissions)
                .map_err(failed("mount a private folder"))?;
        }
    }
    mount_empty(Path::new("/dev"), 0o755)
        .and_then(|()| fill_dev(devices.into_iter().flatten()))
        .map_err(failed("arrange /dev"))?;
    for kept in kept {
        kept.put_back().map_err(failed("keep the folders of the attempt"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(refused("mount a /proc of its own"))?;
    // The folder that it was in is another one now, if it was hidden.
    std::env::set_current_dir(&cwd).map_err(|e| Refusal::of_io(Stage::Cwd, &e, "enter it"))
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| refused(action)(errno_of(&error))
}

/// Opens the folders of the attempt, and the one that it starts in, which it may only read.
fn keep(sandbox: &Sandbox, cwd: &Path) -> io::Result<Vec<Kept>> {
    let is_covered = sandbox.writable.iter().any(|folder| cwd.starts_with(folder));
    let writable = sandbox.writable.iter().map(|path| (path.clone(), true));
    let read = (!is_covered && is_hidden(cwd)).then(|| (cwd.to_owned(), false));
    // The folder to start in may be around the others, so it comes first.
    let all = read.into_iter().chain(writable);
    all.map(|(path, is_writable)| Ok(Kept { folder: open(&path)?, path, is_writable })).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.starts_with("/dev") || PRIVATE.iter().any(|(folder, _)| path.starts_with(folder))
}

impl Kept {
    fn put_back(&self) -> io::Result<()> {
        if is_hidden(&self.path) && !self.path.exists() {
            fs::create_dir_all(&self.path)?;
        }
        bind(&self.folder, &self.path)?;
        if self.is_writable {
            let path = std::ffi::CString::new(self.path.as_os_str().as_bytes())?;
            sys::change_mounts(&path, Change::Writable)?;
        }
        Ok(())
    }
}

/// Opens a file or folder only as a place.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)
}

/// Mounts what was opened, wherever it was, at a path.
fn bind(what: &File, at: &Path) -> io::Result<()> {
    let what = format!("/proc/self/fd/{}", what.as_raw_fd());
    Ok(mount(Some(what.as_str()), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn mount_empty(folder: &Path, permissions: u32) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = format!("mode={permissions:o}");
    Ok(mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(options.as_str()))?)
}

/// The devices that do no harm, each mounted from where it was, and what else programs expect.
fn fill_dev(devices: impl Iterator<Item = (&'static str, File)>) -> io::Result<()> {
    let dev = Path::new("/dev");
    for (name, device) in devices {
        let path = dev.join(name);
        File::create(&path)?;
        bind(&device, &path)?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name))?;
    }
    let shared_memory = dev.join("shm");
    fs::create_dir(&shared_memory)?;
    fs::set_permissions(&shared_memory, Permissions::from_mode(0o1777))
}
