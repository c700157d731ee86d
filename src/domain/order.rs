//! The numbers of the steps: a topological order of what comes after what.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::guard::Guard;

/// Positions in topological order; among steps that could come next, the order of the document.
/// Alternatives in guards may form a harmless cycle: its first step in the document breaks it.
pub(super) fn topological(guards: &[Guard]) -> Vec<u32> {
    let mut sources: Vec<BTreeSet<u32>> = guards
        .iter()
        .map(|guard| guard.iter().flatten().flat_map(|g| &g.terms).map(|t| t.step).collect())
        .collect();
    let mut dependents = vec![Vec::new(); guards.len()];
    for (n, list) in (0_u32..).zip(&sources) {
        for source in list {
            dependents[*source as usize].push(n);
        }
    }
    let mut next: BinaryHeap<Reverse<u32>> = (0_u32..)
        .zip(&sources)
        .filter(|(_, list)| list.is_empty())
        .map(|(n, _)| Reverse(n))
        .collect();
    let mut placed = vec![false; guards.len()];
    let mut order = Vec::with_capacity(guards.len());
    let mut first_unplaced = 0;
    while order.len() < guards.len() {
        let n = if let Some(Reverse(n)) = next.pop() {
            n
        } else {
            while placed[first_unplaced as usize] {
                first_unplaced += 1;
            }
            first_unplaced
        };
        if std::mem::replace(&mut placed[n as usize], true) {
            continue;
        }
        order.push(n);
        for dependent in &dependents[n as usize] {
            let list = &mut sources[*dependent as usize];
            if list.remove(&n) && list.is_empty() {
                next.push(Reverse(*dependent));
            }
        }
    }
    order
}

/// The guard with the steps by their numbers instead of their positions.
pub(super) fn renumber(guard: &Guard, number: &[u32]) -> Guard {
    let mut guard = guard.clone();
    for term in guard.iter_mut().flatten().flat_map(|group| &mut group.terms) {
        term.step = number[term.step as usize];
    }
    guard
}
