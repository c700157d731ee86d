//! The attempts under way on a worker, and the ways to them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::attempt::StopReason;
use crate::engine::{AttemptKey, Mail, Order};

/// The worker's way to an attempt.
#[derive(Debug)]
struct Way {
    stop: watch::Sender<Option<StopReason>>,
    mail: mpsc::UnboundedSender<Mail>,
    hears: Hears,
}

/// What an attempt can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// Nothing.
    Nothing,
    /// The reply of a person, which it does nothing but wait for.
    Reply,
    /// Messages and replies, while it runs.
    Messages,
}

/// Orders an attempt to stop, unless it was before and no less hard; whether that is news.
fn tell(stop: &mut Option<StopReason>, reason: StopReason) -> bool {
    let is_news = stop.is_none_or(|before| reason.is_at_once() && !before.is_at_once());
    if is_news {
        *stop = Some(reason);
    }
    is_news
}

/// An attempt's end of the way.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) stop: watch::Receiver<Option<StopReason>>,
    pub(super) mail: mpsc::UnboundedReceiver<Mail>,
}

/// The attempts under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    attempts: Mutex<HashMap<AttemptKey, Way>>,
}

impl UnderWay {
    fn with<T>(&self, action: impl FnOnce(&mut HashMap<AttemptKey, Way>) -> T) -> T {
        action(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add(&self, key: AttemptKey, hears: Hears) -> Post {
        let (stop, stopped) = watch::channel(None);
        let (mail, inbox) = mpsc::unbounded_channel();
        self.with(|attempts| attempts.insert(key, Way { stop, mail, hears }));
        Post { stop: stopped, mail: inbox }
    }

    pub(super) fn remove(&self, key: AttemptKey) {
        self.with(|attempts| attempts.remove(&key));
    }

    /// How many do not only wait for people.
    pub(super) fn running(&self) -> usize {
        let is_running = |way: &&Way| way.hears != Hears::Reply;
        self.with(|attempts| attempts.values().filter(is_running).count())
    }

    pub(super) fn stop_all(&self, reason: StopReason) {
        self.with(|attempts| {
            for way in attempts.values() {
                way.stop.send_replace(Some(reason));
            }
        });
    }

    /// Stops what only waits for people: that may take for ever, so shutting down does not wait.
    pub(super) fn stop_waiting(&self, reason: StopReason) {
        self.with(|attempts| {
            for way in attempts.values().filter(|way| way.hears == Hears::Reply) {
                way.stop.send_if_modified(|stop| tell(stop, reason));
            }
        });
    }

    pub(super) fn obey(&self, orders: &[Order]) {
        let number = |number: i32| u32::try_from(number).unwrap_or(u32::MAX);
        self.with(|attempts| {
            for order in orders {
                let Order { operation, step, attempt, interrupt, force } = *order;
                let key = AttemptKey { operation, step: number(step), attempt: number(attempt) };
                if let Some(way) = attempts.get(&key) {
                    let reason = match (force, interrupt) {
                        (true, _) => StopReason::Forced,
                        (false, true) => StopReason::Interrupted,
                        (false, false) => StopReason::Ordered,
                    };
                    way.stop.send_if_modified(|stop| tell(stop, reason));
                }
            }
        });
    }

    /// The attempts that take messages; `None` when nobody waits for mail at all.
    pub(super) fn listening(&self) -> Option<Vec<AttemptKey>> {
        self.with(|attempts| {
            let is_expected = attempts.values().any(|way| way.hears != Hears::Nothing);
            let listens = attempts.iter().filter(|(_, way)| way.hears == Hears::Messages);
            is_expected.then(|| listens.map(|(key, _)| *key).collect())
        })
    }

    /// Hands over mail. What an attempt had before it throws away.
    pub(super) fn deliver(&self, mail: Vec<Mail>) {
        self.with(|attempts| {
            for mail in mail {
                if let Some(way) = attempts.get(&mail.to()) {
                    let _ended = way.mail.send(mail);
                }
            }
        });
    }
}
