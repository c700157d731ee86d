//! Real processes, well-behaved and not: each ends with the right record and leaves nothing behind.

mod hostile;
#[path = "../support/resist.rs"]
mod resist;
mod reuse;
mod support;
mod walls;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Tree, capture, parent_of, read_all, shell, spec, within, zygote};
use sutbot::runner::process::{
    Exit, PASSED_MAX, SpawnError, StartError, Stdin, Zygote, since_boot,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;

/// A daemon that does all it can to survive: a session of its own, two forks, ignored signals, no
/// environment, no descriptors but the end of the pipe `$1` that tells whether it lives.
const DAEMON: &str = r#"
    (trap '' TERM INT HUP; setsid sh -c '
        exec env -i nohup sh -c "exec 9>\"\$1\"; echo \$\$ >&9; exec sleep 1000" sh "$1" \
            <&- >/dev/null 2>&- &' sh "$1" &)
"#;

#[tokio::test]
async fn the_end_is_told_as_it_was() {
    let zygote = zygote();
    for (script, status) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -TERM $$", Exit::Signal(libc::SIGTERM)),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL)),
        ("kill -34 $$", Exit::Signal(34)),
    ] {
        let process = zygote.spawn(shell(script)).await.unwrap();
        let ended = within(process.wait()).await;
        assert_eq!((ended.status, ended.swept), (status, 0), "{script}");
        assert!(ended.max_rss_bytes > 0 && ended.wall > Duration::ZERO);
        assert_eq!(process.wait().await, ended, "the same answer again");
    }
}

#[tokio::test]
async fn the_fence_ends_what_nobody_puts_off() {
    let zygote = zygote();
    let fence = zygote.fence();
    let mut tree = Tree::new();
    let script = r#"exec 9>"$1"; (trap '' TERM; setsid sleep 1000 & echo up >&9); exec sleep 1000"#;
    let process = zygote.spawn(tree.shell(script)).await.unwrap();
    tree.wait_for(1).await;
    let hour = Duration::from_hours(1);
    assert!(fence.set(since_boot().unwrap() + hour).unwrap(), "it can be put off");
    assert!(!fence.has_passed());
    assert!(fence.set(since_boot().unwrap()).unwrap());
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.signalled), (Exit::Signal(libc::SIGKILL), true));
    within(fence.passed()).await;
    tree.assert_dead().await;
    assert!(!fence.set(since_boot().unwrap() + hour).unwrap(), "what has passed stays so");
    assert!(fence.has_passed());
    let refused = zygote.spawn(shell("exit 0")).await.unwrap_err();
    assert!(refused.to_string().contains("while the lease lasts"), "{refused}");
}

#[tokio::test]
async fn both_pipes_are_captured_byte_by_byte() {
    let zygote = zygote();
    let script = r"printf '\000\377\n'; head -c 300000 /dev/zero; printf 'bad\000' >&2";
    let (out, err, ended) = capture(zygote.spawn(shell(script)).await.unwrap()).await;
    assert_eq!(ended.status, Exit::Code(0));
    assert_eq!((&out[..3], out.len()), (&b"\x00\xff\n"[..], 300_003));
    assert_eq!(err, b"bad\0");
}

#[tokio::test]
async fn nothing_is_inherited() {
    let zygote = zygote();
    let folder = tempfile::tempdir().unwrap();
    let mut asked =
        shell("pwd; /usr/bin/env; cat; ls /proc/self/fd; grep Sig[BI] /proc/self/status");
    asked.cwd = folder.path().canonicalize().unwrap();
    asked.env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("B".into(), "x=y".into())];
    let (out, _, _) = capture(zygote.spawn(asked.clone()).await.unwrap()).await;
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with(&format!("{}\n", asked.cwd.display())), "{out}");
    assert!(out.contains("\nPATH=/usr/bin:/bin\n") && out.contains("\nB=x=y\n"), "{out}");
    assert!(!out.contains("HOME="), "{out}");
    // 3 is the folder that ls reads.
    assert!(out.contains("\n0\n1\n2\n3\nSigBlk:\t0000000000000000\n"), "{out}");
    let ignored = out.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // 32 and 33 belong to the C library, which lets nobody change them.
    let own_of_libc = 0b11 << 31;
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !own_of_libc, 0, "{out}");
}

