//! This program, executed again in a role of its own.
//!
//! A child gets its orders as JSON in its arguments and answers one line of JSON. One that serves
//! does so until its standard input ends, so it never outlives the benchmark.

use std::io::{Read, Write};
use std::process::Stdio;

use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::{Failure, limits, load, noop, park, serve};

/// In front of a role in the arguments.
const MARK: &str = "as";

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The service.
    Serve,
    /// The engine and a worker, loaded from within.
    Noop,
    /// The engine without a worker, filled from within.
    Queue,
    /// The barest HTTP routes on the same database.
    LimitServe,
    /// The barest loop of inserts.
    LimitInsert,
    /// The barest loop of processes.
    LimitSpawn,
    /// The load generator.
    Load,
    /// Clients that wait for operations that do not move.
    Park,
}

/// The role this process was started for, if it is a child.
pub(crate) fn role() -> Option<Role> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().filter(|mark| mark == MARK).and(arguments.next())?;
    Role::from_str(&role, false).ok()
}

/// Plays it to its end.
pub(crate) fn play(role: Role) -> Result<(), Failure> {
    let mut builder = match role {
        // The program under test runs on the runtime that it would have.
        Role::Serve | Role::Noop | Role::Queue | Role::LimitServe | Role::LimitSpawn => {
            tokio::runtime::Builder::new_multi_thread()
        }
        Role::LimitInsert | Role::Load | Role::Park => {
            tokio::runtime::Builder::new_current_thread()
        }
    };
    // Thousands of clients are a descriptor each, on both sides.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let orders = std::env::args().nth(3).ok_or("no orders")?;
    builder.enable_all().build()?.block_on(async {
        match role {
            Role::Serve => serve::serve(serde_json::from_str(&orders)?).await,
            Role::Noop => tell(&noop::noop(serde_json::from_str(&orders)?).await?),
            Role::Queue => tell(&noop::queue(serde_json::from_str(&orders)?).await?),
            Role::LimitServe => limits::http::serve(serde_json::from_str(&orders)?).await,
            Role::LimitInsert => tell(&limits::insert(serde_json::from_str(&orders)?).await?),
            Role::LimitSpawn => tell(&limits::spawn(serde_json::from_str(&orders)?).await?),
            Role::Load => tell(&load::load(serde_json::from_str(&orders)?).await?),
            Role::Park => tell(&park::park(serde_json::from_str(&orders)?).await?),
        }
    })
}

/// Answers whoever started this child.
pub(crate) fn tell(answer: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

/// Ends when whoever started this child wants it to.
pub(crate) async fn told_to_end() {
    let (ended, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let _end = std::io::stdin().read_to_end(&mut Vec::new());
        let _gone = ended.send(());
    });
    let _end = wait.await;
}

/// A child that serves.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        self.child.id().ok_or_else(|| "the child ended".into())
    }

    /// Ends it and waits for that.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the child ended: {status}").into()) }
    }
}

/// Starts a child that serves; answers it and what it told when it was ready.
pub(crate) async fn start<A: DeserializeOwned>(
    role: Role,
    orders: &impl Serialize,
) -> Result<(Serving, A), Failure> {
    let role = role.to_possible_value().ok_or("a role without a name")?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([MARK, role.get_name(), &serde_json::to_string(orders)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("a child without an output")?;
    let line = BufReader::new(out).lines().next_line().await?;
    let line = line.ok_or_else(|| format!("the child ended before it was ready: {role:?}"))?;
    Ok((Serving { child }, serde_json::from_str(&line)?))
}

/// Runs a child to its end; answers what it told.
pub(crate) async fn run<A: DeserializeOwned>(
    role: Role,
    orders: &impl Serialize,
) -> Result<A, Failure> {
    let (child, answer) = start(role, orders).await?;
    child.stop().await?;
    Ok(answer)
}
