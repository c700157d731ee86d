//! A running process as the worker holds it.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tracing::warn;

use super::berth::{Berth, Idle};
use super::walls::Walls;
use super::wire::{Report, Request};

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

/// The worker's ends of what a process reads and writes.
pub(super) struct Ends {
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
    pub(super) stdin: Option<pipe::Sender>,
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
    pid: u32,
    begun: Instant,
    /// Taken by the drop alone.
    berth: Option<Berth>,
    /// Where the berth goes when the process is over; nowhere if it can serve no other one.
    idle: Option<Arc<Idle>>,
    /// Whether something of what it wrote may have to be saved.
    has_rescue: bool,
    /// Whether nothing of it has to be saved any more.
    released: AtomicBool,
    ended: OnceLock<Ended>,
}

impl Process {
    /// A process that has just begun to run.
    pub(super) fn new(
        pid: u32,
        berth: Berth,
        idle: Option<Arc<Idle>>,
        has_rescue: bool,
        Ends { stdout, stderr, stdin }: Ends,
    ) -> Self {
        Self {
            stdout,
            stderr,
            stdin,
            pid,
            begun: Instant::now(),
            berth: Some(berth),
            idle,
            has_rescue,
            released: AtomicBool::new(false),
            ended: OnceLock::new(),
        }
    }

    fn berth(&self) -> &Berth {
        self.berth.as_ref().expect("it is there until the drop")
    }

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
        if self.ended.get().is_some() && self.berth().clear().is_ok() {
            self.released.store(true, Ordering::Relaxed);
        }
    }

    /// Files in memory, empty at first, that what is read from stdout and stderr may go through: what
    /// is in them is saved by a rescue like what is in the pipes.
    pub(in crate::runner) fn taken(&self) -> [Arc<File>; 2] {
        self.berth().taken()
    }

    fn ask(&self, request: &Request) {
        // An error says that the monitor has gone, and with it the process.
        let _ = self.berth().ask(request);
    }

    /// Waits until the process has ended and none of its descendants is left.
    ///
    /// May be cancelled and called again; gives the same answer each time.
    pub async fn wait(&self) -> Ended {
        if let Some(ended) = self.ended.get() {
            return *ended;
        }
        let mut ended = match self.berth().report().await {
            Ok(Some(Report::Ended(ended))) => ended,
            // No monitor ends without a report while its zygote lives. Whatever else this may be:
            // without the zygote, nothing of the process is left.
            Ok(None | Some(Report::Started { .. } | Report::Refused(_))) | Err(_) => {
                self.berth().link.end().await;
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

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_rescue {
            self.release();
        }
        let is_over = self.ended.get().is_some_and(|ended| ended.status != Exit::Lost);
        if let (true, true, Some(idle)) = (is_over, *self.released.get_mut(), self.idle.take())
            && let Some(berth) = self.berth.take()
        {
            idle.put(berth);
        }
    }
}
