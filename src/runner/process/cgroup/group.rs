//! The group of one attempt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Ground, Hierarchy, Version};
use crate::domain::definition::{ResourceLimits, Wall};
use crate::runner::process::limits::{Controllers, Limit};
use crate::runner::process::wire::{Refusal, Stage};

/// How often a group is looked at until it is empty, and how long each time: the members were killed,
/// so they end as fast as the kernel can end them.
const ROUNDS_MAX: u32 = 500;
const ROUND: Duration = Duration::from_millis(2);

/// The period over which processor time is counted, in microseconds: the kernel's own default.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// The control group of an attempt, in each hierarchy that it needs.
pub(in super::super) struct Group {
    parts: Vec<Part>,
}

/// The group in one hierarchy.
struct Part {
    at: Hierarchy,
    /// The folder, for a child that is to be born in it. Only of version 2.
    folder: Option<File>,
    /// Where a process enters that was born elsewhere.
    entrance: File,
}

impl Group {
    /// Makes the group of the attempt whose monitor has this process id. `None`: the host offers
    /// none, or the attempt needs none.
    ///
    /// # Errors
    /// What was asked for and cannot be had.
    pub(in super::super) fn make(
        ground: &Ground,
        monitor: Pid,
        limits: &ResourceLimits,
        is_demanded: bool,
    ) -> Result<Option<Self>, Refusal> {
        let mut group = Self { parts: Vec::new() };
        if let Err(refusal) = group.fill(ground, monitor, limits, is_demanded) {
            group.remove();
            return Err(refusal);
        }
        Ok(Some(group).filter(|group| !group.parts.is_empty()))
    }

    fn fill(
        &mut self,
        ground: &Ground,
        monitor: Pid,
        limits: &ResourceLimits,
        is_demanded: bool,
    ) -> Result<(), Refusal> {
        let stage = Stage::Wall(Wall::Cgroup);
        for hierarchy in &ground.hierarchies {
            if is_demanded || is_needed(hierarchy, limits) {
                let added = self.add(hierarchy, monitor);
                added.map_err(|e| Refusal::of_io(stage, &e, "make a control group"))?;
            }
        }
        if self.parts.is_empty() && is_demanded {
            return Err(Refusal::new(stage, Errno::EOPNOTSUPP, "find a place for control groups"));
        }
        self.limit(limits)
    }

    fn add(&mut self, hierarchy: &Hierarchy, monitor: Pid) -> io::Result<()> {
        let folder = folder_of(hierarchy, monitor);
        match fs::create_dir(&folder) {
            // Of a monitor that had the same process id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                empty_and_remove(&folder, hierarchy.version);
                fs::create_dir(&folder)?;
            }
            made => made?,
        }
        let at = Hierarchy { folder, ..hierarchy.clone() };
        let entrance = OpenOptions::new().write(true).open(at.folder.join("cgroup.procs"))?;
        let is_second = at.version == Version::Two;
        let folder = is_second.then(|| File::open(&at.folder)).transpose()?;
        self.parts.push(Part { at, folder, entrance });
        Ok(())
    }

    /// What it counts.
    pub(in super::super) fn controllers(&self) -> Controllers {
        let each = self.parts.iter().map(|part| part.at.controllers);
        each.fold(Controllers::default(), Controllers::or)
    }

    fn limit(&self, limits: &ResourceLimits) -> Result<(), Refusal> {
        for Part { at, .. } in &self.parts {
            let refused = |limit| {
                move |error: io::Error| {
                    Refusal::of_io(Stage::Limit(limit), &error, "limit the control group")
                }
            };
            if let Some(bytes) = limits.memory.filter(|_| at.controllers.memory) {
                at.limit_memory(bytes).map_err(refused(Limit::Memory))?;
            }
            if let Some(count) = limits.processes.filter(|_| at.controllers.pids) {
                at.write("pids.max", &count.to_string()).map_err(refused(Limit::Processes))?;
            }
            if let Some(cores) = limits.cpu.filter(|_| at.controllers.cpu) {
                at.limit_cpu(cores).map_err(refused(Limit::Cpu))?;
            }
        }
        Ok(())
    }

    /// Where a child can be born inside: the folder of the group in version 2.
    pub(in super::super) fn cradle(&self) -> Option<BorrowedFd<'_>> {
        self.parts.iter().find_map(|part| part.folder.as_ref()).map(AsFd::as_fd)
    }

    /// Moves the calling process in, and with it all that it will start; but for the cradle, if it
    /// was born there.
    pub(in super::super) fn enter(&self, was_born_inside: bool) -> Result<(), Refusal> {
        let rest = self.parts.iter().filter(|part| part.folder.is_none() || !was_born_inside);
        for mut entrance in rest.map(|part| &part.entrance) {
            entrance.write_all(b"0").map_err(|error| {
                Refusal::of_io(Stage::Wall(Wall::Cgroup), &error, "enter the control group")
            })?;
        }
        Ok(())
    }

    /// Kills all members. They may take a moment to be gone.
    pub(in super::super) fn kill(&self) {
        for part in &self.parts {
            part.at.kill();
        }
    }

    /// The most memory that its members had together, in bytes, where that was counted.
    pub(in super::super) fn memory_peak(&self) -> Option<u64> {
        let at = self.memory()?;
        let file = match at.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        fs::read_to_string(at.folder.join(file)).ok()?.trim().parse().ok()
    }

    /// How many processes the kernel killed because the memory of the group was used up.
    pub(in super::super) fn oom_kills(&self) -> u32 {
        self.memory().and_then(Hierarchy::oom_kills).unwrap_or(0)
    }

    fn memory(&self) -> Option<&Hierarchy> {
        self.parts.iter().map(|part| &part.at).find(|at| at.controllers.memory)
    }

    /// Removes it. The sweep has proved that no descendant is left; whoever else was moved in by
    /// somebody is killed.
    pub(in super::super) fn remove(&self) {
        for Part { at, .. } in &self.parts {
            empty_and_remove(&at.folder, at.version);
        }
    }
}

