//! A small web shop: the system under test of `examples/repair.yaml`.
//!
//! It is a real program with a real defect in its data. The shop keeps a catalogue and a search
//! index made from it. When it is seeded, the catalogue is replaced by a newer one and the index
//! is left as it was, so `GET /search?q=teapot` finds items that are gone and answers 500, while
//! everything else works. `shop reindex` is the repair.
//!
//! The same program is its own client (`wait`, `probe`, `stop`), so that the jobset needs no other
//! tool. Like any step, a client command writes a JSON result to the file that `SUT_OUTPUT` names.

mod http;
mod stock;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::stock::Stock;

/// The result of everything here that can fail; `main` prints the error.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Between two tries of `shop wait`.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(about = "A small web shop that can be tested, found broken and repaired")]
struct Cli {
    /// The folder of the shop's data
    #[arg(long, global = true, env = "SUT_WORKSPACE", default_value = ".", hide_env_values = true)]
    dir: PathBuf,
    /// The file that the JSON result is written to
    #[arg(long, global = true, env = "SUT_OUTPUT", hide_env_values = true)]
    output: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the catalogue and the search index
    Seed {
        /// Whether the index belongs to the catalogue or to the one before it
        #[arg(long, value_enum, default_value_t = Freshness::Stale)]
        index: Freshness,
    },
    /// Serve the shop on a free port until `shop stop`; the address goes to DIR/address
    Serve,
    /// Wait until the shop answers
    Wait {
        /// How often to try, ten times a second
        #[arg(long, default_value_t = 150)]
        tries: u32,
    },
    /// Ask for PATH, and fail unless the answer is a 200 that contains TEXT
    Probe {
        path: String,
        #[arg(long, value_name = "TEXT")]
        expect: String,
        /// The name that the finding is filed under, in DIR/probes/STEP.ATTEMPT
        #[arg(long, env = "SUT_STEP", default_value = "probe")]
        step: String,
        #[arg(long, env = "SUT_ATTEMPT", default_value_t = 1)]
        attempt: u32,
    },
    /// Rebuild the search index from the catalogue
    Reindex,
    /// Tell the server to end
    Stop,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Freshness {
    Fresh,
    Stale,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Fallible<()> {
    let stock = Stock::at(&cli.dir);
    let result = match &cli.command {
        Command::Seed { index } => stock.seed(*index == Freshness::Fresh)?,
        Command::Serve => return http::serve(&stock),
        Command::Wait { tries } => wait(&stock, *tries)?,
        Command::Probe { path, expect, step, attempt } => {
            let finding = probe(&stock, path, expect);
            finding.file(&stock.probes().join(format!("{step}.{attempt}")))?;
            publish(&finding.to_json(), cli.output.as_deref())?;
            return finding.verdict();
        }
        Command::Reindex => stock.reindex()?,
        Command::Stop => {
            let (status, _) = http::request(&stock, "POST", "/shutdown")?;
            json!({ "status": status })
        }
    };
    publish(&result, cli.output.as_deref())
}

/// Prints the result for a person and writes it where the next steps can read it.
fn publish(result: &Value, output: Option<&Path>) -> Fallible<()> {
    println!("{result}");
    if let Some(path) = output {
        fs::write(path, result.to_string())?;
    }
    Ok(())
}

fn wait(stock: &Stock, tries: u32) -> Fallible<Value> {
    for attempt in 1..=tries {
        if let Ok((200, _)) = http::request(stock, "GET", "/health") {
            return Ok(json!({ "address": stock.address()?, "tries": attempt }));
        }
        thread::sleep(PAUSE);
    }
    Err(format!("the shop did not answer {tries} times").into())
}

/// What one probe found; `status` is 0 when there was no answer, and `body` then says why.
struct Finding<'a> {
    path: &'a str,
    expect: &'a str,
    status: u16,
    body: String,
}

fn probe<'a>(stock: &Stock, path: &'a str, expect: &'a str) -> Finding<'a> {
    let (status, body) =
        http::request(stock, "GET", path).unwrap_or_else(|error| (0, error.to_string()));
    Finding { path, expect, status, body }
}

impl Finding<'_> {
    fn passed(&self) -> bool {
        self.status == 200 && self.body.contains(self.expect)
    }

    fn verdict(&self) -> Fallible<()> {
        if self.passed() {
            return Ok(());
        }
        let Self { path, expect, status, body } = self;
        Err(format!("GET {path}: expected 200 with {expect:?}, got {status} with {body}").into())
    }

    fn to_json(&self) -> Value {
        let body = serde_json::from_str(&self.body).unwrap_or_else(|_| json!(self.body));
        json!({ "path": self.path, "passed": self.passed(), "status": self.status, "body": body })
    }

    /// Leaves one line, `VERDICT STATUS PATH`, for the report.
    fn file(&self, place: &Path) -> Fallible<()> {
        let verdict = if self.passed() { "passed" } else { "failed" };
        Ok(fs::write(place, format!("{verdict} {} {}\n", self.status, self.path))?)
    }
}
