//! What `/metrics` shows, in the text format of Prometheus (OpenMetrics 1.0).

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
struct Answer {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
struct Route {
    route: String,
}

/// The figures of this process.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    submitted: Counter,
    queued: Gauge,
    followers: Gauge,
}

/// From a fraction of a millisecond to half a minute.
fn histogram() -> Histogram {
    Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 30.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mother");
        let metrics = Self {
            answers: Family::default(),
            durations: Family::new_with_constructor(histogram),
            submitted: Counter::default(),
            queued: Gauge::default(),
            followers: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("http_answers", "Answers by route", metrics.answers.clone());
        registry.register_with_unit(
            "http_duration",
            "Time to the answer, waits asked for by the client included",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        let help = "Operations that were made durable";
        registry.register("operations_submitted", help, metrics.submitted.clone());
        let help = "Commands that wait for the database";
        registry.register("engine_queued_commands", help, metrics.queued.clone());
        let help = "Clients that follow events or output";
        registry.register("http_followers", help, metrics.followers.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub(super) fn answered(&self, route: &str, method: &str, status: StatusCode, took: Duration) {
        let answer =
            Answer { route: route.to_owned(), method: method.to_owned(), status: status.as_u16() };
        self.answers.get_or_create(&answer).inc();
        let route = Route { route: route.to_owned() };
        self.durations.get_or_create(&route).observe(took.as_secs_f64());
    }

    pub(super) fn submitted(&self, count: usize) {
        self.submitted.inc_by(count as u64);
    }

    /// The text that a scraper reads.
    pub(super) fn text(&self, queued: usize, followers: usize) -> String {
        self.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.followers.set(i64::try_from(followers).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a String does not fail.
        let _infallible = encode(&mut text, &self.registry);
        text
    }
}
