//! News between processes, by LISTEN and NOTIFY.
//!
//! A NOTIFY inside a transaction makes all commits of the cluster queue up behind each other, so news
//! is gathered and told after the commits, at most every few milliseconds, by a statement of its own,
//! and only while there is another process to tell. News only makes things quick: whatever it tells
//! is found by polling as well.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Shared, lock};

const CHANNEL: &str = "sutbot";
/// The shortest time between two tellings.
const PAUSE: Duration = Duration::from_millis(10);
/// A payload has at most 8,000 bytes: so many ids fit; more are told as "everything".
const IDS_MAX: usize = 200;
const RECONNECT: Duration = Duration::from_secs(1);

const READY: &str = "ready";
const ORDERS: &str = "orders";
const CHANGED: &str = "changed ";

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Whether other processes take part.
    has_peers: AtomicBool,
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    changed: BTreeSet<Uuid>,
    ready: bool,
    orders: bool,
}

impl News {
    pub(super) fn set_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Relaxed);
    }

    /// Gathers news: operations that changed, that something can be claimed, that other workers
    /// have orders.
    pub(super) fn tell(&self, changed: &BTreeSet<Uuid>, ready: bool, orders: bool) {
        if !self.has_peers.load(Ordering::Relaxed) {
            return;
        }
        let mut pending = lock(&self.pending);
        if pending.changed.len() <= IDS_MAX {
            pending.changed.extend(changed);
        }
        pending.ready |= ready;
        pending.orders |= orders;
        drop(pending);
        self.wake.notify_one();
    }
}

fn payloads(pending: &Pending) -> Vec<String> {
    let mut payloads = Vec::new();
    if pending.ready {
        payloads.push(READY.to_owned());
    }
    if pending.orders {
        payloads.push(ORDERS.to_owned());
    }
    if pending.changed.len() > IDS_MAX {
        payloads.push(CHANGED.to_owned());
    } else if !pending.changed.is_empty() {
        let ids: Vec<String> =
            pending.changed.iter().map(|id| id.as_simple().to_string()).collect();
        payloads.push(format!("{CHANGED}{}", ids.join(" ")));
    }
    payloads
}

/// Tells what was gathered until the engine stops.
pub(super) async fn speak(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.news.wake.notified() => {}
            () = shared.stopped.cancelled() => return,
        }
        let pending = std::mem::take(&mut *lock(&shared.news.pending));
        for payload in payloads(&pending) {
            if let Err(error) = shared.store.notify(CHANNEL, &payload).await {
                tracing::debug!(%error, "engine.news.lost");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hears what other processes tell until the engine stops.
pub(super) async fn hear(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = hear_until_error(&shared) => {}
            () = shared.stopped.cancelled() => return,
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn hear_until_error(shared: &Shared) {
    let Ok(mut listener) = shared.store.listener(&[CHANNEL]).await else { return };
    // Whatever was told before the listener stood is looked for once.
    shared.look_everywhere();
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => shared.heard(notification.payload()),
            // The connection was lost and is back: news may have been missed.
            Ok(None) => shared.look_everywhere(),
            Err(error) => return tracing::debug!(%error, "engine.news.deaf"),
        }
    }
}

impl Shared {
    fn heard(&self, payload: &str) {
        match payload {
            READY => self.look(),
            ORDERS => self.look_for_orders(),
            other => match other.strip_prefix(CHANGED) {
                Some("") => self.watches.tell_all(),
                Some(ids) => {
                    let ids: Vec<Uuid> =
                        ids.split(' ').filter_map(|id| Uuid::try_parse(id).ok()).collect();
                    self.watches.tell(&ids);
                }
                None => tracing::debug!(payload, "engine.news.unknown"),
            },
        }
    }

    fn look_everywhere(&self) {
        self.look();
        self.look_for_orders();
        self.watches.tell_all();
    }

    pub(super) fn look(&self) {
        for lane in &self.lanes {
            lane.look();
        }
    }

    fn look_for_orders(&self) {
        if let Some(seat) = self.seat() {
            seat.ordered.notify_one();
        }
    }
}
