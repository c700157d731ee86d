//! What the service does per second, each figure beside the limit measured in the same run.
//!
//! `cargo bench` starts a private, durable cluster and measures, in rounds, the service and the
//! barest program that does the same to the same PostgreSQL. The ratio of the two says more than
//! either: machines differ, and so does one machine from hour to hour.
//!
//! Server, limits and load generator are processes of their own: this program, executed again with
//! the name of a role. So the memory of the server is its own, and the load generator (raw HTTP/1.1
//! on one thread) takes nothing from the server's runtime. Only one server lives at a time, because a
//! second one would take work from the first; `servers` measures just that.
//!
//! ```text
//! cargo bench -- submit get --seconds 10 --json
//! ```

mod bench;
mod child;
mod conditions;
mod figure;
mod fill;
mod http;
mod jobs;
mod limits;
mod load;
mod measure;
mod noop;
mod park;
mod serve;
mod sizes;

use std::error::Error;

use clap::{Parser, ValueEnum};

use crate::bench::Bench;
use crate::measure::Measurement;
use crate::sizes::Sizes;

/// Anything that ends a benchmark.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures the service and, beside it, the limits.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything if left out.
    #[arg(value_enum)]
    measurements: Vec<Measurement>,
    /// How many rounds; the figures are their medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    sizes: Sizes,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    if let Some(role) = child::role() {
        return child::play(role);
    }
    let arguments = Arguments::parse();
    let measurements = if arguments.measurements.is_empty() {
        Measurement::value_variants().to_vec()
    } else {
        arguments.measurements
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut bench = Bench::start(arguments.sizes).await?;
        let mut rounds = Vec::new();
        for round in 1..=arguments.rounds.max(1) {
            let mut figures = Vec::new();
            for measurement in &measurements {
                eprintln!("round {round}: {measurement:?}");
                figures.extend(measurement.round(&mut bench).await?);
            }
            rounds.push(figures);
        }
        let conditions = conditions::read(&mut bench.database).await?;
        bench.stop().await?;
        figure::print(&conditions, &figure::medians(&rounds), arguments.json)
    })
}
