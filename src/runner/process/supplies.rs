//! What a process finds in the file system, made and taken away by its monitor.
//!
//! A file system may keep whoever makes or removes a file waiting, as long as it writes its journal.
//! The monitor has nothing else to do, while in the worker a thread would have to wait in its place.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// How many fields of a specification tell of supplies.
pub(super) const FIELDS: usize = 5;

/// What a process finds; all paths are absolute. Its environment tells it their names.
#[derive(Debug, Clone)]
pub struct Supplies {
    /// A folder. It stays.
    pub folder: PathBuf,
    /// A file, and what is in it. No NUL.
    pub text: (PathBuf, String),
    /// A FIFO that the process may write to: [`Process::events`](super::Process::events).
    pub events: PathBuf,
    /// A file that the process may make. It stays: [`Ended::has_answer`](super::Ended::has_answer).
    pub answer: PathBuf,
}

impl Supplies {
    /// The fields of a specification that say it; as many empty ones say that there is nothing.
    pub(super) fn fields(&self) -> [&OsStr; FIELDS] {
        let Self { folder, text: (file, text), events, answer } = self;
        [folder.as_ref(), file.as_ref(), text.as_ref(), events.as_ref(), answer.as_ref()]
    }
}

/// What a monitor is to make.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    folder: &'a Path,
    file: &'a Path,
    text: &'a [u8],
    events: &'a Path,
    answer: &'a Path,
}

impl<'a> Order<'a> {
    /// Reads the fields; `None`: there is nothing to make.
    pub(super) fn read([folder, file, text, events, answer]: [&'a CStr; FIELDS]) -> Option<Self> {
        let path = |field: &'a CStr| Path::new(OsStr::from_bytes(field.to_bytes()));
        let [file, events, answer] = [file, events, answer].map(path);
        let order = Self { folder: path(folder), file, text: text.to_bytes(), events, answer };
        (!folder.is_empty()).then_some(order)
    }

    fn make(&self) -> io::Result<File> {
        fs::create_dir_all(self.folder)?;
        match fs::write(self.file, self.text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.file.parent().unwrap_or(Path::new("/")))?;
                fs::write(self.file, self.text)?;
            }
            written => written?,
        }
        mkfifo(self.events, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(self.events)
    }
}

/// What was made, until it is dropped.
pub(super) struct Supplied<'a> {
    order: Order<'a>,
    events: Option<File>,
}

impl<'a> Supplied<'a> {
    /// Makes everything.
    pub(super) fn make(order: Order<'a>) -> io::Result<Self> {
        // What was made before something failed is taken away too.
        let mut supplied = Self { order, events: None };
        supplied.events = Some(supplied.order.make()?);
        Ok(supplied)
    }

    /// The FIFO, open for reading and writing: opening it waits for nobody, and its end never comes.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    /// Takes everything away but what stays; whether there is an answer.
    pub(super) fn has_answer(self) -> bool {
        self.order.answer.symlink_metadata().is_ok()
    }
}

impl Drop for Supplied<'_> {
    fn drop(&mut self) {
        for file in [self.order.file, self.order.events] {
            // One that is left goes with its folder.
            let _ = fs::remove_file(file);
        }
    }
}
