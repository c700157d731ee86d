//! Another process that shares the cluster.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Names the data folder of a peer.
pub(crate) const DATA_DIR: &str = "PRIVATE_CLUSTER_TEST_DATA_DIR";

/// Another process that starts a cluster, says its role and holds on until its input ends.
pub(crate) struct Peer {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) owner: bool,
}

impl Peer {
    pub(crate) fn spawn(data_dir: &Path) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "helper_peer", "--nocapture"])
            .env(DATA_DIR, data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process")
    }

    pub(crate) fn ready(mut child: Child) -> Self {
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let role = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("role=").map(|(_, role)| role.to_owned()))
            .expect("the peer says its role");
        Self { child, output, owner: role == "owner" }
    }

    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        self.output.read_to_end(&mut Vec::new()).expect("the rest of its output");
        assert!(self.child.wait().expect("a child").success());
    }
}
