use expect_test::{Expect, expect};

use super::*;
use crate::domain::definition::{ClauseDefinition, StepDefinition};
use crate::domain::{Definition, Jobset, Limits};
use crate::wire::read_jobset;

/// A jobset with every kind of arrow.
const JOBSET: &str = r#"{
    "name": "nightly",
    "steps": [
        {"name": "build"}, {"name": "unit"}, {"name": "diagnose"},
        {"name": "lint"}, {"name": "pack", "need": "any"},
        {"name": "report", "when": [
            {"lint": ["Succeeded"], "unit": ["Succeeded"]},
            {"lint": ["Succeeded"], "unit": ["Failed", "TimedOut"], "diagnose": ["Succeeded"], "$atLeast": 2},
            {"lint": ["Succeeded"], "build": ["Failed"]}
        ]}
    ],
    "successPairs": [["build", "unit"], ["build", "lint"], ["unit", "pack"], ["lint", "pack"]],
    "failurePairs": [["unit", "diagnose"]]
}"#;

fn graph() -> Graph {
    let definition = read_jobset(JOBSET.as_bytes()).unwrap().into_definition();
    let jobset = Jobset::compile(definition.clone(), &Limits::default()).unwrap();
    Graph::of(&definition, &jobset)
}

fn with_states() -> Graph {
    let states = [
        ("Succeeded", Class::Good),
        ("Failed", Class::Bad),
        ("Running", Class::Running),
        ("Error", Class::Held),
        ("Skipped", Class::Skipped),
        ("Waiting", Class::Waiting),
    ];
    graph().with_states(states.map(|(name, class)| (name.to_owned(), class)))
}

fn check(graph: &Graph, format: Format, expected: &Expect) {
    expected.assert_eq(&graph.render(format).unwrap());
}

