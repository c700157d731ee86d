//! A jobset as a drawing, or what happened before what: DOT for Graphviz, Mermaid for documents, SVG
//! for browsers.
//!
//! [`Graph`] is a small model of its own: names, states by name and a coarse [`Class`] of each. So
//! the renderers know no state machine, and each is one pure function in one file. Nodes are called
//! `n0`, `n1`... by their position; names of steps only ever stand in labels, where each format has
//! its own way to escape them.
//!
//! The layout of the SVG is our own (see `layout`). The crate `dagre` was measured and rejected: for
//! layered graphs with three arrows per step it took 0.4 s at 200 steps, 2.4 s at 500 and, with its
//! quickest ranking, 16 s at 2,000. That is too much for an answer to a GET; ours takes less than a
//! tenth of a second for 2,000.

mod build;
mod dot;
mod layout;
mod mermaid;
mod svg;

use std::str::FromStr;

use thiserror::Error;

/// Steps, and why they run when they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The title; may be empty.
    pub name: String,
    /// The steps, in topological order as far as there is one.
    pub nodes: Vec<Node>,
    /// What one step waits for of another.
    pub edges: Vec<Edge>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The name of its state; none where only the definition is drawn.
    pub state: Option<String>,
    /// What kind of state that is.
    pub class: Class,
    /// A remark below the name: how many of its pairs it needs, if not all.
    pub note: Option<String>,
}

/// An arrow between two positions in [`Graph::nodes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The step that is watched.
    pub from: usize,
    /// The step that waits.
    pub to: usize,
    /// For what it waits.
    pub kind: EdgeKind,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EdgeKind {
    /// A success pair.
    Success,
    /// A failure pair.
    Failure,
    /// A term of a guard, with the states that it asks for.
    Guard(String),
    /// Nothing: the nodes are attempts, and this one had ended before the other began.
    Before,
}

/// What kind of state a step is in: its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// It has no state: a definition is drawn.
    #[default]
    Neutral,
    /// It did not begin yet.
    Waiting,
    /// It is in the hands of a worker.
    Running,
    /// A person decides how it goes on.
    Held,
    /// It ended well.
    Good,
    /// It ended badly.
    Bad,
    /// It ended without a result: skipped, never reached, or stopped with the operation.
    Skipped,
}

impl Class {
    /// Every class.
    const ALL: [Self; 7] = [
        Self::Neutral,
        Self::Waiting,
        Self::Running,
        Self::Held,
        Self::Good,
        Self::Bad,
        Self::Skipped,
    ];

    /// The name in Mermaid and in the classes of the SVG.
    const fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Held => "held",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skipped => "skipped",
        }
    }

    /// The colour of the box: light enough for dark text.
    const fn fill(self) -> &'static str {
        match self {
            Self::Neutral => "#ffffff",
            Self::Waiting => "#f3f4f6",
            Self::Running => "#dbeafe",
            Self::Held => "#fef3c7",
            Self::Good => "#dcfce7",
            Self::Bad => "#fee2e2",
            Self::Skipped => "#e5e7eb",
        }
    }

    /// The colour of its border.
    const fn stroke(self) -> &'static str {
        match self {
            Self::Neutral => "#374151",
            Self::Waiting | Self::Skipped => "#6b7280",
            Self::Running => "#2563eb",
            Self::Held => "#b45309",
            Self::Good => "#15803d",
            Self::Bad => "#b91c1c",
        }
    }
}

/// The colour of text.
const INK: &str = "#111827";

impl EdgeKind {
    /// The colour of the arrow.
    const fn stroke(&self) -> &'static str {
        match self {
            Self::Success | Self::Before => "#374151",
            Self::Failure => "#b91c1c",
            Self::Guard(_) => "#1d4ed8",
        }
    }
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The language of Graphviz.
    Dot,
    /// A flowchart of Mermaid.
    Mermaid,
    /// A drawing, laid out.
    Svg,
}

impl Format {
    /// Every format, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Dot, Self::Mermaid, Self::Svg];

    /// The name in `?format=` and `--graph`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Mermaid => "mermaid",
            Self::Svg => "svg",
        }
    }

    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Dot => "text/vnd.graphviz",
            Self::Mermaid => "text/vnd.mermaid",
            Self::Svg => "image/svg+xml",
        }
    }
}

/// There is no such format.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("write dot, mermaid or svg")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownFormat)
    }
}

/// How many steps an SVG may have: beyond it nobody reads a drawing, and browsers struggle.
pub const SVG_STEPS_MAX: usize = 5_000;
/// How many arrows an SVG may have.
pub const SVG_EDGES_MAX: usize = 20_000;

/// A graph that is too large to be drawn.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{nodes} steps with {edges} arrows are too much for an SVG, which is drawn up to \
     {SVG_STEPS_MAX} steps and {SVG_EDGES_MAX} arrows; ask for dot or mermaid"
)]
pub struct TooLarge {
    /// How many steps there are.
    pub nodes: usize,
    /// How many arrows there are.
    pub edges: usize,
}

impl Graph {
    /// The graph in a format.
    ///
    /// # Errors
    /// [`TooLarge`], for SVG only.
    pub fn render(&self, format: Format) -> Result<String, TooLarge> {
        match format {
            Format::Dot => Ok(dot::render(self)),
            Format::Mermaid => Ok(mermaid::render(self)),
            Format::Svg => {
                let (nodes, edges) = (self.nodes.len(), self.edges.len());
                if nodes > SVG_STEPS_MAX || edges > SVG_EDGES_MAX {
                    return Err(TooLarge { nodes, edges });
                }
                Ok(svg::render(self))
            }
        }
    }
}

/// What cannot be shown, and has no form at all in XML: control characters and two that are none.
fn is_invisible(char: char) -> bool {
    char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}')
}

impl Node {
    /// What stands below the name: the state and the remark.
    fn details(&self) -> impl Iterator<Item = &str> {
        [&self.state, &self.note].into_iter().filter_map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests;
