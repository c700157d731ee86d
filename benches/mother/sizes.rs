//! How long and how much is measured.

use clap::Args;

/// Sizes that a run can be given. By default all measurements together take some minutes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sizes {
    /// How long each load lasts; from 60 on its rate is told in slices as well.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// How many operations are stored that `query` asks about.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) operations: usize,
    /// How many operations are stored in the databases of `stored`.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000")]
    pub(crate) stored: Vec<usize>,
    /// How many operations are queued when the worker of `backlog` starts.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) backlog: usize,
    /// How many clients are parked.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) parked: usize,
    /// How many operations are run before `memory` is looked at.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) run: usize,
}
