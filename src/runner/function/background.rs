//! What runs beside a program so that it need not be asynchronous: one thread and one zygote.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

use super::call::PROGRAM;
use crate::runner::process::{StartError, Zygote};

/// The thread that looks after the calls, and the zygote that starts their processes.
#[derive(Debug)]
pub(super) struct Background {
    pub(super) runtime: Runtime,
    zygote: OnceCell<Zygote>,
}

impl Background {
    /// The one of this program. It lives as long as the program does.
    pub(super) fn get() -> io::Result<&'static Self> {
        static BACKGROUND: Mutex<Option<&Background>> = Mutex::new(None);
        let mut background = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(background) = *background {
            return Ok(background);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sut-functions")
            .enable_all()
            .build()?;
        let started = Box::leak(Box::new(Self { runtime, zygote: OnceCell::new() }));
        *background = Some(started);
        Ok(started)
    }

    /// The zygote, which the first call starts.
    pub(super) async fn zygote(&self) -> Result<&Zygote, StartError> {
        self.zygote.get_or_try_init(|| async { Zygote::start(Path::new(PROGRAM)) }).await
    }
}
