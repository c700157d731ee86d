//! Guards: the condition under which a step may run, compiled for constant-time upkeep.
//!
//! A guard is an OR of clauses; a clause is an AND of groups; a group asks that at least `need`
//! of its terms hold; a term asks that one step is in one of some states. A plain AND is a group
//! that needs all its terms, so "all", "any" and "at least N" are one mechanism.
//!
//! Whether a guard holds, or can never hold any more, is read from counters. A transition of a
//! step touches only the terms that name this step ([`Guards::watchers`]), so its cost depends on
//! the step's neighbours and not on the size of the operation. The alternative, evaluating guard
//! expressions afresh, makes a fan-in of N steps cost N squared.

use std::collections::HashMap;
use std::ops::Range;

use super::state::StepState;

/// A set of step states, one bit for each code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateSet([u64; 4]);

impl StateSet {
    /// Whether the set has this state.
    #[must_use]
    pub const fn has(self, state: StepState) -> bool {
        let code = state.code();
        self.0[(code >> 6) as usize] & (1 << (code & 63)) != 0
    }

    /// Adds a state.
    pub const fn insert(&mut self, state: StepState) {
        let code = state.code();
        self.0[(code >> 6) as usize] |= 1 << (code & 63);
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let (left, right) = (self.0, other.0);
        Self([left[0] & right[0], left[1] & right[1], left[2] & right[2], left[3] & right[3]])
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }

    /// The states in it, in the order of their codes.
    pub fn iter(self) -> impl Iterator<Item = StepState> {
        let states = (0..=u8::MAX).filter_map(StepState::from_code);
        states.filter(move |state| self.has(*state))
    }

    /// A step in `state` satisfies nothing of this set, now and for ever.
    const fn is_dead_in(self, state: StepState) -> bool {
        state.is_ended() && !self.has(state)
    }
}

impl FromIterator<StepState> for StateSet {
    fn from_iter<I: IntoIterator<Item = StepState>>(states: I) -> Self {
        let mut set = Self::default();
        for state in states {
            set.insert(state);
        }
        set
    }
}

/// "Step number `step` is in one of `states`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The number of the step that is watched.
    pub step: u32,
    /// The states that satisfy the term.
    pub states: StateSet,
}

/// "At least `need` of these terms hold."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many terms must hold.
    pub need: u32,
    /// The terms.
    pub terms: Vec<Term>,
}

/// All groups must hold.
pub type Clause = Vec<Group>;

/// One clause must hold; no clause at all means "always".
pub type Guard = Vec<Clause>;

#[derive(Clone, Debug)]
struct CompiledGroup {
    clause: u32,
    need: u32,
    terms: Range<u32>,
}

#[derive(Clone, Debug)]
struct CompiledClause {
    guard: u32,
    groups: Range<u32>,
}

/// A term seen from the step that it watches.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    group: u32,
    /// Its place among the distinct sets of states.
    set: u32,
}

/// The guards of a jobset in flat arrays. Each has a number.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    clauses_of_guard: Vec<Range<u32>>,
    clauses: Vec<CompiledClause>,
    groups: Vec<CompiledGroup>,
    terms: Vec<Term>,
    watchers_of_step: Vec<Range<u32>>,
    watchers: Vec<Watcher>,
    /// The distinct sets of states that terms ask for: there are few.
    sets: Vec<StateSet>,
}

/// How much of each guard holds, and how much can never hold. Belongs to one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    group_held: Vec<u32>,
    group_dead: Vec<u32>,
    clause_held: Vec<u32>,
    clause_dead: Vec<u32>,
    guard_held: Vec<u32>,
    guard_dead: Vec<u32>,
}

/// Array positions are `u32`: the limit on terms per jobset keeps them far below.
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a jobset has fewer than 2^32 guard terms by its limits")
}

