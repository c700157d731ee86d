//! The service, in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sutbot::cli::{Host, HostSettings};

use crate::Failure;
use crate::child::{self, Role, Serving};

/// What a server is started with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Place {
    /// The database.
    pub(crate) url: String,
    /// The folder of the server's files.
    pub(crate) data_dir: PathBuf,
    /// How many attempts it runs at once.
    pub(crate) slots: u32,
    /// Whether it keeps the causal order of events.
    pub(crate) stamps: bool,
    /// What is in its memory beside its own, in MiB.
    pub(crate) ballast_mib: usize,
}

impl Place {
    /// The settings of the host; it listens only when told.
    pub(crate) fn settings(self) -> HostSettings {
        HostSettings {
            database_url: Some(self.url),
            slots: self.slots,
            stamps: self.stamps,
            zygote_exe: Some(PathBuf::from(env!("CARGO_BIN_EXE_mother"))),
            ..HostSettings::new(self.data_dir)
        }
    }
}

/// Plays the role.
pub(crate) async fn serve(place: Place) -> Result<(), Failure> {
    let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let ballast = vec![1_u8; place.ballast_mib << 20];
    let host = Host::start(HostSettings { listen, ..place.settings() }).await?;
    child::tell(&host.address())?;
    host.run_until(child::told_to_end()).await?;
    drop(std::hint::black_box(ballast));
    Ok(())
}

/// The resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.and_then(|l| l.split_whitespace().next()).unwrap_or("").parse()?;
    Ok(kib / 1024.0)
}

/// The service under test.
#[derive(Debug)]
pub(crate) struct Server {
    serving: Serving,
    /// Where its API is.
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn start(place: &Place) -> Result<Self, Failure> {
        let (serving, address) = child::start(Role::Serve, place).await?;
        Ok(Self { serving, address })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        self.serving.pid()
    }

    /// Its resident memory in MiB.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        resident_mib(self.pid()?)
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.serving.stop().await
    }
}
