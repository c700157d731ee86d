//! The worker: takes attempts, runs them side by side, reports them in batches, keeps its lease.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RunnerError;
use super::WorkerSettings;
use super::attempt::{self, Bench, StopReason};
use super::environment::inherited;
use super::output::Outbox;
use super::process::{GroundSettings, Zygote, since_boot};
use super::scratch::Scratch;
use super::settle::{Desk, settle};
use super::source::{WorkPlace, WorkSource};
use super::spool::{Recovery, Spools};
use super::talk::key;
use super::template::Renderer;
use super::under_way::{Hears, UnderWay};
use super::workspaces::Workspaces;
use crate::domain::decide::Ending;
use crate::domain::definition::Work;
use crate::engine::{Assignment, Report, SeatSpec};

/// The wait before a failed registration or heartbeat is tried again; that for a registration doubles
/// up to the longest.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(8);

/// Works at `place` until `stop` is cancelled: one incarnation after the other, a new one whenever a
/// lease was lost.
///
/// # Errors
/// [`RunnerError`] when no process could be started at all. A database that is away is waited for.
pub async fn work<P: WorkPlace>(
    place: &P,
    settings: WorkerSettings,
    stop: CancellationToken,
) -> Result<(), RunnerError> {
    let mut retry = RETRY;
    while !stop.is_cancelled() {
        let spec = SeatSpec {
            name: settings.name.clone(),
            host: settings.host.clone(),
            pid: std::process::id(),
            slots: settings.slots,
            lease: settings.lease,
            profile: settings.profile.clone(),
        };
        let asked = since_boot().map_err(RunnerError::Clock)?;
        match place.register(spec).await {
            Ok(source) => {
                retry = RETRY;
                incarnation(source, asked, settings.clone(), &stop).await?;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "runner.register.failed");
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = stop.cancelled() => {}
                }
                retry = RETRY_MAX.min(retry * 2);
            }
        }
    }
    Ok(())
}

/// The life of one incarnation, until it loses its lease or `stop` is cancelled. `asked`: when it
/// asked to be registered, since boot.
async fn incarnation<S: WorkSource>(
    source: Arc<S>,
    asked: Duration,
    settings: WorkerSettings,
    stop: &CancellationToken,
) -> Result<(), RunnerError> {
    tracing::info!(
        worker = source.incarnation(),
        slots = settings.slots,
        "runner.worker.registered"
    );
    let no_folder = |source| RunnerError::WorkDir { folder: settings.work_dir.clone(), source };
    let spools = Spools::open(&settings.work_dir).map_err(no_folder)?;
    let held = spools.hold().map_err(no_folder)?;
    let groups = GroundSettings {
        place: settings.cgroup.clone(),
        processes: Some(settings.max_processes.saturating_mul(settings.slots.into())),
    };
    let zygote = Zygote::start_with(&settings.zygote_exe, &groups, Some(held));
    let zygote = zygote.map_err(RunnerError::Zygote)?;
    zygote.fence().set(asked + source.terms().fence_after()).map_err(RunnerError::Clock)?;
    let bench = Arc::new(Bench {
        spools,
        scratch: Scratch::open(),
        zygote,
        renderer: Renderer::start().map_err(RunnerError::Thread)?,
        outbox: Outbox::start(Arc::clone(&source)),
        source: Arc::clone(&source),
        wake: Notify::new(),
        inherited: inherited(&settings.pass_env),
        settings,
    });
    let under_way = Arc::new(UnderWay::default());
    let (reports, inbox) = mpsc::unbounded_channel();
    let mut desk = tokio::spawn(settle(Arc::clone(&source), inbox));
    let attempts = TaskTracker::new();
    let _sweeper = Workspaces::of(&bench).keep_clean(Arc::clone(&source));
    let shift = Shift { bench, under_way, reports: Desk::new(reports), attempts };
    let mut fenced = pin!(shift.keep_lease());
    tokio::select! {
        biased;
        () = &mut fenced => return shift.fence(desk).await,
        () = shift.work(stop) => {}
    }
    shift.reports.close();
    tokio::select! {
        biased;
        () = &mut fenced => return shift.fence(desk).await,
        _ended = &mut desk => {}
    }
    if let Err(error) = source.leave().await {
        tracing::debug!(%error, "runner.leave.failed"); // Its lease runs out by itself.
    }
    Ok(())
}

/// What an incarnation works with.
struct Shift<S> {
    bench: Arc<Bench<S>>,
    under_way: Arc<UnderWay>,
    reports: Desk,
    attempts: TaskTracker,
}

