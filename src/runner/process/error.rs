//! What can go wrong before a process runs.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::limits::Limit;
use crate::domain::definition::Wall;

/// Why no zygote could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel does not list the children of a process, so nothing could be swept.
    #[error("this host cannot contain processes: /proc/thread-self/children cannot be read")]
    NoChildrenList {
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
    /// The control group that was configured cannot be used.
    #[error("no control groups can be made below {}", folder.display())]
    Cgroup {
        /// The folder of the group.
        folder: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The operating system refused something.
    #[error("cannot {action} for the zygote {}", exe.display())]
    Host {
        /// The executable that was to be the zygote.
        exe: PathBuf,
        /// What was refused.
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The program runs, but does not serve as a zygote.
    #[error("{} does not serve as a zygote: its main must call run_if_zygote first", exe.display())]
    NotAZygote {
        /// The executable that was started.
        exe: PathBuf,
    },
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The list of arguments is empty.
    #[error("the command is empty: it names no program")]
    NoProgram,
    /// No argument, variable or folder can hold a NUL byte.
    #[error("a NUL byte cannot be passed to a process: {text:?}")]
    Nul {
        /// The text with the NUL byte.
        text: OsString,
    },
    /// The name of an environment variable is empty or contains an equals sign.
    #[error("{name:?} cannot be the name of an environment variable")]
    VariableName {
        /// The name.
        name: OsString,
    },
    /// More descriptors are to be passed than a process can be given.
    #[error("{count} descriptors cannot be passed, more than {}", super::PASSED_MAX)]
    TooManyDescriptors {
        /// How many there are.
        count: usize,
    },
    /// The working folder is missing, not a folder, or closed to this user.
    #[error("cannot enter the working folder {}", cwd.display())]
    Cwd {
        /// The folder.
        cwd: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// What the process is to find in the file system cannot be made.
    #[error("no workspace")]
    Supplies(#[source] io::Error),
    /// The program is missing, not executable, or got more arguments than the system allows.
    #[error("cannot execute {program:?}")]
    Program {
        /// The program as the command names it.
        program: OsString,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The host is out of something: process ids, descriptors, memory.
    #[error("cannot start the process: the host failed to {action}")]
    Host {
        /// What was refused.
        action: Cow<'static, str>,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The host cannot hold a limit, and without it the process must not run.
    #[error("the limit on `{}` cannot be held (see `mother doctor`): failed to {action}", limit.name())]
    LimitUnavailable {
        /// The limit.
        limit: Limit,
        /// What was refused.
        action: Cow<'static, str>,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The host cannot put up a wall, and without it the process must not run.
    #[error("the wall `{}` cannot be put up (see `mother doctor`): failed to {action}", wall.name())]
    ContainmentUnavailable {
        /// The wall.
        wall: Wall,
        /// What was refused.
        action: Cow<'static, str>,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The zygote died during the start; if the process had begun to run, it has been killed.
    #[error("the zygote died while it started the process")]
    ZygoteDied,
    /// The zygote had died before, and another one could not be started.
    #[error("cannot replace the zygote that died")]
    NoZygote(#[from] StartError),
}

impl SpawnError {
    /// The operating system's error number, where it was the operating system that refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Cwd { source, .. }
            | Self::Supplies(source)
            | Self::Program { source, .. }
            | Self::Host { source, .. }
            | Self::LimitUnavailable { source, .. }
            | Self::ContainmentUnavailable { source, .. } => source.raw_os_error(),
            Self::NoProgram
            | Self::Nul { .. }
            | Self::VariableName { .. }
            | Self::TooManyDescriptors { .. }
            | Self::ZygoteDied
            | Self::NoZygote(_) => None,
        }
    }
}
