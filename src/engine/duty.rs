//! Duties that one process at a time has, by a lease in the database.
//!
//! Each process asks for the lease when it could have run out and renews it three times in its length.
//! The database's clock decides whose it is. A process counts from the moment it asked by its own
//! monotonic clock, so it never believes to have a duty for longer than the others do, unless it was
//! stopped in between looking and acting. Then two do the same work for a while, and that does no
//! harm: whatever a duty consists of is safe to be done by many. What it changes is compared with the
//! version that the decision was made on, or is one statement whose condition holds when it is
//! carried out, or is a drop of what nobody can need any more. The lease saves work; it protects
//! nothing.
//!
//! Rejected: an advisory lock, which belongs to a connection: poolers in transaction mode give a
//! connection to somebody else after each transaction, and a connection that hangs would keep the
//! duty for hours.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Shared, lock};
use crate::engine::EngineError;

/// A holder renews so many times in the length of its lease.
const RENEWALS: u32 = 3;
/// How long the database may take to note that a duty is given back.
const FAREWELL: Duration = Duration::from_secs(1);

/// A duty of this process, for as long as it has it.
#[derive(Debug)]
pub(super) struct Duty {
    name: &'static str,
    until: Mutex<Option<Instant>>,
}

impl Duty {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, until: Mutex::new(None) }
    }

    /// Whether this process has the duty now.
    pub(super) fn is_held(&self) -> bool {
        lock(&self.until).is_some_and(|until| Instant::now() < until)
    }

    fn hold_until(&self, until: Option<Instant>) {
        let before = std::mem::replace(&mut *lock(&self.until), until);
        if before.is_some() != until.is_some() {
            tracing::debug!(duty = self.name, is_held = until.is_some(), "engine.duty.changed");
        }
    }
}

/// Takes a duty whenever nobody else has it, until the engine stops.
pub(super) async fn hold(shared: Arc<Shared>, duty: Arc<Duty>) {
    loop {
        let wait = match shared.ask_for(&duty).await {
            Ok(wait) => wait,
            Err(error) => {
                // What was held until some moment is held until then.
                tracing::debug!(%error, duty = duty.name, "engine.duty.unknown");
                shared.settings.duty_lease / RENEWALS
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.stopped.cancelled() => break,
        }
    }
    if duty.is_held() {
        duty.hold_until(None);
        let given_back = shared.store.give_lease_back(duty.name, shared.holder);
        _ = tokio::time::timeout(FAREWELL, given_back).await;
    }
}

impl Shared {
    /// Asks for a duty; answers when to ask again.
    async fn ask_for(&self, duty: &Duty) -> Result<Duration, EngineError> {
        let lease = self.settings.duty_lease;
        let asked = Instant::now();
        let tenure = self.store.take_lease(duty.name, self.holder, lease).await?;
        duty.hold_until(tenure.is_held.then(|| asked + lease));
        // A lease that is not renewed is found the moment it runs out.
        Ok((lease / RENEWALS).min(tenure.left + Duration::from_millis(1)))
    }
}
