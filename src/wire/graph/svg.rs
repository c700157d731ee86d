//! A drawing that stands alone: no scripts, no styles from elsewhere, readable on any background
//! because it brings its own.

use std::fmt::Write as _;

use super::layout::{self, Layout, Link, MARGIN, Point, Size};
use super::{Class, Edge, EdgeKind, Graph, INK, Node, is_invisible};

/// Height of a line of text in a box.
const LINE: f64 = 17.0;
/// Free space above and below the text in a box.
const PADDING: f64 = 9.0;
/// Free space beside it.
const SIDE: f64 = 14.0;
/// Width of a character, about: nobody tells us the font.
const CHARACTER: f64 = 7.4;
/// The same in the smaller text of the labels.
const SMALL_CHARACTER: f64 = 6.2;
/// The longest text that is shown, in characters; the whole stands in the tooltip.
const TEXT_MAX: usize = 32;
/// From an arrow to the next one between the same two steps.
const PARALLEL: f64 = 9.0;
/// Room for the title.
const TITLE: f64 = 28.0;

pub(super) fn render(graph: &Graph) -> String {
    let sizes: Vec<Size> = graph.nodes.iter().map(size).collect();
    let links: Vec<Link> = graph.edges.iter().map(link).collect();
    let layout = layout::lay_out(&sizes, &links);
    let title = if graph.name.is_empty() { 0.0 } else { TITLE };
    let title_width = width(&shorten(&graph.name), CHARACTER) + 2.0 * MARGIN;
    let whole =
        Size { width: layout.size.width.max(title_width), height: layout.size.height + title };
    let mut out = String::new();
    head(&mut out, graph, whole);
    _ = writeln!(out, "<g transform=\"translate(0 {title})\">");
    edges(&mut out, graph, &layout);
    for ((node, at), size) in graph.nodes.iter().zip(&layout.boxes).zip(&sizes) {
        write_node(&mut out, node, *at, *size);
    }
    labels(&mut out, graph, &layout);
    out += "</g>\n</svg>\n";
    out
}

/// Everything before the drawing. Writing to a string never fails.
fn head(out: &mut String, graph: &Graph, Size { width, height }: Size) {
    let name = if graph.name.is_empty() { "jobset" } else { &graph.name };
    _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\">\n<title>{}</title>\n<defs>",
        escape(name)
    );
    for (id, kind) in KINDS {
        _ = writeln!(
            out,
            "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
             markerHeight=\"8\" orient=\"auto\" markerUnits=\"userSpaceOnUse\">\
             <path d=\"M0 0L8 4L0 8z\" fill=\"{}\"/></marker>",
            kind.stroke()
        );
    }
    out.push_str("</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    if !graph.name.is_empty() {
        let text = escape(&shorten(&graph.name));
        _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"26\" font-size=\"15\" font-weight=\"600\" fill=\"{INK}\">\
             {text}</text>"
        );
    }
}

/// One of each kind, with the name of its arrow head.
const KINDS: [(&str, EdgeKind); 3] = [
    ("success", EdgeKind::Success),
    ("failure", EdgeKind::Failure),
    ("guard", EdgeKind::Guard(String::new())),
];

const fn kind_name(kind: &EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Success | EdgeKind::Before => "success",
        EdgeKind::Failure => "failure",
        EdgeKind::Guard(_) => "guard",
    }
}

fn size(node: &Node) -> Size {
    let lines = std::iter::once(node.name.as_str()).chain(node.details());
    let (count, widest) = lines.fold((0.0, 0.0), |(count, widest), line| {
        (count + 1.0, f64::max(widest, width(&shorten(line), CHARACTER)))
    });
    Size { width: (widest + 2.0 * SIDE).max(64.0), height: count * LINE + 2.0 * PADDING }
}

fn link(edge: &Edge) -> Link {
    let label = match &edge.kind {
        EdgeKind::Success | EdgeKind::Failure | EdgeKind::Before => 0.0,
        EdgeKind::Guard(label) => width(&shorten(label), SMALL_CHARACTER),
    };
    Link { from: edge.from, to: edge.to, label }
}

/// What a text takes, about: characters beyond Latin, Greek and Cyrillic are taken for wide ones.
fn width(text: &str, character: f64) -> f64 {
    text.chars().map(|char| if char < '\u{1100}' { character } else { character * 1.9 }).sum()
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text.to_owned();
    }
    text.chars().take(TEXT_MAX - 1).chain(['…']).collect()
}

