//! What the tests share.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use sutbot::runner::process::{Confinement, Ended, Process, ProcessSpec, Stdin, Zygote};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

/// A zygote of the real program.
pub(crate) fn zygote() -> Zygote {
    Zygote::start(Path::new(env!("CARGO_BIN_EXE_mother"))).unwrap()
}

/// A command with a plain environment.
pub(crate) fn spec(argv: &[&str]) -> ProcessSpec {
    ProcessSpec {
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdin: Stdin::Null,
        confinement: Confinement::default(),
        rescue: None,
        supplies: None,
    }
}

/// A shell script.
pub(crate) fn shell(script: &str) -> ProcessSpec {
    spec(&["sh", "-c", script])
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("the event comes in time")
}

/// All that is still to be read.
pub(crate) async fn read_all(pipe: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Both outputs and the end.
pub(crate) async fn capture(mut process: Process) -> (Vec<u8>, Vec<u8>, Ended) {
    let (stdout, stderr) = (&mut process.stdout, &mut process.stderr);
    let (out, err) = within(async { tokio::join!(read_all(stdout), read_all(stderr)) }).await;
    (out, err, within(process.wait()).await)
}

/// Waits until a process has ended, whether or not its parent has reaped it.
pub(crate) async fn until_zombie(pid: u32) {
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = stat.rsplit(") ").next()?.chars().next()?;
        (state != 'Z').then_some(())
    };
    while lives().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}

/// Processes that hold the writing end of one named pipe: it ends when the last of them is dead.
pub(crate) struct Tree {
    folder: tempfile::TempDir,
    alive: BufReader<pipe::Receiver>,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("alive");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let alive = pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        Tree { folder, alive: BufReader::new(alive) }
    }

    pub(crate) fn fifo(&self) -> PathBuf {
        self.folder.path().join("alive")
    }

    /// A script that finds the named pipe in `$1`.
    pub(crate) fn shell(&self, script: &str) -> ProcessSpec {
        let mut spec = shell(script);
        spec.argv.extend(["sh".into(), self.fifo().into_os_string()]);
        spec
    }

    /// Waits until so many processes have said that they are up.
    pub(crate) async fn wait_for(&mut self, count: usize) {
        for _ in 0..count {
            self.read_line().await;
        }
    }

    /// The next line that one of them says.
    pub(crate) async fn read_line(&mut self) -> String {
        let mut line = String::new();
        while !line.ends_with('\n') {
            // Before the first writer, the pipe reads as ended.
            if within(self.alive.read_line(&mut line)).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        line
    }

    /// Waits until all of them are dead.
    pub(crate) async fn wait_dead(&mut self) {
        within(read_all(&mut self.alive)).await;
    }

    /// All of them are dead already.
    pub(crate) async fn assert_dead(&mut self) {
        let mut rest = Vec::new();
        let ended = self.alive.read_to_end(&mut rest);
        tokio::time::timeout(Duration::ZERO, ended).await.expect("none is alive").unwrap();
    }
}
