//! What the history says about the steps.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::output::Output;
use crate::wire::Event;

/// A step went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Move {
    pub(in crate::cli) step: String,
    pub(in crate::cli) attempt: u32,
    pub(in crate::cli) action: String,
    pub(in crate::cli) to: String,
    /// How long the attempt ran that ends with this move.
    pub(in crate::cli) took: Option<Duration>,
}

/// The steps as far as the history was read.
#[derive(Debug, Default)]
pub(in crate::cli) struct Moves {
    started: HashMap<String, DateTime<Utc>>,
    /// The steps that ended badly or are held after a failure, in the order in which they did.
    pub(in crate::cli) troubled: Vec<String>,
}

impl Moves {
    /// The move that an event tells of.
    pub(in crate::cli) fn read(&mut self, event: &Event) -> Option<Move> {
        let step = event.step.clone()?;
        let to = event.to.clone()?;
        self.troubled.retain(|name| *name != step);
        match to.as_str() {
            "Failed" | "TimedOut" | "Error" => self.troubled.push(step.clone()),
            _ => {}
        }
        let took = if to == "Running" {
            self.started.insert(step.clone(), event.at);
            None
        } else {
            let started = self.started.remove(&step);
            started.and_then(|started| (event.at - started).to_std().ok())
        };
        let action = event.action.clone().unwrap_or_default();
        Some(Move { step, attempt: event.attempt.unwrap_or_default(), action, to, took })
    }
}

impl Move {
    /// Whether the step only became ready to run, which is no news.
    pub(in crate::cli) fn is_preparation(&self) -> bool {
        self.action == "start"
    }

    /// Whether an attempt begins.
    pub(in crate::cli) fn is_begin(&self) -> bool {
        self.to == "Running"
    }

    /// The move as a line: `Failed       unit  attempt 2, 3.2 s`.
    pub(in crate::cli) fn line(&self, output: Output) -> String {
        let mut remarks = Vec::new();
        if self.attempt > 1 || self.action == "retry" {
            remarks.push(format!("attempt {}", self.attempt));
        }
        if let Some(took) = self.took {
            remarks.push(elapsed(took));
        }
        match self.action.as_str() {
            "retry" => remarks.push("failed and is tried again".to_owned()),
            "lose" => remarks.push("its worker does not answer".to_owned()),
            "recover" => remarks.push("its worker answers again".to_owned()),
            "requeue" => remarks.push("goes to another worker".to_owned()),
            "give-up" => remarks.push("its workers were lost too often".to_owned()),
            "forgive" => remarks.push("failed and is skipped".to_owned()),
            _ => {}
        }
        // Padded before it is painted: colours have no width.
        let padding = " ".repeat(13_usize.saturating_sub(self.to.len()));
        let line = format!("{}{padding}{}", output.state(&self.to), self.step);
        if remarks.is_empty() {
            return line;
        }
        format!("{line}  {}", output.faint(&remarks.join(", ")))
    }
}

/// A duration as people say it: `0.3 s`, `42 s`, `3 min 5 s`, `2 h 7 min`.
pub(in crate::cli) fn elapsed(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(second: u32, step: &str, attempt: u32, action: &str, to: &str) -> Event {
        serde_json::from_value(json!({
            "seq": second, "at": format!("2026-01-31T12:00:{second:02}.500Z"), "kind": "moved",
            "step": step, "attempt": attempt, "action": action, "from": "Waiting", "to": to,
        }))
        .unwrap()
    }

    #[test]
    fn a_history_reads_as_lines() {
        let output = Output::plain();
        let mut moves = Moves::default();
        let lines: Vec<String> = [
            event(1, "unit", 1, "run", "Running"),
            event(4, "unit", 1, "retry", "Waiting"),
            event(5, "unit", 2, "run", "Running"),
            event(25, "unit", 2, "fail", "Failed"),
            event(25, "report", 0, "close", "Unreachable"),
        ]
        .iter()
        .map(|event| moves.read(event).unwrap().line(output))
        .collect();
        expect_test::expect![[r#"
            Running      unit
            Waiting      unit  attempt 1, 3.0 s, failed and is tried again
            Running      unit  attempt 2
            Failed       unit  attempt 2, 20 s
            Unreachable  report"#]]
        .assert_eq(&lines.join("\n"));
        assert_eq!(moves.troubled, ["unit"]);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let of = |millis| elapsed(Duration::from_millis(millis));
        assert_eq!(
            [of(320), of(42_900), of(185_000), of(7_620_000)],
            ["0.3 s", "42 s", "3 min 5 s", "2 h 7 min"]
        );
    }
}