fn write_node(out: &mut String, node: &Node, at: Point, size: Size) {
    let class = node.class;
    let (x, y) = (at.x - size.width / 2.0, at.y - size.height / 2.0);
    let (width, height) = (size.width, size.height);
    let tooltip: Vec<&str> = node.details().collect();
    let separator = if tooltip.is_empty() { "" } else { ": " };
    let tooltip = format!("{}{separator}{}", node.name, tooltip.join(", "));
    let dashes = if class == Class::Skipped { " stroke-dasharray=\"4 3\"" } else { "" };
    _ = writeln!(
        out,
        "<g class=\"{}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\" rx=\"6\" fill=\"{}\" stroke=\"{}\" stroke-width=\"1.5\"{dashes}/>",
        class.name(),
        escape(&tooltip),
        class.fill(),
        class.stroke()
    );
    let mut baseline = y + PADDING + LINE - 4.0;
    let mut style = format!("font-weight=\"600\" fill=\"{INK}\"");
    for line in std::iter::once(node.name.as_str()).chain(node.details()) {
        _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\" {style}>{}</text>",
            at.x,
            escape(&shorten(line))
        );
        baseline += LINE;
        style = format!("font-size=\"12\" fill=\"{}\"", class.stroke());
    }
    out.push_str("</g>\n");
}

/// How far each arrow is from the middle of those between the same two steps.
fn shifts(edges: &[Edge]) -> Vec<f64> {
    let mut shifts = Vec::with_capacity(edges.len());
    for alike in edges.chunk_by(|a, b| (a.from, a.to) == (b.from, b.to)) {
        let mut shift = 0.0;
        for _ in &alike[1..] {
            shift -= PARALLEL / 2.0;
        }
        for _ in alike {
            shifts.push(shift);
            shift += PARALLEL;
        }
    }
    shifts
}

fn edges(out: &mut String, graph: &Graph, layout: &Layout) {
    out.push_str("<g fill=\"none\" stroke-width=\"1.5\">\n");
    for ((edge, route), shift) in graph.edges.iter().zip(&layout.routes).zip(shifts(&graph.edges)) {
        let kind = kind_name(&edge.kind);
        let dashes = match edge.kind {
            EdgeKind::Success | EdgeKind::Before => "",
            EdgeKind::Failure => " stroke-dasharray=\"7 4\"",
            EdgeKind::Guard(_) => " stroke-dasharray=\"2 4\" stroke-linecap=\"round\"",
        };
        let path = match route[..] {
            [] => loop_path(layout.boxes[edge.from], size(&graph.nodes[edge.from])),
            // Further apart than one layer, each has bends of its own.
            [_, _] => path(route, shift),
            _ => path(route, 0.0),
        };
        _ = writeln!(
            out,
            "<path class=\"{kind}\" d=\"{path}\" stroke=\"{}\"{dashes} marker-end=\"url(#{kind})\"/>",
            edge.kind.stroke()
        );
    }
    out.push_str("</g>\n");
}

/// Straight through the columns, curved between them. Parallel arrows begin together and end beside
/// each other.
fn path(route: &[Point], shift: f64) -> String {
    let mut path = String::new();
    for (index, point) in route.iter().enumerate() {
        let y = if index == 0 { point.y } else { point.y + shift };
        let x = point.x;
        match index.checked_sub(1).map(|before| route[before]) {
            None => _ = write!(path, "M{x:.1} {y:.1}"),
            Some(_) if index.is_multiple_of(2) => _ = write!(path, "L{x:.1} {y:.1}"),
            Some(before) => {
                let middle = f64::midpoint(before.x, x);
                let start = if index == 1 { before.y } else { before.y + shift };
                _ = write!(path, "C{middle:.1} {start:.1} {middle:.1} {y:.1} {x:.1} {y:.1}");
            }
        }
    }
    path
}

/// From the top of a box back to it.
fn loop_path(at: Point, size: Size) -> String {
    let (x, y) = (at.x, at.y - size.height / 2.0);
    let (left, right, above) = (x - 12.0, x + 12.0, y - 16.0);
    format!("M{left:.1} {y:.1}C{left:.1} {above:.1} {right:.1} {above:.1} {right:.1} {y:.1}")
}

/// Labels come last, each on a ground of its own, so that no arrow hides them. (A rim by
/// `paint-order` looks better, and hides the text itself where a viewer does not know that.)
fn labels(out: &mut String, graph: &Graph, layout: &Layout) {
    out.push_str("<g font-size=\"11\" text-anchor=\"middle\">\n");
    for (edge, at) in graph.edges.iter().zip(&layout.labels) {
        let EdgeKind::Guard(label) = &edge.kind else { continue };
        let (from, to) = (&graph.nodes[edge.from].name, &graph.nodes[edge.to].name);
        let width = link(edge).label + 4.0;
        _ = writeln!(
            out,
            "<g><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"13\" \
             fill=\"#ffffff\" fill-opacity=\"0.85\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text></g>",
            escape(&format!("{to} waits for {from}: {label}")),
            at.x - width / 2.0,
            at.y - 6.5,
            at.x,
            at.y + 4.0,
            edge.kind.stroke(),
            escape(&shorten(label))
        );
    }
    out.push_str("</g>\n");
}

/// Text for an element of XML, which has no form at all for most control characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(' '),
            char if is_invisible(char) => out.push(char::REPLACEMENT_CHARACTER),
            char => out.push(char),
        }
    }
    out
}
