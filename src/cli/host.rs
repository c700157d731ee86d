//! Everything that serves, in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::domain::Limits;

/// What a host needs to know.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Where the API listens; without it there is only a worker.
    pub listen: Option<SocketAddr>,
    /// The base of the URLs in answers.
    pub public_url: Option<String>,
    /// Whether to listen beyond this machine without tokens.
    pub insecure: bool,
    /// The database; without it a private one is started.
    pub database_url: Option<String>,
    /// The folder of the private database.
    pub data_dir: PathBuf,
    /// How many steps the local worker runs at once; 0: there is no worker.
    pub slots: u32,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Members of a page.
    pub max_page_size: usize,
    /// Bytes kept of an attempt's output.
    pub output_cap_bytes: u64,
    /// How long a worker holds its attempts without a heartbeat.
    pub lease: Duration,
    /// How often a worker renews its lease.
    pub heartbeat: Duration,
    /// The time between SIGTERM and SIGKILL of a step that does not say.
    pub default_grace: Duration,
    /// What a jobset may have.
    pub limits: Limits,
}

/// Why a host could not serve.
#[derive(Debug, Error)]
#[error("this build cannot serve")]
pub struct HostError;

/// A placeholder.
#[derive(Debug)]
pub struct Host {
    address: Option<SocketAddr>,
}

impl Host {
    /// Starts everything.
    ///
    /// # Errors
    /// What could not be started.
    #[expect(clippy::unused_async, reason = "a placeholder")]
    pub async fn start(settings: HostSettings) -> Result<Self, HostError> {
        tracing::debug!(?settings, "a placeholder");
        Err(HostError)
    }

    /// Where the API listens.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves until `stop`, then drains.
    ///
    /// # Errors
    /// What failed meanwhile.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), HostError> {
        stop.await;
        Ok(())
    }
}
