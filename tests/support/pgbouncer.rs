//! A `PgBouncer` in transaction mode, where the program is installed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, User};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(1);
/// Connections to the database, for all clients together: so few that clients get each other's.
const POOL_SIZE: u32 = 4;

/// Where the program is; `None`, said loudly, where it is not. With `SUTBOT_REQUIRE_PGBOUNCER=1` its
/// absence fails the test.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join("pgbouncer")).find(|program| program.is_file());
    if found.is_none() {
        let is_required = std::env::var("SUTBOT_REQUIRE_PGBOUNCER").is_ok_and(|value| value == "1");
        assert!(!is_required, "SUTBOT_REQUIRE_PGBOUNCER=1, and there is no pgbouncer");
        eprintln!("NOT RUN: this test needs the program `pgbouncer`, which is not installed");
    }
    found
}

/// A running pooler; killed when dropped.
pub(crate) struct PgBouncer {
    program: PathBuf,
    folder: PathBuf,
    /// Whose process it is: it refuses to be root's, and the socket of the database is private.
    user: Option<String>,
    child: Child,
}

impl PgBouncer {
    /// Starts one in an empty folder, in front of the database at `url`. `settings` are lines of its
    /// configuration.
    pub(crate) async fn start(program: PathBuf, folder: &Path, url: &str, settings: &str) -> Self {
        let host = url.split("host=").nth(1).and_then(|rest| rest.split('&').next());
        let host = host.expect("the address of a private cluster");
        let owner = Uid::from_raw(fs::metadata(host).expect("the folder of the socket").uid());
        let user = Uid::current().is_root().then(|| {
            User::from_uid(owner).expect("a passwd database").expect("an owner with a name").name
        });
        let ini = format!(
            "[databases]\n\
             mother = host={host} port=5432 dbname=mother user=mother\n\
             [pgbouncer]\n\
             listen_port = 6432\n\
             unix_socket_dir = {folder}\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {POOL_SIZE}\n\
             server_login_retry = 1\n\
             {settings}\n",
            folder = folder.display()
        );
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::write(folder.join("pgbouncer.ini"), ini).expect("a configuration");
        let child = spawn(&program, folder, user.as_deref());
        let pooler = Self { program, folder: folder.to_owned(), user, child };
        pooler.until_ready().await;
        pooler
    }

    /// What reaches the database through it.
    pub(crate) fn url(&self) -> String {
        format!("postgres:///mother?host={}&port=6432&user=mother", self.folder.display())
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process");
        self.child.wait().expect("an end");
    }

    /// Starts it again after a kill.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.folder, self.user.as_deref());
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        let url = self.url() + "&statement-cache-capacity=0";
        let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
        let options = options.extra_float_digits(None);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = PgConnection::connect_with(&options).await {
            assert!(Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(program: &Path, folder: &Path, user: Option<&str>) -> Child {
    // A socket that a killed one left is in its way.
    _ = fs::remove_file(folder.join(".s.PGSQL.6432"));
    let mut command = Command::new(program);
    command.arg("--quiet").args(user.map(|user| format!("--user={user}")));
    command.arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().expect("pgbouncer runs")
}