fn span(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl Guards {
    /// Lays out `guards`, each numbered by its position, over the states of so many `steps`.
    #[must_use]
    pub fn new(guards: &[Guard], steps: usize) -> Self {
        let mut laid = Self::default();
        for (number, guard) in guards.iter().enumerate() {
            let first_clause = position(laid.clauses.len());
            for clause in guard {
                let first_group = position(laid.groups.len());
                for group in clause {
                    let first_term = position(laid.terms.len());
                    laid.terms.extend(&group.terms);
                    laid.groups.push(CompiledGroup {
                        clause: position(laid.clauses.len()),
                        need: group.need,
                        terms: first_term..position(laid.terms.len()),
                    });
                }
                laid.clauses.push(CompiledClause {
                    guard: position(number),
                    groups: first_group..position(laid.groups.len()),
                });
            }
            laid.clauses_of_guard.push(first_clause..position(laid.clauses.len()));
        }
        laid.index_watchers(steps);
        laid
    }

    /// Counting sort of the terms by the step that they watch.
    fn index_watchers(&mut self, steps: usize) {
        let mut starts = vec![0_u32; steps + 1];
        for term in &self.terms {
            starts[term.step as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        self.watchers_of_step = starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let mut next = starts;
        let mut sets: HashMap<StateSet, u32> = HashMap::new();
        let empty = Watcher { group: 0, set: 0 };
        self.watchers = vec![empty; self.terms.len()];
        for (index, group) in self.groups.iter().enumerate() {
            for term in &self.terms[span(&group.terms)] {
                let slot = &mut next[term.step as usize];
                let set = *sets.entry(term.states).or_insert_with(|| {
                    self.sets.push(term.states);
                    position(self.sets.len() - 1)
                });
                self.watchers[*slot as usize] = Watcher { group: position(index), set };
                *slot += 1;
            }
        }
    }

    /// How many terms all guards have together.
    #[must_use]
    pub const fn term_count(&self) -> usize {
        self.terms.len()
    }

    /// How many guards there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.clauses_of_guard.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.clauses_of_guard.is_empty()
    }

    /// Whether guard `n` always holds.
    #[must_use]
    pub fn is_open(&self, n: u32) -> bool {
        self.clauses_of_guard[n as usize].is_empty()
    }

    /// Guard `n` as written: its clauses, each with its groups.
    pub fn clauses(&self, n: u32) -> impl Iterator<Item = impl Iterator<Item = (u32, &[Term])>> {
        self.clauses[span(&self.clauses_of_guard[n as usize])].iter().map(|clause| {
            self.groups[span(&clause.groups)]
                .iter()
                .map(|group| (group.need, &self.terms[span(&group.terms)]))
        })
    }

    /// The guards that name step `n`; one may come several times.
    pub fn watchers(&self, n: u32) -> impl Iterator<Item = u32> {
        self.watchers[span(&self.watchers_of_step[n as usize])]
            .iter()
            .map(|watcher| self.clauses[self.groups[watcher.group as usize].clause as usize].guard)
    }

    /// Counts afresh for steps in these states.
    #[must_use]
    pub fn count(&self, states: &[StepState]) -> Counters {
        let mut counters = Counters {
            group_held: vec![0; self.groups.len()],
            group_dead: vec![0; self.groups.len()],
            clause_held: vec![0; self.clauses.len()],
            clause_dead: vec![0; self.clauses.len()],
            guard_held: vec![0; self.clauses_of_guard.len()],
            guard_dead: vec![0; self.clauses_of_guard.len()],
        };
        for (index, group) in self.groups.iter().enumerate() {
            let (mut held, mut dead) = (0, 0);
            for term in &self.terms[span(&group.terms)] {
                let state = states[term.step as usize];
                held += u32::from(term.states.has(state));
                dead += u32::from(term.states.is_dead_in(state));
            }
            counters.group_held[index] = held;
            counters.group_dead[index] = dead;
            counters.clause_held[group.clause as usize] += u32::from(group.is_held(held));
            counters.clause_dead[group.clause as usize] += u32::from(group.is_dead(dead));
        }
        for (index, clause) in self.clauses.iter().enumerate() {
            let held = counters.clause_held[index] == clause.len();
            counters.guard_held[clause.guard as usize] += u32::from(held);
            let dead = counters.clause_dead[index] > 0;
            counters.guard_dead[clause.guard as usize] += u32::from(dead);
        }
        counters
    }

    /// Takes note that step `n` went from `from` to `to`.
    pub fn moved(&self, counters: &mut Counters, n: u32, from: StepState, to: StepState) {
        for watcher in &self.watchers[span(&self.watchers_of_step[n as usize])] {
            let states = self.sets[watcher.set as usize];
            if states.has(from) != states.has(to) {
                self.count_held(counters, watcher.group as usize, states.has(to));
            }
            if states.is_dead_in(from) != states.is_dead_in(to) {
                self.count_dead(counters, watcher.group as usize, states.is_dead_in(to));
            }
        }
    }

    fn count_held(&self, counters: &mut Counters, index: usize, more: bool) {
        let group = &self.groups[index];
        let clause_index = group.clause as usize;
        let clause = &self.clauses[clause_index];
        let was_group = group.is_held(counters.group_held[index]);
        step_by_one(&mut counters.group_held[index], more);
        if was_group == group.is_held(counters.group_held[index]) {
            return;
        }
        let was_clause = counters.clause_held[clause_index] == clause.len();
        step_by_one(&mut counters.clause_held[clause_index], more);
        if was_clause != (counters.clause_held[clause_index] == clause.len()) {
            step_by_one(&mut counters.guard_held[clause.guard as usize], more);
        }
    }

    fn count_dead(&self, counters: &mut Counters, index: usize, more: bool) {
        let group = &self.groups[index];
        let clause_index = group.clause as usize;
        let was_group = group.is_dead(counters.group_dead[index]);
        step_by_one(&mut counters.group_dead[index], more);
        if was_group == group.is_dead(counters.group_dead[index]) {
            return;
        }
        let was_clause = counters.clause_dead[clause_index] > 0;
        step_by_one(&mut counters.clause_dead[clause_index], more);
        if was_clause != (counters.clause_dead[clause_index] > 0) {
            step_by_one(&mut counters.guard_dead[self.clauses[clause_index].guard as usize], more);
        }
    }

    /// Whether guard `n` holds.
    #[must_use]
    pub fn holds(&self, counters: &Counters, n: u32) -> bool {
        self.is_open(n) || counters.guard_held[n as usize] > 0
    }

    /// Whether guard `n` can never hold any more.
    #[must_use]
    pub fn is_dead(&self, counters: &Counters, n: u32) -> bool {
        let clauses = &self.clauses_of_guard[n as usize];
        !clauses.is_empty() && counters.guard_dead[n as usize] == clauses.end - clauses.start
    }
}

const fn step_by_one(counter: &mut u32, more: bool) {
    if more {
        *counter += 1;
    } else {
        *counter -= 1;
    }
}

impl CompiledGroup {
    const fn is_held(&self, held: u32) -> bool {
        held >= self.need
    }

    const fn is_dead(&self, dead: u32) -> bool {
        self.terms.end - self.terms.start - dead < self.need
    }
}

impl CompiledClause {
    const fn len(&self) -> u32 {
        self.groups.end - self.groups.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = StepState> {
        let own = (1_u8..3, 0_u8..15).prop_map(|(index, code)| index << 4 | code);
        prop_oneof![4 => 0_u8..15, 1 => own].prop_map(|code| StepState::from_code(code).unwrap())
    }

    fn guards(steps: u32) -> impl Strategy<Value = Vec<Guard>> {
        let set = proptest::collection::vec(states(), 0..8);
        let term = (0..steps, set)
            .prop_map(|(step, states)| Term { step, states: states.into_iter().collect() });
        let group = proptest::collection::vec(term, 1..5)
            .prop_flat_map(|terms| {
                let all = position(terms.len());
                (1..=all, Just(terms))
            })
            .prop_map(|(need, terms)| Group { need, terms });
        let clause = proptest::collection::vec(group, 1..3);
        let guard = proptest::collection::vec(clause, 0..4);
        proptest::collection::vec(guard, steps as usize)
    }

    /// The definition, evaluated naively.
    fn naive(guard: &Guard, holds: impl Fn(&Term) -> bool) -> bool {
        let group = |group: &Group| {
            position(group.terms.iter().filter(|term| holds(term)).count()) >= group.need
        };
        guard.is_empty() || guard.iter().any(|clause| clause.iter().all(group))
    }

    proptest! {
        #[test]
        fn counters_agree_with_the_definition_after_any_walk(
            guards in guards(5),
            walk in proptest::collection::vec((0_u32..5, states()), 0..40),
        ) {
            let laid = Guards::new(&guards, 5);
            let mut now = vec![StepState::WAITING; 5];
            let mut counters = laid.count(&now);
            for (n, to) in walk {
                let from = std::mem::replace(&mut now[n as usize], to);
                laid.moved(&mut counters, n, from, to);
                prop_assert_eq!(&counters, &laid.count(&now));
                for (index, guard) in guards.iter().enumerate() {
                    let step = position(index);
                    let held = naive(guard, |term| term.states.has(now[term.step as usize]));
                    prop_assert_eq!(laid.holds(&counters, step), held);
                    let may = naive(guard, |term| {
                        !term.states.is_dead_in(now[term.step as usize])
                    });
                    prop_assert_eq!(laid.is_dead(&counters, step), !may);
                }
            }
        }
    }
}
