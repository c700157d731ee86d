//! What a process is confined by, and what stood when it ran.

use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;
use crate::domain::definition::{ResourceLimits, Wall};

/// What is to stand around a process, beside the sweep that always does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Confinement {
    /// What it and its descendants may use.
    pub limits: ResourceLimits,
    /// What it sees of its host; `None`: all that the worker sees.
    pub sandbox: Option<Sandbox>,
    /// The walls without which it must not run.
    pub demanded: Walls,
}

/// A set of walls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// A control group of its own.
    pub cgroup: bool,
    /// Namespaces of its own.
    pub namespaces: bool,
    /// Access rules of the kernel's Landlock module.
    pub landlock: bool,
}

impl Walls {
    /// The names of what contained a process, for its record. The sweep is always among them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let walls = [
            (self.cgroup, Wall::Cgroup),
            (self.namespaces, Wall::Namespaces),
            (self.landlock, Wall::Landlock),
        ];
        let stood = walls.into_iter().filter(|(stands, _)| *stands).map(|(_, wall)| wall.name());
        std::iter::once("sweep").chain(stood)
    }
}

impl FromIterator<Wall> for Walls {
    fn from_iter<T: IntoIterator<Item = Wall>>(walls: T) -> Self {
        let mut set = Self::default();
        for wall in walls {
            match wall {
                Wall::Cgroup => set.cgroup = true,
                Wall::Namespaces => set.namespaces = true,
                Wall::Landlock => set.landlock = true,
            }
        }
        set
    }
}
