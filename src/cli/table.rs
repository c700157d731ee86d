//! Tables for people.

use comfy_table::{Cell, Color, Table, presets};

use super::output::Output;
use crate::wire::Step;

/// A table without lines, its header in capitals.
pub(super) fn table(header: &[&str], output: Output) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if output.has_colour() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())));
    table
}

/// The table as text, without blanks at the ends of lines.
pub(super) fn text(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}

/// The name of a state in its colour.
pub(super) fn state(name: &str) -> Cell {
    let cell = Cell::new(name);
    match name {
        "Succeeded" => cell.fg(Color::Green),
        "Failed" | "TimedOut" | "Timeout" => cell.fg(Color::Red),
        "Running" => cell.fg(Color::Cyan),
        _ => cell,
    }
}

/// How the last attempt of a step ended; empty when it has not, or ended well.
pub(super) fn ended_by(step: &Step) -> String {
    let message = step.exception.as_ref().and_then(|exception| exception.get("message")?.as_str());
    match (step.signal, step.exit_code, message) {
        (_, _, Some(message)) => message.to_owned(),
        (Some(signal), _, None) => format!("signal {signal}"),
        (None, Some(code), None) if code != 0 => format!("exit code {code}"),
        (None, _, None) => String::new(),
    }
}
