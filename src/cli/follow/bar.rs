//! A bar with counts, a line per running step below it, and what ended above it: for terminals.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::output::Output;
use super::moves::elapsed;
use super::{Move, Reporter};
use crate::wire::{Event, Operation};

/// Running steps that have a line of their own; the bar counts the others.
const SHOWN_MAX: usize = 8;

pub(super) struct Bar {
    output: Output,
    screen: MultiProgress,
    total: ProgressBar,
    running: BTreeMap<String, Instant>,
    shown: Vec<Shown>,
}

/// The line of a running step.
struct Shown {
    step: String,
    since: Instant,
    line: ProgressBar,
}

impl Bar {
    pub(super) fn new(output: Output) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let total = screen.add(ProgressBar::new(100));
        total.set_style(style("{bar:30.cyan/dim} {pos:>3} %  {wide_msg}").progress_chars("━━─"));
        Self { output, screen, total, running: BTreeMap::new(), shown: Vec::new() }
    }

    /// Takes away the lines of steps that run no more and gives their place to others.
    fn arrange(&mut self) {
        let (running, screen) = (&self.running, &self.screen);
        self.shown.retain(|shown| {
            let stays = running.contains_key(&shown.step);
            if !stays {
                shown.line.finish_and_clear();
                screen.remove(&shown.line);
            }
            stays
        });
        for (step, since) in running {
            if self.shown.len() >= SHOWN_MAX {
                break;
            }
            if self.shown.iter().all(|shown| shown.step != *step) {
                let line = screen.add(ProgressBar::new_spinner());
                line.set_style(style("{spinner:.cyan} {wide_msg}"));
                self.shown.push(Shown { step: step.clone(), since: *since, line });
            }
        }
    }
}

impl Reporter for Bar {
    fn event(&mut self, _: &Event, moved: Option<&Move>) -> io::Result<()> {
        let Some(moved) = moved.filter(|moved| !moved.is_preparation()) else { return Ok(()) };
        if moved.is_begin() {
            self.running.insert(moved.step.clone(), Instant::now());
        } else {
            self.running.remove(&moved.step);
            self.screen.println(moved.line(self.output))?;
        }
        self.arrange();
        Ok(())
    }

    fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        let counts = operation.step_counts.iter();
        let counts: Vec<String> =
            counts.map(|(state, count)| format!("{count} {}", self.output.state(state))).collect();
        self.total.set_position(u64::from(operation.percent_complete));
        self.total.set_message(counts.join(", "));
        Ok(())
    }

    fn remark(&mut self, text: &str) -> io::Result<()> {
        self.screen.println(text)
    }

    fn tick(&mut self) {
        self.total.tick();
        for shown in &self.shown {
            // Whole seconds: tenths that jump by fifths look broken.
            let secs = Duration::from_secs(shown.since.elapsed().as_secs());
            let time = self.output.faint(&elapsed_or_nothing(secs));
            shown.line.set_message(format!("{}  {time}", shown.step));
            shown.line.tick();
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.screen.clear()
    }
}

fn elapsed_or_nothing(duration: Duration) -> String {
    match duration.as_secs() {
        0 => String::new(),
        secs @ 1..10 => format!("{secs} s"),
        _ => elapsed(duration),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant")
}