#[test]
fn a_definition_as_dot() {
    check(
        &graph(),
        Format::Dot,
        &expect![[r##"
            digraph jobset {
              graph [rankdir=LR, bgcolor="#ffffff", fontname="sans-serif", labelloc=t, label="nightly"];
              node [shape=box, style="rounded,filled", fontname="sans-serif", fontcolor="#111827", fillcolor="#ffffff", color="#374151"];
              edge [fontname="sans-serif", fontsize=10];
              n0 [label="build"];
              n1 [label="unit"];
              n2 [label="diagnose"];
              n3 [label="lint"];
              n4 [label="pack\nneeds any of 2 pairs"];
              n5 [label="report"];
              n0 -> n1 [color="#374151"];
              n0 -> n3 [color="#374151"];
              n0 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 3: Failed"];
              n1 -> n2 [color="#b91c1c", style=dashed];
              n1 -> n4 [color="#374151"];
              n1 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 1: Succeeded"];
              n1 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Failed or TimedOut"];
              n2 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Succeeded"];
              n3 -> n4 [color="#374151"];
              n3 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="options 1, 3: Succeeded"];
              n3 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Succeeded"];
            }
        "##]],
    );
}

#[test]
fn an_operation_as_dot() {
    check(
        &with_states(),
        Format::Dot,
        &expect![[r##"
            digraph jobset {
              graph [rankdir=LR, bgcolor="#ffffff", fontname="sans-serif", labelloc=t, label="nightly"];
              node [shape=box, style="rounded,filled", fontname="sans-serif", fontcolor="#111827", fillcolor="#ffffff", color="#374151"];
              edge [fontname="sans-serif", fontsize=10];
              n0 [label="build\nSucceeded", class=good, fillcolor="#dcfce7", color="#15803d"];
              n1 [label="unit\nFailed", class=bad, fillcolor="#fee2e2", color="#b91c1c"];
              n2 [label="diagnose\nRunning", class=running, fillcolor="#dbeafe", color="#2563eb"];
              n3 [label="lint\nError", class=held, fillcolor="#fef3c7", color="#b45309"];
              n4 [label="pack\nSkipped\nneeds any of 2 pairs", class=skipped, fillcolor="#e5e7eb", color="#6b7280", style="rounded,filled,dashed"];
              n5 [label="report\nWaiting", class=waiting, fillcolor="#f3f4f6", color="#6b7280"];
              n0 -> n1 [color="#374151"];
              n0 -> n3 [color="#374151"];
              n0 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 3: Failed"];
              n1 -> n2 [color="#b91c1c", style=dashed];
              n1 -> n4 [color="#374151"];
              n1 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 1: Succeeded"];
              n1 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Failed or TimedOut"];
              n2 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Succeeded"];
              n3 -> n4 [color="#374151"];
              n3 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="options 1, 3: Succeeded"];
              n3 -> n5 [color="#1d4ed8", style=dotted, fontcolor="#1d4ed8", label="option 2: at least 2 of 3: Succeeded"];
            }
        "##]],
    );
}

#[test]
fn an_operation_as_mermaid() {
    check(
        &with_states(),
        Format::Mermaid,
        &expect![[r#"
        ---
        title: "nightly"
        ---
        flowchart LR
          n0["build<br/>Succeeded"]:::good
          n1["unit<br/>Failed"]:::bad
          n2["diagnose<br/>Running"]:::running
          n3["lint<br/>Error"]:::held
          n4["pack<br/>Skipped<br/>needs any of 2 pairs"]:::skipped
          n5["report<br/>Waiting"]:::waiting
          n0 --> n1
          n0 --> n3
          n0 -.->|"option 3#58; Failed"| n5
          n1 --> n2
          n1 --> n4
          n1 -.->|"option 1#58; Succeeded"| n5
          n1 -.->|"option 2#58; at least 2 of 3#58; Failed or TimedOut"| n5
          n2 -.->|"option 2#58; at least 2 of 3#58; Succeeded"| n5
          n3 --> n4
          n3 -.->|"options 1, 3#58; Succeeded"| n5
          n3 -.->|"option 2#58; at least 2 of 3#58; Succeeded"| n5
          classDef waiting fill:#f3f4f6,stroke:#6b7280,color:#111827
          classDef running fill:#dbeafe,stroke:#2563eb,color:#111827
          classDef held fill:#fef3c7,stroke:#b45309,color:#111827
          classDef good fill:#dcfce7,stroke:#15803d,color:#111827
          classDef bad fill:#fee2e2,stroke:#b91c1c,color:#111827
          classDef skipped fill:#e5e7eb,stroke:#6b7280,color:#111827,stroke-dasharray:4 3
          linkStyle 3 stroke:#b91c1c,stroke-dasharray:6 4
          linkStyle 2,5,6,7,9,10 stroke:#1d4ed8,stroke-dasharray:2 4
    "#]],
    );
}

#[test]
fn an_operation_as_svg() {
    check(
        &with_states(),
        Format::Svg,
        &expect![[r##"
            <svg xmlns="http://www.w3.org/2000/svg" width="847" height="334" viewBox="0 0 847 334" role="img" font-family="system-ui, sans-serif" font-size="13">
            <title>nightly</title>
            <defs>
            <marker id="success" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="#374151"/></marker>
            <marker id="failure" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="#b91c1c"/></marker>
            <marker id="guard" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="#1d4ed8"/></marker>
            </defs>
            <rect width="100%" height="100%" fill="#ffffff"/>
            <text x="20" y="26" font-size="15" font-weight="600" fill="#111827">nightly</text>
            <g transform="translate(0 28)">
            <g fill="none" stroke-width="1.5">
            <path class="success" d="M114.6 141.6C142.6 141.6 142.6 81.2 170.6 81.2" stroke="#374151" marker-end="url(#success)"/>
            <path class="success" d="M114.6 141.6C144.4 141.6 144.4 149.2 174.3 149.2" stroke="#374151" marker-end="url(#success)"/>
            <path class="guard" d="M114.6 141.6C142.6 141.6 142.6 194.2 170.6 194.2L243.0 194.2C271.0 194.2 271.0 175.0 299.0 175.0L503.0 175.0C625.0 175.0 625.0 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            <path class="failure" d="M243.0 81.2C300.2 81.2 300.2 46.0 357.4 46.0" stroke="#b91c1c" stroke-dasharray="7 4" marker-end="url(#failure)"/>
            <path class="success" d="M243.0 81.2C278.0 81.2 278.0 251.5 313.0 251.5" stroke="#374151" marker-end="url(#success)"/>
            <path class="guard" d="M243.0 81.2C271.0 81.2 271.0 95.0 299.0 95.0L503.0 95.0C625.0 95.0 625.0 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            <path class="guard" d="M243.0 81.2C271.0 81.2 271.0 115.0 299.0 115.0L503.0 115.0C625.0 115.0 625.0 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            <path class="guard" d="M444.6 46.0C595.8 46.0 595.8 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            <path class="success" d="M239.3 149.2C276.1 149.2 276.1 251.5 313.0 251.5" stroke="#374151" marker-end="url(#success)"/>
            <path class="guard" d="M239.3 149.2C269.1 149.2 269.1 135.0 299.0 135.0L503.0 135.0C625.0 135.0 625.0 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            <path class="guard" d="M239.3 149.2C269.1 149.2 269.1 155.0 299.0 155.0L503.0 155.0C625.0 155.0 625.0 130.8 747.0 130.8" stroke="#1d4ed8" stroke-dasharray="2 4" stroke-linecap="round" marker-end="url(#guard)"/>
            </g>
            <g class="good"><title>build: Succeeded</title><rect x="20.0" y="115.6" width="94.6" height="52.0" rx="6" fill="#dcfce7" stroke="#15803d" stroke-width="1.5"/>
            <text x="67.3" y="137.6" text-anchor="middle" font-weight="600" fill="#111827">build</text>
            <text x="67.3" y="154.6" text-anchor="middle" font-size="12" fill="#15803d">Succeeded</text>
            </g>
            <g class="bad"><title>unit: Failed</title><rect x="170.6" y="55.2" width="72.4" height="52.0" rx="6" fill="#fee2e2" stroke="#b91c1c" stroke-width="1.5"/>
            <text x="206.8" y="77.2" text-anchor="middle" font-weight="600" fill="#111827">unit</text>
            <text x="206.8" y="94.2" text-anchor="middle" font-size="12" fill="#b91c1c">Failed</text>
            </g>
            <g class="running"><title>diagnose: Running</title><rect x="357.4" y="20.0" width="87.2" height="52.0" rx="6" fill="#dbeafe" stroke="#2563eb" stroke-width="1.5"/>
            <text x="401.0" y="42.0" text-anchor="middle" font-weight="600" fill="#111827">diagnose</text>
            <text x="401.0" y="59.0" text-anchor="middle" font-size="12" fill="#2563eb">Running</text>
            </g>
            <g class="held"><title>lint: Error</title><rect x="174.3" y="123.2" width="65.0" height="52.0" rx="6" fill="#fef3c7" stroke="#b45309" stroke-width="1.5"/>
            <text x="206.8" y="145.2" text-anchor="middle" font-weight="600" fill="#111827">lint</text>
            <text x="206.8" y="162.2" text-anchor="middle" font-size="12" fill="#b45309">Error</text>
            </g>
            <g class="skipped"><title>pack: Skipped, needs any of 2 pairs</title><rect x="313.0" y="217.0" width="176.0" height="69.0" rx="6" fill="#e5e7eb" stroke="#6b7280" stroke-width="1.5" stroke-dasharray="4 3"/>
            <text x="401.0" y="239.0" text-anchor="middle" font-weight="600" fill="#111827">pack</text>
            <text x="401.0" y="256.0" text-anchor="middle" font-size="12" fill="#6b7280">Skipped</text>
            <text x="401.0" y="273.0" text-anchor="middle" font-size="12" fill="#6b7280">needs any of 2 pairs</text>
            </g>
            <g class="waiting"><title>report: Waiting</title><rect x="747.0" y="104.8" width="79.8" height="52.0" rx="6" fill="#f3f4f6" stroke="#6b7280" stroke-width="1.5"/>
            <text x="786.9" y="126.8" text-anchor="middle" font-weight="600" fill="#111827">report</text>
            <text x="786.9" y="143.8" text-anchor="middle" font-size="12" fill="#6b7280">Waiting</text>
            </g>
            <g font-size="11" text-anchor="middle">
            <g><title>report waits for build: option 3: Failed</title><rect x="349.4" y="168.5" width="103.2" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="401.0" y="179.0" fill="#1d4ed8">option 3: Failed</text></g>
            <g><title>report waits for unit: option 1: Succeeded</title><rect x="340.1" y="88.5" width="121.8" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="401.0" y="99.0" fill="#1d4ed8">option 1: Succeeded</text></g>
            <g><title>report waits for unit: option 2: at least 2 of 3: Failed or TimedOut</title><rect x="297.0" y="108.5" width="208.0" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="401.0" y="119.0" fill="#1d4ed8">option 2: at least 2 of 3: Fail…</text></g>
            <g><title>report waits for diagnose: option 2: at least 2 of 3: Succeeded</title><rect x="521.0" y="81.9" width="208.0" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="625.0" y="92.4" fill="#1d4ed8">option 2: at least 2 of 3: Succ…</text></g>
            <g><title>report waits for lint: options 1, 3: Succeeded</title><rect x="327.7" y="128.5" width="146.6" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="401.0" y="139.0" fill="#1d4ed8">options 1, 3: Succeeded</text></g>
            <g><title>report waits for lint: option 2: at least 2 of 3: Succeeded</title><rect x="297.0" y="148.5" width="208.0" height="13" fill="#ffffff" fill-opacity="0.85"/><text x="401.0" y="159.0" fill="#1d4ed8">option 2: at least 2 of 3: Succ…</text></g>
            </g>
            </g>
            </svg>
        "##]],
    );
}

/// Names that mean something to one of the formats.
const HOSTILE: [&str; 22] = [
    "end",
    "a b",
    "\"; x -> y; \"",
    "\\",
    "\\N\\\"",
    "a\nb",
    "<b>bold</b>",
    "<script>alert(1)</script>",
    "</title></svg>",
    "&amp; &#34; & #35;",
    "#quot;",
    "%%{init: {}}%%",
    "]] --> n0",
    "style x:y\"z",
    "1. list",
    "- list",
    "_emphasis_ `code` **bold**",
    "größe 測試 🦀",
    "\u{202e}back",
    "nul \0 bell \u{7} \u{85} \u{ffff}",
    "---",
    "{{ context.x }}|\"|",
];

fn hostile(format: Format) -> String {
    let node = |name: &str| Node {
        name: name.to_owned(),
        state: Some(name.to_owned()),
        class: Class::Good,
        note: Some(name.to_owned()),
    };
    let edge = |(n, name): (usize, &str)| Edge {
        from: n,
        to: (n + 1) % HOSTILE.len(),
        kind: EdgeKind::Guard(name.to_owned()),
    };
    let graph = Graph {
        name: HOSTILE.concat(),
        nodes: HOSTILE.map(node).into(),
        edges: HOSTILE.into_iter().enumerate().map(edge).collect(),
    };
    graph.render(format).unwrap()
}

/// The text without its quoted strings; panics where a string does not end on its line.
fn unquoted(text: &str, escapes: bool) -> String {
    let mut rest = String::new();
    for line in text.lines() {
        let mut is_inside = false;
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' if is_inside && escapes => _ = chars.next().expect("something is escaped"),
                '"' => is_inside = !is_inside,
                char if !is_inside => rest.push(char),
                _ => {}
            }
        }
        assert!(!is_inside, "{line}");
        rest.push('\n');
    }
    rest
}

#[test]
fn nothing_leaves_the_quotes_of_dot() {
    let text = hostile(Format::Dot);
    for line in unquoted(&text, true).lines().filter(|line| line.starts_with("  n")) {
        let node = line.trim_start().split(' ').next().unwrap();
        assert!(node == "node" || node[1..].parse::<usize>().is_ok(), "{line}");
        assert!(line.ends_with("];") && line.matches(['[', ']', ';']).count() == 3, "{line}");
    }
    assert!(text.lines().all(|line| !line.contains(char::is_control)));
    assert_eq!(text.lines().count(), HOSTILE.len() * 2 + 5);
    expect![[r##"
          n0 [label="end\nend\nend", class=good, fillcolor="#dcfce7", color="#15803d"];
          n1 [label="a b\na b\na b", class=good, fillcolor="#dcfce7", color="#15803d"];
          n3 [label="\\\n\\\n\\", class=good, fillcolor="#dcfce7", color="#15803d"];
          n4 [label="\\N\\\"\n\\N\\\"\n\\N\\\"", class=good, fillcolor="#dcfce7", color="#15803d"];
          n5 [label="a\nb\na\nb\na\nb", class=good, fillcolor="#dcfce7", color="#15803d"];
          n6 [label="<b>bold</b>\n<b>bold</b>\n<b>bold</b>", class=good, fillcolor="#dcfce7", color="#15803d"];
          n7 [label="<script>alert(1)</script>\n<script>alert(1)</script>\n<script>alert(1)</script>", class=good, fillcolor="#dcfce7", color="#15803d"];
          n8 [label="</title></svg>\n</title></svg>\n</title></svg>", class=good, fillcolor="#dcfce7", color="#15803d"];
          n9 [label="&amp;amp; &amp;#34; &amp; #35;\n&amp;amp; &amp;#34; &amp; #35;\n&amp;amp; &amp;#34; &amp; #35;", class=good, fillcolor="#dcfce7", color="#15803d"];
          n10 [label="#quot;\n#quot;\n#quot;", class=good, fillcolor="#dcfce7", color="#15803d"];
          n11 [label="%%{init: {}}%%\n%%{init: {}}%%\n%%{init: {}}%%", class=good, fillcolor="#dcfce7", color="#15803d"];
          n13 [label="style x:y\"z\nstyle x:y\"z\nstyle x:y\"z", class=good, fillcolor="#dcfce7", color="#15803d"];
          n14 [label="1. list\n1. list\n1. list", class=good, fillcolor="#dcfce7", color="#15803d"];
          n15 [label="- list\n- list\n- list", class=good, fillcolor="#dcfce7", color="#15803d"];
          n16 [label="_emphasis_ `code` **bold**\n_emphasis_ `code` **bold**\n_emphasis_ `code` **bold**", class=good, fillcolor="#dcfce7", color="#15803d"];
          n17 [label="größe 測試 🦀\ngröße 測試 🦀\ngröße 測試 🦀", class=good, fillcolor="#dcfce7", color="#15803d"];
    "##]].assert_eq(&some(&text));
}

/// The lines of a few of the hostile names.
fn some(text: &str) -> String {
    let of_nodes = text.lines().filter(|line| line.starts_with("  n") && !line.contains("->"));
    let lines = of_nodes.filter(|line| !line.starts_with("  node")).take(16);
    lines.flat_map(|line| [line.trim_start(), "\n"]).collect()
}

#[test]
fn nothing_leaves_the_quotes_of_mermaid() {
    let text = hostile(Format::Mermaid);
    for line in unquoted(&text, false).lines().filter(|line| line.starts_with("  n")) {
        let allowed = |char: char| char.is_ascii_alphanumeric() || " []:-.>|".contains(char);
        assert!(line.chars().all(allowed), "{line}");
    }
    assert!(!text.contains("%%") && !text.contains('`'));
    let tags = text.matches('<').count();
    assert_eq!(tags, text.matches("<br/>").count(), "no HTML but our own");
    assert_eq!(text.lines().count(), HOSTILE.len() * 2 + 6);
    expect![[r##"
          n0["end<br/>end<br/>end"]:::good
          n1["a b<br/>a b<br/>a b"]:::good
          n2["#34;#59; x #45;#62; y#59; #34;<br/>#34;#59; x #45;#62; y#59; #34;<br/>#34;#59; x #45;#62; y#59; #34;"]:::good
          n3["#92;<br/>#92;<br/>#92;"]:::good
          n4["#92;N#92;#34;<br/>#92;N#92;#34;<br/>#92;N#92;#34;"]:::good
          n5["a<br/>b<br/>a<br/>b<br/>a<br/>b"]:::good
          n6["#60;b#62;bold#60;/b#62;<br/>#60;b#62;bold#60;/b#62;<br/>#60;b#62;bold#60;/b#62;"]:::good
          n7["#60;script#62;alert(1#41;#60;/script#62;<br/>#60;script#62;alert(1#41;#60;/script#62;<br/>#60;script#62;alert(1#41;#60;/script#62;"]:::good
          n8["#60;/title#62;#60;/svg#62;<br/>#60;/title#62;#60;/svg#62;<br/>#60;/title#62;#60;/svg#62;"]:::good
          n9["#38;amp#59; #38;#35;34#59; #38; #35;35#59;<br/>#38;amp#59; #38;#35;34#59; #38; #35;35#59;<br/>#38;amp#59; #38;#35;34#59; #38; #35;35#59;"]:::good
          n10["#35;quot#59;<br/>#35;quot#59;<br/>#35;quot#59;"]:::good
          n11["#37;#37;#123;init#58; #123;#125;#125;#37;#37;<br/>#37;#37;#123;init#58; #123;#125;#125;#37;#37;<br/>#37;#37;#123;init#58; #123;#125;#125;#37;#37;"]:::good
          n12["#93;#93; #45;#45;#62; n0<br/>#93;#93; #45;#45;#62; n0<br/>#93;#93; #45;#45;#62; n0"]:::good
          n13["style x#58;y#34;z<br/>style x#58;y#34;z<br/>style x#58;y#34;z"]:::good
          n14["1#46; list<br/>1#46; list<br/>1#46; list"]:::good
          n15["#45; list<br/>#45; list<br/>#45; list"]:::good
    "##]].assert_eq(&some(&text));
}

/// The text of an element or attribute with its entities replaced.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, rest) = part.split_once(';').expect("an entity ends");
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            _ => panic!("`{entity}` is no entity"),
        });
        out.push_str(rest);
    }
    out
}

/// Reads XML as far as we write it; panics where it is not well-formed. Answers the texts of all
/// `title` elements.
fn titles(text: &str) -> Vec<String> {
    let is_allowed = |char: char| {
        !char.is_control() && !('\u{fffe}'..='\u{ffff}').contains(&char) || char == '\n'
    };
    assert!(text.chars().all(is_allowed));
    let mut open: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    let mut pieces = text.split('<');
    assert_eq!(pieces.next(), Some(""));
    for piece in pieces {
        let (tag, content) = piece.split_once('>').expect("a tag ends");
        assert!(!content.contains('>'), "{content}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let attributes = attributes.trim_end_matches('/');
            let mut values = attributes.split('"');
            let mut names = Vec::new();
            while let Some(key) = values.next().filter(|key| !key.is_empty()) {
                let key = key.trim().strip_suffix('=').expect("name=value");
                assert!(!names.contains(&key), "{key} stands twice: {tag}");
                names.push(key);
                unescape(values.next().expect("a value in quotes"));
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        let content = unescape(content);
        match open.last() {
            Some(&"title") => found.push(content),
            Some(_) => {}
            None => assert_eq!(content.trim(), "", "text after the end"),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

#[test]
fn svg_is_well_formed_whatever_the_names() {
    titles(&graph().render(Format::Svg).unwrap());
    let text = hostile(Format::Svg);
    let titles = titles(&text);
    assert_eq!(titles.len(), 1 + HOSTILE.len() * 2);
    for (name, title) in HOSTILE.iter().zip(&titles[1..]).filter(|(name, _)| !name.contains('\n')) {
        let shown = name.replace(['\0', '\u{7}', '\u{85}', '\u{ffff}'], "\u{fffd}");
        assert_eq!(*title, format!("{shown}: {shown}, {shown}"));
    }
}

#[test]
fn long_names_are_cut_in_the_box_and_whole_in_the_tooltip() {
    let name = "x".repeat(200);
    let graph =
        Graph { nodes: vec![Node { name: name.clone(), ..Node::default() }], ..Graph::default() };
    let text = graph.render(Format::Svg).unwrap();
    assert!(text.contains(&format!("<title>{name}</title>")));
    assert!(text.contains(&format!(">{}…</text>", "x".repeat(31))));
}

#[test]
fn an_svg_has_a_limit() {
    let graph = |nodes| Graph { nodes: vec![Node::default(); nodes], ..Graph::default() };
    assert!(graph(SVG_STEPS_MAX).render(Format::Svg).is_ok());
    let large = graph(SVG_STEPS_MAX + 1);
    let error = large.render(Format::Svg).unwrap_err();
    expect!["5001 steps with 0 arrows are too much for an SVG, which is drawn up to 5000 steps and 20000 arrows; ask for dot or mermaid"]
        .assert_eq(&error.to_string());
    assert!(large.render(Format::Dot).is_ok() && large.render(Format::Mermaid).is_ok());
}

/// Compared each with each, so many arrows would take minutes.
#[test]
fn a_step_that_asks_for_very_much_is_drawn() {
    let sources = 100_000;
    let named = |n: usize| StepDefinition { name: format!("s{n}"), ..StepDefinition::default() };
    let asked = |n: usize| {
        ["Succeeded", "Failed", "Skipped"].map(|state| ClauseDefinition {
            at_least: None,
            terms: vec![(format!("s{n}"), vec![state.to_owned()])],
        })
    };
    let when: Vec<ClauseDefinition> = (0..sources - 1).flat_map(asked).collect();
    let last = StepDefinition { when, ..named(sources - 1) };
    let steps = (0..sources - 1).map(named).chain([last]).collect();
    let definition = Definition { name: "much".into(), steps, ..Definition::default() };
    let jobset = Jobset::compile(definition.clone(), &Limits::default()).unwrap();
    assert_eq!(Graph::of(&definition, &jobset).edges.len(), 3 * (sources - 1));
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert_eq!(format.name().to_uppercase().parse(), Ok(format));
    }
    assert_eq!("png".parse::<Format>(), Err(UnknownFormat));
}
