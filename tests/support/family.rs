//! Who descends from whom among the processes of this machine.

use std::collections::HashMap;
use std::fs;

use nix::unistd::Pid;

/// A process.
pub(crate) struct Relative {
    pub(crate) pid: Pid,
    /// Its short name.
    pub(crate) comm: String,
}

/// All processes below one.
pub(crate) fn descendants(ancestor: Pid) -> Vec<Relative> {
    let mut children: HashMap<Pid, Vec<Relative>> = HashMap::new();
    for entry in fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok) {
        let Some(stat) = fs::read_to_string(entry.path().join("stat")).ok() else { continue };
        let Some((parent, relative)) = parse(&stat) else { continue };
        children.entry(parent).or_default().push(relative);
    }
    let mut found = children.remove(&ancestor).unwrap_or_default();
    let mut looked = 0;
    while looked < found.len() {
        let next = children.remove(&found[looked].pid).unwrap_or_default();
        found.extend(next);
        looked += 1;
    }
    found
}

/// `pid (comm) state parent ...`, with any character in `comm`.
fn parse(stat: &str) -> Option<(Pid, Relative)> {
    let (pid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let parent = rest.split(' ').nth(1)?;
    let relative = Relative { pid: Pid::from_raw(pid.parse().ok()?), comm: comm.to_owned() };
    Some((Pid::from_raw(parent.parse().ok()?), relative))
}
