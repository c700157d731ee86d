//! Topics: a channel for each thing that somebody follows, as long as somebody does.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast;

use super::lock;

/// How many tellings a channel holds for a follower that is slow. It need not hold many: such a
/// follower reads from the store.
const BACKLOG: usize = 32;

/// Something with a place in its topic.
pub(super) trait Placed {
    /// Grows from one to the next.
    type Place: Copy + Debug + Ord;

    fn place(&self) -> Self::Place;
}

/// What is told at once.
pub(super) type Batch<T> = Arc<[Arc<T>]>;

/// The topics that are followed.
#[derive(Debug)]
pub(super) struct Topics<K, T: Placed> {
    by_key: Mutex<HashMap<K, Topic<T>>>,
}

#[derive(Debug)]
struct Topic<T: Placed> {
    sender: broadcast::Sender<Batch<T>>,
    /// The place of what was told last.
    fed: T::Place,
    followers: usize,
}

/// A place among the followers of a topic.
#[derive(Debug)]
pub(super) struct Subscription<K: Copy + Eq + Hash, T: Placed> {
    topics: Arc<Topics<K, T>>,
    key: K,
    receiver: broadcast::Receiver<Batch<T>>,
}

/// More was told than the channel holds.
#[derive(Debug)]
pub(super) struct Missed;

impl<K, T: Placed> Default for Topics<K, T> {
    fn default() -> Self {
        Self { by_key: Mutex::default() }
    }
}

impl<K: Copy + Eq + Hash, T: Placed> Topics<K, T> {
    /// Follows a topic. If nobody does yet, it begins after `base`, a place that the caller has
    /// seen in the store.
    pub(super) fn follow(self: &Arc<Self>, key: K, base: T::Place) -> Subscription<K, T> {
        let mut map = lock(&self.by_key);
        let topic = map.entry(key).or_insert_with(|| {
            let (sender, _) = broadcast::channel(BACKLOG);
            Topic { sender, fed: base, followers: 0 }
        });
        topic.followers += 1;
        Subscription { topics: Arc::clone(self), key, receiver: topic.sender.subscribe() }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.by_key).is_empty()
    }

    pub(super) fn has(&self, key: &K) -> bool {
        lock(&self.by_key).contains_key(key)
    }

    /// The place of what was told last.
    pub(super) fn fed(&self, key: &K) -> Option<T::Place> {
        lock(&self.by_key).get(key).map(|topic| topic.fed)
    }

    /// All topics, each with the place of what was told last.
    pub(super) fn all(&self) -> Vec<(K, T::Place)> {
        lock(&self.by_key).iter().map(|(key, topic)| (*key, topic.fed)).collect()
    }

    /// Tells those items that were not told yet.
    pub(super) fn tell(&self, key: &K, items: impl IntoIterator<Item = Arc<T>>) {
        let mut map = lock(&self.by_key);
        let Some(topic) = map.get_mut(key) else { return };
        let mut fed = topic.fed;
        let is_new = |item: &Arc<T>| {
            let is_new = item.place() > fed;
            fed = fed.max(item.place());
            is_new
        };
        let batch: Batch<T> = items.into_iter().filter(is_new).collect();
        topic.fed = fed;
        if !batch.is_empty() {
            let _nobody = topic.sender.send(batch);
        }
    }
}

impl<K: Copy + Eq + Hash, T: Placed> Subscription<K, T> {
    /// What is told next.
    pub(super) async fn next(&mut self) -> Result<Batch<T>, Missed> {
        match self.receiver.recv().await {
            Ok(batch) => Ok(batch),
            // The sender lives as long as a follower, so it was not closed.
            Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {
                Err(Missed)
            }
        }
    }

    /// What was told already.
    pub(super) fn next_now(&mut self) -> Option<Result<Batch<T>, Missed>> {
        match self.receiver.try_recv() {
            Ok(batch) => Some(Ok(batch)),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Err(Missed)),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => {
                None
            }
        }
    }
}

impl<K: Copy + Eq + Hash, T: Placed> Drop for Subscription<K, T> {
    fn drop(&mut self) {
        let mut map = lock(&self.topics.by_key);
        if let Some(topic) = map.get_mut(&self.key) {
            topic.followers -= 1;
            if topic.followers == 0 {
                map.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Item(i32);

    impl Placed for Item {
        type Place = i32;

        fn place(&self) -> i32 {
            self.0
        }
    }

    #[tokio::test]
    async fn what_was_told_is_not_told_again() {
        let topics: Arc<Topics<u8, Item>> = Arc::default();
        let mut first = topics.follow(1, 3);
        topics.tell(&1, [2, 3, 4, 4, 5].map(|n| Arc::new(Item(n))));
        topics.tell(&1, [5, 6].map(|n| Arc::new(Item(n))));
        let mut told = Vec::new();
        while let Some(Ok(batch)) = first.next_now() {
            told.extend(batch.iter().map(|item| item.0));
        }
        assert_eq!(told, [4, 5, 6]);
    }

    #[tokio::test]
    async fn a_slow_follower_learns_that_it_missed_something() {
        let topics: Arc<Topics<u8, Item>> = Arc::default();
        let mut slow = topics.follow(1, 0);
        for n in 1..=i32::try_from(BACKLOG).unwrap() + 1 {
            topics.tell(&1, [Arc::new(Item(n))]);
        }
        assert!(slow.next().await.is_err());
        assert_eq!(slow.next().await.unwrap()[0].0, 2);
    }

    #[test]
    fn a_topic_ends_with_its_last_follower() {
        let topics: Arc<Topics<u8, Item>> = Arc::default();
        let (one, two) = (topics.follow(1, 0), topics.follow(1, 9));
        assert_eq!(topics.fed(&1), Some(0));
        drop(one);
        assert!(topics.has(&1));
        drop(two);
        assert!(topics.is_empty());
    }
}
