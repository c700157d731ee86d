//! News between processes, by LISTEN and NOTIFY.
//!
//! A NOTIFY inside a transaction makes all commits of the cluster queue up behind each other, so news
//! is gathered and told after the commits, at most every few milliseconds, by a statement of its own,
//! and only while there is another process to tell. News only makes things quick: whatever it tells
//! is found by polling as well.
//!
//! A payload is a word and what it is about: `changed <id>.<before>.<to> ...` names operations and
//! the events that they got, with `.ended` after those that ended; `output <id>.<step> ...` steps that
//! wrote something.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::live::{Span, Spans, StepKey};
use super::{Shared, lock};
use crate::store::OutputPiece;

const CHANNEL: &str = "sutbot";
/// The shortest time between two tellings.
const PAUSE: Duration = Duration::from_millis(10);
/// The same where output is told of: steps may write all the time, and people read it.
const OUTPUT_PAUSE: Duration = Duration::from_millis(200);
/// PostgreSQL takes a payload of less than 8,000 bytes.
const PAYLOAD_MAX: usize = 7_900;
/// More are told as "everything".
const IDS_MAX: usize = 1_000;
const RECONNECT: Duration = Duration::from_secs(1);

const READY: &str = "ready";
const ORDERS: &str = "orders";
const JOINED: &str = "joined";
const CHANGED: &str = "changed";
const OUTPUT: &str = "output";
const ENDED: &str = ".ended";

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
    changed: Spans,
    output: BTreeSet<StepKey>,
    /// What is told without a list. `changed` means everything: more than is told one by one, or a
    /// telling was lost.
    words: BTreeSet<&'static str>,
}

