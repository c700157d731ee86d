//! From the monitor to the running step, in two ways.
//!
//! A step that nothing is to stand around is started with `posix_spawn`, which is the quickest. One
//! with walls or limits is forked: the child enters them while it still is this program, and then
//! becomes the step. It cannot start anything before it is inside.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::resource::Resource;
use nix::sys::signal::SigSet;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, execve, setpgid};

use super::cgroup::Group;
use super::limits::{self, Limit};
use super::sandbox::{self, Sandbox};
use super::spec::Plan;
use super::sys;
use super::walls::{Confinement, Walls};
use super::wire::{Refusal, Stage};
use crate::domain::definition::Wall;

/// Starts the step with nothing around it, in a process group of its own.
fn spawn(program: &Path, plan: &Plan<'_>, descriptors: &[OwnedFd]) -> Result<Pid, Refusal> {
    let (actions, attributes) = spawn_settings(descriptors)
        .map_err(|errno| Refusal::new(Stage::Host, errno, "create it"))?;
    posix_spawn(program, &actions, &attributes, &plan.argv, &plan.env).map_err(not_executed)
}

/// The step gets its descriptors from 0 on (all else closes on exec) and no blocked signal. None is
/// ignored: the zygote has seen to that.
fn spawn_settings(descriptors: &[OwnedFd]) -> nix::Result<(PosixSpawnFileActions, PosixSpawnAttr)> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (target, fd) in (0..).zip(descriptors) {
        actions.add_dup2(fd.as_raw_fd(), target)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok((actions, attributes))
}

fn not_executed(errno: Errno) -> Refusal {
    let of_host = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
    Refusal::new(if of_host { Stage::Host } else { Stage::Program }, errno, "create it")
}

/// A step that runs.
pub(super) struct Launched {
    pub(super) pid: Pid,
    /// The first process of its namespace, where it has one.
    pub(super) housekeeper: Option<Pid>,
    /// What stands around it.
    pub(super) walls: Walls,
}

/// Starts the step, in a process group of its own, behind everything that its plan asks for.
pub(super) fn start(
    program: &Path,
    plan: &Plan<'_>,
    descriptors: &[OwnedFd],
    group: Option<&Group>,
) -> Result<Launched, Refusal> {
    let Confinement { limits, sandbox, demanded } = &plan.confinement;
    let has_landlock = sandbox.is_some() && sandbox::has_landlock();
    for (wall, is_missing) in [
        (Wall::Namespaces, demanded.namespaces && sandbox.is_none()),
        (Wall::Landlock, demanded.landlock && !has_landlock),
    ] {
        if is_missing {
            return Err(Refusal::new(Stage::Wall(wall), Errno::EOPNOTSUPP, "find it"));
        }
    }
    let counted = group.map(Group::controllers).unwrap_or_default();
    let enclosure = Enclosure {
        group,
        limits: limits.of_each(counted)?,
        sandbox: sandbox.as_ref(),
        has_landlock,
    };
    let walls =
        Walls { cgroup: group.is_some(), namespaces: sandbox.is_some(), landlock: has_landlock };
    if enclosure.is_open() {
        return Ok(Launched { pid: spawn(program, plan, descriptors)?, housekeeper: None, walls });
    }
    let housekeeper = sandbox.as_ref().map(|_| sandbox::divide()).transpose()?;
    Ok(Launched { pid: enclosure.launch(program, plan, descriptors)?, housekeeper, walls })
}

/// What a step enters before it is one.
struct Enclosure<'a> {
    group: Option<&'a Group>,
    limits: Vec<(Limit, Resource, u64)>,
    sandbox: Option<&'a Sandbox>,
    has_landlock: bool,
}

impl Enclosure<'_> {
    /// Whether there is nothing to enter.
    fn is_open(&self) -> bool {
        self.group.is_none() && self.limits.is_empty() && self.sandbox.is_none()
    }

    /// Starts the step inside.
    fn launch(
        &self,
        program: &Path,
        plan: &Plan<'_>,
        descriptors: &[OwnedFd],
    ) -> Result<Pid, Refusal> {
        let host = |error: &io::Error| Refusal::of_io(Stage::Host, error, "create it");
        // Closes when the child has become the step; until then it can say what went wrong.
        let (mut told, writer) = io::pipe().map_err(|error| host(&error))?;
        // Not one of the numbers that the step's descriptors get.
        let least = RawFd::try_from(descriptors.len()).unwrap_or(RawFd::MAX);
        let tell = sys::duplicate_above(writer.as_fd(), least).map_err(|e| host(&e.into()))?;
        drop(writer);
        let (forked, is_inside) = self.fork()?;
        match forked {
            ForkResult::Child => {
                let Err(refusal) = self.become_step(program, plan, descriptors, is_inside);
                let said = serde_json::to_vec(&refusal).unwrap_or_default();
                let _ = File::from(tell).write_all(&said);
                sys::exit_forked(127);
            }
            ForkResult::Parent { child } => {
                drop(tell);
                let mut said = Vec::new();
                told.read_to_end(&mut said).map_err(|error| host(&error))?;
                if said.is_empty() {
                    return Ok(child);
                }
                let _ = waitpid(child, None);
                Err(serde_json::from_slice(&said).map_err(|error| host(&error.into()))?)
            }
        }
    }

    /// Forks, into the control group where the kernel can; tells whether it could.
    fn fork(&self) -> Result<(ForkResult, bool), Refusal> {
        let cradle = self.group.and_then(Group::cradle);
        if let Some(forked) = cradle.and_then(|cradle| sys::fork_into(cradle).ok()) {
            return Ok((forked, true));
        }
        let forked = sys::fork_single_threaded();
        Ok((forked.map_err(|errno| Refusal::new(Stage::Host, errno, "create it"))?, false))
    }

    fn become_step(
        &self,
        program: &Path,
        plan: &Plan<'_>,
        descriptors: &[OwnedFd],
        is_inside: bool,
    ) -> Result<Infallible, Refusal> {
        let host = |errno| Refusal::new(Stage::Host, errno, "create it");
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(host)?;
        if let Some(group) = self.group {
            group.enter(is_inside)?;
        }
        if let Some(sandbox) = self.sandbox {
            sandbox::enclose(sandbox, plan.cwd)?;
        }
        sys::take_descriptors(descriptors).map_err(host)?;
        limits::bind(&self.limits)?;
        if let Some(sandbox) = self.sandbox.filter(|_| self.has_landlock) {
            sandbox::restrict(sandbox)?;
        }
        SigSet::empty().thread_set_mask().map_err(host)?;
        let program =
            CString::new(program.as_os_str().as_bytes()).map_err(|_| host(Errno::EINVAL))?;
        execve(&program, &plan.argv, &plan.env).map_err(not_executed)
    }
}
