//! Control groups, limits and the sandbox: each holds, says so when it cannot be had, and leaves the
//! zygote as it was.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use sutbot::domain::definition::{ResourceLimits, Wall};
use sutbot::runner::process::{
    Confinement, Ended, Exit, GroundChoice, GroundSettings, Limit, ProcessSpec, Sandbox,
    SpawnError, Zygote,
};

use crate::support::{self, Tree, capture, shell, spec, within};

fn zygote(place: &GroundChoice) -> Zygote {
    let groups = GroundSettings { place: place.clone(), processes: None };
    Zygote::start_with(Path::new(env!("CARGO_BIN_EXE_mother")), &groups, None).unwrap()
}

/// The zygote starts one process after the other, whatever the last one did.
async fn goes_on(zygote: &Zygote) {
    for _ in 0..20 {
        let (_, _, ended) = capture(zygote.spawn(spec(&["true"])).await.unwrap()).await;
        assert_eq!((ended.status, ended.swept), (Exit::Code(0), 0));
    }
}

async fn run(zygote: &Zygote, asked: ProcessSpec) -> (String, Ended) {
    let (out, err, ended) = capture(zygote.spawn(asked).await.unwrap()).await;
    (String::from_utf8(out).unwrap() + std::str::from_utf8(&err).unwrap(), ended)
}

fn limited(script: &str, limits: ResourceLimits) -> ProcessSpec {
    ProcessSpec { confinement: Confinement { limits, ..Confinement::default() }, ..shell(script) }
}

fn boxed(script: &str, writable: &[&Path]) -> ProcessSpec {
    let writable = writable.iter().map(Into::into).collect();
    let sandbox = Some(Sandbox { writable });
    ProcessSpec { confinement: Confinement { sandbox, ..Confinement::default() }, ..shell(script) }
}

/// Whether this host lets a worker have control groups that count this. Says so when not: what could
/// not be tried must not look as if it had been.
async fn can_count(zygote: &Zygote, limits: ResourceLimits) -> bool {
    let mut asked = limited("exit 0", limits);
    asked.confinement.demanded = [Wall::Cgroup].into_iter().collect();
    match zygote.spawn(asked).await {
        Ok(process) => within(process.wait()).await.walls.cgroup,
        Err(error) => {
            eprintln!("not tried: {error}");
            false
        }
    }
}

#[tokio::test]
async fn the_record_names_the_walls_that_stood() {
    let none = zygote(&GroundChoice::Nowhere);
    let (_, ended) = run(&none, shell("exit 0")).await;
    assert_eq!(ended.walls.names().collect::<Vec<_>>(), ["sweep"]);
    let own = support::zygote();
    if can_count(&own, ResourceLimits::default()).await {
        let mut asked = shell("cat /proc/self/cgroup");
        asked.confinement.demanded = [Wall::Cgroup].into_iter().collect();
        let (out, ended) = run(&own, asked).await;
        assert_eq!(ended.walls.names().collect::<Vec<_>>(), ["sweep", "cgroup"]);
        assert!(out.contains("/mother-") && out.contains("/step-"), "{out}");
        goes_on(&own).await;
    }
}

#[tokio::test]
async fn a_wall_that_cannot_be_had_keeps_the_process_from_running() {
    let zygote = zygote(&GroundChoice::Nowhere);
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("ran");
    let mut asked = shell(&format!("touch {}", witness.display()));
    asked.confinement.demanded = [Wall::Cgroup].into_iter().collect();
    let error = within(zygote.spawn(asked.clone())).await.unwrap_err();
    let SpawnError::ContainmentUnavailable { wall: Wall::Cgroup, .. } = error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("mother doctor"), "{error}");
    asked.confinement = Confinement {
        limits: ResourceLimits { cpu: Some(0.5), ..ResourceLimits::default() },
        ..Confinement::default()
    };
    let error = within(zygote.spawn(asked)).await.unwrap_err();
    assert!(matches!(error, SpawnError::LimitUnavailable { limit: Limit::Cpu, .. }), "{error:?}");
    assert!(!witness.exists());
    goes_on(&zygote).await;
}