impl News {
    pub(super) fn set_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Relaxed);
    }

    pub(super) fn has_peers(&self) -> bool {
        self.has_peers.load(Ordering::Relaxed)
    }

    /// Gathers news: operations that changed, that something can be claimed, that other workers
    /// have orders.
    pub(super) fn tell(&self, changed: &Spans, ready: bool, orders: bool) {
        self.gather(|pending| {
            for (id, span) in changed {
                let joined = pending.changed.get(id).map_or(*span, |known| known.join(*span));
                pending.changed.insert(*id, joined);
            }
            let words = [(ready, READY), (orders, ORDERS)];
            pending.words.extend(words.iter().filter(|(is_new, _)| *is_new).map(|(_, word)| word));
        });
    }

    /// Gathers news: these were stored.
    pub(super) fn tell_output(&self, pieces: &[OutputPiece]) {
        self.gather(|pending| {
            let key =
                |piece: &OutputPiece| (piece.operation, i32::try_from(piece.step).unwrap_or(0));
            pending.output.extend(pieces.iter().map(key));
        });
    }

    /// Tells the others at once that there is somebody to tell; they would find out later.
    pub(super) fn join(&self) {
        self.gather(|pending| _ = pending.words.insert(JOINED));
    }

    fn gather(&self, add: impl FnOnce(&mut Pending)) {
        if !self.has_peers() {
            return;
        }
        let mut pending = lock(&self.pending);
        add(&mut pending);
        if pending.changed.len() > IDS_MAX {
            pending.changed.clear();
            pending.words.insert(CHANGED);
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Takes what is to be told now; output only if it is `due`.
    fn take(&self, due: bool) -> Pending {
        let mut pending = lock(&self.pending);
        let output = if due { BTreeSet::new() } else { std::mem::take(&mut pending.output) };
        std::mem::replace(&mut *pending, Pending { output, ..Pending::default() })
    }
}

/// A word and what it is about, in as many payloads as it takes.
fn list(word: &str, items: impl Iterator<Item = String>, payloads: &mut Vec<String>) {
    let mut payload = String::new();
    for item in items {
        if payload.len() + 1 + item.len() > PAYLOAD_MAX {
            payloads.push(std::mem::take(&mut payload));
        }
        if payload.is_empty() {
            word.clone_into(&mut payload);
        }
        // Writing to a String does not fail.
        let _infallible = write!(payload, " {item}");
    }
    if !payload.is_empty() {
        payloads.push(payload);
    }
}

fn payloads(pending: &Pending) -> Vec<String> {
    let mut payloads: Vec<String> = pending.words.iter().copied().map(str::to_owned).collect();
    let changed = pending.changed.iter();
    let changed = changed.map(|(id, Span { before, to, ended })| {
        let end = if *ended { ENDED } else { "" };
        format!("{}.{before}.{to}{end}", id.simple())
    });
    list(CHANGED, changed, &mut payloads);
    let output = pending.output.iter().map(|(id, step)| format!("{}.{step}", id.simple()));
    list(OUTPUT, output, &mut payloads);
    payloads
}

fn changed(items: &str) -> Spans {
    let item = |item: &str| {
        let (item, ended) = item.strip_suffix(ENDED).map_or((item, false), |item| (item, true));
        let mut parts = item.split('.');
        let id = Uuid::try_parse(parts.next()?).ok()?;
        let (before, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((id, Span { before, to, ended }))
    };
    items.split(' ').filter_map(item).collect()
}

fn output(items: &str) -> impl Iterator<Item = StepKey> {
    items.split(' ').filter_map(|item| {
        let (id, step) = item.split_once('.')?;
        Some((Uuid::try_parse(id).ok()?, step.parse().ok()?))
    })
}

/// Tells what was gathered until the engine stops.
pub(super) async fn speak(shared: Arc<Shared>) {
    let news = &shared.news;
    let mut output_due = Instant::now();
    loop {
        let has_output = !lock(&news.pending).output.is_empty();
        tokio::select! {
            () = news.wake.notified() => {}
            () = tokio::time::sleep_until(output_due), if has_output => {}
            () = shared.stopped.cancelled() => return,
        }
        let pending = news.take(output_due <= Instant::now());
        if !pending.output.is_empty() {
            output_due = Instant::now() + OUTPUT_PAUSE;
        }
        let payloads = payloads(&pending);
        if !payloads.is_empty()
            && let Err(error) = shared.store.notify(CHANNEL, &payloads).await
        {
            tracing::debug!(%error, "engine.news.lost");
            lock(&news.pending).words.insert(CHANGED);
            tokio::time::sleep(RECONNECT).await;
            news.wake.notify_one();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hears what other processes tell until the engine stops. Behind a pooler nothing is to be heard, so
/// it is looked.
pub(super) async fn hear(shared: Arc<Shared>) {
    while shared.store.is_pooled() {
        tokio::select! {
            () = tokio::time::sleep(shared.settings.poll_interval) => shared.look_everywhere(),
            () = shared.stopped.cancelled() => return,
        }
    }
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
        let (word, items) = payload.split_once(' ').unwrap_or((payload, ""));
        match word {
            READY => self.look(),
            ORDERS => self.seats.tell(|_| true),
            JOINED => self.news.set_peers(true),
            CHANGED if items.is_empty() => self.look_again(),
            CHANGED => {
                let spans = changed(items);
                self.watches.tell(&spans);
                self.live.changed(&spans);
            }
            OUTPUT => self.live.wrote_elsewhere(output(items)),
            _ => tracing::debug!(payload, "engine.news.unknown"),
        }
    }

    fn look_everywhere(&self) {
        self.look();
        self.seats.tell(|_| true);
        self.look_again();
    }

    /// What is waited for or followed is looked at, whether or not it changed.
    pub(super) fn look_again(&self) {
        self.watches.look();
        self.live.look_everywhere();
    }

    pub(super) fn look(&self) {
        for lane in &self.lanes {
            lane.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let ids: Vec<Uuid> = (0..IDS_MAX as u128).map(Uuid::from_u128).collect();
        let span =
            |id: &Uuid| Span { before: 1, to: i32::MAX, ended: id.as_u128().is_multiple_of(3) };
        let pending = Pending {
            changed: ids.iter().map(|id| (*id, span(id))).collect(),
            output: ids.iter().map(|id| (*id, 7)).collect(),
            words: [READY].into(),
        };
        let (mut spans, mut steps) = (Spans::new(), BTreeSet::new());
        for payload in payloads(&pending) {
            assert!(payload.len() < 8_000);
            match payload.split_once(' ') {
                Some((CHANGED, items)) => spans.extend(changed(items)),
                Some((OUTPUT, items)) => steps.extend(output(items)),
                other => assert_eq!((other, payload.as_str()), (None, READY)),
            }
        }
        assert_eq!((spans, steps), (pending.changed, pending.output));
    }
}
