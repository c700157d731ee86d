//! What a host offers to contain processes with, tried for real.

use std::fmt::Write;
use std::path::Path;

use super::cgroup::{Ground, GroundChoice, GroundSettings};
use super::{
    Confinement, Exit, ProcessSpec, Sandbox, SpawnError, StartError, Stdin, Walls, Zygote, sys,
};
use crate::domain::definition::ResourceLimits;

/// A rung of the ladder, and whether it holds here.
#[derive(Debug)]
pub struct Rung {
    /// The wall, or `limits.` and the limit.
    pub name: &'static str,
    /// How it holds, or why it does not.
    pub outcome: Result<String, String>,
    /// What makes it hold where it does not.
    pub advice: &'static str,
}

const SWEEP: &str = "steps cannot run without it: mount /proc, on a kernel with PROC_CHILDREN";
const CGROUP: &str = "run as a systemd service with Delegate=yes, or name a group of version 2 that \
                      this user may write to with --cgroup; in a container, mount /sys/fs/cgroup \
                      writable";
const COUNTED: &str = "needs a control group with this controller: see cgroup";
const NAMESPACES: &str = "allow them: sysctl user.max_user_namespaces and \
                          kernel.apparmor_restrict_unprivileged_userns, or the seccomp profile of \
                          the container";
const LANDLOCK: &str = "needs Linux 5.13 or newer, with `landlock` in the kernel's `lsm=` list";
const OF_EACH: &str = "raise the hard limit of this service (`ulimit -H`)";

/// Tries every rung by starting a program behind it: `exe`, which must serve as a zygote and know
/// `--version`. Where the lowest rung does not hold, nothing else is tried.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn examine(exe: &Path, place: &GroundChoice) -> Vec<Rung> {
    let on = |place| Zygote::start_with(exe, &GroundSettings { place, processes: None }, None);
    let (started, no_ground) = match on(place.clone()) {
        Err(error @ StartError::Cgroup { .. }) => (on(GroundChoice::Nowhere), Some(chain(&error))),
        started => (started, None),
    };
    let zygote = match started {
        Ok(zygote) => zygote,
        Err(error) => return vec![rung("sweep", Err(chain(&error)), SWEEP)],
    };
    let attempt = async |confinement| start(&zygote, confinement).await;
    let limited = |limits| Confinement { limits, ..Confinement::default() };
    let plain = attempt(Confinement::default()).await;
    let mut rungs =
        vec![rung("sweep", plain.map(|()| "what a step leaves is killed".into()), SWEEP)];

    let demanded = Walls { cgroup: true, ..Walls::default() };
    let grouped = attempt(Confinement { demanded, ..Confinement::default() }).await;
    let grouped = grouped.map(|()| describe(zygote.ground()));
    rungs.push(rung("cgroup", no_ground.map_or(grouped, Err), CGROUP));
    let counted = zygote.ground().controllers();
    let memory =
        attempt(limited(ResourceLimits { memory: Some(1 << 30), ..ResourceLimits::default() }))
            .await;
    let scope =
        if counted.memory { "of all processes together" } else { "of each process by itself" };
    rungs.push(rung("limits.memory", memory.map(|()| scope.into()), COUNTED));
    let processes =
        attempt(limited(ResourceLimits { processes: Some(4096), ..ResourceLimits::default() }))
            .await;
    let scope = if counted.pids { "of each step" } else { "of the whole user" };
    rungs.push(rung("limits.processes", processes.map(|()| scope.into()), COUNTED));
    let cpu =
        attempt(limited(ResourceLimits { cpu: Some(1.0), ..ResourceLimits::default() })).await;
    rungs.push(rung("limits.cpu", cpu.map(|()| "of all processes together".into()), COUNTED));
    let (files, file_size) = (Some(256), Some(1 << 30));
    let each =
        attempt(limited(ResourceLimits { files, file_size, ..ResourceLimits::default() })).await;
    rungs.push(rung("limits.files, fileSize", each.map(|()| "of each process".into()), OF_EACH));

    let sandbox = Some(Sandbox::default());
    let boxed = attempt(Confinement { sandbox, ..Confinement::default() }).await;
    let own = "processes, files and network of its own";
    rungs.push(rung("namespaces", boxed.map(|()| own.into()), NAMESPACES));
    let landlock = sys::landlock_version();
    let version = landlock.map(|version| format!("version {version}"));
    rungs.push(rung("landlock", version.map_err(|errno| errno.desc().into()), LANDLOCK));
    zygote.shutdown().await;
    rungs
}

fn rung(name: &'static str, outcome: Result<String, String>, advice: &'static str) -> Rung {
    Rung { name, outcome, advice }
}

/// Starts this program behind walls and waits for its end.
async fn start(zygote: &Zygote, confinement: Confinement) -> Result<(), String> {
    let asked = ProcessSpec {
        // Of the monitor: the program itself, wherever its file is and whatever can be seen of it.
        argv: vec!["/proc/self/exe".into(), "--version".into()],
        env: Vec::new(),
        cwd: "/".into(),
        stdin: Stdin::Null,
        confinement,
        rescue: None,
        supplies: None,
    };
    let process = match zygote.spawn(asked).await {
        Ok(process) => process,
        Err(
            SpawnError::LimitUnavailable { action, source, .. }
            | SpawnError::ContainmentUnavailable { action, source, .. },
        ) => return Err(format!("failed to {action}: {source}")),
        Err(error) => return Err(chain(&error)),
    };
    match process.wait().await.status {
        Exit::Code(0) => Ok(()),
        other => Err(format!("a program that was tried ended with {other:?}")),
    }
}

/// Where groups are made and what counts there.
fn describe(ground: &Ground) -> String {
    let mut text = String::new();
    for (folder, controllers) in ground.describe() {
        let and = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{and}{} ({controllers})", folder.display());
    }
    text
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
