//! Faults of all kinds, one after the other, under clients that never stop: nothing that was
//! acknowledged is lost, nothing is done twice, nobody is told what is not so, no process is left, and
//! after each fault the service runs steps again by itself.
//!
//! Every day each kind that the machine can do happens once. `SUTBOT_FAULT_ROUNDS=100` makes so many
//! random rounds with more clients (add `-- --nocapture` to see them). `SUTBOT_FAULT_SEED` repeats the
//! choices of a run, as far as the race allows; `SUTBOT_FAULT_KINDS=kill_server,kill_worker` says which
//! kinds there are; `SUTBOT_FAULT_DEMAND=all` fails where the machine cannot do one of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clients;
#[path = "../support/draw.rs"]
mod draw;
#[path = "../support/family.rs"]
mod family;
mod folder;
mod heartbeats;
#[path = "../support/history.rs"]
mod history;
mod journal;
mod kinds;
mod ledger;
mod network;
mod party;
mod patience;
#[path = "../support/postmaster.rs"]
mod postmaster;
mod probe;
#[path = "../support/processes.rs"]
mod processes;
mod quiet;
mod report;
#[path = "../support/serve.rs"]
mod serve;
#[expect(dead_code, reason = "shared with the tests of the engine")]
#[path = "../engine/support.rs"]
mod support;
mod surroundings;
#[path = "../support/told.rs"]
mod told;
mod verdict;
mod world;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clients::Client;
use draw::Chance;
use kinds::Kind;
use ledger::Ledger;
use report::Report;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use verdict::Verdict;
use world::World;

/// Clients of an everyday run, and of a long one.
const CLIENTS: (u64, u64) = (8, 32);
/// How long there is peace before a fault, at the most.
const PEACE_MILLIS_MAX: usize = 1_500;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} cannot be {text}")))
}

/// The kinds that are asked for and that this machine can do; says loudly which it cannot.
fn kinds(world: &World) -> Vec<Kind> {
    let asked: Option<String> = setting("SUTBOT_FAULT_KINDS");
    let names: Option<Vec<&str>> = asked.as_ref().map(|names| names.split(',').collect());
    for name in names.iter().flatten() {
        assert!(Kind::ALL.iter().any(|kind| kind.name() == *name), "there is no fault {name}");
    }
    let is_asked = |kind: &Kind| names.as_ref().is_none_or(|names| names.contains(&kind.name()));
    let all_demanded = setting("SUTBOT_FAULT_DEMAND").is_some_and(|what: String| what == "all");
    let mut kinds = Vec::new();
    for kind in Kind::ALL.into_iter().filter(is_asked) {
        match kind.possible(world) {
            Ok(()) => kinds.push(kind),
            Err(why) => {
                assert!(!all_demanded, "{} cannot be done: {why}", kind.name());
                println!("NOT TRIED ON THIS MACHINE: {}: {why}", kind.name());
            }
        }
    }
    kinds
}

/// Which faults there are, in order: as many random ones as are asked for, or each once.
fn plan(kinds: &[Kind], rounds: Option<usize>, chance: &mut Chance) -> Vec<Kind> {
    if let Some(rounds) = rounds {
        return (0..rounds).map(|_| *chance.of(kinds)).collect();
    }
    let mut left = kinds.to_vec();
    let mut plan = Vec::new();
    while !left.is_empty() {
        plan.push(left.swap_remove(chance.below(left.len())));
    }
    plan
}

/// One test at a time has the machine to itself, as far as it is this program's.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_breaks_nothing_is_lost_or_done_twice_and_nobody_lies() {
    let _alone = ALONE.lock().await;
    let seed = setting("SUTBOT_FAULT_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("SUTBOT_FAULT_SEED={seed}");
    let begun = Instant::now();
    let mut chance = Chance(seed);
    let mut world = World::start().await;
    let rounds: Option<usize> = setting("SUTBOT_FAULT_ROUNDS");
    let plan = plan(&kinds(&world), rounds, &mut chance);
    let ledger = Arc::new(Ledger::new(world.bases.clone()));
    let mut clients = JoinSet::new();
    for number in 0..if rounds.is_some() { CLIENTS.1 } else { CLIENTS.0 } {
        let (ledger, journal) = (Arc::clone(&ledger), Arc::clone(&world.journal));
        let (mark, chance) = (world.mark.clone(), Chance(seed ^ ((number + 1) << 32)));
        clients.spawn(Client { number, ledger, journal, mark, chance }.work());
    }
    let mut report = Report::default();
    for (round, kind) in (1..).zip(&plan) {
        let peace = chance.below(PEACE_MILLIS_MAX).try_into().expect("small");
        sleep(Duration::from_millis(peace)).await;
        kind.cause(&mut world, &mut chance).await;
        let over = Instant::now();
        kind.mend(&mut world).await;
        probe::succeeds(&ledger, &world.journal, round).await;
        let took = over.elapsed();
        report.add(*kind, took);
        let acknowledged = ledger.acknowledged.lock().expect("sound").len();
        let (all, name) = (plan.len(), kind.name());
        println!("{round} of {all}: {name}, recovered in {took:.2?}; {acknowledged} acknowledged");
    }
    ledger.is_over.store(true, Ordering::Relaxed);
    clients.join_all().await;

    let mut stranger = world.stranger().await;
    quiet::settle(&ledger, &mut stranger).await;
    let mut verdict = Verdict { survivors: world.end_processes().await, ..Verdict::default() };
    let engine = support::engine(&world.cluster.url()).await;
    let operations = verdict.judge(&engine, &mut stranger, &ledger, &world.journal).await;
    engine.shut_down().await;
    report.print(&ledger, operations, &verdict);
    println!("{} rounds in {:.1?}", plan.len(), begun.elapsed());
    assert!(verdict.is_clean(), "SUTBOT_FAULT_SEED={seed}: {verdict:#?}");
    world.end().await;
}
