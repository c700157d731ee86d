//! Those who wait for an operation to change.
//!
//! They are told what was committed, so that they read it only when there is what they wait for. Some
//! of it nobody tells: what another process committed just before it died, or what came while this one
//! could not hear. So everything that is waited for is looked at now and then, and whenever it is in
//! doubt what is stored: many operations by one statement, so that it costs a few statements however
//! many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::error::EngineError;
use super::live::{Span, Spans};
use super::{Shared, lock};

/// How often everything that is waited for is looked at while other processes take part.
const POLL: Duration = Duration::from_secs(2);
/// The same while none is known of: this one tells itself whatever it commits.
const POLL_ALONE: Duration = Duration::from_secs(30);
/// How long after a look that failed the next one is tried.
const RETRY: Duration = Duration::from_secs(1);
/// Operations that are looked at by one statement.
const LOOKED_AT_MAX: usize = 1_000;

/// How far an operation is known to have come.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    version: i32,
    ended: bool,
}

/// Waiters by operation. Telling costs nothing while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_operation: Mutex<HashMap<Uuid, watch::Sender<Told>>>,
    wake: Notify,
}

/// A place among the waiters of one operation.
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    operation: Uuid,
    told: watch::Receiver<Told>,
}

impl Watches {
    /// Watches an operation. What is told from now on is not missed.
    pub(super) fn watch(self: &Arc<Self>, operation: Uuid) -> Watch {
        let mut map = lock(&self.by_operation);
        let told = map.entry(operation).or_insert_with(|| watch::Sender::new(Told::default()));
        Watch { watches: Arc::clone(self), operation, told: told.subscribe() }
    }

    /// Tells the waiters of these operations.
    pub(super) fn tell(&self, changed: &Spans) {
        let map = lock(&self.by_operation);
        if map.is_empty() {
            return;
        }
        for (id, Span { to, ended, .. }) in changed {
            if let Some(waiters) = map.get(id) {
                // Also if it says nothing new: something that has no version may have changed.
                waiters.send_modify(|told| {
                    told.version = told.version.max(*to);
                    told.ended |= ended;
                });
            }
        }
    }

    /// Looks at everything that is waited for.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    fn watched(&self) -> Vec<Uuid> {
        lock(&self.by_operation).keys().copied().collect()
    }
}

impl Watch {
    /// Waits for something to be told. What was told since it was last waited for ends that at once.
    pub async fn changed(&mut self) {
        // The sender is there for as long as somebody watches.
        _ = self.told.changed().await;
    }

    /// Waits until it is told that the operation came further than `version`.
    pub async fn past(&mut self, version: i32) {
        _ = self.told.wait_for(|told| told.version > version).await;
    }

    /// Waits until it is told that the operation has ended.
    pub async fn ended(&mut self) {
        _ = self.told.wait_for(|told| told.ended).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut map = lock(&self.watches.by_operation);
        if map.get(&self.operation).is_some_and(|waiters| waiters.receiver_count() == 1) {
            map.remove(&self.operation);
        }
    }
}

/// Looks at what is waited for, until the engine stops.
pub(super) async fn look(shared: Arc<Shared>) {
    loop {
        let poll = if shared.news.has_peers() { POLL } else { POLL_ALONE };
        tokio::select! {
            () = shared.watches.wake.notified() => {}
            () = tokio::time::sleep(poll) => {}
            () = shared.stopped.cancelled() => return,
        }
        if let Err(error) = shared.look_at_watched().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "engine.watch.failed");
            tokio::select! {
                () = tokio::time::sleep(RETRY) => shared.watches.look(),
                () = shared.stopped.cancelled() => return,
            }
        }
    }
}

impl Shared {
    /// Tells everybody who waits how far it has come. An operation that is not there is one that is
    /// being made.
    async fn look_at_watched(&self) -> Result<(), EngineError> {
        for ids in self.watches.watched().chunks(LOOKED_AT_MAX) {
            let progress = self.store.progress(ids).await?;
            let spans = progress.into_iter().map(|(id, version, state)| {
                (id, Span { to: version, ended: state.is_final(), ..Span::NOTHING })
            });
            self.watches.tell(&spans.collect());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_by_what_they_wait_for() {
        let (watches, id) = (Arc::<Watches>::default(), Uuid::from_u128(1));
        let tell = |to, ended| watches.tell(&Spans::from([(id, Span { before: 0, to, ended })]));
        tell(7, true); // To nobody.
        let mut watch = watches.watch(id);
        assert!(watch.past(0).now_or_never().is_none());
        tell(3, false);
        watch.changed().await;
        watch.past(2).await;
        assert!(watch.past(3).now_or_never().is_none());
        assert!(watch.ended().now_or_never().is_none());
        // News may come in any order.
        tell(2, true);
        watch.changed().await;
        watch.ended().await;
        assert!(watch.past(3).now_or_never().is_none());
    }

    #[tokio::test]
    async fn something_without_a_version_is_a_change_too() {
        let (watches, id) = (Arc::<Watches>::default(), Uuid::from_u128(1));
        let mut watch = watches.watch(id);
        watches.tell(&Spans::from([(id, Span::NOTHING)]));
        watch.changed().await;
        assert!(watch.changed().now_or_never().is_none());
        assert!(watch.past(0).now_or_never().is_none());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let (watches, id) = (Arc::<Watches>::default(), Uuid::from_u128(1));
        let (first, second) = (watches.watch(id), watches.watch(id));
        drop(first);
        assert_eq!(watches.watched(), [id]);
        drop(second);
        assert!(watches.watched().is_empty());
    }
}
