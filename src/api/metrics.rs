//! What `/metrics` shows, in the text format of Prometheus (OpenMetrics 1.0).

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
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
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
struct Route {
    route: String,
}

/// The figures of one route.
#[derive(Debug)]
struct OfRoute {
    duration: Histogram,
    /// The few kinds of answers that it gives.
    answers: Vec<((&'static str, StatusCode), Counter)>,
}

impl OfRoute {
    /// Counts an answer, unless it is the first one of its kind.
    fn count(&self, kind: (&'static str, StatusCode), took: Duration) -> bool {
        let known = self.answers.iter().find(|(known, _)| *known == kind);
        let Some((_, counter)) = known else { return false };
        counter.inc();
        self.duration.observe(took.as_secs_f64());
        true
    }
}

/// The figures of this process.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    /// The same by the pattern of the route, so that no label is written for each answer.
    routes: RwLock<HashMap<String, OfRoute>>,
    submitted: Counter,
    queued: Gauge,
    followers: Gauge,
}

/// From a fraction of a millisecond to half a minute.
fn histogram() -> Histogram {
    Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 30.0])
}

/// Clients may come up with methods, but not with figures.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mother");
        let metrics = Self {
            answers: Family::default(),
            durations: Family::new_with_constructor(histogram),
            routes: RwLock::default(),
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
    /// Counts an answer.
    pub(super) fn answered(
        &self,
        route: &str,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let kind = (name(method), status);
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if routes.get(route).is_some_and(|known| known.count(kind, took)) {
            return;
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let of_route = routes.entry(route.to_owned()).or_insert_with(|| {
            let route = Route { route: route.to_owned() };
            OfRoute { duration: self.durations.get_or_create_owned(&route), answers: Vec::new() }
        });
        if !of_route.count(kind, took) {
            let answer =
                Answer { route: route.to_owned(), method: kind.0, status: status.as_u16() };
            of_route.answers.push((kind, self.answers.get_or_create_owned(&answer)));
            of_route.count(kind, took);
        }
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
