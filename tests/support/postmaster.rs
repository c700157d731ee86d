//! The processes of postgres itself.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The first process of the private cluster in a data folder.
pub(crate) fn postmaster(data_dir: &Path) -> Pid {
    let text = fs::read_to_string(data_dir.join("cluster/postmaster.pid")).expect("a pid file");
    let pid = text.lines().next().expect("a line").parse().expect("a number");
    Pid::from_raw(pid)
}

fn children(parent: Pid) -> Vec<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).expect("children of a live process");
    text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a number"))).collect()
}

/// Kills the whole of postgres at once: its first process and all others.
pub(crate) fn kill_all(data_dir: &Path) {
    let parent = postmaster(data_dir);
    for pid in [vec![parent], children(parent)].concat() {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
