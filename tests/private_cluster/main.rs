//! The private PostgreSQL, with real binaries and real processes.
//!
//! The tests that need a second process run this test program again with the name of a helper.

mod peer;
#[path = "../support/postmaster.rs"]
mod postmaster;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use peer::{DATA_DIR, Peer};
use postmaster::{kill_all, postmaster};
use sqlx::{Connection, PgConnection};
use sutbot::postgres::{Cluster, ClusterError, Settings, default_data_dir, fetch, start};
use tempfile::TempDir;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // As root, the account of postgres has to get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    folder
}

fn settings(data_dir: &Path) -> Settings {
    Settings { durable: false, ..Settings::new(data_dir) }
}

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect(&cluster.url()).await.expect("the cluster takes connections")
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("select current_setting($1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .expect("a known setting")
}

async fn write_row(cluster: &Cluster) {
    let mut connection = connect(cluster).await;
    sqlx::raw_sql("create table kept (n int); insert into kept values (42)")
        .execute(&mut connection)
        .await
        .expect("a new table");
}

async fn read_row(cluster: &Cluster) -> i32 {
    let mut connection = connect(cluster).await;
    sqlx::query_scalar("select n from kept").fetch_one(&mut connection).await.expect("the row")
}

#[tokio::test]
async fn helper_peer() {
    let Some(data_dir) = std::env::var_os(DATA_DIR) else { return };
    let cluster = start(&Settings::new(data_dir)).await.expect("a cluster");
    drop(connect(&cluster).await);
    println!("\nrole={}", if cluster.owned() { "owner" } else { "guest" });
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await.expect("no panic").expect("an end of input");
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn a_new_cluster_serves_and_stops() {
    let folder = folder();
    let data_dir = folder.path().join("below/a, \"strange\" place%");
    let settings = Settings::new(&data_dir);
    let cluster = start(&settings).await.expect("a cluster");
    assert!(cluster.owned());
    let mut connection = connect(&cluster).await;
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
        ("jit", "off"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    let run = fs::metadata(data_dir.join("run")).expect("the socket folder");
    assert_eq!(run.permissions().mode() & 0o777, 0o700);

    let ended = cluster.ended();
    cluster.stop().await.expect("a shutdown that does not wait for open connections");
    timeout(SOON, ended).await.expect("the end is told");
    assert!(!data_dir.join("cluster/postmaster.pid").exists(), "an orderly shutdown");

    let again = start(&settings).await.expect("the same cluster");
    drop(connect(&again).await);
    again.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn tests_trade_durability_for_speed() {
    let folder = folder();
    let cluster = start(&settings(folder.path())).await.expect("a cluster");
    let mut connection = connect(&cluster).await;
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(setting(&mut connection, name).await, "off", "{name}");
    }
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn a_guest_shares_and_takes_over_when_the_owner_stops() {
    let folder = folder();
    let settings = settings(folder.path());
    let owner = start(&settings).await.expect("a cluster");
    let mut guest = start(&settings).await.expect("the same cluster");
    assert!(!guest.owned());
    assert_eq!(guest.url(), owner.url());
    write_row(&owner).await;
    guest.ensure().await.expect("it answers");
    assert!(!guest.owned());

    let ended = guest.ended();
    owner.stop().await.expect("a shutdown");
    timeout(SOON, ended).await.expect("the guest notices");
    guest.ensure().await.expect("the guest starts it again");
    assert!(guest.owned());
    assert_eq!(read_row(&guest).await, 42);
    guest.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn a_killed_postgres_recovers_with_its_data() {
    let folder = folder();
    let settings = Settings::new(folder.path());
    let mut cluster = start(&settings).await.expect("a cluster");
    write_row(&cluster).await;

    kill_all(folder.path());
    timeout(SOON, cluster.ended()).await.expect("the owner notices");
    cluster.ensure().await.expect("a recovery");
    assert!(cluster.owned());
    assert_eq!(read_row(&cluster).await, 42);

    // Only the postmaster: its children are still there when the next one wants their memory.
    kill(postmaster(folder.path()), Signal::SIGKILL).expect("a live postmaster");
    cluster.ensure().await.expect("a recovery, however early it is asked for");
    assert_eq!(read_row(&cluster).await, 42);
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn killed_processes_leave_a_cluster_that_starts_again() {
    let folder = folder();
    let mut peer = Peer::ready(Peer::spawn(folder.path()));
    assert!(peer.owner);
    let mut guest = start(&Settings::new(folder.path())).await.expect("the same cluster");
    assert!(!guest.owned());
    write_row(&guest).await;

    let old = postmaster(folder.path());
    peer.child.kill().expect("a live peer");
    peer.child.wait().expect("a child");
    timeout(SOON, guest.ended()).await.expect("postgres follows its killed owner");
    guest.ensure().await.expect("a new postgres");
    assert!(guest.owned());
    assert_ne!(postmaster(folder.path()), old);
    assert_eq!(read_row(&guest).await, 42);
    guest.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn everything_killed_at_once_recovers() {
    let folder = folder();
    let mut peer = Peer::ready(Peer::spawn(folder.path()));
    let guest = start(&Settings::new(folder.path())).await.expect("the same cluster");
    write_row(&guest).await;
    drop(guest);

    peer.child.kill().expect("a live peer");
    kill_all(folder.path());
    let cluster = start(&Settings::new(folder.path())).await.expect("a recovery");
    assert_eq!(read_row(&cluster).await, 42);
    cluster.stop().await.expect("a shutdown");
    peer.child.wait().expect("a child");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_initdb_leaves_nothing_half_made() {
    let folder = folder();
    for pause in [20, 80, 200, 400] {
        let mut child = Peer::spawn(folder.path());
        tokio::time::sleep(Duration::from_millis(pause)).await;
        child.kill().expect("a live peer");
        child.wait().expect("a child");
    }
    let cluster = start(&settings(folder.path())).await.expect("a cluster");
    drop(connect(&cluster).await);
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn concurrent_tasks_get_one_cluster() {
    let folder = folder();
    let settings = settings(folder.path());
    let (a, b, c, d) =
        tokio::join!(start(&settings), start(&settings), start(&settings), start(&settings));
    let clusters = [a, b, c, d].map(|cluster| cluster.expect("a cluster"));
    assert_eq!(clusters.iter().filter(|cluster| cluster.owned()).count(), 1);
    for cluster in clusters {
        cluster.stop().await.expect("a shutdown, or nothing to do");
    }
}

#[test]
fn concurrent_processes_get_one_cluster() {
    let folder = folder();
    let children: Vec<Child> = (0..4).map(|_| Peer::spawn(folder.path())).collect();
    let peers: Vec<Peer> = children.into_iter().map(Peer::ready).collect();
    assert_eq!(peers.iter().filter(|peer| peer.owner).count(), 1);
    let (owner, guests): (Vec<Peer>, Vec<Peer>) = peers.into_iter().partition(|peer| peer.owner);
    guests.into_iter().chain(owner).for_each(Peer::finish);
}

#[tokio::test]
async fn a_dropped_cluster_shuts_down() {
    let folder = folder();
    let cluster = start(&settings(folder.path())).await.expect("a cluster");
    let ended = cluster.ended();
    drop(cluster);
    timeout(SOON, ended).await.expect("it was asked to end");
}

#[tokio::test]
async fn a_deep_data_folder_works() {
    let folder = folder();
    let deep: PathBuf = folder.path().join("d".repeat(60)).join("e".repeat(60));
    let settings = settings(&deep);
    let cluster = start(&settings).await.expect("a cluster");
    let guest = start(&settings).await.expect("the same cluster");
    assert!(cluster.url().contains("host=/tmp/mother-"), "{}", cluster.url());
    drop(connect(&guest).await);
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn a_socket_folder_of_somebody_else_is_refused() {
    let folder = folder();
    let settings = settings(&folder.path().join("d".repeat(120)));
    let cluster = start(&settings).await.expect("a cluster");
    let url = cluster.url();
    cluster.stop().await.expect("a shutdown");
    let (_, rest) = url.split_once("host=").expect("a host");
    let (sockets, _) = rest.split_once('&').expect("a user");
    assert!(!Path::new(sockets).exists(), "nothing stays behind in /tmp");

    fs::create_dir(sockets).expect("a free name");
    fs::set_permissions(sockets, fs::Permissions::from_mode(0o777)).expect("chmod");
    let error = start(&settings).await.expect_err("anybody could listen there");
    fs::remove_dir(sockets).expect("an empty folder");
    assert!(matches!(error, ClusterError::SocketFolderTaken { .. }), "{error}");
}

#[tokio::test]
async fn a_postgres_that_outlived_its_owner_is_retired() {
    let folder = folder();
    let settings = settings(folder.path());
    let cluster = start(&settings).await.expect("a cluster");
    let line = fs::read_to_string(format!("/proc/{}/cmdline", postmaster(folder.path())))
        .expect("the arguments of postgres");
    cluster.stop().await.expect("a shutdown");

    // The same postgres again, but nobody's child and without the lock.
    let owner = fs::metadata(folder.path().join("cluster")).expect("the cluster");
    fs::create_dir(folder.path().join("run")).expect("the socket folder");
    fs::set_permissions(folder.path().join("run"), fs::Permissions::from_mode(0o700))
        .expect("chmod");
    chown(folder.path().join("run"), Some(owner.uid()), Some(owner.gid())).expect("chown");
    let mut arguments = line.split_terminator('\0');
    let mut command = Command::new(arguments.next().expect("a program"));
    command.args(arguments).stderr(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let mut orphan = command.spawn().expect("postgres");
    while !folder.path().join("run/.s.PGSQL.5432").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Reaps it, as init would.
    let reaper = std::thread::spawn(move || orphan.wait());

    let cluster = start(&settings).await.expect("a cluster");
    assert!(cluster.owned());
    assert!(reaper.join().expect("no panic").expect("a child").success(), "an orderly end");
    cluster.stop().await.expect("a shutdown");
}

#[tokio::test]
async fn a_stale_process_id_of_a_stranger_is_no_obstacle() {
    let folder = folder();
    let settings = settings(folder.path());
    let lock_files =
        ["cluster/postmaster.pid", "run/.s.PGSQL.5432.lock"].map(|name| folder.path().join(name));
    let cluster = start(&settings).await.expect("a cluster");
    let texts =
        lock_files.each_ref().map(|file| fs::read_to_string(file).expect("a file of postgres"));
    let owner = fs::metadata(&lock_files[0]).expect("a file of postgres");
    kill_all(folder.path());
    timeout(SOON, cluster.ended()).await.expect("it was killed");
    drop(cluster);

    let mut stranger = Command::new("sleep");
    stranger.arg("60").current_dir("/");
    if nix::unistd::geteuid().is_root() {
        stranger.uid(owner.uid());
    }
    let mut stranger = stranger.spawn().expect("a process of the same user");
    for (file, text) in lock_files.iter().zip(texts) {
        let (_, rest) = text.split_once('\n').expect("lines");
        fs::write(file, format!("{}\n{rest}", stranger.id())).expect("a file to change");
        chown(file, Some(owner.uid()), Some(owner.gid())).expect("chown");
    }
    let cluster = start(&settings).await.expect("a cluster");
    drop(connect(&cluster).await);
    cluster.stop().await.expect("a shutdown");
    assert!(stranger.try_wait().expect("a child").is_none(), "it was left alone");
    stranger.kill().expect("a live stranger");
    stranger.wait().expect("a child");
}

#[tokio::test]
async fn missing_binaries_are_told_with_every_remedy() {
    let folder = folder();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let settings = Settings { bin_dir: Some(empty.clone()), ..settings(folder.path()) };
    let error = start(&settings).await.expect_err("there is nothing to start");
    let text = error.to_string();
    for part in [
        empty.to_str().expect("a plain path"),
        "apt-get install postgresql",
        "dnf install postgresql-server",
        "apk add postgresql",
        "brew install postgresql@",
        "MOTHER_PG_BIN",
        "mother db fetch",
        "docker compose",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn another_major_version_is_refused() {
    let folder = folder();
    let settings = settings(folder.path());
    start(&settings).await.expect("a cluster").stop().await.expect("a shutdown");
    fs::write(folder.path().join("cluster/PG_VERSION"), "9\n").expect("a file to change");
    let error = start(&settings).await.expect_err("files of another version");
    assert!(matches!(error, ClusterError::MajorDiffers { major: 9, .. }), "{error}");
}

#[tokio::test]
async fn a_postgres_that_cannot_start_is_quoted() {
    let folder = folder();
    let settings = settings(folder.path());
    start(&settings).await.expect("a cluster").stop().await.expect("a shutdown");
    fs::write(folder.path().join("cluster/postgresql.conf"), "no_such_setting = 1\n")
        .expect("a file to change");
    let error = start(&settings).await.expect_err("a broken configuration").to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_folder_closed_to_the_account_is_named() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let closed = folder();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let error = start(&settings(&closed.path().join("data"))).await.expect_err("root's own");
    let ClusterError::Unreachable { folder, .. } = error else { panic!("{error}") };
    assert_eq!(folder, closed.path().canonicalize().expect("a real path"));
    assert_eq!(default_data_dir(), Path::new("/var/lib/mother"));
}

#[tokio::test]
async fn an_ordinary_user_needs_no_root_and_root_keeps_to_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        return; // Then every other test here is this one.
    }
    let folder = folder();
    // Copied, because the build folder may be closed to others.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let nobody = nix::unistd::User::from_name("nobody").expect("passwd").expect("nobody");
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir).expect("a folder");
    chown(&data_dir, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).expect("chown");
    let child = Command::new(&program)
        .args(["--exact", "helper_peer", "--nocapture"])
        .env(DATA_DIR, data_dir.join("below"))
        .current_dir("/")
        .uid(nobody.uid.as_raw())
        .gid(nobody.gid.as_raw())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process of nobody");
    let peer = Peer::ready(child);
    assert!(peer.owner);
    peer.finish();

    let cluster = start(&settings(&data_dir.join("below"))).await.expect("the same cluster");
    let status = fs::metadata(format!("/proc/{}", postmaster(&data_dir.join("below"))));
    assert_eq!(status.expect("a live postmaster").uid(), nobody.uid.as_raw());
    drop(connect(&cluster).await);
    cluster.stop().await.expect("a shutdown");
}

#[test]
fn a_user_without_a_name_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
    let output = Command::new(&program)
        .args(["--exact", "helper_peer", "--nocapture"])
        .env(DATA_DIR, folder.path().join("data"))
        .current_dir("/")
        .uid(54_321)
        .output()
        .expect("a process of a user without a name");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && text.contains("NoPasswdEntry { uid: 54321 }"), "{text}");
}

/// Downloads 25 MB, so it runs only when `SUTBOT_TEST_DOWNLOAD` is set.
#[tokio::test]
async fn fetched_binaries_serve() {
    if std::env::var_os("SUTBOT_TEST_DOWNLOAD").is_none() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = folder();
    let bin_dir = fetch(folder.path()).await.expect("binaries");
    assert_eq!(fetch(folder.path()).await.expect("the same, at once"), bin_dir);
    let settings = Settings { bin_dir: Some(bin_dir), ..settings(folder.path()) };
    let cluster = start(&settings).await.expect("a cluster");
    let mut connection = connect(&cluster).await;
    assert!(setting(&mut connection, "server_version").await.starts_with("18"));
    cluster.stop().await.expect("a shutdown");
}
