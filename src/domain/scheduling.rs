//! When an operation gets its turn among others: the lane it waits in, its priority, what it must not
//! run beside, and how often its like may begin.

use std::time::Duration;

use super::admission::check_key;
use super::problem::Problem;

/// The lane of operations that name none.
pub const DEFAULT_LANE: &str = "default";
/// How far a priority may be from 0, in either direction.
pub const PRIORITY_MAX: i16 = 100;
/// The largest limit of a concurrency key or a rate limit. So many are counted, or remembered, for
/// each key.
pub const LIMIT_MAX: u32 = 1_000;

/// How the operations of a jobset are scheduled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The lane in which they wait for workers; `None` for [`DEFAULT_LANE`].
    pub lane: Option<String>,
    /// Which of a lane go first: the higher ones. From -[`PRIORITY_MAX`] to [`PRIORITY_MAX`].
    pub priority: i16,
    /// What they must not run beside.
    pub concurrency: Option<Concurrency>,
    /// How often they may begin.
    pub rate_limit: Option<RateLimit>,
}

/// No more than some operations with the same key run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// The key, with placeholders for labels and context.
    pub key: String,
    /// How many may run at once, from 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// What becomes of whom when there are more.
    pub on_conflict: OnConflict,
}

/// What becomes of whom when more operations with one key are wanted than may run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The new one waits.
    #[default]
    Queue,
    /// The old ones are cancelled, and the new one begins when they have ended.
    CancelRunning,
    /// The new one is cancelled.
    CancelNew,
}

/// No more than some operations with the same key begin in any such time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The key, with placeholders for labels and context.
    pub key: String,
    /// How many may begin, from 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// In which time.
    pub per: Duration,
}

impl Scheduling {
    /// Whether operations have to be admitted before they begin.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.concurrency.is_some() || self.rate_limit.is_some()
    }

    /// Everything that is wrong with it; names and keys may have `name_bytes` at the most.
    pub(super) fn problems(&self, name_bytes: usize) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut refuse = |is_wrong: bool, path: &str, message: String| {
            if is_wrong {
                found.push(Problem { path: path.to_owned(), message });
            }
        };
        let is_name = |text: &str| {
            let has_end = text.trim() == text && !text.is_empty() && text.len() <= name_bytes;
            has_end && !text.chars().any(char::is_control)
        };
        let name = format!("must be of 1 to {name_bytes} bytes, without control characters");
        let lane = self.lane.as_deref().unwrap_or(DEFAULT_LANE);
        refuse(!is_name(lane), "lane", name.clone());
        let range = format!("must be between -{PRIORITY_MAX} and {PRIORITY_MAX}");
        refuse(self.priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs(), "priority", range);
        let keyed = [
            ("concurrency", self.concurrency.as_ref().map(|asked| (&asked.key, asked.limit))),
            ("rateLimit", self.rate_limit.as_ref().map(|asked| (&asked.key, asked.limit))),
        ];
        for (field, (key, limit)) in keyed.iter().filter_map(|(f, asked)| Some((f, (*asked)?))) {
            let path = format!("{field}.key");
            refuse(!is_name(key), &path, name.clone());
            let unclear = check_key(key).err();
            refuse(unclear.is_some(), &path, unclear.unwrap_or_default());
            let range = format!("must be between 1 and {LIMIT_MAX}");
            refuse(!(1..=LIMIT_MAX).contains(&limit), &format!("{field}.limit"), range);
        }
        if let Some(RateLimit { per, .. }) = &self.rate_limit {
            refuse(per.is_zero(), "rateLimit.per", "must be more than nothing".to_owned());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_scheduled_is_told() {
        let scheduling = Scheduling {
            lane: Some(" slow".to_owned()),
            priority: 101,
            concurrency: Some(Concurrency {
                key: "a\nb".to_owned(),
                limit: 0,
                on_conflict: OnConflict::Queue,
            }),
            rate_limit: Some(RateLimit { key: String::new(), limit: 0, per: Duration::ZERO }),
        };
        let paths: Vec<String> =
            scheduling.problems(200).into_iter().map(|problem| problem.path).collect();
        let expected = [
            "lane",
            "priority",
            "concurrency.key",
            "concurrency.limit",
            "rateLimit.key",
            "rateLimit.limit",
            "rateLimit.per",
        ];
        assert_eq!(paths, expected);
        let key = "{{ labels.env".to_owned();
        let concurrency = Concurrency { key, limit: 1_001, on_conflict: OnConflict::Queue };
        let scheduling = Scheduling { concurrency: Some(concurrency), ..Scheduling::default() };
        assert_eq!(scheduling.problems(200).len(), 2);
        assert_eq!(Scheduling::default().problems(200), []);
    }
}
