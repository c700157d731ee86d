//! The groups of a worker: where those of its attempts are made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::group::{empty_and_remove, remove_if_empty, subfolders};
use super::{Hierarchy, Version, find};
use crate::runner::process::limits::Controllers;

/// How the names of grounds begin.
const PREFIX: &str = "mother-";

/// The controllers that attempts need, as `cgroup.subtree_control` takes them.
const CONTROLLERS: [&str; 3] = ["+memory", "+pids", "+cpu"];

/// The group of the zygote and of all that has none of its own.
const COMMON: &str = "common";

/// What a worker decides about control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroundSettings {
    /// Where they are made.
    pub place: GroundChoice,
    /// The most processes and threads that all have together whose step sets no limit, where that
    /// can be counted. It is never more than half of what the host can have.
    pub processes: Option<u64>,
}

/// Where a worker makes control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GroundChoice {
    /// Below its own group, wherever the host lets it.
    #[default]
    Own,
    /// Below this group of version 2.
    At(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl GroundChoice {
    /// The group that was named; nothing otherwise.
    pub(in super::super) fn folder(&self) -> &Path {
        match self {
            Self::At(folder) => folder,
            Self::Own | Self::Nowhere => Path::new(""),
        }
    }
}

impl std::str::FromStr for GroundChoice {
    type Err = String;

    /// `auto`, `off` or the folder of a group.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Own),
            "off" => Ok(Self::Nowhere),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            _ => Err("write `auto`, `off`, or the folder of a control group".to_owned()),
        }
    }
}

/// The groups of a worker, one per hierarchy. The empty one offers nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Ground {
    pub(super) hierarchies: Vec<Hierarchy>,
    /// See [`GroundSettings::processes`].
    processes: Option<u64>,
    /// Held by the worker alone, for as long as it lives.
    #[serde(skip)]
    locks: Vec<Flock<File>>,
}

impl Ground {
    /// Makes the groups of a worker, after it has removed those of dead workers beside them.
    ///
    /// # Errors
    /// When a group that was configured cannot be used. One that was only looked for is left out.
    pub(in super::super) fn claim(settings: &GroundSettings) -> io::Result<Self> {
        let (parents, is_configured) = match &settings.place {
            GroundChoice::Nowhere => (Vec::new(), false),
            GroundChoice::Own => (find::own_groups().unwrap_or_default(), false),
            GroundChoice::At(folder) => (vec![find::group_at(folder)?], true),
        };
        let mut ground = Self::default();
        ground.processes = settings.processes;
        for parent in parents {
            match ground.add(&parent) {
                Ok(()) => {}
                Err(error) if is_configured => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, folder = %parent.folder.display(), "process.cgroup.closed");
                }
            }
        }
        Ok(ground)
    }

    fn add(&mut self, parent: &Hierarchy) -> io::Result<()> {
        // One at a time: a ground is not removed between its making and its locking.
        let _turn = lock(&parent.folder, FlockArg::LockExclusive)?;
        remove_stale(parent);
        let folder = create(&parent.folder)?;
        let version = parent.version;
        let controllers = match version {
            Version::One => parent.controllers,
            Version::Two => pass_on_controllers(&parent.folder, &folder)?,
        };
        self.locks.push(lock(&folder, FlockArg::LockExclusiveNonblock)?);
        self.hierarchies.push(Hierarchy { folder, version, controllers });
        Ok(())
    }

    /// Moves the zygote, and with it all that it will start, into the common group. So all of it is
    /// bounded, and found by the next worker, at no cost for a single step.
    ///
    /// # Errors
    /// When it is left where it was, in the hierarchy that failed last.
    pub(in super::super) fn settle(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        for hierarchy in &self.hierarchies {
            let controllers = hierarchy.controllers;
            if hierarchy.version == Version::Two || controllers.pids {
                let folder = hierarchy.folder.join(COMMON);
                let common = Hierarchy { folder, ..hierarchy.clone() };
                outcome = self.enter(&common).and(outcome);
            }
        }
        outcome
    }

    fn enter(&self, common: &Hierarchy) -> io::Result<()> {
        match fs::create_dir(&common.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(most) = self.processes.filter(|_| common.controllers.pids) {
            let of_host = fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse();
            let most = most.min(of_host.unwrap_or(u64::MAX) / 2);
            common.write("pids.max", &most.to_string())?;
        }
        common.write("cgroup.procs", "0")
    }

    /// What the groups of attempts count.
    pub(in super::super) fn controllers(&self) -> Controllers {
        let each = self.hierarchies.iter().map(|hierarchy| hierarchy.controllers);
        each.fold(Controllers::default(), Controllers::or)
    }

    /// The parents of its groups and what counts in each, for people.
    pub(in super::super) fn describe(&self) -> impl Iterator<Item = (&Path, String)> {
        self.hierarchies.iter().map(|hierarchy| {
            let Hierarchy { folder, version, controllers: Controllers { memory, pids, cpu } } =
                hierarchy;
            let kill = *version == Version::Two;
            let all = [(kill, "kill"), (*memory, "memory"), (*pids, "pids"), (*cpu, "cpu")];
            let names: Vec<_> = all.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
            (folder.parent().unwrap_or(folder), names.join(", "))
        })
    }

    /// Removes the groups of all attempts, and kills what is in them.
    pub(in super::super) fn clear(&self) {
        self.hierarchies.iter().for_each(clear);
    }

    /// Removes it as well.
    fn remove(&self) {
        self.hierarchies.iter().for_each(remove);
    }
}

