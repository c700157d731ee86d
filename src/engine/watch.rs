//! Those who wait for an operation to change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use uuid::Uuid;

use super::lock;

/// Waiters by operation. Telling costs nothing while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_operation: Mutex<HashMap<Uuid, Waiters>>,
}

#[derive(Debug)]
struct Waiters {
    notify: Arc<Notify>,
    count: usize,
}

/// A place among the waiters of one operation.
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    operation: Uuid,
    notify: Arc<Notify>,
}

impl Watches {
    /// Watches an operation. Changes told from now on are not missed.
    pub(super) fn watch(self: &Arc<Self>, operation: Uuid) -> Watch {
        let mut map = lock(&self.by_operation);
        let waiters = map
            .entry(operation)
            .or_insert_with(|| Waiters { notify: Arc::new(Notify::new()), count: 0 });
        waiters.count += 1;
        Watch { watches: Arc::clone(self), operation, notify: Arc::clone(&waiters.notify) }
    }

    /// Tells the waiters of these operations.
    pub(super) fn tell<'a>(&self, operations: impl IntoIterator<Item = &'a Uuid>) {
        let map = lock(&self.by_operation);
        if map.is_empty() {
            return;
        }
        for waiters in operations.into_iter().filter_map(|id| map.get(id)) {
            waiters.notify.notify_waiters();
        }
    }

    /// Tells everybody to look again.
    pub(super) fn tell_all(&self) {
        for waiters in lock(&self.by_operation).values() {
            waiters.notify.notify_waiters();
        }
    }
}

impl Watch {
    /// A future that ends with the first change told after this call.
    pub fn changed(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut map = lock(&self.watches.by_operation);
        if let Some(waiters) = map.get_mut(&self.operation) {
            waiters.count -= 1;
            if waiters.count == 0 {
                map.remove(&self.operation);
            }
        }
    }
}
