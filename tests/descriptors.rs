//! No descriptor and no process is left over, however steps ended. Alone in its program, because it
//! counts what the whole program has open.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "shared with tests that need more of it")]
#[path = "process/support.rs"]
mod support;

use std::time::Duration;

use support::{capture, parent_of, spec, within, zygote};
use sutbot::runner::process::Exit;

fn open_descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn children(pid: u32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().count()
}

#[tokio::test]
async fn a_thousand_spawns_leak_nothing() {
    let zygote = zygote();
    // One that is there as long as it is looked at.
    let first = zygote.spawn(spec(&["sleep", "1000"])).await.unwrap();
    let mother = parent_of(parent_of(first.pid()).as_raw().unsigned_abs()).as_raw().unsigned_abs();
    first.kill_tree();
    within(first.wait()).await;
    drop(first);
    // One monitor waits for the next step, with what the worker and it share, and so it is in the end.
    let worker = std::process::id();
    let (before, of_mother) = (open_descriptors(worker), open_descriptors(mother));
    assert_eq!(children(mother), 1);
    for n in 0..1000 {
        match n % 4 {
            0 => assert!(zygote.spawn(spec(&["no-such-program"])).await.is_err()),
            1 => drop(zygote.spawn(spec(&["sleep", "1000"])).await.unwrap()),
            _ => {
                let (_, _, ended) = capture(zygote.spawn(spec(&["true"])).await.unwrap()).await;
                assert_eq!(ended.status, Exit::Code(0));
            }
        }
    }
    assert_eq!(open_descriptors(worker), before);
    // Once the others are reaped.
    within(async {
        while open_descriptors(mother) > of_mother || children(mother) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
