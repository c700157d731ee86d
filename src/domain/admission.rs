//! What operations ask before they begin: a place among those with the same concurrency key, and a
//! turn under a rate limit.
//!
//! Places of a key are given in the order of its line: by priority, then by submission. The first in
//! line is never passed by, even by one whose own limit is larger; else a stream of those could keep
//! it waiting for ever. One that has its place and waits for its turn keeps the place meanwhile, so
//! those who wait for places hold up no turn, and the two lines cannot wait for each other.
//!
//! A rate limit is a sliding window over the admissions themselves: no time of the length `per`, wherever
//! it begins, has more than `limit` of them. The usual generic cell rate algorithm (ITU-T I.371) keeps
//! a single time in place of the log, but with a burst of `limit` it lets through nearly twice as many
//! in some such times, and without a burst it spreads out what could begin at once. The price is a
//! log of up to [`LIMIT_MAX`](super::scheduling::LIMIT_MAX) times per key.
//!
//! Keys are texts with placeholders for labels and values of the context. They are no templates of the
//! full language, which steps have: those need a bound on their work and a thread for it, and would
//! run inside every submission.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::problem::Problem;
use super::scheduling::{Concurrency, RateLimit, Scheduling};

/// The longest key in bytes, once its placeholders are filled.
pub const KEY_BYTES_MAX: usize = 600;

/// What one operation asks before it begins, its keys filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A place.
    pub concurrency: Option<Concurrency>,
    /// A turn.
    pub rate_limit: Option<RateLimit>,
}

impl Terms {
    /// What an operation with these labels and this context asks; `None` if it may begin at once.
    ///
    /// # Errors
    /// The placeholders that cannot be filled.
    pub fn of(
        scheduling: &Scheduling,
        labels: Option<&Value>,
        context: Option<&Value>,
    ) -> Result<Option<Self>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut fill = |template: &str, path: &str| {
            filled(template, labels, context).unwrap_or_else(|message| {
                problems.push(Problem::new(path, message));
                String::new()
            })
        };
        let concurrency = scheduling
            .concurrency
            .as_ref()
            .map(|asked| Concurrency { key: fill(&asked.key, "concurrency.key"), ..asked.clone() });
        let rate_limit = scheduling
            .rate_limit
            .as_ref()
            .map(|asked| RateLimit { key: fill(&asked.key, "rateLimit.key"), ..asked.clone() });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(scheduling.asks().then_some(Self { concurrency, rate_limit }))
    }
}

/// A part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Label(&'a str),
    /// Names of fields, with dots between them.
    Context(&'a str),
}

/// The parts of a key.
fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    if ["{%", "{#"].iter().any(|mark| rest.contains(mark)) {
        return Err("a key takes `{{ labels.NAME }}` and `{{ context.NAME }}` only".to_owned());
    }
    while let Some((text, inner)) = rest.split_once("{{") {
        let (inner, after) =
            inner.split_once("}}").ok_or_else(|| "a `{{` is not closed by `}}`".to_owned())?;
        parts.push(Part::Text(text));
        parts.push(placeholder(inner.trim())?);
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn placeholder(inner: &str) -> Result<Part<'_>, String> {
    let is_name = |name: &str| {
        let fits = |c: char| !c.is_whitespace() && !"{}()[]|'\"".contains(c);
        !name.is_empty() && name.chars().all(fits)
    };
    match inner.split_once('.') {
        Some(("labels", name)) if is_name(name) => Ok(Part::Label(name)),
        Some(("context", path)) if path.split('.').all(is_name) => Ok(Part::Context(path)),
        Some(_) | None => Err(format!(
            "`{{{{ {inner} }}}}` is no placeholder of a key: those are `{{{{ labels.NAME }}}}` and \
             `{{{{ context.NAME }}}}`"
        )),
    }
}

/// What is wrong with a key as it was written.
pub(super) fn check_key(template: &str) -> Result<(), String> {
    parts(template).map(|_| ())
}

/// A key with its placeholders filled.
fn filled(
    template: &str,
    labels: Option<&Value>,
    context: Option<&Value>,
) -> Result<String, String> {
    let mut key = String::new();
    for part in parts(template)? {
        let (root, name, found) = match part {
            Part::Text(text) => {
                key += text;
                continue;
            }
            Part::Label(name) => ("labels", name, labels.and_then(|labels| labels.get(name))),
            Part::Context(path) => {
                let mut names = path.split('.');
                let found =
                    context.and_then(|context| names.try_fold(context, |at, name| at.get(name)));
                ("context", path, found)
            }
        };
        match found {
            Some(Value::String(text)) => key += text,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => key += &value.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                return Err(format!("`{root}.{name}` is no text, number or truth value"));
            }
            None => return Err(format!("`{root}.{name}` is not given")),
        }
    }
    if key.trim().is_empty() || key.len() > KEY_BYTES_MAX {
        let len = key.len();
        return Err(format!("the key has {len} bytes; 1 to {KEY_BYTES_MAX} are possible"));
    }
    Ok(key)
}

/// How many of the first in line get a place when `held` are held. `limits` are those that they set
/// themselves, in the order of the line.
pub fn places(held: usize, limits: impl IntoIterator<Item = usize>) -> usize {
    limits.into_iter().zip(held..).take_while(|(limit, held)| held < limit).count()
}

/// How many may be admitted in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub limit: usize,
    /// The length of the time.
    pub per: TimeDelta,
}

/// The last admissions under one key, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLog(Vec<DateTime<Utc>>);

