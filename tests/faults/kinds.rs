//! The kinds of faults: what each does, what mends it, and whether this machine can do it.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use sqlx::{Connection as _, Executor as _};
use tokio::time::sleep;

use crate::draw::Chance;
use crate::party::Party;
use crate::postmaster;
use crate::world::{LEASE, World};

/// How long what hurts without killing lasts.
const WHILE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillServer,
    KillWorker,
    KillZygote,
    KillMonitor,
    KillPostgres,
    StopServer,
    StopWorker,
    CutBackends,
    FillDisk,
    HoldXmin,
    KillPgBouncer,
    JumpClock,
    CutNetwork,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::KillServer,
        Self::KillWorker,
        Self::KillZygote,
        Self::KillMonitor,
        Self::KillPostgres,
        Self::StopServer,
        Self::StopWorker,
        Self::CutBackends,
        Self::FillDisk,
        Self::HoldXmin,
        Self::KillPgBouncer,
        Self::JumpClock,
        Self::CutNetwork,
    ];

    /// The name in settings and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillServer => "kill_server",
            Self::KillWorker => "kill_worker",
            Self::KillZygote => "kill_zygote",
            Self::KillMonitor => "kill_monitor",
            Self::KillPostgres => "kill_postgres",
            Self::StopServer => "stop_server",
            Self::StopWorker => "stop_worker",
            Self::CutBackends => "cut_backends",
            Self::FillDisk => "fill_disk",
            Self::HoldXmin => "hold_xmin",
            Self::KillPgBouncer => "kill_pgbouncer",
            Self::JumpClock => "jump_clock",
            Self::CutNetwork => "cut_network",
        }
    }

    /// Whether this can be done here, or why not.
    pub(crate) fn possible(self, world: &World) -> Result<(), String> {
        match self {
            Self::FillDisk => world.disk.as_ref().map(|_| ()).map_err(Clone::clone),
            Self::KillPgBouncer => world.bouncer.as_ref().map(|_| ()).map_err(Clone::clone),
            Self::JumpClock => world.clock.as_ref().map(|_| ()).map_err(Clone::clone),
            Self::CutNetwork => world.network.as_ref().map(|_| ()).map_err(Clone::clone),
            Self::KillServer
            | Self::KillWorker
            | Self::KillZygote
            | Self::KillMonitor
            | Self::KillPostgres
            | Self::StopServer
            | Self::StopWorker
            | Self::CutBackends
            | Self::HoldXmin => Ok(()),
        }
    }

    /// Does it. What hurts only while it lasts is over when this answers.
    pub(crate) async fn cause(self, world: &mut World, chance: &mut Chance) {
        match self {
            Self::KillServer => any(&mut world.servers, chance).kill(),
            Self::KillWorker => any(&mut world.workers, chance).kill(),
            Self::KillZygote => kill_below(world, chance, "sut-zygote").await,
            Self::KillMonitor => kill_below(world, chance, "sut-monitor").await,
            Self::KillPostgres => postmaster::kill_all(&world.database_dir()),
            Self::StopServer => stop(any(&mut world.servers, chance), chance).await,
            Self::StopWorker => stop(any(&mut world.workers, chance), chance).await,
            Self::CutBackends => cut_backends(world).await,
            Self::FillDisk => {
                let disk = world.disk.as_ref().expect("it is possible");
                disk.fill();
                sleep(WHILE).await;
                disk.empty();
            }
            Self::HoldXmin => hold_xmin(world).await,
            Self::KillPgBouncer => world.bouncer.as_mut().expect("it is possible").party.kill(),
            Self::JumpClock => {
                let clock = world.clock.as_ref().expect("it is possible");
                let hours = *chance.of(&[-24 * 365, -24, -1, 1, 24, 24 * 365]);
                clock.jump(hours * 3600);
                sleep(WHILE).await;
                clock.jump(0);
            }
            Self::CutNetwork => {
                let network = world.network.as_ref().expect("it is possible");
                network.cut();
                sleep(longer_than_a_lease(chance)).await;
                network.mend();
            }
        }
    }

    /// Starts again what it killed.
    pub(crate) async fn mend(self, world: &mut World) {
        match self {
            Self::KillPostgres => world.cluster.ensure().await.expect("a cluster"),
            Self::KillPgBouncer => world.bouncer.as_mut().expect("it is possible").party.revive(),
            Self::KillServer | Self::KillWorker => {
                tokio::task::block_in_place(|| world.holders().into_iter().for_each(Party::revive));
            }
            Self::KillZygote
            | Self::KillMonitor
            | Self::StopServer
            | Self::StopWorker
            | Self::CutBackends
            | Self::FillDisk
            | Self::HoldXmin
            | Self::JumpClock
            | Self::CutNetwork => {}
        }
    }
}

fn any<'a>(parties: &'a mut [Party], chance: &mut Chance) -> &'a mut Party {
    let place = chance.below(parties.len());
    &mut parties[place]
}

/// Kills one of the processes with that name that run steps for the product.
async fn kill_below(world: &mut World, chance: &mut Chance, name: &str) {
    crate::patience::until(name, async || {
        let below = world.holders().into_iter().flat_map(|party| party.below(name));
        let below: Vec<_> = below.collect();
        // What has just ended by itself was not killed by this.
        (!below.is_empty() && kill(*chance.of(&below), Signal::SIGKILL).is_ok()).then_some(())
    })
    .await;
}

/// Stops a process, and lets it go on.
async fn stop(party: &Party, chance: &mut Chance) {
    party.signal(Signal::SIGSTOP);
    sleep(longer_than_a_lease(chance)).await;
    party.signal(Signal::SIGCONT);
}

/// For so long that who is not heard of loses its lease, and sometimes until others have what it had.
fn longer_than_a_lease(chance: &mut Chance) -> Duration {
    LEASE + LEASE * chance.below(100).try_into().expect("small") / 100
}

/// Ends the sessions of about half of all connections.
async fn cut_backends(world: &World) {
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid() and random() < 0.5";
    world.stranger().await.execute(cut).await.expect("the superuser may");
}

/// A transaction of somebody else that lets nothing be cleaned up.
async fn hold_xmin(world: &World) {
    let mut stranger = world.stranger().await;
    let mut held = stranger.begin().await.expect("a transaction");
    held.execute("select pg_current_xact_id()").await.expect("a number");
    sleep(WHILE).await;
    held.rollback().await.expect("it is still there");
}
