//! A running process as the worker holds it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tracing::warn;

use super::link::{Link, receive};
use super::walls::Walls;
use super::wire::{self, Report, Request};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// Its monitor or its zygote was killed, so nobody knows how it ended. It has ended: it and all
    /// its descendants were killed.
    Lost,
}

/// The record of a process that has ended, and of all its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the process itself ended.
    pub status: Exit,
    /// The descendants that were still alive after the end, and were killed.
    pub swept: u32,
    /// Processor time in user mode, descendants included; zero when lost.
    pub user_cpu: Duration,
    /// Processor time in the kernel, descendants included; zero when lost.
    pub system_cpu: Duration,
    /// From the start to the end of the process itself.
    pub wall: Duration,
    /// The largest resident set of any one of the processes, in bytes; zero when lost.
    ///
    /// A process starts with the peak of its parent, here a monitor of a few megabytes.
    pub max_rss_bytes: u64,
    /// The most memory that all of the processes had together, in bytes, where a control group
    /// counted it.
    pub memory_peak_bytes: Option<u64>,
    /// The processes that the kernel killed because the limit of memory was used up.
    pub oom_kills: u32,
    /// Whether a signal or the killing that the worker asked for was delivered before the process
    /// had ended by itself. Nobody knows of one that is lost, so that says yes.
    pub signalled: bool,
    /// What stood around it beside the sweep.
    pub walls: Walls,
}

impl Ended {
    /// The record of a process whose monitor or zygote was killed.
    pub(in crate::runner) fn lost(swept: u32) -> Self {
        Self {
            status: Exit::Lost,
            swept,
            user_cpu: Duration::ZERO,
            system_cpu: Duration::ZERO,
            wall: Duration::ZERO,
            max_rss_bytes: 0,
            memory_peak_bytes: None,
            oom_kills: 0,
            signalled: true,
            walls: Walls::default(),
        }
    }
}

/// A process that is contained. Dropping it kills it and all its descendants.
#[derive(Debug)]
pub struct Process {
    /// What the process writes to its standard output.
    pub stdout: pipe::Receiver,
    /// What the process writes to its standard error.
    pub stderr: pipe::Receiver,
    /// What the process reads, where the specification asked for a pipe. Drop it to close it.
    pub stdin: Option<pipe::Sender>,
    pub(super) pid: u32,
    pub(super) begun: Instant,
    pub(super) channel: AsyncFd<OwnedFd>,
    pub(super) link: Arc<Link>,
    pub(super) ended: OnceLock<Ended>,
}

impl Process {
    /// The process id, which is the id of its process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the process group; without effect once the process has ended.
    pub fn signal_group(&self, signal: Signal) {
        self.ask(&Request::Signal(signal as i32));
    }

    /// Kills the process and all its descendants; [`Process::wait`] tells when they are gone.
    pub fn kill_tree(&self) {
        self.ask(&Request::KillTree);
    }

    /// Says that everything the process wrote is safe, after [`Process::wait`]: without that, what the
    /// specification says of its [rescue](super::Rescue) is done when this is dropped.
    pub fn release(&self) {
        self.ask(&Request::Release);
    }

    fn ask(&self, request: &Request) {
        // An error says that the monitor has gone, and with it the process.
        let _ = wire::send_message(&self.channel, request);
    }

    /// Waits until the process has ended and none of its descendants is left.
    ///
    /// May be cancelled and called again; gives the same answer each time.
    pub async fn wait(&self) -> Ended {
        if let Some(ended) = self.ended.get() {
            return *ended;
        }
        let mut ended = match receive::<Report>(&self.channel).await {
            Ok(Some(Report::Ended(ended))) => ended,
            // No monitor ends without a report while its zygote lives. Whatever else this may be:
            // without the zygote, nothing of the process is left.
            Ok(None | Some(Report::Started { .. } | Report::Refused(_))) | Err(_) => {
                self.link.end().await;
                Ended::lost(0)
            }
        };
        if ended.status == Exit::Lost {
            ended.wall = self.begun.elapsed();
            warn!(pid = self.pid, swept = ended.swept, "process.monitor.lost");
        }
        *self.ended.get_or_init(|| ended)
    }
}
