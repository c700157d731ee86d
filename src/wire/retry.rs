//! When failed attempts are followed by others.

use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::duration::DurationText;
use crate::domain::definition::{Retry, RetryOn};

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryDocument {
    /// How many attempts there are at the most, the first one counted.
    #[schema(minimum = 1, maximum = 1_000)]
    pub max_attempts: u32,
    /// The wait before the second attempt. Default: 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<DurationText>,
    /// By what the wait grows with each further attempt. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub factor: Option<f64>,
    /// The longest wait. Default: 5 m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<DurationText>,
    /// Whether the wait is drawn from its upper half, so that many do not retry in step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub jitter: bool,
    /// Which failures are retried: `exit:N`, `signal:N`, `timeout`, `exception`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<RetryOnText>,
}

/// A kind of failure: `exit:75`, `signal:9`, `timeout` or `exception`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "exit:75", pattern = r"^(exit:[0-9]{1,3}|signal:[0-9]{1,2}|timeout|exception)$")]
pub struct RetryOnText(RetryOn);

impl<'de> Deserialize<'de> for RetryOnText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let on = match text.split_once(':') {
            Some(("exit", code)) => code.parse().ok().map(RetryOn::Exit),
            Some(("signal", number)) => number.parse().ok().map(RetryOn::Signal),
            None if text == "timeout" => Some(RetryOn::Timeout),
            None if text == "exception" => Some(RetryOn::Exception),
            Some(_) | None => None,
        };
        let expected = "`exit:N`, `signal:N`, `timeout` or `exception`";
        on.map(Self).ok_or_else(|| {
            de::Error::custom(format!("`{}` is none of {expected}", text.escape_debug()))
        })
    }
}

impl Serialize for RetryOnText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RetryOn::Exit(code) => serializer.collect_str(&format_args!("exit:{code}")),
            RetryOn::Signal(number) => serializer.collect_str(&format_args!("signal:{number}")),
            RetryOn::Timeout => serializer.serialize_str("timeout"),
            RetryOn::Exception => serializer.serialize_str("exception"),
        }
    }
}

impl RetryDocument {
    pub(super) fn into_definition(self) -> Retry {
        let default = Retry::default();
        Retry {
            max_attempts: self.max_attempts,
            backoff: self.backoff.map_or(default.backoff, |text| text.0),
            factor: self.factor.unwrap_or(default.factor),
            max_backoff: self.max_backoff.map_or(default.max_backoff, |text| text.0),
            jitter: self.jitter,
            on: self.on.into_iter().map(|on| on.0).collect(),
        }
    }
}
