//! The attempts that a worker was given.

use std::collections::{HashSet, VecDeque};

use crate::engine::AttemptKey;

/// Attempts that are kept in mind: many more than can be under way at once.
const SEEN_MAX: usize = 100_000;

/// The attempts that an incarnation was given, the last [`SEEN_MAX`] of them. None is run twice, however
/// often it is given.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: HashSet<AttemptKey>,
    order: VecDeque<AttemptKey>,
}

impl Seen {
    /// Notes that it was given an attempt; whether that is news.
    pub(super) fn add(&mut self, key: AttemptKey) -> bool {
        if !self.keys.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_seen_is_no_news_for_long() {
        let mut seen = Seen::default();
        let key = |step| AttemptKey { operation: Uuid::nil(), step, attempt: 1 };
        assert!(seen.add(key(0)) && !seen.add(key(0)));
        for step in 1..=100_000 {
            assert!(seen.add(key(step)));
        }
        assert!(!seen.add(key(100_000)) && seen.add(key(0)));
        assert_eq!(seen.keys.len(), seen.order.len());
    }
}