impl RateLog {
    /// The log of these times, oldest first.
    #[must_use]
    pub const fn new(admitted: Vec<DateTime<Utc>>) -> Self {
        Self(admitted)
    }

    /// When one may be admitted that has `ahead` others like it before it in line; not before `now`.
    #[must_use]
    pub fn earliest(&self, rate: Rate, ahead: usize, now: DateTime<Utc>) -> DateTime<Utc> {
        let limit = rate.limit.max(1);
        let (rounds, ahead) = (ahead / limit, ahead % limit);
        // The one that is `limit` places before it in the log must be out of the window.
        let before = (self.0.len() + ahead).checked_sub(limit).and_then(|place| self.0.get(place));
        let first = before.and_then(|before| before.checked_add_signed(rate.per));
        let rounds = rate.per.checked_mul(i32::try_from(rounds).unwrap_or(i32::MAX));
        let first = first.unwrap_or(now).max(now);
        rounds
            .and_then(|rounds| first.checked_add_signed(rounds))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Lets the first in line through, as many as may begin `now`; answers how many, and from when on
    /// the next one may. `rates` are those that they set themselves.
    pub fn admit(
        &mut self,
        rates: impl IntoIterator<Item = Rate>,
        now: DateTime<Utc>,
    ) -> (usize, Option<DateTime<Utc>>) {
        let mut admitted = 0;
        for rate in rates {
            let earliest = self.earliest(rate, 0, now);
            if earliest > now {
                return (admitted, Some(earliest));
            }
            self.0.push(now);
            admitted += 1;
        }
        (admitted, None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(template: &str) -> Result<String, String> {
        let labels = json!({"env": "prod", "app.example/tier": "web"});
        let context = json!({"region": {"name": "north", "number": 7}, "list": []});
        filled(template, Some(&labels), Some(&context))
    }

    #[test]
    fn keys_are_filled() {
        for (template, expected) in [
            ("deploy", "deploy"),
            ("deploy-{{ labels.env }}", "deploy-prod"),
            ("{{labels.app.example/tier}}", "web"),
            ("{{ context.region.name }}/{{context.region.number}}!", "north/7!"),
            ("a } b", "a } b"),
        ] {
            assert_eq!(key(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_filled_is_told() {
        for (template, part) in [
            ("{{ labels.stage }}", "`labels.stage` is not given"),
            ("{{ context.region }}", "`context.region` is no text"),
            ("{{ context.list.0 }}", "`context.list.0` is not given"),
            ("{{ labels.env", "not closed"),
            ("{{ labels.env | upper }}", "is no placeholder"),
            ("{{ steps.a.result }}", "is no placeholder"),
            ("{{ labels. }}", "is no placeholder"),
            ("{% for i in x %}", "only"),
        ] {
            let message = key(template).unwrap_err();
            assert!(message.contains(part), "{template}: {message}");
        }
        let long = json!({"env": "x".repeat(KEY_BYTES_MAX + 1)});
        assert!(filled("{{ labels.env }}", Some(&long), None).is_err());
        assert!(filled("{{ labels.env }}", Some(&json!({"env": ""})), None).is_err());
        assert!(filled("{{ labels.env }}", None, None).unwrap_err().contains("not given"));
    }

    #[test]
    fn the_first_in_line_is_not_passed_by() {
        for (held, limits, expected) in [
            (0, vec![1, 1, 1], 1),
            (1, vec![1, 1], 0),
            (0, vec![3, 3, 3, 3], 3),
            (1, vec![3, 3, 3], 2),
            (1, vec![1, 5], 0),
            (1, vec![5, 1, 5], 1),
            (7, vec![], 0),
        ] {
            assert_eq!(places(held, limits.clone()), expected, "{held} held, {limits:?}");
        }
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn a_burst_is_let_through_and_the_next_one_waits_for_the_first() {
        let rate = Rate { limit: 3, per: TimeDelta::seconds(1) };
        let mut log = RateLog::default();
        assert_eq!(log.admit([rate; 2], at(0)), (2, None));
        assert_eq!(log.admit([rate; 5], at(400)), (1, Some(at(1_000))));
        assert_eq!(log.admit([rate; 5], at(999)), (0, Some(at(1_000))));
        assert_eq!(log.admit([rate; 5], at(1_000)), (2, Some(at(1_400))));
        let ahead: Vec<_> = (0..5).map(|ahead| log.earliest(rate, ahead, at(1_000))).collect();
        assert_eq!(ahead, [at(1_400), at(2_000), at(2_000), at(2_400), at(3_000)]);
    }

    proptest! {
        /// Naively: however they come, no window has too many, and none waits without need.
        #[test]
        fn no_window_has_more_than_the_limit(
            limit in 1_usize..5,
            arrivals in prop::collection::vec((0_i64..400, 0_usize..6), 1..60),
        ) {
            let rate = Rate { limit, per: TimeDelta::milliseconds(1_000) };
            let (mut log, mut admitted, mut now, mut waiting) = (RateLog::default(), vec![], 0, 0);
            for (pause, count) in arrivals {
                now += pause;
                waiting += count;
                let (begun, next) = log.admit(std::iter::repeat_n(rate, waiting), at(now));
                waiting -= begun;
                admitted.extend(std::iter::repeat_n(now, begun));
                let in_window = admitted.iter().filter(|time| **time > now - 1_000).count();
                prop_assert!(in_window <= limit);
                prop_assert_eq!(waiting > 0, next.is_some());
                prop_assert!(waiting == 0 || in_window == limit);
            }
        }
    }
}
