//! The measurements, a file each. A round of one answers always the same figures in the same order.

mod backlog;
mod bulk;
mod get;
mod latency;
mod memory;
mod noop;
mod parked;
mod process;
mod query;
mod servers;
mod stamps;
mod stored;
mod submit;
mod wide;
mod workflow;
mod xmin;

use clap::ValueEnum;

use crate::Failure;
use crate::bench::Bench;
use crate::figure::Figure;

/// Slots of a server whose steps start no process.
const SLOTS: u32 = 2_000;
/// Clients that load a server at once.
const CLIENTS: usize = 64;
const JOBSETS: &str = "/v1.0/jobsets";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// One-step operations submitted over HTTP.
    Submit,
    /// One-step operations submitted thousands at a time.
    Bulk,
    /// Steps without work, submitted from within.
    Noop,
    /// The same with and without the causal order of events.
    Stamps,
    /// Two-step operations, from their submission to their observed end.
    Workflow,
    /// Steps that run a program.
    Process,
    /// From a submission to the start of the step, when nothing else is to be done.
    Latency,
    /// Polls.
    Get,
    /// Resident memory, and WAL per step.
    Memory,
    /// Large operations.
    Wide,
    /// Questions to many stored operations.
    Query,
    /// Submissions and polls beside many stored operations.
    Stored,
    /// Many queued operations, and new ones meanwhile.
    Backlog,
    /// Two servers on one database.
    Servers,
    /// Thousands of clients that wait.
    Parked,
    /// Operations beside a transaction that stays open.
    Xmin,
}

impl Measurement {
    /// Measures once.
    pub(crate) async fn round(self, bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Submit => submit::round(bench).await,
            Self::Bulk => bulk::round(bench).await,
            Self::Noop => noop::round(bench).await,
            Self::Stamps => stamps::round(bench).await,
            Self::Workflow => workflow::round(bench).await,
            Self::Process => process::round(bench).await,
            Self::Latency => latency::round(bench).await,
            Self::Get => get::round(bench).await,
            Self::Memory => memory::round(bench).await,
            Self::Wide => wide::round(bench).await,
            Self::Query => query::round(bench).await,
            Self::Stored => stored::round(bench).await,
            Self::Backlog => backlog::round(bench).await,
            Self::Servers => servers::round(bench).await,
            Self::Parked => parked::round(bench).await,
            Self::Xmin => xmin::round(bench).await,
        }
    }
}
