//! A flowchart of Mermaid. Viewers draw up to 500 arrows unless `maxEdges` is set.

use std::fmt::Write as _;

use super::{Class, EdgeKind, Graph, INK, Node, is_invisible};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    if !graph.name.is_empty() {
        _ = writeln!(out, "---\ntitle: {}\n---", yaml(&graph.name));
    }
    out += "flowchart LR\n";
    for (n, node) in graph.nodes.iter().enumerate() {
        write_node(&mut out, n, node);
    }
    for edge in &graph.edges {
        let (from, to) = (edge.from, edge.to);
        _ = match &edge.kind {
            EdgeKind::Success | EdgeKind::Failure | EdgeKind::Before => {
                writeln!(out, "  n{from} --> n{to}")
            }
            EdgeKind::Guard(label) => {
                writeln!(out, "  n{from} -.->|\"{}\"| n{to}", escape(label))
            }
        };
    }
    write_classes(&mut out, graph);
    write_link_style(&mut out, graph, &EdgeKind::Failure, ",stroke-dasharray:6 4");
    write_link_style(&mut out, graph, &EdgeKind::Guard(String::new()), ",stroke-dasharray:2 4");
    out
}

fn write_node(out: &mut String, n: usize, node: &Node) {
    _ = write!(out, "  n{n}[\"{}", escape(&node.name));
    for detail in node.details() {
        _ = write!(out, "<br/>{}", escape(detail));
    }
    _ = writeln!(out, "\"]:::{}", node.class.name());
}

/// The classes that occur.
fn write_classes(out: &mut String, graph: &Graph) {
    for class in Class::ALL {
        if graph.nodes.iter().any(|node| node.class == class) {
            let (name, fill, stroke) = (class.name(), class.fill(), class.stroke());
            let dashes = if class == Class::Skipped { ",stroke-dasharray:4 3" } else { "" };
            _ = writeln!(out, "  classDef {name} fill:{fill},stroke:{stroke},color:{INK}{dashes}");
        }
    }
}

/// The style of all arrows of a kind, which Mermaid numbers in the order in which they stand.
fn write_link_style(out: &mut String, graph: &Graph, kind: &EdgeKind, dashes: &str) {
    let alike = std::mem::discriminant(kind);
    let numbers: Vec<String> = graph
        .edges
        .iter()
        .enumerate()
        .filter(|(_, edge)| std::mem::discriminant(&edge.kind) == alike)
        .map(|(index, _)| index.to_string())
        .collect();
    if !numbers.is_empty() {
        let stroke = kind.stroke();
        _ = writeln!(out, "  linkStyle {} stroke:{stroke}{dashes}", numbers.join(","));
    }
}

/// Text for a quoted label. Mermaid reads labels several times over (comments, directives, entity
/// codes, Markdown, HTML), so what could mean anything where it stands is an entity code, by number.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let follows_word = before.is_some_and(char::is_alphanumeric);
        let precedes_word = chars.peek().is_some_and(|next| next.is_alphanumeric());
        let is_plain = match char {
            // Four blanks are code; `-`, `1.` and `1)` before a blank are a list; `_a_` is emphasis.
            ' ' => before.is_some_and(|before| before != ' '),
            '-' | '.' => precedes_word,
            '_' => follows_word && precedes_word,
            char => char.is_alphanumeric() || matches!(char, ',' | '(' | '/'),
        };
        match char {
            char if is_plain => out.push(char),
            '\n' => out.push_str("<br/>"),
            char if is_invisible(char) => out.push(char::REPLACEMENT_CHARACTER),
            char => _ = write!(out, "#{};", u32::from(char)),
        }
        before = Some(char);
    }
    out
}

/// Text for a double-quoted scalar of YAML.
fn yaml(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        if char.is_alphanumeric() || matches!(char, ' ' | '-' | '.' | ',' | '(' | ')' | '_') {
            out.push(char);
        } else {
            _ = write!(out, "\\U{:08X}", u32::from(char));
        }
    }
    out.push('"');
    out
}
