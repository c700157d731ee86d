//! The terms of guards that are the reason why a step waits, or was closed.

use std::collections::HashSet;

use super::guards::{Tally, asked, holds, is_dead};
use crate::domain::action::Actor;
use crate::domain::guard::Term;
use crate::domain::machine::Rule;
use crate::domain::run::Run;
use crate::domain::state::Phase;

/// Every term that could still hold and would help one of the rules out of the state of step `n`:
/// those of the engine, or those of operators as well; with how much of its group holds. Each guard
/// is gone through once, whatever the number of rules that ask for it.
pub(super) fn for_each_alive(
    run: &Run,
    n: u32,
    with_operators: bool,
    mut tell: impl FnMut(Tally, &Term),
) {
    let guards = &run.jobset.guards;
    let machine = run.jobset.machine(n);
    let state = run.steps[n as usize];
    let operators = machine
        .rules_from(state)
        .iter()
        .filter(|rule| with_operators && rule.actor == Actor::Operator);
    // A machine may have a thousand rules that ask for the same entry guard.
    let mut told = HashSet::new();
    for rule in machine.automatic(state).chain(operators) {
        let unmet: Vec<u32> = asked(run, n, rule)
            .map(|(_, guard)| guard)
            .filter(|guard| !guards.holds(&run.counters, *guard))
            .collect();
        if unmet.iter().any(|guard| guards.is_dead(&run.counters, *guard)) {
            continue;
        }
        for guard in unmet.into_iter().filter(|guard| told.insert(*guard)) {
            for clause in guards.clauses(guard) {
                let groups: Vec<(Tally, &[Term])> =
                    clause.map(|(need, terms)| (Tally::of(run, need, terms), terms)).collect();
                if groups.iter().any(|(tally, _)| tally.is_dead()) {
                    continue;
                }
                for (tally, terms) in groups.iter().filter(|(tally, _)| !tally.holds()) {
                    let open = |term: &&Term| !holds(run, term) && !is_dead(run, term);
                    terms.iter().filter(open).for_each(|term| tell(*tally, term));
                }
            }
        }
    }
}

/// Every dead term that shut one of the automatic rules of step `n`, which was closed.
pub(super) fn for_each_dead(run: &Run, n: u32, mut tell: impl FnMut(Tally, &Term)) {
    let guards = &run.jobset.guards;
    let mut told = HashSet::new();
    for rule in shut_rules(run, n) {
        for (_, guard) in asked(run, n, &rule) {
            if !guards.is_dead(&run.counters, guard) || !told.insert(guard) {
                continue;
            }
            for mut clause in guards.clauses(guard) {
                let dead = clause.find_map(|(need, terms)| {
                    let tally = Tally::of(run, need, terms);
                    tally.is_dead().then_some((tally, terms))
                });
                if let Some((tally, terms)) = dead {
                    terms
                        .iter()
                        .filter(|term| is_dead(run, term))
                        .for_each(|term| tell(tally, term));
                }
            }
        }
    }
}

/// The automatic rules out of the state that a closed step was in. Once the operation has ended
/// nobody remembers that state; then those out of any state.
fn shut_rules(run: &Run, n: u32) -> Vec<Rule> {
    let machine = run.jobset.machine(n);
    let remembered = run.notes.get(&n).and_then(|note| note.before.last()).copied();
    let known = remembered.or((!machine.initial.is_own()).then_some(machine.initial));
    if let Some(state) = known {
        return machine.automatic(state).copied().collect();
    }
    let pending = machine.states().iter().map(|state| state.state);
    let pending = pending.filter(|state| state.phase() == Phase::Pending);
    pending.flat_map(|state| machine.automatic(state).copied()).collect()
}
