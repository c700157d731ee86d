//! From a definition to its graph.

use std::collections::{HashMap, HashSet};

use super::{Class, Edge, EdgeKind, Graph, Node};
use crate::domain::definition::{ClauseDefinition, Need, StepDefinition};
use crate::domain::{Action, Definition, Jobset};

impl Graph {
    /// The graph of a definition whose compiled form is `jobset`: steps without states, in the order
    /// of their numbers.
    ///
    /// Drawn from the definition and not from the compiled guards, because those no longer tell a
    /// pair from a condition that asks for the same states.
    #[must_use]
    pub fn of(definition: &Definition, jobset: &Jobset) -> Self {
        let number = |name: &str| jobset.number(name).map(|n| n as usize);
        let mut steps: Vec<(usize, &StepDefinition)> = definition
            .steps
            .iter()
            .filter_map(|step| number(&step.name).map(|n| (n, step)))
            .collect();
        steps.sort_unstable_by_key(|(n, _)| *n);
        let mut pairs_to = vec![0_usize; steps.len()];
        let mut edges = Vec::new();
        let kinds = [
            (&definition.success_pairs, EdgeKind::Success),
            (&definition.failure_pairs, EdgeKind::Failure),
        ];
        for (pairs, kind) in kinds {
            for (from, to) in pairs {
                if let Some((from, to)) = number(from).zip(number(to)) {
                    edges.push(Edge { from, to, kind: kind.clone() });
                    pairs_to[to] += 1;
                }
            }
        }
        for (to, step) in &steps {
            let asked = conditions(definition, step);
            let asked = asked.flat_map(|(action, when)| guards(*to, action, when, number));
            // Several transitions of a machine may ask the same.
            let mut known = HashSet::new();
            edges.extend(asked.filter(|edge| known.insert(edge.clone())));
        }
        edges.sort_by_key(|edge| (edge.from, edge.to));
        let node = |(n, step): &(usize, &StepDefinition)| Node {
            name: step.name.clone(),
            note: note(step.need, pairs_to[*n]),
            ..Node::default()
        };
        Self { name: definition.name.clone(), nodes: steps.iter().map(node).collect(), edges }
    }

    /// The same with the states that the steps are in, by the number of the step.
    #[must_use]
    pub fn with_states(mut self, states: impl IntoIterator<Item = (String, Class)>) -> Self {
        for (node, (state, class)) in self.nodes.iter_mut().zip(states) {
            node.state = Some(state);
            node.class = class;
        }
        self
    }
}

/// What a step waits for, beside its pairs: its `when`, the guards on its actions and those in its
/// machine, each but the first with the action that it is put on.
fn conditions<'a>(
    definition: &'a Definition,
    step: &'a StepDefinition,
) -> impl Iterator<Item = (Option<&'a str>, &'a [ClauseDefinition])> {
    let run = |action: &str| action == Action::RUN.name();
    let guards = step
        .guards
        .iter()
        .map(move |(action, when)| ((!run(action)).then_some(action.as_str()), when.as_slice()));
    let machine = step.machine.as_ref().and_then(|name| definition.machines.get(name));
    let transitions = machine.into_iter().flat_map(|machine| &machine.transitions);
    let transitions = transitions.map(|t| (Some(t.action.as_str()), t.when.as_slice()));
    std::iter::once((None, step.when.as_slice())).chain(guards).chain(transitions)
}

