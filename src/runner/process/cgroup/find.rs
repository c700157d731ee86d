//! Where this process may make control groups: below its own, in every hierarchy that is mounted.

use std::fs;
use std::io;
use std::path::Path;

use super::{Hierarchy, Version};
use crate::runner::process::limits::Controllers;

/// The groups of this process, one per hierarchy that counts something or can kill.
pub(super) fn own_groups() -> io::Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    Ok(groups_of(&mounts, &groups))
}

/// The group at a folder that somebody configured, which must be of version 2.
pub(super) fn group_at(folder: &Path) -> io::Result<Hierarchy> {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let controllers = controllers_in(controllers.split_ascii_whitespace());
    Ok(Hierarchy { folder: folder.to_owned(), version: Version::Two, controllers })
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; both formats are those of `proc(5)` and
/// `cgroups(7)`.
fn groups_of(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let Some(own) = groups.lines().find_map(|line| mount.own_path(line)) else { continue };
        let Ok(below) = Path::new(own).strip_prefix(mount.root) else { continue };
        let folder = Path::new(mount.point).join(below);
        let controllers = match mount.version {
            Version::One => mount.controllers(),
            Version::Two => group_at(&folder).map(|group| group.controllers).unwrap_or_default(),
        };
        let is_of_use = mount.version == Version::Two || controllers != Controllers::default();
        let is_new = found.iter().all(|other| other.folder != folder);
        if is_of_use && is_new {
            found.push(Hierarchy { folder, version: mount.version, controllers });
        }
    }
    found
}

/// A hierarchy of control groups that is mounted.
struct Mount<'a> {
    version: Version,
    /// The group that is at the mount point.
    root: &'a str,
    point: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        Some(Self { version, root, point, options: kind.nth(1)? })
    }

    fn controllers(&self) -> Controllers {
        controllers_in(self.options.split(','))
    }

    /// The path of this process in this hierarchy, if this line of `/proc/self/cgroup` tells it.
    fn own_path<'b>(&self, line: &'b str) -> Option<&'b str> {
        let (id, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let is_this = match self.version {
            Version::Two => id == "0" && names.is_empty(),
            Version::One => {
                let options: Vec<_> = self.options.split(',').collect();
                !names.is_empty() && names.split(',').all(|name| options.contains(&name))
            }
        };
        is_this.then_some(path)
    }
}

pub(super) fn controllers_in<'a>(names: impl Iterator<Item = &'a str>) -> Controllers {
    let mut controllers = Controllers::default();
    for name in names {
        match name {
            "memory" => controllers.memory = true,
            "pids" => controllers.pids = true,
            "cpu" => controllers.cpu = true,
            _ => {}
        }
    }
    controllers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_hierarchies_are_found() {
        let mounts = "\
23 1 0:20 / / rw - ext4 /dev/root rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /nowhere/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        let groups = "5:memory:/jobs/one\n4:devices:/\n3:cpu,cpuacct:/box/in\n0::/mine";
        let found = groups_of(mounts, groups);
        let folders: Vec<_> = found.iter().map(|group| group.folder.to_str().unwrap()).collect();
        let memory = "/sys/fs/cgroup/memory/jobs/one";
        assert_eq!(folders, [memory, "/sys/fs/cgroup/cpu,cpuacct/in", "/nowhere/unified/mine"]);
        assert!(found[0].controllers.memory && found[1].controllers.cpu);
        assert_eq!(found[2].version, Version::Two);
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_none_of_ours() {
        let mounts = "41 31 0:38 /other /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(groups_of(mounts, "0::/mine"), []);
        assert_eq!(groups_of(mounts, "0::/../up"), []);
    }
}