#[tokio::test]
async fn each_process_has_its_own_limits() {
    let zygote = zygote(&GroundChoice::Nowhere);
    let limits =
        ResourceLimits { files: Some(16), file_size: Some(1 << 20), ..ResourceLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    let script = "ulimit -n; ulimit -Hn; exec dd if=/dev/zero of=$0 bs=65536 count=64 status=none";
    let mut asked = limited(script, limits);
    asked.argv.push(file.clone().into_os_string());
    let (out, ended) = run(&zygote, asked).await;
    assert!(out.starts_with("16\n16\n"), "{out}");
    assert_eq!(ended.status, Exit::Signal(libc::SIGXFSZ));
    assert_eq!(fs::metadata(file).unwrap().len(), 1 << 20);

    // Without control groups, memory is what one process may map.
    let limits = ResourceLimits { memory: Some(64 << 20), ..ResourceLimits::default() };
    let (out, ended) = run(&zygote, limited("dd if=/dev/zero of=/dev/null bs=256M", limits)).await;
    assert!(matches!(ended.status, Exit::Code(1)), "{ended:?} {out}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_fork_bomb_is_bounded() {
    let zygote = support::zygote();
    let limits = ResourceLimits { processes: Some(50), ..ResourceLimits::default() };
    if !can_count(&zygote, limits).await {
        return;
    }
    let mut tree = Tree::new();
    let bomb =
        r#"exec 9>"$1"; echo up >&9; bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1000"#;
    let mut asked = tree.shell(bomb);
    asked.confinement.limits = limits;
    let process = zygote.spawn(asked).await.unwrap();
    tree.wait_for(1).await;
    goes_on(&zygote).await;
    process.kill_tree();
    within(process.wait()).await;
    tree.assert_dead().await;

    let (out, _) = run(&zygote, limited("for n in $(seq 60); do sleep 9 & done", limits)).await;
    assert!(out.to_lowercase().contains("fork"), "{out}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_fork_bomb_of_a_step_without_limits_is_bounded_too() {
    let groups = GroundSettings { processes: Some(80), ..GroundSettings::default() };
    let exe = Path::new(env!("CARGO_BIN_EXE_mother"));
    let zygote = Zygote::start_with(exe, &groups, None).unwrap();
    if !can_count(&zygote, ResourceLimits { processes: Some(50), ..ResourceLimits::default() })
        .await
    {
        return;
    }
    // A group of its own is not in the common one, so this is the bound of the others.
    let (out, _) = run(&zygote, shell("for n in $(seq 90); do sleep 9 & done")).await;
    assert!(out.to_lowercase().contains("fork"), "{out}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_memory_bomb_is_killed_and_told() {
    let zygote = support::zygote();
    let limits = ResourceLimits { memory: Some(32 << 20), ..ResourceLimits::default() };
    if !can_count(&zygote, limits).await {
        return;
    }
    let (_, ended) =
        run(&zygote, limited("exec dd if=/dev/zero of=/dev/null bs=256M", limits)).await;
    assert_eq!(ended.status, Exit::Signal(libc::SIGKILL));
    assert!(ended.oom_kills > 0 && ended.walls.cgroup, "{ended:?}");
    let peak = ended.memory_peak_bytes.unwrap();
    assert!((16 << 20..=32 << 20).contains(&peak), "{peak}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn processor_time_is_rationed() {
    let zygote = support::zygote();
    let limits = ResourceLimits { cpu: Some(0.1), ..ResourceLimits::default() };
    if !can_count(&zygote, limits).await {
        return;
    }
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let (_, ended) = run(&zygote, limited(script, limits)).await;
    let used = ended.user_cpu + ended.system_cpu;
    assert!(ended.wall > used * 3, "{ended:?}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_sandbox_shows_little_and_keeps_the_rest_as_it_is() {
    let zygote = support::zygote();
    let own = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let script = r#"
        echo pid $$; ls /proc | grep -c '^[0-9]'
        grep -c : /proc/net/dev
        touch "$0/mine" && mkdir "$0/folder" && mv "$0/mine" "$0/folder/moved" && echo writes
        touch "$1/theirs" 2>&1; touch /etc/theirs 2>&1; touch /usr/theirs 2>&1
        echo text > /tmp/private && cat /tmp/private; ls /tmp
        echo null > /dev/null && echo device; ls /dev/disk /dev/vda /dev/sda /dev/mem 2>&1 | grep -c cannot
        mount -t tmpfs none /mnt 2>&1 || echo no mount
    "#;
    let mut asked = boxed(script, &[own.path()]);
    asked.argv.extend([own.path().into(), other.path().into()]);
    let (out, ended) = run(&zygote, asked).await;
    assert_eq!(ended.status, Exit::Code(0), "{out}");
    assert!(ended.walls.namespaces, "{ended:?}");
    assert!(out.starts_with("pid 2\n"), "{out}");
    for line in ["writes", "text", "device", "no mount"] {
        assert!(out.lines().any(|said| said == line), "{line}: {out}");
    }
    assert!(!other.path().join("theirs").exists(), "{out}");
    assert!(!Path::new("/etc/theirs").exists() && !Path::new("/usr/theirs").exists());
    assert!(!Path::new("/tmp/private").exists());
    assert!(own.path().join("folder/moved").exists());
    // The loopback and no other network.
    assert_eq!(out.lines().nth(2), Some("1"), "{out}");
    goes_on(&zygote).await;
}

#[tokio::test]
async fn a_sandbox_ends_like_any_other() {
    let zygote = support::zygote();
    for (script, status) in [
        ("exit 7", Exit::Code(7)),
        ("kill -TERM $$", Exit::Signal(libc::SIGTERM)),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL)),
    ] {
        let (_, ended) = run(&zygote, boxed(script, &[])).await;
        assert_eq!((ended.status, ended.swept), (status, 0), "{script}");
    }
    let asked = boxed("setsid sleep 1000 & setsid sleep 1000 & exit 5", &[]);
    let (_, ended) = run(&zygote, asked).await;
    assert_eq!((ended.status, ended.swept), (Exit::Code(5), 2));
    // A signal of the worker is obeyed as it would be outside.
    let process = zygote.spawn(boxed("sleep 1000 & wait", &[])).await.unwrap();
    process.signal_group(sutbot::runner::process::Signal::SIGTERM);
    assert_eq!(within(process.wait()).await.status, Exit::Signal(libc::SIGTERM));
    goes_on(&zygote).await;
}

#[tokio::test]
async fn an_end_that_came_before_the_signal_is_the_end() {
    let zygote = support::zygote();
    let mut process = zygote.spawn(shell("exit 3")).await.unwrap();
    // Its pipes are closed by its end, and by nothing else.
    within(support::read_all(&mut process.stdout)).await;
    within(support::until_zombie(process.pid())).await;
    process.signal_group(sutbot::runner::process::Signal::SIGTERM);
    process.kill_tree();
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.signalled), (Exit::Code(3), false));

    let process = zygote.spawn(spec(&["sleep", "1000"])).await.unwrap();
    process.kill_tree();
    let ended = within(process.wait()).await;
    assert_eq!((ended.status, ended.signalled), (Exit::Signal(libc::SIGKILL), true));
}