/// The arrows of a condition. Terms that several of its alternatives share are one arrow.
fn guards(
    to: usize,
    action: Option<&str>,
    when: &[ClauseDefinition],
    number: impl Fn(&str) -> Option<usize>,
) -> Vec<Edge> {
    let mut found: Vec<(usize, String, Vec<usize>)> = Vec::new();
    let mut known = HashMap::new();
    for (index, clause) in when.iter().enumerate() {
        for (name, states) in &clause.terms {
            let Some(from) = number(name) else { continue };
            let text = format!("{}{}", at_least(clause), states.join(" or "));
            let place = *known.entry((from, text.clone())).or_insert(found.len());
            if place == found.len() {
                found.push((from, text, Vec::new()));
            }
            found[place].2.push(index + 1);
        }
    }
    let edge = |(from, text, options): (usize, String, Vec<usize>)| {
        let mut label = match options[..] {
            _ if options.len() == when.len() => text,
            [option] => format!("option {option}: {text}"),
            _ => {
                let options: Vec<String> = options.iter().map(usize::to_string).collect();
                format!("options {}: {text}", options.join(", "))
            }
        };
        if let Some(action) = action {
            label = format!("{action}: {label}");
        }
        Edge { from, to, kind: EdgeKind::Guard(label) }
    };
    found.into_iter().map(edge).collect()
}

/// How many terms of a clause must hold, if not all.
fn at_least(clause: &ClauseDefinition) -> String {
    let terms = clause.terms.len();
    match clause.at_least {
        Some(number) if number as usize != terms => format!("at least {number} of {terms}: "),
        Some(_) | None => String::new(),
    }
}

fn note(need: Need, pairs: usize) -> Option<String> {
    match need {
        Need::Any if pairs > 1 => Some(format!("needs any of {pairs} pairs")),
        Need::AtLeast(number) if pairs > number as usize => {
            Some(format!("needs {number} of {pairs} pairs"))
        }
        Need::All | Need::Any | Need::AtLeast(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::Format;
    use super::*;
    use crate::domain::Limits;
    use crate::wire::read_jobset;

    /// A jobset with conditions on actions and in a machine; one has a name that has to be escaped.
    const DOORS: &str = r#"{
        "name": "doors",
        "machines": {"door": {
            "initial": "Shut",
            "states": {"Shut": {}, "Op\"en": {}, "Done": {"final": "succeeded"}},
            "transitions": [
                {"from": "Shut", "action": "open", "to": "Op\"en", "when": [
                    {"key": ["Succeeded"]}, {"key": ["Failed"], "lamp": ["Running"]}
                ]},
                {"from": "Op\"en", "action": "shut", "to": "Done", "automatic": true,
                 "when": {"lamp": ["Succeeded"]}},
                {"from": "Shut", "action": "shut", "to": "Done", "when": {"lamp": ["Succeeded"]}}
            ]
        }},
        "steps": [
            {"name": "key", "guards": {"pause": {"x": ["Op\"en"]}, "run": {"lamp": ["Running"]}}},
            {"name": "x", "machine": "door"},
            {"name": "lamp"}
        ]
    }"#;

    #[test]
    fn conditions_of_actions_stand_with_their_action() {
        let definition = read_jobset(DOORS.as_bytes()).unwrap().into_definition();
        let jobset = Jobset::compile(definition.clone(), &Limits::default()).unwrap();
        let graph = Graph::of(&definition, &jobset);
        let expected = expect![[r#"
            ---
            title: "doors"
            ---
            flowchart LR
              n0["lamp"]:::neutral
              n1["key"]:::neutral
              n2["x"]:::neutral
              n0 -.->|"Running"| n1
              n0 -.->|"open#58; option 2#58; Running"| n2
              n0 -.->|"shut#58; Succeeded"| n2
              n1 -.->|"open#58; option 1#58; Succeeded"| n2
              n1 -.->|"open#58; option 2#58; Failed"| n2
              n2 -.->|"pause#58; Op#34;en"| n1
              classDef neutral fill:#ffffff,stroke:#374151,color:#111827
              linkStyle 0,1,2,3,4,5 stroke:#1d4ed8,stroke-dasharray:2 4
        "#]];
        expected.assert_eq(&graph.render(Format::Mermaid).unwrap());
        assert!(graph.render(Format::Svg).unwrap().contains("pause: Op&quot;en"));
    }
}
