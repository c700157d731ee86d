//! What a process and its descendants may use.
//!
//! A control group counts all of them together. A resource limit of the kernel (`setrlimit(2)`)
//! binds each process by itself, so it is what counts for descriptors and the size of files, and
//! only second best for memory and processes.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::wire::{Refusal, Stage};
use crate::domain::definition::ResourceLimits;

/// One of the [`ResourceLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// [`ResourceLimits::memory`].
    Memory,
    /// [`ResourceLimits::cpu`].
    Cpu,
    /// [`ResourceLimits::processes`].
    Processes,
    /// [`ResourceLimits::files`].
    Files,
    /// [`ResourceLimits::file_size`].
    FileSize,
}

impl Limit {
    /// The name in a jobset.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Processes => "processes",
            Self::Files => "files",
            Self::FileSize => "fileSize",
        }
    }
}

/// What a control group can count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Controllers {
    pub(super) memory: bool,
    pub(super) pids: bool,
    pub(super) cpu: bool,
}

impl Controllers {
    /// Those of either.
    pub(super) const fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory || other.memory,
            pids: self.pids || other.pids,
            cpu: self.cpu || other.cpu,
        }
    }
}

impl ResourceLimits {
    /// The limits that each process is given by itself, where control groups count what `counted`
    /// says.
    ///
    /// # Errors
    /// A limit that nothing here can hold: whoever asked for it must not run without it.
    pub(super) fn of_each(
        &self,
        counted: Controllers,
    ) -> Result<Vec<(Limit, Resource, u64)>, Refusal> {
        if self.cpu.is_some() && !counted.cpu {
            return Err(unavailable(Limit::Cpu, "count processor time without a control group"));
        }
        let processes = self.processes.filter(|_| !counted.pids);
        if processes.is_some() && geteuid().is_root() {
            let action = "count the processes of root without a control group";
            return Err(unavailable(Limit::Processes, action));
        }
        let memory = self.memory.filter(|_| !counted.memory);
        let limits = [
            (Limit::Memory, Resource::RLIMIT_AS, memory),
            (Limit::Processes, Resource::RLIMIT_NPROC, processes),
            (Limit::Files, Resource::RLIMIT_NOFILE, self.files),
            (Limit::FileSize, Resource::RLIMIT_FSIZE, self.file_size),
        ];
        let given = limits
            .into_iter()
            .filter_map(|(limit, resource, most)| most.map(|most| (limit, resource, most)));
        Ok(given.collect())
    }
}

fn unavailable(limit: Limit, action: &'static str) -> Refusal {
    Refusal::new(Stage::Limit(limit), Errno::EOPNOTSUPP, action)
}

/// Limits the calling process, and with it all that it starts.
pub(super) fn bind(limits: &[(Limit, Resource, u64)]) -> Result<(), Refusal> {
    limits.iter().try_for_each(|(limit, resource, most)| {
        setrlimit(*resource, *most, *most)
            .map_err(|errno| Refusal::new(Stage::Limit(*limit), errno, "set the resource limit"))
    })
}
