//! `mother serve`, and what it has in common with `mother worker`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::sync::oneshot;

use super::args::{Global, pair};
use super::error::CliError;
use super::limits::LimitArgs;
use super::output::Output;
use super::retention::RetentionArgs;
use super::signals::Signals;
use super::{Host, HostSettings, TokenRule};
use crate::domain::duration;
use crate::domain::profile::Profile;
use crate::runner::process::GroundChoice;

/// Of a server that was not told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const OUTPUT_CAP_BYTES: u64 = 16 * 1024 * 1024;
const AGEING_MAX: Duration = Duration::from_hours(24);
/// OASIS Repeatable Requests, section 5.
const WINDOW_MIN: Duration = Duration::from_mins(5);
const DUTY_LEASE_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080, or no port with --socket]
    #[arg(long, value_name = "ADDR", env = "MOTHER_LISTEN", hide_env_values = true)]
    listen: Option<SocketAddr>,
    /// The base of the URLs in answers [default: what the client asked for]
    #[arg(long, value_name = "URL", env = "MOTHER_PUBLIC_URL", hide_env_values = true)]
    public_url: Option<String>,
    /// The origin of a web page that may call the API (`https://ci.example`); may be given many times
    #[arg(long = "cors-origin", value_name = "ORIGIN", env = "MOTHER_CORS_ORIGINS")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// Run no steps in this process; `mother worker` does
    #[arg(long)]
    no_worker: bool,
    /// Do not keep the causal order of events; `suspects` and `causes` have no answer then
    #[arg(long)]
    no_stamps: bool,
    /// Ask for a token also on loopback and on the socket
    #[arg(long, env = "MOTHER_REQUIRE_TOKEN", hide_env_values = true)]
    require_token: bool,
    /// Ask nobody for a token: whoever reaches the address can run commands here
    #[arg(long, conflicts_with = "require_token")]
    insecure: bool,
    #[command(flatten)]
    offer: OfferArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    retention: RetentionArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Worker options")]
pub(super) struct WorkerArgs {
    /// How many steps run at once [default: the number of cores, 4 at least]
    #[arg(long, value_name = "N", env = "MOTHER_SLOTS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: Option<u32>,
    /// Bytes kept of the output of an attempt; the rest is cut, visibly
    #[arg(long, value_name = "BYTES", env = "MOTHER_OUTPUT_CAP_BYTES", hide_env_values = true)]
    #[arg(default_value_t = OUTPUT_CAP_BYTES)]
    output_cap_bytes: u64,
    /// The folder with the values of secrets: of the secret NAME the file NAME
    #[arg(long, value_name = "DIR", env = "MOTHER_SECRETS_DIR", hide_env_values = true)]
    secrets_dir: Option<PathBuf>,
    /// After how long without a heartbeat a worker's steps are Unresponsive
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_LEASE",
        hide_env_values = true,
        default_value = "6s"
    )]
    #[arg(value_parser = duration::parse)]
    lease: Duration,
    /// How long they are Unresponsive, and the worker may come back, before others get them
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_REQUEUE_AFTER",
        hide_env_values = true,
        default_value = "2s"
    )]
    #[arg(value_parser = duration::parse)]
    requeue_after: Duration,
    /// By how much longer an operation must have waited than one whose priority is higher by 1, to go
    /// before it; the same for all processes on one database
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_AGEING",
        hide_env_values = true,
        default_value = "30s"
    )]
    #[arg(value_parser = duration::parse)]
    ageing: Duration,
    /// How often a step is given to another worker because its worker was lost; then it fails
    #[arg(long, value_name = "N", env = "MOTHER_INFRA_RETRIES", hide_env_values = true)]
    #[arg(default_value_t = 3)]
    infra_retries: u32,
    /// How often a worker says that it lives
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_HEARTBEAT",
        hide_env_values = true,
        default_value = "2s"
    )]
    #[arg(value_parser = duration::parse)]
    heartbeat: Duration,
    /// After how long another process does what one does for all (lost workers, deadlines,
    /// retention) when the one that did it is gone
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_DUTY_LEASE",
        hide_env_values = true,
        default_value = "3s"
    )]
    #[arg(value_parser = duration::parse)]
    duty_lease: Duration,
    /// The time between SIGTERM and SIGKILL of a step that names none
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_DEFAULT_GRACE",
        hide_env_values = true,
        default_value = "10s"
    )]
    #[arg(value_parser = duration::parse)]
    default_grace: Duration,
    /// How long running steps may take to end by themselves when the process shuts down
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_DRAIN",
        hide_env_values = true,
        default_value = "10s"
    )]
    #[arg(value_parser = duration::parse)]
    drain: Duration,
    /// Variables that steps get beside the usual ones (`NAME`, or `NAME*` for all that begin so); may
    /// be given many times
    #[arg(long = "pass-env", value_name = "NAME", env = "MOTHER_PASS_ENV", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pass_env: Vec<String>,
    /// Processes and threads per slot, for all steps together that name no limit of their own, where
    /// control groups count them; never more than half of what the host can have
    #[arg(long, value_name = "N", env = "MOTHER_MAX_PROCESSES", hide_env_values = true)]
    #[arg(default_value = "4096", value_parser = clap::value_parser!(u64).range(1..=4_194_304))]
    max_processes: u64,
    /// Where steps get control groups: `auto` (below the worker's own), `off`, or the folder of a
    /// group of version 2
    #[arg(long, value_name = "PATH", env = "MOTHER_CGROUP", hide_env_values = true)]
    #[arg(default_value = "auto")]
    cgroup: GroundChoice,
    /// How long the workspace of an operation is kept after its end
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_KEEP_WORKSPACES",
        hide_env_values = true,
        default_value = "24h"
    )]
    #[arg(value_parser = duration::parse)]
    keep_workspaces: Duration,
}

