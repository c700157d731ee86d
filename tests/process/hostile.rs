//! Processes that do all they can to stay: none is left, and the zygote goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use sutbot::runner::process::{Exit, GroundChoice, GroundSettings, Signal, Zygote};

use crate::resist::{RESIST, rounds};
use crate::support::{Tree, capture, shell, spec, within};

/// How many processes resist at once.
const HOSTILE: usize = 200;

fn zygote(place: &GroundChoice) -> Zygote {
    let groups = GroundSettings { place: place.clone(), processes: None };
    Zygote::start_with(Path::new(env!("CARGO_BIN_EXE_mother")), &groups, None).unwrap()
}

async fn goes_on(zygote: &Zygote) {
    let (_, _, ended) = capture(zygote.spawn(spec(&["true"])).await.unwrap()).await;
    assert_eq!((ended.status, ended.swept), (Exit::Code(0), 0));
}

async fn none_stays(choice: &GroundChoice) {
    let zygote = zygote(choice);
    let mut probe = spec(&["true"]);
    probe.confinement.demanded.cgroup = true;
    // Where the host has none, both tests are about the sweep alone.
    let is_offered = zygote.spawn(probe).await.is_ok();
    for _ in 0..rounds(2) {
        let mut tree = Tree::new();
        let mut asked = tree.shell(RESIST);
        asked.confinement.demanded.cgroup = is_offered;
        let process = zygote.spawn(asked).await.unwrap();
        tree.wait_for(HOSTILE).await;
        process.signal_group(Signal::SIGTERM);
        let grace = Duration::from_millis(100);
        assert!(tokio::time::timeout(grace, process.wait()).await.is_err(), "it resists");
        process.kill_tree();
        let ended = within(process.wait()).await;
        assert_eq!(ended.status, Exit::Signal(libc::SIGKILL));
        // The sleep in each of them is one more.
        assert!(ended.swept as usize >= HOSTILE && ended.signalled, "{ended:?}");
        tree.assert_dead().await;
        goes_on(&zygote).await;
    }
}

#[tokio::test]
async fn none_of_two_hundred_stays() {
    none_stays(&GroundChoice::Own).await;
}

#[tokio::test]
async fn none_of_two_hundred_stays_without_control_groups() {
    none_stays(&GroundChoice::Nowhere).await;
}

#[tokio::test]
async fn odd_ends_are_told_as_they_were() {
    let zygote = zygote(&GroundChoice::Own);
    for (script, status, swept) in [
        // Closes its pipes and goes on.
        ("exec >&- 2>&-; sleep 0.1; exit 6", Exit::Code(6), 0),
        // Its grandchild keeps the pipes open.
        ("(setsid sleep 1000 &); exit 5", Exit::Code(5), 1),
        // Leaves zombies to its last breath.
        ("for n in 1 2 3 4 5 6 7 8 9; do true & done; exec sleep 0.1", Exit::Code(0), 0),
    ] {
        let (_, _, ended) = capture(zygote.spawn(shell(script)).await.unwrap()).await;
        assert_eq!((ended.status, ended.swept), (status, swept), "{script}");
        assert!(!ended.signalled, "{script}");
        goes_on(&zygote).await;
    }
}

#[tokio::test]
async fn a_kill_by_somebody_else_is_told_as_it_was() {
    let zygote = zygote(&GroundChoice::Own);
    let process = zygote.spawn(spec(&["sleep", "1000"])).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(process.pid().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.signalled), (Exit::Signal(libc::SIGKILL), false));
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_thread_that_exits_the_process_ends_it() {
    let zygote = zygote(&GroundChoice::Own);
    let own = std::env::current_exe().unwrap();
    let mut asked = spec(&[own.to_str().unwrap(), "--exact", "hostile::as_a_thread_that_exits"]);
    asked.env.push(("HOSTILE_THREAD".into(), "1".into()));
    let (_, _, ended) = capture(zygote.spawn(asked).await.unwrap()).await;
    assert_eq!(ended.status, Exit::Code(42));
    goes_on(&zygote).await;
}

/// Not a test, but the program of the test above: a second thread ends the process while the first
/// one waits for ever.
#[test]
fn as_a_thread_that_exits() {
    if std::env::var_os("HOSTILE_THREAD").is_none() {
        return;
    }
    std::thread::spawn(|| std::process::exit(42));
    loop {
        std::thread::park();
    }
}

/// All of mother's processes are killed at once, so nobody is left who could sweep: the next worker
/// kills what the control group still holds.
#[tokio::test]
async fn what_outlives_all_of_mother_dies_with_the_next_worker() {
    let mut tree = Tree::new();
    let mut worker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::as_a_worker_in_a_group", "--nocapture"])
        .env("WORKER_FIFO", tree.fifo())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let said = tree.read_line().await;
    let Some(step) = said.strip_prefix("up ") else { panic!("{said}") };
    let step: u32 = step.trim().parse().unwrap();
    let in_group = std::fs::read_to_string(format!("/proc/{step}/cgroup")).unwrap();
    let monitor = crate::support::parent_of(step);
    let zygote_pid = crate::support::parent_of(monitor.as_raw().cast_unsigned());
    // Stopped first, so that none of them sees another one's end.
    let worker_pid = nix::unistd::Pid::from_raw(worker.id().cast_signed());
    let all = [worker_pid, zygote_pid, monitor];
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in all {
            nix::sys::signal::kill(pid, signal).unwrap();
        }
    }
    worker.wait().unwrap();
    if in_group.contains("/mother-") {
        let _next = zygote(&GroundChoice::Own);
        tree.wait_dead().await;
    } else {
        eprintln!("not tried: this host offers no control groups");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(step.cast_signed()), Signal::SIGKILL)
            .unwrap();
    }
}

/// Not a test, but the worker that the test above kills.
#[tokio::test]
async fn as_a_worker_in_a_group() {
    let Some(fifo) = std::env::var_os("WORKER_FIFO") else { return };
    if std::env::var_os("WORKER_SCRIPT").is_some() {
        return;
    }
    let mut asked = shell(r#"exec 9>"$0"; echo up $$ >&9; sleep 1000"#);
    asked.argv.push(fifo);
    zygote(&GroundChoice::Own).spawn(asked).await.unwrap().wait().await;
}