/// Removes what the group of a monitor that was killed has left.
pub(in super::super) fn discard(ground: &Ground, monitor: Pid) {
    for hierarchy in &ground.hierarchies {
        empty_and_remove(&folder_of(hierarchy, monitor), hierarchy.version);
    }
}

fn folder_of(ground: &Hierarchy, monitor: Pid) -> PathBuf {
    ground.folder.join(format!("step-{monitor}"))
}

/// An attempt has a group where something that it asks for is counted: making one takes a good part
/// of the time that starting a step takes. Where it has one, version 2 kills it.
fn is_needed(hierarchy: &Hierarchy, limits: &ResourceLimits) -> bool {
    let ResourceLimits { memory, cpu, processes, .. } = limits;
    let counts = &hierarchy.controllers;
    match hierarchy.version {
        Version::Two => memory.is_some() || cpu.is_some() || processes.is_some(),
        Version::One => {
            counts.memory && memory.is_some()
                || counts.cpu && cpu.is_some()
                || counts.pids && processes.is_some()
        }
    }
}

impl Hierarchy {
    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), value)
    }

    /// Limits memory and swap together: what does not fit must not slow the host down instead.
    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        let is_counted = |file: &str| self.folder.join(file).exists();
        match self.version {
            Version::One => {
                self.write("memory.limit_in_bytes", &bytes)?;
                let with_swap = "memory.memsw.limit_in_bytes";
                if is_counted(with_swap) { self.write(with_swap, &bytes) } else { Ok(()) }
            }
            Version::Two => {
                self.write("memory.max", &bytes)?;
                // Half of a step is of no use to anybody: it dies as a whole.
                self.write("memory.oom.group", "1")?;
                let swap = "memory.swap.max";
                if is_counted(swap) { self.write(swap, "0") } else { Ok(()) }
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "cores are between 0.01 and 4096"
    )]
    fn limit_cpu(&self, cores: f64) -> io::Result<()> {
        let quota = (cores * CPU_PERIOD_MICROS as f64) as u64;
        match self.version {
            Version::One => {
                self.write("cpu.cfs_period_us", &CPU_PERIOD_MICROS.to_string())?;
                self.write("cpu.cfs_quota_us", &quota.to_string())
            }
            Version::Two => self.write("cpu.max", &format!("{quota} {CPU_PERIOD_MICROS}")),
        }
    }

    fn oom_kills(&self) -> Option<u32> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let events = fs::read_to_string(self.folder.join(file)).ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
    }

    /// Kills all members, as far as one look at them can.
    fn kill(&self) {
        if self.version == Version::Two && self.write("cgroup.kill", "1").is_ok() {
            return;
        }
        if self.controllers.pids {
            // No new ones from here on, so a few looks are enough.
            let _ = self.write("pids.max", "0");
        }
        let members = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
    }
}

/// Removes a group, and kills its members as long as it has any.
pub(super) fn empty_and_remove(folder: &Path, version: Version) {
    let controllers = Controllers { pids: true, ..Controllers::default() };
    let group = Hierarchy { folder: folder.to_owned(), version, controllers };
    for _ in 0..ROUNDS_MAX {
        // Made by the members themselves.
        for inner in subfolders(folder) {
            empty_and_remove(&inner, version);
        }
        match remove_if_empty(folder) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => group.kill(),
            _ => return,
        }
        std::thread::sleep(ROUND);
    }
}

/// The groups in a group.
pub(super) fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// Removes a group; one that is gone is as good.
pub(super) fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