#[tokio::test]
async fn input_reaches_the_process() {
    let mut asked = spec(&["cat"]);
    asked.stdin = Stdin::Piped;
    let mut process = zygote().spawn(asked).await.unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"to the cat").await.unwrap();
    drop(stdin);
    assert_eq!(capture(process).await.0, b"to the cat");
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let zygote = zygote();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "text").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = |argv: &[&str]| spec(argv);
    for (asked, errno) in [
        (program(&["no-such-program"]), libc::ENOENT),
        (program(&["/no/such/program"]), libc::ENOENT),
        (program(&[plain.to_str().unwrap()]), libc::EACCES),
        (program(&["/tmp"]), libc::EACCES),
        (program(&[text.to_str().unwrap()]), libc::ENOEXEC),
        (program(&["/bin/true", &"x".repeat(8 << 20)]), libc::E2BIG),
    ] {
        let error = within(zygote.spawn(asked)).await.unwrap_err();
        assert!(matches!(error, SpawnError::Program { .. }), "{error:?}");
        assert_eq!(error.errno(), Some(errno), "{error}");
    }
    for (cwd, errno) in [("/no/such/folder", libc::ENOENT), ("/etc/passwd", libc::ENOTDIR)] {
        let mut asked = spec(&["true"]);
        asked.cwd = cwd.into();
        let error = within(zygote.spawn(asked)).await.unwrap_err();
        assert!(matches!(error, SpawnError::Cwd { .. }), "{error:?}");
        assert_eq!(error.errno(), Some(errno), "{error}");
    }
}

#[tokio::test]
async fn a_command_larger_than_any_packet_runs() {
    let mut asked = shell("printf %s \"$#\"; env | wc -c");
    asked.argv.extend((0..10_000).map(|n| format!("argument {n}").into()));
    asked.env.push(("LARGE".into(), "x".repeat(100_000).into()));
    let (out, _, ended) = capture(zygote().spawn(asked).await.unwrap()).await;
    assert_eq!(ended.status, Exit::Code(0));
    assert!(out.starts_with(b"9999"), "the first one is $0: {out:?}");
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut process = zygote().spawn(shell("sleep 1000 & echo up; wait")).await.unwrap();
        let mut line = String::new();
        BufReader::new(&mut process.stdout).read_line(&mut line).await.unwrap();
        process.signal_group(signal);
        assert_eq!(within(process.wait()).await.status, Exit::Signal(signal as i32));
    }
}

#[tokio::test]
async fn daemons_die_with_the_step_that_ends() {
    let mut tree = Tree::new();
    let script = format!("{DAEMON} {DAEMON} read line; exit 7");
    let mut asked = tree.shell(&script);
    asked.stdin = Stdin::Piped;
    let mut process = zygote().spawn(asked).await.unwrap();
    tree.wait_for(2).await;
    drop(process.stdin.take());
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.swept), (Exit::Code(7), 2));
    tree.assert_dead().await;
}

#[tokio::test]
async fn daemons_die_with_the_step_that_is_killed() {
    let zygote = zygote();
    for by_drop in [false, true] {
        let mut tree = Tree::new();
        let script = format!("{DAEMON} {DAEMON} {DAEMON} trap '' TERM; while :; do sleep 1; done");
        let process = zygote.spawn(tree.shell(&script)).await.unwrap();
        tree.wait_for(3).await;
        if by_drop {
            drop(process);
            tree.wait_dead().await;
        } else {
            process.kill_tree();
            assert_eq!(within(process.wait()).await.status, Exit::Signal(libc::SIGKILL));
            tree.assert_dead().await;
        }
    }
}