/// Only the worker, which holds the locks, removes it. The zygote would kill itself.
impl Drop for Ground {
    fn drop(&mut self) {
        if !self.locks.is_empty() {
            self.remove();
        }
    }
}

/// Makes a folder with a name that no other has. One process may have several zygotes, and workers in
/// other containers may have the same process id.
fn create(parent: &Path) -> io::Result<PathBuf> {
    for number in 0_u32.. {
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
    Err(Errno::ENOSPC.into())
}

/// Removes the grounds of workers that are dead, with all that still runs in them.
fn remove_stale(parent: &Hierarchy) {
    for folder in subfolders(&parent.folder) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PREFIX) && lock(&folder, FlockArg::LockExclusiveNonblock).is_ok() {
            tracing::warn!(folder = %folder.display(), "process.cgroup.stale");
            remove(&Hierarchy { folder, ..parent.clone() });
        }
    }
}

fn clear(ground: &Hierarchy) {
    for group in subfolders(&ground.folder) {
        empty_and_remove(&group, ground.version);
    }
}

fn remove(ground: &Hierarchy) {
    clear(ground);
    if let Err(error) = remove_if_empty(&ground.folder) {
        tracing::warn!(%error, folder = %ground.folder.display(), "process.cgroup.left");
    }
}

fn lock(folder: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(File::open(folder)?, how).map_err(|(_, errno)| errno.into())
}

/// Has the groups below `ground` count what `parent` may; answers what they do count.
///
/// A group that passes controllers on must have no processes of its own. Where this process is the
/// only one, as in a service of its own, it moves out of the way.
fn pass_on_controllers(parent: &Path, ground: &Path) -> io::Result<Controllers> {
    if enable(parent) == Err(Errno::EBUSY) && is_alone_in(parent)? {
        let leaf = parent.join("worker");
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::write(leaf.join("cgroup.procs"), "0")?,
        }
        // What is still refused is not counted, and so not offered.
        let _ = enable(parent);
    }
    let _ = enable(ground);
    let offered = fs::read_to_string(ground.join("cgroup.subtree_control"))?;
    Ok(find::controllers_in(offered.split_ascii_whitespace()))
}

/// Enables the controllers one by one: one that is missing does not cost the others.
fn enable(group: &Path) -> nix::Result<()> {
    let file = group.join("cgroup.subtree_control");
    let mut outcome = Ok(());
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(&file, controller) {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            if errno == Errno::EBUSY || outcome.is_ok() {
                outcome = Err(errno);
            }
        }
    }
    outcome
}

fn is_alone_in(group: &Path) -> io::Result<bool> {
    let members = fs::read_to_string(group.join("cgroup.procs"))?;
    Ok(members.trim() == std::process::id().to_string())
}
