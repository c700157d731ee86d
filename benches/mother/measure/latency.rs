//! From a submission to the start of its step, when nothing else is to be done.
//!
//! Three ends are told. The answer: the step was claimed in the transaction that stored the operation,
//! so by then the worker has it. The output: the time that `/bin/date` prints; the limit is the same
//! program started by a bare spawn. The process: that time, less what the program takes from its start
//! to its print; a bare spawn returns when the program was loaded, so the median of that is known. The
//! time of the `run` event is not told: it is shown in milliseconds, which is longer than what would be
//! measured.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio::time::Instant;

use super::JOBSETS;
use crate::Failure;
use crate::bench::Bench;
use crate::figure::{Figure, Of, P50, P99, percentile};
use crate::http::{self, Client};
use crate::jobs;

const COMMAND: [&str; 2] = ["/bin/date", "+%s%N"];
const SAMPLES: usize = 150;
const SLOTS: u32 = 8;
/// So much time for everything of the sample before to end.
const PAUSE: Duration = Duration::from_millis(4);

/// The time of day in milliseconds of the Unix epoch.
fn now_ms() -> Result<f64, Failure> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64() * 1e3)
}

pub(super) async fn round(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    let server = bench.serve(SLOTS).await?;
    let mut client = Client::connect(server.address).await?;
    let request = http::post(JOBSETS, &jobs::programs(1, &COMMAND));
    let (mut answers, mut starts) = (Vec::new(), Vec::new());
    for sample in 0..SAMPLES + 10 {
        tokio::time::sleep(PAUSE).await;
        let (began, began_ms) = (Instant::now(), now_ms()?);
        let id = client.submit(&request).await?;
        let answered = began.elapsed().as_secs_f64() * 1e3;
        client.follow(&id).await?;
        let output = http::get(&format!("/v1.0/operations/{id}/steps/s0/output"), "");
        client.ask(&output).await?;
        let printed = printed_ms(client.body())?;
        // The first ones find cold caches.
        if sample >= 10 {
            answers.push(answered);
            starts.push(printed - began_ms);
        }
    }
    server.stop().await?;
    let (mut bare, mut loads, mut prints) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        tokio::time::sleep(PAUSE).await;
        let began_ms = now_ms()?;
        let mut command = Command::new(COMMAND[0]);
        command.args(&COMMAND[1..]).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let loaded_ms = now_ms()?;
        let printed = printed_ms(&child.wait_with_output().await?.stdout)?;
        bare.push(printed - began_ms);
        loads.push(loaded_ms - began_ms);
        prints.push(printed - loaded_ms);
    }
    let print = percentile(&mut prints, P50);
    let mut processes: Vec<_> = starts.iter().map(|start| start - print).collect();
    let figure = |name: &str, times: &mut Vec<f64>| {
        let p50 = percentile(times, P50);
        Figure::new(name, "ms", p50).times(p50, percentile(times, P99))
    };
    Ok(vec![
        figure("idle: submission to the answer, step claimed", &mut answers),
        figure("idle: submission to the start of the process", &mut processes)
            .limit("bare spawn", percentile(&mut loads, P50))
            .at_most(Of::P50, 1.5)
            .at_most(Of::P99, 5.0),
        figure("idle: submission to what /bin/date prints", &mut starts)
            .limit("spawn of /bin/date", percentile(&mut bare, P50)),
    ])
}

/// What `date` printed, in milliseconds.
fn printed_ms(output: &[u8]) -> Result<f64, Failure> {
    let nanoseconds: f64 = std::str::from_utf8(output)?.trim().parse()?;
    Ok(nanoseconds / 1e6)
}
