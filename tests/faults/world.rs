//! What faults befall: a database, two servers, two workers, and what stands between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use sutbot::postgres::{self, Cluster, Settings};
use tokio::time::{Instant, sleep};

use crate::folder::Folder;
use crate::journal::Journal;
use crate::party::{ANY_PORT, Party, Recipe};
use crate::patience::PATIENCE;
use crate::processes::{marked, using};
use crate::surroundings::{Bouncer, Clock, SmallDisk};

/// How long a worker may be silent before others get its steps.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// More steps than the clients can ask for at once: nothing waits but for what was broken.
const SLOTS: &str = "64";

/// All of it; what is left of it ends with it.
pub(crate) struct World {
    pub(crate) servers: Vec<Party>,
    pub(crate) workers: Vec<Party>,
    /// The bases of the URLs of the servers.
    pub(crate) bases: Vec<String>,
    pub(crate) cluster: Cluster,
    /// In front of the database, for the second server; or why not.
    pub(crate) bouncer: Result<Bouncer, String>,
    /// Where the second worker works; or why not.
    pub(crate) disk: Result<SmallDisk, String>,
    /// What the first worker and the second server hold for the time of day; or why not.
    pub(crate) clock: Result<Clock, String>,
    pub(crate) journal: Arc<Journal>,
    /// In the environment of every step.
    pub(crate) mark: String,
    folder: Folder,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = Folder::make();
        let below = |name: &str| folder.path().join(name);
        let cluster = postgres::start(&Settings::new(below("database"))).await.expect("a cluster");
        let bouncer = Bouncer::start(&below("bouncer"), &cluster.url()).await;
        let disk = SmallDisk::mount(&below("disk"));
        let clock = Clock::start(&below("clock"));
        let direct = cluster.url();
        let pooled = bouncer.as_ref().map_or_else(|_| direct.clone(), Bouncer::url);
        let other_clock = clock.as_ref().map_or_else(|_| Vec::new(), Clock::environment);
        let small = disk.as_ref().map_or_else(|_| below("worker-2"), |d| d.folder().to_owned());
        let recipes = [
            hasty(folder.path(), "server-1", &direct, below("server-1"), vec![]),
            hasty(folder.path(), "server-2", &pooled, below("server-2"), other_clock.clone()),
        ];
        let (servers, bases) = recipes.into_iter().map(Party::serve).unzip();
        let recipes = [
            hasty(folder.path(), "worker-1", &direct, below("worker-1"), other_clock),
            hasty(folder.path(), "worker-2", &direct, small, vec![]),
        ];
        let workers = recipes.into_iter().map(Party::start).collect();
        let journal = Arc::new(Journal::open(&below("journal")));
        let mark = format!("faults-{}-", std::process::id());
        Self { servers, workers, bases, cluster, bouncer, disk, clock, journal, mark, folder }
    }

    /// All processes that have leases.
    pub(crate) fn holders(&mut self) -> Vec<&mut Party> {
        self.servers.iter_mut().chain(&mut self.workers).collect()
    }

    pub(crate) fn database_dir(&self) -> PathBuf {
        self.folder.path().join("database")
    }

    /// A connection of a stranger, straight to the database.
    pub(crate) async fn stranger(&self) -> PgConnection {
        PgConnection::connect(&self.cluster.url()).await.expect("a connection")
    }

    /// Ends all processes but the database; answers the processes that are left of them.
    pub(crate) async fn end_processes(&mut self) -> Vec<String> {
        let mut survivors = marked(&self.mark);
        Party::end_all(self.holders()).await;
        if let Ok(bouncer) = &mut self.bouncer {
            bouncer.party.kill();
        }
        survivors.extend(self.left_behind().await);
        survivors
    }

    /// What is still there of processes whose parents have ended. They see that, and need a moment.
    async fn left_behind(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = using(self.folder.path());
            left.retain(|command| !is_postgres(command));
            left.extend(marked(&self.mark));
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the database, and with it all that there was.
    pub(crate) async fn end(self) {
        self.cluster.stop().await.expect("it stops");
    }
}

/// Whether this is how postgres calls its processes.
fn is_postgres(command: &str) -> bool {
    let program = command.split('\0').next().unwrap_or_default();
    program.ends_with("/postgres") || program.starts_with("postgres: ")
}

/// A process of the product with short leases.
fn hasty(
    folder: &Path,
    name: &str,
    database: &str,
    data_dir: PathBuf,
    environment: Vec<(String, String)>,
) -> Recipe {
    let mut recipe = plain(folder, name, database);
    let lease = format!("{}s", LEASE.as_secs());
    let data_dir = data_dir.display().to_string();
    let settings = [
        ("--slots", SLOTS),
        ("--lease", &lease),
        ("--heartbeat", "500ms"),
        ("--requeue-after", "500ms"),
        ("--drain", "0s"),
        ("--data-dir", &data_dir),
    ];
    let words = settings.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]);
    Recipe { arguments: recipe.arguments.drain(..).chain(words).collect(), environment, ..recipe }
}

/// A process of the product, by its name a server or a worker, with the settings that it has unless it
/// is told otherwise.
pub(crate) fn plain(folder: &Path, name: &str, database: &str) -> Recipe {
    let arguments: &[&str] = match name.starts_with("server") {
        true => &["serve", "--listen", ANY_PORT, "--database-url", database],
        false => &["worker", "--database-url", database],
    };
    Recipe {
        name: name.to_owned(),
        program: env!("CARGO_BIN_EXE_mother").into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        environment: vec![],
        log: folder.join(format!("{name}.log")),
    }
}
