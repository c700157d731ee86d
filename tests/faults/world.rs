//! What faults befall: a database, two servers, three workers, and what stands between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use sutbot::postgres::{self, Cluster, Settings};
use tokio::time::{Instant, sleep};

use crate::folder::Folder;
use crate::journal::Journal;
use crate::network::Network;
use crate::party::{Party, Recipe};
use crate::patience::PATIENCE;
use crate::processes::{marked, named};
use crate::surroundings::{Bouncer, Clock, SmallDisk};

/// How long a worker may be silent before others get its steps, by [`HASTY`].
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// The settings of every process: short leases, and more slots than the clients can ask for at once, so
/// that nothing waits but for what was broken.
const HASTY: [&str; 10] = [
    "--slots",
    "64",
    "--lease",
    "2s",
    "--heartbeat",
    "500ms",
    "--requeue-after",
    "500ms",
    "--drain",
    "0s",
];

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
    /// Between the first server and the third worker; or why not.
    pub(crate) network: Result<Network, String>,
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
        let network = Network::make();
        let direct = cluster.url();
        let pooled = bouncer.as_ref().map_or_else(|_| direct.clone(), Bouncer::url);
        let other_clock = clock.as_ref().map_or_else(|_| Vec::new(), Clock::environment);
        let small = disk.as_ref().map_or_else(|_| below("worker-2"), |d| d.folder().to_owned());
        let host = network.as_ref().map_or_else(|_| "127.0.0.1".into(), Network::host);
        let listen = format!("{host}:0");
        let mother = |name: &str, words: &[&str], data_dir: PathBuf| {
            let recipe = Recipe::mother(folder.path(), name, words).with(&HASTY);
            recipe.with(&["--data-dir", &data_dir.display().to_string()])
        };
        let first = ["serve", "--listen", &listen, "--insecure", "--database-url", &direct];
        let second = ["serve", "--listen", "127.0.0.1:0", "--database-url", &pooled];
        let recipes = [
            mother("server-1", &first, below("server-1")),
            mother("server-2", &second, below("server-2")).seeing(other_clock.clone()),
        ];
        let (servers, bases): (_, Vec<String>) = recipes.into_iter().map(Party::serve).unzip();
        let near = ["worker", "--database-url", &direct];
        let far = mother("worker-3", &["worker", "--server", &bases[0]], below("worker-3"));
        let recipes = [
            mother("worker-1", &near, below("worker-1")).seeing(other_clock),
            mother("worker-2", &near, small),
            match &network {
                Ok(network) => far.by(&network.inside()),
                Err(_) => far,
            },
        ];
        let workers = recipes.into_iter().map(Party::start).collect();
        let journal = Arc::new(Journal::open(&below("journal")));
        let mark = format!("faults-{}-", std::process::id());
        Self {
            servers,
            workers,
            bases,
            cluster,
            bouncer,
            disk,
            network,
            clock,
            journal,
            mark,
            folder,
        }
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

/// The command lines of the processes, but for this one, that work in a folder or hold a file in it
/// open.
fn using(folder: &Path) -> Vec<String> {
    let is_below = |link: &Path| std::fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    let holds = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        is_below(&process.join("cwd")) || files.flatten().any(|file| is_below(&file.path()))
    };
    let own = std::path::PathBuf::from(format!("/proc/{}", std::process::id()));
    named(|process| process.file_name() != own.file_name() && holds(process))
}
