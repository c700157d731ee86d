//! Waiting for what must come, however slow the machine is.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What has not come by then does not come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One wait for something.
pub(crate) struct Patience {
    what: String,
    deadline: Instant,
}

impl Patience {
    pub(crate) fn with(what: impl Into<String>) -> Self {
        Self { what: what.into(), deadline: Instant::now() + PATIENCE }
    }

    /// Waits a little, once more.
    pub(crate) async fn wait(&self) {
        assert!(Instant::now() < self.deadline, "never: {}", self.what);
        sleep(LOOK_EVERY).await;
    }
}

/// What `look` finds, once it does.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Patience::with(what);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        patience.wait().await;
    }
}
