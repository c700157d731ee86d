//! What only some machines have: a pool in front of the database, a disk that is soon full, a clock
//! that jumps.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Uid, User, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::party::{Party, Recipe};
use crate::patience::until;

/// A `PgBouncer` that gives each connection a session of its own.
pub(crate) struct Bouncer {
    pub(crate) party: Party,
    url: String,
}

impl Bouncer {
    /// Starts one in front of a database whose Unix socket only its owner can enter.
    pub(crate) async fn start(folder: &Path, database: &str) -> Result<Self, String> {
        let program = program("pgbouncer").ok_or("there is no pgbouncer")?;
        let options = PgConnectOptions::from_str(database).expect("a URL");
        let sockets = options.get_socket().expect("a private cluster").clone();
        let owner = fs::metadata(&sockets).expect("a folder").uid();
        let account = User::from_uid(Uid::from_raw(owner)).expect("accounts").expect("an account");
        // It refuses to run as root.
        let user =
            if geteuid().is_root() { format!("user = {}\n", account.name) } else { String::new() };
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        fs::create_dir(folder).expect("a folder");
        let settings = format!(
            "[databases]\n* = host={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = session\n{user}\
             default_pool_size = 40\nserver_login_retry = 1\nignore_startup_parameters = options, extra_float_digits\n",
            sockets.display(),
            options.get_username(),
            free.port()
        );
        let file = folder.join("settings");
        fs::write(&file, settings).expect("a file");
        let bouncer = Self {
            party: Party::start(Recipe {
                name: "pgbouncer".into(),
                program,
                arguments: vec![file.display().to_string()],
                environment: vec![],
                log: folder.join("log"),
            }),
            url: format!("postgres://{}@{free}/mother", options.get_username()),
        };
        let connects = async || PgConnection::connect(&bouncer.url).await.ok();
        until("pgbouncer connects", connects).await;
        Ok(bouncer)
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A disk of a few megabytes.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(folder: &Path) -> Result<Self, String> {
        fs::create_dir(folder).expect("a folder");
        let size = Some("size=8m");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), size)
            .map_err(|errno| format!("no small disk can be mounted: {errno}"))?;
        Ok(Self(folder.to_owned()))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).expect("a file");
        for piece in [[0; 4096].as_slice(), &[0]] {
            while filler.write(piece).is_ok_and(|written| written > 0) {}
        }
    }

    pub(crate) fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The time of day as some processes see it. Time that only passes stays true.
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    pub(crate) fn start(file: &Path) -> Result<Self, String> {
        let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = [format!("/usr/lib/{machine}"), "/usr/lib64".into(), "/usr/lib".into()];
        let names = ["faketime/libfaketimeMT.so.1", "libfaketimeMT.so.1"];
        let libraries = folders.iter().flat_map(|f| names.map(|name| Path::new(f).join(name)));
        let library = { libraries }.find(|library| library.is_file()).ok_or("no libfaketime")?;
        let clock = Self { library, file: file.to_owned() };
        clock.jump(0);
        Ok(clock)
    }

    /// What makes a process believe this clock.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            set("LD_PRELOAD", &self.library.display().to_string()),
            set("FAKETIME_TIMESTAMP_FILE", &self.file.display().to_string()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DISABLE_SHM", "1"),
            set("DONT_FAKE_MONOTONIC", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// From now on it is so many seconds ahead of the true time.
    pub(crate) fn jump(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n")).expect("a file");
        fs::rename(&next, &self.file).expect("a file");
    }
}
