//! A monitor runs one process after the other, and nothing of one is in the next.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sutbot::runner::process::{Exit, Sandbox, SpawnError, Zygote};

use crate::support::{capture, parent_of, shell, spec, within, zygote};

/// What the shell of a process knows as its parent: the monitor.
async fn monitor(zygote: &Zygote) -> Pid {
    let (out, _, ended) = capture(zygote.spawn(shell("echo $PPID")).await.unwrap()).await;
    assert_eq!((ended.status, ended.swept), (Exit::Code(0), 0));
    Pid::from_raw(String::from_utf8(out).unwrap().trim().parse().unwrap())
}

#[tokio::test]
async fn what_one_process_did_is_not_in_the_next() {
    let zygote = zygote();
    let look = async || {
        let script = "pwd; umask; ulimit -n; ls /proc/self/fd; echo $PPID";
        let (out, err, ended) = capture(zygote.spawn(shell(script)).await.unwrap()).await;
        assert_eq!((ended.status, ended.swept, ended.signalled), (Exit::Code(0), 0, false));
        assert_eq!(err, b"");
        String::from_utf8(out).unwrap()
    };
    let before = look().await;
    for (script, status) in [
        ("head -c 100000 /dev/zero; echo error >&2; exit 3", Exit::Code(3)),
        ("(trap '' TERM; setsid sleep 1000 >&- 2>&- <&-) & exit 0", Exit::Code(0)),
        ("cd /tmp; umask 777; ulimit -n 20; exec 2>&-; kill -TERM $$", Exit::Signal(15)),
    ] {
        let ended = capture(zygote.spawn(shell(script)).await.unwrap()).await.2;
        assert_eq!(ended.status, status, "{script}");
        assert_eq!(look().await, before, "{script}");
    }
}

#[tokio::test]
async fn what_a_process_has_used_is_not_counted_for_the_next() {
    let zygote = zygote();
    let script = "x=$(head -c 50000000 /dev/zero | tr '\\0' x); exit 0";
    let greedy = capture(zygote.spawn(shell(script)).await.unwrap()).await.2;
    let modest = capture(zygote.spawn(spec(&["true"])).await.unwrap()).await.2;
    assert!(modest.max_rss_bytes < greedy.max_rss_bytes, "{modest:?} after {greedy:?}");
    assert!(modest.user_cpu + modest.system_cpu < greedy.user_cpu + greedy.system_cpu);
}

#[tokio::test]
async fn one_that_was_killed_or_refused_leaves_its_monitor_fit() {
    let zygote = zygote();
    let first = monitor(&zygote).await;
    let process = zygote.spawn(shell("sleep 1000 & sleep 1000")).await.unwrap();
    process.kill_tree();
    assert!(within(process.wait()).await.signalled);
    // Late words are about a process that is over.
    process.signal_group(Signal::SIGKILL);
    process.kill_tree();
    drop(process);
    assert_eq!(monitor(&zygote).await, first);
    let refused = zygote.spawn(spec(&["/no/such/program"])).await.unwrap_err();
    assert!(matches!(refused, SpawnError::Program { .. }), "{refused:?}");
    monitor(&zygote).await;
}

#[tokio::test]
async fn limits_and_walls_end_with_their_process() {
    let zygote = zygote();
    let mut limited = shell("ulimit -n");
    limited.confinement.limits.files = Some(50);
    let (out, _, _) = capture(zygote.spawn(limited).await.unwrap()).await;
    assert_eq!(out, b"50\n");
    let (out, _, _) = capture(zygote.spawn(shell("ulimit -n")).await.unwrap()).await;
    assert_ne!(out, b"50\n");
    let mut boxed = shell("echo $$");
    boxed.confinement.sandbox = Some(Sandbox::default());
    let Ok(process) = zygote.spawn(boxed).await else { return };
    let (out, _, _) = capture(process).await;
    assert_eq!(out, b"2\n", "a number of its own namespace");
    let (out, _, _) = capture(zygote.spawn(shell("echo $$")).await.unwrap()).await;
    assert_ne!(out, b"2\n");
}

#[tokio::test]
async fn an_idle_monitor_or_zygote_that_is_killed_is_replaced() {
    let zygote = zygote();
    let first = monitor(&zygote).await;
    kill(first, Signal::SIGKILL).unwrap();
    // The start that finds it dying is lost, and says so; none runs without being watched.
    let second = loop {
        match within(zygote.spawn(shell("echo $PPID"))).await {
            Ok(process) => {
                let (out, _, ended) = capture(process).await;
                if ended.status == Exit::Code(0) {
                    break Pid::from_raw(String::from_utf8(out).unwrap().trim().parse().unwrap());
                }
            }
            Err(error) => assert!(matches!(error, SpawnError::ZygoteDied), "{error:?}"),
        }
    };
    assert_ne!(second, first);
    let keeper = parent_of(second.as_raw().unsigned_abs());
    kill(keeper, Signal::SIGKILL).unwrap();
    loop {
        match within(zygote.spawn(spec(&["true"]))).await {
            Ok(process) if within(process.wait()).await.status == Exit::Code(0) => break,
            Ok(_) | Err(SpawnError::ZygoteDied) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}