/// What a worker that stays offers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Worker options")]
pub(super) struct OfferArgs {
    /// What the worker has or is, for steps that require it; may be given many times
    #[arg(long = "label", value_name = "KEY=VALUE", env = "MOTHER_LABELS", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Take operations of this lane only; may be given many times [default: all lanes]
    #[arg(long = "worker-lane", visible_alias = "lane", value_name = "NAME")]
    #[arg(env = "MOTHER_WORKER_LANES")]
    #[arg(hide_env_values = true, value_delimiter = ',')]
    lanes: Vec<String>,
}

impl OfferArgs {
    pub(super) fn profile(&self) -> Result<Profile, CliError> {
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            if let Some(before) = labels.insert(key.clone(), value.clone()) {
                let message = format!("--label {key} has one value: `{before}` or `{value}`");
                return Err(CliError::BadSetting(message));
            }
        }
        let lanes = self.lanes.iter().cloned().collect();
        Ok(Profile { labels, lanes: Some(lanes).filter(|lanes: &BTreeSet<_>| !lanes.is_empty()) })
    }
}

/// `mother serve`: the API, and a worker unless it is not wanted.
pub(super) async fn serve(
    global: &Global,
    args: ServeArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    if args.limits.statement_timeout < Duration::from_millis(1) {
        let message = "--statement-timeout must be at least 1ms: nothing could be answered";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    if args.limits.keep_alive < Duration::from_millis(100) {
        let message = "--keep-alive must be at least 100ms: a stream would say nothing else";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    if args.limits.repeatability_window < WINDOW_MIN {
        let message = "--repeatability-window must be at least 5m: a client that lost its connection \
                       has to find the time to try again";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    let mut settings = settings(global, &args.worker)?;
    if args.no_worker {
        settings.slots = 0;
    }
    let tokens = token_rule(args.require_token, args.insecure);
    let settings = HostSettings {
        profile: args.offer.profile()?,
        listen: args.listen.or_else(|| global.socket().is_none().then_some(LISTEN)),
        socket: global.socket().map(Path::to_owned),
        public_url: args.public_url,
        cors_origins: args.cors_origins,
        tokens,
        max_body_bytes: args.limits.body_bytes,
        max_batch: args.limits.batch,
        max_batch_steps: args.limits.batch_steps,
        max_page_size: args.limits.page_size,
        max_followers: args.limits.followers as usize,
        max_stamp_nodes: args.limits.stamp_nodes,
        keep_alive: args.limits.keep_alive,
        limits: args.limits.of_jobsets(),
        stamps: !args.no_stamps,
        repeatability_window: args.limits.repeatability_window,
        retention: Some(args.retention.retention()?),
        query_limits: args.limits.of_queries(),
        statement_timeout: args.limits.statement_timeout,
        ..settings
    };
    host(settings, |host| announce(host, tokens, output)).await
}

const fn token_rule(require: bool, insecure: bool) -> TokenRule {
    match (require, insecure) {
        (true, _) => TokenRule::Always,
        (false, true) => TokenRule::Never,
        (false, false) => TokenRule::FromElsewhere,
    }
}

/// Tells where the API listens.
fn announce(host: &Host, tokens: TokenRule, output: Output) -> io::Result<()> {
    let url = host.address().map(|address| format!("http://{address}"));
    if output.is_json() {
        let mut document = serde_json::Map::new();
        document.extend(url.map(|url| ("listening".to_owned(), url.into())));
        let path = host.socket().map(|path| path.to_string_lossy().into());
        document.extend(path.map(|path| ("socket".to_owned(), path)));
        return output.json(&document);
    }
    if let Some(url) = url {
        output.line(&format!("listening on {url}"))?;
    }
    if let Some(path) = host.socket() {
        output.line(&format!("listening on the socket {}", path.display()))?;
    }
    if tokens.asks(host.address()) {
        output.line("clients need a token; `mother token create` makes one")?;
    }
    Ok(())
}

/// The settings of a host that only works.
pub(super) fn settings(global: &Global, worker: &WorkerArgs) -> Result<HostSettings, CliError> {
    if worker.heartbeat.is_zero() || worker.heartbeat * 2 > worker.lease {
        let message = "--heartbeat must be more than nothing and at most half of --lease, so that \
                       one late heartbeat costs no step";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    if worker.duty_lease < DUTY_LEASE_MIN {
        let message = "--duty-lease must be at least 1s: it is renewed three times in that time";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    if worker.ageing > AGEING_MAX {
        let message = "--ageing must be at most 1d: what has a low priority would wait for years";
        return Err(CliError::BadSetting(message.to_owned()));
    }
    let settings = HostSettings::new(global.data_dir());
    Ok(HostSettings {
        database_url: global.database_url().map(str::to_owned),
        pg_bin: global.pg_bin(),
        slots: worker.slots.unwrap_or(settings.slots),
        output_cap_bytes: worker.output_cap_bytes,
        secrets_dir: worker.secrets_dir.clone(),
        lease: worker.lease,
        requeue_after: worker.requeue_after,
        ageing: worker.ageing,
        infra_retries: worker.infra_retries,
        heartbeat: worker.heartbeat,
        duty_lease: worker.duty_lease,
        default_grace: worker.default_grace,
        drain: worker.drain,
        pass_env: worker.pass_env.clone(),
        max_processes: worker.max_processes,
        cgroup: worker.cgroup.clone(),
        keep_workspaces: worker.keep_workspaces,
        ..settings
    })
}

/// Runs a host until the first signal, then drains it; the second signal leaves at once.
pub(super) async fn host(
    settings: HostSettings,
    ready: impl FnOnce(&Host) -> io::Result<()>,
) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let host = tokio::select! {
        host = Host::start(settings) => host?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    ready(&host)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = pin!(host.run_until(async { _ = stopped.await }));
    tokio::select! {
        outcome = &mut running => return Ok(outcome.map(|()| ExitCode::SUCCESS)?),
        () = signals.next() => {}
    }
    tracing::info!("draining; a second signal leaves at once");
    drop(stop);
    tokio::select! {
        outcome = running => Ok(outcome.map(|()| ExitCode::SUCCESS)?),
        () = signals.next() => Err(CliError::Interrupted),
    }
}