impl<S: WorkSource> Shift<S> {
    /// Works until `stop` is cancelled, then takes nothing new, lets what runs end for a while, and
    /// ends the rest to be given back. When this answers, no attempt is left.
    async fn work(&self, stop: &CancellationToken) {
        let settings = &self.bench.settings;
        let recovery = Recovery {
            work_dir: settings.work_dir.clone(),
            secrets_dir: settings.secrets_dir.clone(),
            outbox: self.bench.outbox.clone(),
            every: settings.heartbeat,
        };
        tokio::select! {
            () = self.take(stop) => {}
            () = self.hear() => {}
            // Who runs no steps may not know their secrets.
            () = recovery.go_on(&*self.bench.source), if settings.slots > 0 => {}
        }
    }

    async fn take(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                assignments = self.bench.source.assignments() => self.begin(assignments),
            }
        }
        self.bench.source.close();
        self.attempts.close();
        self.under_way.stop_waiting(StopReason::Draining);
        let patience = self.bench.settings.drain;
        if tokio::time::timeout(patience, self.attempts.wait()).await.is_err() {
            self.under_way.stop_all(StopReason::Draining);
            self.attempts.wait().await;
        }
    }

    /// Passes orders and mail on as they come. Never ends.
    async fn hear(&self) {
        loop {
            tokio::select! {
                () = self.bench.source.ordered() => self.look_for_orders().await,
                () = self.bench.wake.notified() => {}
            }
            self.look_for_mail().await;
        }
    }

    /// The lease is lost: ends everything at once. Nobody may hear of it, because the attempts are
    /// given to others.
    async fn fence(&self, desk: JoinHandle<()>) -> Result<(), RunnerError> {
        tracing::error!(worker = self.bench.source.incarnation(), "runner.lease.lost");
        desk.abort();
        self.bench.source.close();
        self.bench.outbox.give_up();
        self.under_way.stop_all(StopReason::Fenced);
        self.attempts.close();
        self.attempts.wait().await;
        Ok(())
    }

    fn begin(&self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            match assignment.jobset.step(assignment.step).work(assignment.state) {
                Work::Milestone => self.reports.report(milestone(&assignment)),
                Work::Instruction(_) => self.start(assignment, Hears::Reply),
                Work::Command(_) | Work::Shell(_) | Work::Function(_) => {
                    let definition = &assignment.jobset.step(assignment.step).definition;
                    let hears =
                        if definition.takes_messages { Hears::Messages } else { Hears::Nothing };
                    self.start(assignment, hears);
                }
            }
        }
    }

    fn start(&self, assignment: Assignment, hears: Hears) {
        let key = key(&assignment);
        let post = self.under_way.add(key, hears);
        let bench = Arc::clone(&self.bench);
        let under_way = Arc::clone(&self.under_way);
        let reports = self.reports.clone();
        self.attempts.spawn(async move {
            let report = attempt::run(&bench, &assignment, post).await;
            under_way.remove(key);
            // What the fence has killed did not fail: it is given to others.
            if !bench.zygote.fence().has_passed() {
                reports.report(report);
            }
        });
    }

    async fn look_for_orders(&self) {
        match self.bench.source.orders().await {
            Ok(orders) => self.under_way.obey(&orders),
            Err(error) => tracing::debug!(%error, "runner.orders.failed"), // The heartbeat asks again.
        }
    }

    async fn look_for_mail(&self) {
        let Some(listening) = self.under_way.listening() else { return };
        match self.bench.source.mail(&listening).await {
            Ok(mail) => self.under_way.deliver(mail),
            Err(error) => tracing::debug!(%error, "runner.mail.failed"), // The heartbeat asks again.
        }
    }

    /// Ends when the incarnation is over: when the database says so or, because it may not be able to,
    /// when the fence passes, which every answered heartbeat puts off.
    async fn keep_lease(&self) {
        tokio::select! {
            biased;
            () = self.bench.zygote.fence().passed() => {}
            () = self.renew() => {}
        }
    }

    /// Sends heartbeats until one is refused or its answer comes too late.
    async fn renew(&self) {
        let (source, fence) = (&self.bench.source, self.bench.zygote.fence());
        let mut wait = self.bench.settings.heartbeat;
        loop {
            tokio::time::sleep(wait).await;
            wait = RETRY;
            // Before it is sent: the database counts from later on.
            let Ok(sent) = since_boot() else { continue };
            match source.heartbeat().await {
                Ok(Some(orders)) => {
                    if !fence.set(sent + source.terms().fence_after()).unwrap_or(false) {
                        return;
                    }
                    wait = self.bench.settings.heartbeat;
                    self.under_way.obey(&orders);
                    self.bench.wake.notify_one(); // Mail is looked for beside this, not in its way.
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "runner.heartbeat.failed"),
            }
        }
    }
}

/// A milestone does nothing and leaves nothing to keep.
fn milestone(assignment: &Assignment) -> Report {
    Report {
        operation: assignment.operation,
        step: assignment.step,
        attempt: assignment.attempt,
        worker: assignment.worker,
        ending: Ending::Succeeded,
        heard: None,
        record: None,
    }
}
