//! The only room that starts step processes.
//!
//! A worker registers an incarnation with a lease, is given attempts, runs each in a process that it
//! can always contain ([`process`]), stores what it writes as it comes (without the values of
//! `secrets`) and reports how it ended. The wait status of the process is the only authority on its
//! end. What a worker started ends before anybody else may start it again, even if the worker cannot see to
//! it: the moment is reckoned by [`LeaseTerms`](crate::domain::LeaseTerms) and kept by the kernel.
//! What a step wrote outlives the worker that is killed (`spool`).
//!
//! A step that people do is an attempt too (`instruct`), but it gives its slot back while it waits. A
//! running program can ask people and be told things (`talk`).
//!
//! Where work comes from is a trait ([`WorkSource`]), so that a worker in the server's process and
//! one on another machine are the same code.

mod attempt;
mod confine;
mod environment;
pub mod function;
mod held;
mod instruct;
mod judge;
mod knowledge;
mod lines;
mod mask;
mod output;
mod place;
mod prepare;
pub mod process;
mod scratch;
mod secrets;
mod settle;
mod source;
mod spool;
mod stream;
mod talk;
mod template;
mod under_way;
mod worker;
mod workspaces;

pub use source::{WorkPlace, WorkSource};
pub use worker::work;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::domain::profile::Profile;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// For people.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// What it offers.
    pub profile: Profile,
    /// How long it may act without a heartbeat. How long it may yet come back after that, its
    /// registration tells.
    pub lease: Duration,
    /// The time between two heartbeats.
    pub heartbeat: Duration,
    /// How long running attempts may take to end by themselves when the worker shuts down.
    pub drain: Duration,
    /// The time between SIGTERM and SIGKILL where a step does not say.
    pub default_grace: Duration,
    /// The output that is kept of one attempt, in bytes.
    pub output_cap_bytes: u64,
    /// The folder of the files with the values of secrets.
    pub secrets_dir: Option<PathBuf>,
    /// Where workspaces and the files of attempts are made.
    pub work_dir: PathBuf,
    /// The folder that steps start in.
    pub cwd: PathBuf,
    /// Names of variables that steps get beside the usual ones; `NAME*` for all that begin so.
    pub pass_env: Vec<String>,
    /// Processes and threads per slot, for all attempts together whose steps set no limit, where
    /// control groups count them.
    pub max_processes: u64,
    /// Where the control groups of attempts are made.
    pub cgroup: process::GroundChoice,
    /// How long the workspace of an operation is kept after its end.
    pub keep_workspaces: Duration,
    /// This program, to be started as the zygote and to call functions.
    pub zygote_exe: PathBuf,
}

/// Why a worker cannot work at all.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The small process that starts all others could not be started.
    #[error("the process that starts steps could not be started")]
    Zygote(#[source] process::StartError),
    /// The folder for what steps write cannot be made.
    #[error("the folder {} cannot be used for what steps write", folder.display())]
    WorkDir {
        /// The work folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The clock or a timer of the system does not work.
    #[error("the clock of this machine cannot be used")]
    Clock(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}