#[tokio::test]
async fn fork_runners_are_caught() {
    let mut tree = Tree::new();
    let runner = r#"exec 9>"$1"; run() { (run &) ; exit; }; echo run >&9; run"#;
    let script = format!("for n in 1 2 3 4 5; do sh -c '{runner}' sh \"$1\" & done; sleep 1000");
    let process = zygote().spawn(tree.shell(&script)).await.unwrap();
    tree.wait_for(5).await;
    process.kill_tree();
    assert_eq!(within(process.wait()).await.status, Exit::Signal(libc::SIGKILL));
    tree.assert_dead().await;
}

#[tokio::test]
async fn a_pipe_held_by_a_grandchild_holds_nothing_up() {
    let mut process = zygote().spawn(shell("setsid sleep 1000 & exit 5")).await.unwrap();
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.swept), (Exit::Code(5), 1));
    assert_eq!(within(read_all(&mut process.stdout)).await, b"");
}

#[tokio::test]
async fn a_monitor_that_is_killed_or_stopped_is_an_incident() {
    let zygote = zygote();
    for signal in ["KILL", "STOP"] {
        let mut tree = Tree::new();
        let script = format!("{DAEMON} read line; kill -{signal} $PPID; sleep 1000");
        let mut asked = tree.shell(&script);
        asked.stdin = Stdin::Piped;
        let mut process = zygote.spawn(asked).await.unwrap();
        tree.wait_for(1).await;
        drop(process.stdin.take());
        let ended = within(process.wait()).await;
        assert_eq!(ended.status, Exit::Lost);
        assert!(ended.swept >= 2, "{ended:?}");
        tree.assert_dead().await;
    }
    let (_, _, ended) = capture(zygote.spawn(shell("exit 4")).await.unwrap()).await;
    assert_eq!(ended.status, Exit::Code(4), "the zygote goes on");
}

#[tokio::test]
async fn a_zygote_that_is_killed_takes_all_along_and_is_replaced() {
    let zygote = zygote();
    for and_monitor in [false, true] {
        let mut tree = Tree::new();
        let mut asked = tree.shell(&format!("{DAEMON} {DAEMON} sleep 1000"));
        asked.env.push(("STEP".into(), "1".into()));
        let process = zygote.spawn(asked).await.unwrap();
        tree.wait_for(2).await;
        let monitor = parent_of(process.pid());
        let mother = parent_of(monitor.as_raw().unsigned_abs());
        if and_monitor {
            kill(monitor, Signal::SIGKILL).unwrap();
        }
        kill(mother, Signal::SIGKILL).unwrap();
        assert_eq!(within(process.wait()).await.status, Exit::Lost);
        tree.assert_dead().await;
        let (_, _, ended) = capture(within(zygote.spawn(shell("exit 4"))).await.unwrap()).await;
        assert_eq!(ended.status, Exit::Code(4));
    }
}

