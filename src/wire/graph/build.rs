//! From a definition to its graph.

use std::collections::HashMap;

use super::{Class, Edge, EdgeKind, Graph, Node};
use crate::domain::definition::{ClauseDefinition, Need, StepDefinition};
use crate::domain::{Definition, Jobset};

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
            edges.extend(guards(*to, &step.when, number));
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

/// The arrows of a `when`. Terms that several of its alternatives share are one arrow.
fn guards(
    to: usize,
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
        let label = match options[..] {
            _ if options.len() == when.len() => text,
            [option] => format!("option {option}: {text}"),
            _ => {
                let options: Vec<String> = options.iter().map(usize::to_string).collect();
                format!("options {}: {text}", options.join(", "))
            }
        };
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
