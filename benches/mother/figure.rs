//! Figures, their medians over rounds, and how they are shown.

use std::cmp::Ordering;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;
use serde_json::json;

use crate::Failure;

/// A load that takes longer than twice this is told in slices.
pub(crate) const SLICE: Duration = Duration::from_secs(30);

/// One figure and, where there is one, the limit it is compared to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) limit: Option<Limit>,
    /// What is to be reached.
    pub(crate) targets: Vec<Target>,
}

/// What a figure is compared to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// What of a figure a target is about.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Of {
    Value,
    Ratio,
    P50,
    P99,
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Target {
    AtLeast(Of, f64),
    AtMost(Of, f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            value,
            p50_ms: None,
            p99_ms: None,
            limit: None,
            targets: Vec::new(),
        }
    }

    pub(crate) fn times(self, p50_ms: f64, p99_ms: f64) -> Self {
        Self { p50_ms: Some(p50_ms), p99_ms: Some(p99_ms), ..self }
    }

    pub(crate) fn limit(self, name: impl Into<String>, value: f64) -> Self {
        Self { limit: Some(Limit { name: name.into(), value }), ..self }
    }

    pub(crate) fn at_least(self, of: Of, bound: f64) -> Self {
        self.target(Target::AtLeast(of, bound))
    }

    pub(crate) fn at_most(self, of: Of, bound: f64) -> Self {
        self.target(Target::AtMost(of, bound))
    }

    fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| self.value / limit.value)
    }

    fn part(&self, of: Of) -> Option<f64> {
        match of {
            Of::Value => Some(self.value),
            Of::Ratio => self.ratio(),
            Of::P50 => self.p50_ms,
            Of::P99 => self.p99_ms,
        }
    }

    /// The targets, and which of them were missed.
    fn judged(&self) -> String {
        let judge = |target: &Target| {
            let (of, sign, bound, order) = match *target {
                Target::AtLeast(of, bound) => (of, ">=", bound, Ordering::Greater),
                Target::AtMost(of, bound) => (of, "<=", bound, Ordering::Less),
            };
            let order_found = self.part(of).and_then(|part| part.partial_cmp(&bound));
            let is_met = order_found.is_some_and(|found| found == order || found.is_eq());
            let of = match of {
                Of::Value => "",
                Of::Ratio => "ratio ",
                Of::P50 => "p50 ",
                Of::P99 => "p99 ",
            };
            format!("{of}{sign} {bound}{}", if is_met { "" } else { ": missed" })
        };
        self.targets.iter().map(judge).collect::<Vec<_>>().join(", ")
    }
}

/// The rates of a long load's slices, each beside the first one: so one sees a rate that falls.
pub(crate) fn slices(unit: &'static str, rates: &[f64]) -> Vec<Figure> {
    let Some(first) = rates.first().copied().filter(|_| rates.len() > 1) else { return Vec::new() };
    let slice = |(number, rate): (usize, &f64)| {
        let from = number * usize::try_from(SLICE.as_secs()).unwrap_or(usize::MAX);
        let name = format!("  from second {from} on");
        Figure::new(name, unit, *rate).limit("the first slice", first)
    };
    rates.iter().enumerate().map(slice).collect()
}

/// A count as a number to calculate with; counts here are far below 2^32.
pub(crate) fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The middle.
pub(crate) const P50: (usize, usize) = (1, 2);
/// What one of a hundred is above.
pub(crate) const P99: (usize, usize) = (99, 100);

/// The value below which a share (so many of so many) of them are; 0 of none.
pub(crate) fn percentile(values: &mut [f64], share: (usize, usize)) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let (below, all) = share;
    values.get(last * below / all).copied().unwrap_or(0.0)
}

/// Each figure of the rounds with the median of its values, its times and its limit.
pub(crate) fn medians(rounds: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = rounds.first().cloned() else { return Vec::new() };
    let over = |index: usize, of: &dyn Fn(&Figure) -> Option<f64>| {
        let values = rounds.iter().filter_map(|round| round.get(index).and_then(of));
        percentile(&mut values.collect::<Vec<_>>(), P50)
    };
    let median = |(index, figure): (usize, Figure)| {
        let limit = figure.limit.map(|limit| Limit {
            value: over(index, &|figure| Some(figure.limit.as_ref()?.value)),
            ..limit
        });
        Figure {
            value: over(index, &|figure| Some(figure.value)),
            p50_ms: figure.p50_ms.map(|_| over(index, &|figure| figure.p50_ms)),
            p99_ms: figure.p99_ms.map(|_| over(index, &|figure| figure.p99_ms)),
            limit,
            ..figure
        }
    };
    first.into_iter().enumerate().map(median).collect()
}

/// Prints it all.
pub(crate) fn print(
    conditions: &[(&'static str, String)],
    figures: &[Figure],
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        let conditions: serde_json::Map<_, _> =
            conditions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let all = json!({"conditions": conditions, "figures": figures});
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "figure", "value", "unit", "p50 ms", "p99 ms", "limit", "value", "ratio", "target",
    ]);
    for figure in figures {
        let time = |time: Option<f64>| time.map(|ms| format!("{ms:.2}")).unwrap_or_default();
        let limit = figure.limit.as_ref();
        table.add_row([
            figure.name.clone(),
            number(figure.value),
            figure.unit.to_owned(),
            time(figure.p50_ms),
            time(figure.p99_ms),
            limit.map(|limit| limit.name.clone()).unwrap_or_default(),
            limit.map(|limit| number(limit.value)).unwrap_or_default(),
            figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            figure.judged(),
        ]);
    }
    for (name, value) in conditions {
        println!("{name}: {value}");
    }
    println!("\n{table}");
    Ok(())
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
