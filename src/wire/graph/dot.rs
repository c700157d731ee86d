//! The language of Graphviz.

use std::fmt::Write as _;

use super::{Class, Edge, EdgeKind, Graph, INK, Node, is_invisible};

pub(super) fn render(graph: &Graph) -> String {
    let mut out = String::from("digraph jobset {\n");
    out += "  graph [rankdir=LR, bgcolor=\"#ffffff\", fontname=\"sans-serif\"";
    if !graph.name.is_empty() {
        out += ", labelloc=t, label=";
        quote(&mut out, [graph.name.as_str()]);
    }
    out += "];\n";
    // Writing to a string never fails.
    _ = writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontcolor=\"{INK}\", \
         fillcolor=\"{}\", color=\"{}\"];",
        Class::Neutral.fill(),
        Class::Neutral.stroke(),
    );
    out += "  edge [fontname=\"sans-serif\", fontsize=10];\n";
    for (n, node) in graph.nodes.iter().enumerate() {
        write_node(&mut out, n, node);
    }
    for edge in &graph.edges {
        write_edge(&mut out, edge);
    }
    out += "}\n";
    out
}

/// Viewers show the label as the tooltip too, so there is none of our own.
fn write_node(out: &mut String, n: usize, node: &Node) {
    _ = write!(out, "  n{n} [label=");
    quote(out, std::iter::once(node.name.as_str()).chain(node.details()));
    if node.class != Class::Neutral {
        let (fill, stroke) = (node.class.fill(), node.class.stroke());
        _ = write!(out, ", class={}, fillcolor=\"{fill}\", color=\"{stroke}\"", node.class.name());
    }
    if node.class == Class::Skipped {
        out.push_str(", style=\"rounded,filled,dashed\"");
    }
    out.push_str("];\n");
}

fn write_edge(out: &mut String, edge: &Edge) {
    let stroke = edge.kind.stroke();
    _ = write!(out, "  n{} -> n{} [color=\"{stroke}\"", edge.from, edge.to);
    match &edge.kind {
        EdgeKind::Success | EdgeKind::Before => {}
        EdgeKind::Failure => out.push_str(", style=dashed"),
        EdgeKind::Guard(label) => {
            _ = write!(out, ", style=dotted, fontcolor=\"{stroke}\", label=");
            quote(out, [label.as_str()]);
        }
    }
    out.push_str("];\n");
}

/// Lines as one quoted string. A label knows backslash sequences (`\N` is the name of the node) and
/// HTML entities, so both backslash and ampersand are escaped.
fn quote<'a>(out: &mut String, lines: impl IntoIterator<Item = &'a str>) {
    out.push('"');
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            out.push_str("\\n");
        }
        for char in line.chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '&' => out.push_str("&amp;"),
                '\n' => out.push_str("\\n"),
                char if is_invisible(char) => out.push(char::REPLACEMENT_CHARACTER),
                char => out.push(char),
            }
        }
    }
    out.push('"');
}
