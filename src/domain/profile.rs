//! What a worker offers: by it steps and operations find the workers that may run them.

use std::collections::{BTreeMap, BTreeSet};

use super::scheduling::DEFAULT_LANE;

/// What a worker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    /// What it has and is, for steps that require it.
    pub labels: BTreeMap<String, String>,
    /// The only lanes that it takes operations from; `None` for all.
    pub lanes: Option<BTreeSet<String>>,
}

impl Profile {
    /// Whether it takes from a lane; `None` for [`DEFAULT_LANE`].
    #[must_use]
    pub fn serves(&self, lane: Option<&str>) -> bool {
        let lane = lane.unwrap_or(DEFAULT_LANE);
        self.lanes.as_ref().is_none_or(|lanes| lanes.contains(lane))
    }

    /// Whether it has all of these labels.
    #[must_use]
    pub fn has(&self, required: &BTreeMap<String, String>) -> bool {
        required.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_what_it_names_and_has_what_it_is_given() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let all = Profile { labels: labels(&[("gpu", "yes"), ("os", "linux")]), lanes: None };
        assert!(all.has(&labels(&[])) && all.has(&labels(&[("os", "linux")])));
        assert!(!all.has(&labels(&[("os", "plan9")])) && !all.has(&labels(&[("cpu", "yes")])));
        assert!(all.serves(None) && all.serves(Some("slow")));
        let some = Profile { lanes: Some(["slow".to_owned()].into()), ..Profile::default() };
        assert!(!some.serves(None) && some.serves(Some("slow")));
        let usual = Profile { lanes: Some([DEFAULT_LANE.to_owned()].into()), ..Profile::default() };
        assert!(usual.serves(None) && usual.serves(Some(DEFAULT_LANE)) && !usual.serves(Some("a")));
    }
}
