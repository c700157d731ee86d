//! Where output goes and how it looks.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::domain::Problem;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    colour: bool,
    terminal: bool,
}

impl Output {
    /// Text, or JSON; colours on a terminal unless `NO_COLOR` forbids them.
    pub(super) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let colour = AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { json, colour, terminal: stdout.is_terminal() }
    }

    /// Text without colours.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { json: false, colour: false, terminal: false }
    }

    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person looks at stdout.
    pub(super) const fn is_terminal(self) -> bool {
        self.terminal
    }

    pub(super) const fn has_colour(self) -> bool {
        self.colour
    }

    /// A line of text on stdout.
    #[expect(clippy::unused_self, reason = "all output goes through here")]
    pub(super) fn line(self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// A document on one line of stdout.
    #[expect(clippy::unused_self, reason = "all output goes through here")]
    pub(super) fn json<T: Serialize + ?Sized>(self, document: &T) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, document)?;
        writeln!(stdout)
    }

    /// A line about an error or a remark on stderr, which loses its colours if it is no terminal.
    #[expect(clippy::unused_self, reason = "all output goes through here")]
    pub(super) fn complain(self, text: &str) -> io::Result<()> {
        writeln!(anstream::stderr().lock(), "{text}")
    }

    /// What the author of a file may not have meant: `FILE: warning: path: message`, a line each.
    pub(super) fn warn(self, file: &str, warnings: &[Problem]) -> io::Result<()> {
        let word = self.paint(AnsiColor::Yellow.on_default(), "warning");
        warnings.iter().try_for_each(|warning| self.complain(&format!("{file}: {word}: {warning}")))
    }

    /// Text that stands out where colours are on.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The name of a state of a step or an operation.
    pub(super) fn state(self, name: &str) -> String {
        self.paint(style_of(name), name)
    }

    /// Text of less weight.
    pub(super) fn faint(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// Text of more weight.
    pub(super) fn bold(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// The colour of a state: green for a good end, red for a bad one, yellow for what needs a person.
fn style_of(state: &str) -> Style {
    let colour = match state {
        "Succeeded" => AnsiColor::Green,
        "Failed" | "TimedOut" | "Timeout" => AnsiColor::Red,
        "Error" | "Unresponsive" | "Zombie" | "Interrupted" | "Blocked" | "Paused" => {
            AnsiColor::Yellow
        }
        "Running" => AnsiColor::Cyan,
        _ => return Style::new().dimmed(),
    };
    colour.on_default()
}