#[tokio::test]
async fn what_may_not_run_any_longer_ends_though_nobody_ends_it() {
    let zygote = zygote();
    assert!(zygote.fence().set(since_boot().unwrap() + Duration::from_hours(1)).unwrap());
    let (_, _, ended) = capture(zygote.spawn(shell("exit 3")).await.unwrap()).await;
    assert_eq!(ended.status, Exit::Code(3));
    let mut tree = Tree::new();
    let asked = tree.shell(&format!("{DAEMON} {DAEMON} sleep 1000"));
    let process = zygote.spawn(asked).await.unwrap();
    tree.wait_for(2).await;
    assert!(zygote.fence().set(since_boot().unwrap()).unwrap());
    tree.wait_dead().await;
    assert_eq!(within(process.wait()).await.status, Exit::Signal(9));
    assert!(zygote.spawn(shell("exit 0")).await.is_err(), "it started after its time");
    let later = since_boot().unwrap() + Duration::from_hours(1);
    assert!(!zygote.fence().set(later).unwrap(), "what has passed does not come again");
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_nothing() {
    let mut tree = Tree::new();
    let mut worker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_worker", "--nocapture"])
        .env("WORKER_SCRIPT", format!("{DAEMON} {DAEMON} {DAEMON} sleep 1000"))
        .env("WORKER_FIFO", tree.fifo())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    tree.wait_for(3).await;
    kill(Pid::from_raw(worker.id().cast_signed()), Signal::SIGKILL).unwrap();
    worker.wait().unwrap();
    tree.wait_dead().await;
}

/// Not a test, but the worker that the test above kills.
#[tokio::test]
async fn as_a_worker() {
    let Ok(script) = std::env::var("WORKER_SCRIPT") else { return };
    let mut asked = shell(&script);
    asked.argv.push("sh".into());
    asked.argv.push(std::env::var_os("WORKER_FIFO").unwrap());
    zygote().spawn(asked).await.unwrap().wait().await;
}

#[tokio::test]
async fn shutdown_leaves_nothing() {
    let mut tree = Tree::new();
    let zygote = zygote();
    let process = zygote.spawn(tree.shell(&format!("{DAEMON} sleep 1000"))).await.unwrap();
    tree.wait_for(1).await;
    within(zygote.shutdown()).await;
    tree.assert_dead().await;
    assert_eq!(within(process.wait()).await.status, Exit::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once() {
    let zygote = std::sync::Arc::new(zygote());
    let mut running = JoinSet::new();
    for n in 0..200 {
        let zygote = zygote.clone();
        running.spawn(async move {
            let script = format!("setsid sleep 1000 & sleep 0.2; echo {n}; exit {n}");
            let (out, _, ended) = capture(zygote.spawn(shell(&script)).await.unwrap()).await;
            assert_eq!(String::from_utf8(out).unwrap(), format!("{n}\n"));
            assert_eq!((ended.status, ended.swept), (Exit::Code(n), 1));
        });
    }
    while let Some(outcome) = within(running.join_next()).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn an_executable_that_is_no_zygote_is_refused() {
    let error = Zygote::start(Path::new("/bin/true")).unwrap_err();
    assert!(matches!(error, StartError::NotAZygote { .. }), "{error}");
    let error = Zygote::start(Path::new("/no/such/file")).unwrap_err();
    assert!(matches!(error, StartError::Host { .. }), "{error}");
}

#[tokio::test]
async fn killing_the_worker_by_name_spares_those_that_clean_up() {
    let zygote = zygote();
    let process = zygote.spawn(spec(&["sleep", "1000"])).await.unwrap();
    let monitor = parent_of(process.pid());
    let zygote_pid = parent_of(monitor.as_raw().cast_unsigned());
    for (pid, name) in [(monitor, "sut-monitor"), (zygote_pid, "sut-zygote")] {
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), name);
    }
}

#[tokio::test]
async fn descriptors_are_passed_by_number() {
    let zygote = zygote();
    let (from_step, to_worker) = std::io::pipe().unwrap();
    let (to_step, from_worker) = std::io::pipe().unwrap();
    (&from_worker).write_all(b"to the step").unwrap();
    drop(from_worker);
    let script = "cat <&3 >&4; ls /proc/self/fd";
    let passed = vec![to_step.into(), to_worker.into()];
    let process = zygote.spawn_passing(shell(script), passed).await.unwrap();
    let (out, _, ended) = capture(process).await;
    assert_eq!(ended.status, Exit::Code(0));
    // 5 is the folder that ls reads.
    assert_eq!(String::from_utf8(out).unwrap(), "0\n1\n2\n3\n4\n5\n");
    let read = tokio::task::spawn_blocking(|| std::io::read_to_string(from_step));
    assert_eq!(within(read).await.unwrap().unwrap(), "to the step", "and it ends with the step");

    let many = (0..=PASSED_MAX).map(|_| std::io::pipe().unwrap().0.into()).collect();
    let refused = zygote.spawn_passing(shell("exit 0"), many).await;
    assert!(matches!(refused, Err(SpawnError::TooManyDescriptors { count: 5 })));
}
