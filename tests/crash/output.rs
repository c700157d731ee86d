//! What steps wrote when their worker was killed, and what they write without end.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sutbot::client::Client;
use tokio::time::{Instant, sleep};

use super::{SECRET, Server};

const PATIENCE: Duration = Duration::from_mins(2);

/// Submits a jobset and answers the id of its operation.
pub(super) async fn submit(server: &Server, job: &Value) -> String {
    let post = reqwest::Client::new().post(format!("{}/v1.0/jobsets", server.url)).json(job);
    let answer = post.send().await.unwrap().error_for_status().unwrap();
    let operation: Value = answer.json().await.unwrap();
    operation["id"].as_str().unwrap().to_owned()
}

/// Waits until the operation has ended.
pub(super) async fn ended(client: &Client, id: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let polled = client.poll(id, None, Duration::from_secs(20)).await.unwrap();
        let status = polled.operation.expect("a whole answer").status;
        if ["succeeded", "failed", "canceled"].contains(&status.as_str()) {
            return status;
        }
        assert!(Instant::now() < deadline, "{id} never ended");
    }
}

/// Writes numbered lines as fast as it can, and after each line its number to the file of the stream;
/// the first attempt does not end by itself.
fn numbered(folder: &Path) -> Value {
    let mut text = String::from("[ $SUT_ATTEMPT = 1 ] || exit 0\n");
    for (stream, number) in [("out", 1), ("err", 2)] {
        let file = folder.join(stream);
        writeln!(
            text,
            "(n=0; while :; do n=$((n+1)); echo \"line $n with $CRASH_TOKEN\" >&{number}; \
             echo $n >> {}; done) &",
            file.display()
        )
        .unwrap();
    }
    text.push_str("wait");
    // Its monitor has run another step before, which wrote something too.
    let before = "head -c 100000 /dev/zero | tr '\\0' x; echo error >&2";
    json!({"steps": [
        {"name": "before", "run": {"shell": before}},
        {"name": "a", "run": {"shell": text}, "secrets": ["CRASH_TOKEN"],
            "when": {"before": ["Succeeded"]}},
    ]})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_had_written_is_there_after_its_worker_was_killed() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3_u64 {
        let written = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path());
        let client = Client::new(&server.url, None).unwrap();
        let id = submit(&server, &numbered(written.path())).await;
        let mut live = Box::pin(client.follow_output(&id, "a", Some(1), None));
        for _ in 0..=10 * round {
            live.next().await.unwrap().unwrap();
        }
        drop(live);
        server.kill();

        let server = Server::start(folder.path());
        let client = Client::new(&server.url, None).unwrap();
        assert_eq!(ended(&client, &id).await, "succeeded");
        let before = client.output(&id, "before", None, None).await.unwrap();
        assert_eq!(before.len(), 100_000 + "error\n".len());
        for stream in ["out", "err"] {
            // Somebody may find the spool only when its monitors are gone too.
            let deadline = Instant::now() + PATIENCE;
            let shown = loop {
                let name = format!("std{stream}");
                let bytes = client.output(&id, "a", Some(1), Some(&name)).await.unwrap();
                let text = String::from_utf8(bytes).unwrap();
                if text.contains("[the worker died; what the step had still written was saved") {
                    break text;
                }
                assert!(Instant::now() < deadline, "{} bytes", text.len());
                sleep(Duration::from_millis(50)).await;
            };
            let told = std::fs::read_to_string(written.path().join(stream)).unwrap();
            let told = told.rsplit_once('\n').unwrap().0.lines().count();
            // The remark stands where the worker died, which may be in the middle of a line.
            let (before, after) = shown.split_once("[the worker died").unwrap();
            let after = after.split_once("]\n").unwrap().1;
            assert!(!shown.contains(SECRET));
            let all = format!("{before}{after}");
            let (whole, _torn) = all.rsplit_once('\n').unwrap();
            let expected = (1..).map(|n| format!("line {n} with ***"));
            let wrong = whole.lines().zip(expected).find(|(line, expected)| line != expected);
            assert_eq!(wrong, None);
            let lines = whole.lines().count();
            assert!(lines >= told, "{stream}: {lines} of {told} lines");
            println!("{stream}: all {told} lines, {} bytes after the remark", after.len());
        }
        let spools = folder.path().join("operations/spools");
        let left = std::fs::read_dir(&spools).unwrap().count();
        assert_eq!(left, 1, "only those of the worker that lives");
    }
}

/// The largest resident set of a process so far, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_cut_with_a_mark_and_held_in_bounded_memory() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let bytes = std::env::var("SUTBOT_OUTPUT_BYTES").map_or(200_000_000, |n| n.parse().unwrap());
    let cap = 16 * 1024 * 1024_u64;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let client = Client::new(&server.url, None).unwrap();
    for secrets in [json!([]), json!(["CRASH_TOKEN"])] {
        let text = format!("yes 'a line of a flood' | head -c {bytes}; echo the end >&2");
        let job = json!({"steps": [{"name": "a", "run": {"shell": text}, "secrets": secrets}]});
        let begun = Instant::now();
        let id = submit(&server, &job).await;
        assert_eq!(ended(&client, &id).await, "succeeded");
        let rate = u128::from(bytes) / begun.elapsed().as_micros();
        let peak = peak_kib(server.child.id());
        println!("{bytes} bytes, secrets {secrets}: {rate} MB/s, peak {} MiB", peak / 1024);
        let shown = client.output(&id, "a", None, None).await.unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let mark = format!("[output cut off here: more than {cap} bytes]\n");
        let left_out = format!("[{} bytes were left out]\n", bytes + 8 - cap);
        assert_eq!(shown.len() as u64, cap + (mark.len() + left_out.len()) as u64);
        assert!(shown.contains(&mark) && shown.ends_with(&left_out));
        assert!(peak < 512 * 1024, "{peak} KiB");
    }
}
