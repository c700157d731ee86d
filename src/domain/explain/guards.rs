//! Guards as they stand now, term by term.

use crate::domain::guard::Term;
use crate::domain::machine::{Condition, On, Rule};
use crate::domain::run::Run;
use crate::domain::state::StepState;

/// How many terms of one guard are shown.
const TERMS_MAX: usize = 100;
/// How many clauses of one guard are shown.
const CLAUSES_MAX: usize = 50;

/// What a guard is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardOf {
    /// On the beginning of the step: its pairs and its `when`.
    Entry,
    /// On an action, under `guards`.
    Action,
    /// On a transition of its machine.
    Transition,
}

/// A guard. One clause must hold.
#[derive(Clone, Debug)]
pub struct GuardView {
    /// What it is put on.
    pub on: GuardOf,
    /// Whether it holds.
    pub holds: bool,
    /// Whether it can never hold any more by itself.
    pub is_dead: bool,
    /// Its clauses, up to a limit.
    pub clauses: Vec<ClauseView>,
    /// How many clauses are not shown.
    pub more: usize,
}

/// A clause of a guard. All groups must hold.
#[derive(Clone, Debug)]
pub struct ClauseView {
    /// Whether it holds.
    pub holds: bool,
    /// Whether it can never hold any more.
    pub is_dead: bool,
    /// Its groups.
    pub groups: Vec<GroupView>,
}

/// A group of a clause. So many terms must hold.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// How many terms must hold.
    pub need: u32,
    /// How many do.
    pub held: u32,
    /// How many never will.
    pub dead: u32,
    /// How many there are.
    pub of: u32,
    /// The terms, those that do not hold first, up to a limit.
    pub terms: Vec<TermView>,
}

/// A term of a group.
#[derive(Clone, Debug)]
pub struct TermView {
    /// The step that is watched.
    pub step: u32,
    /// The states that are asked for.
    pub asked: Vec<StepState>,
    /// The state that it is in.
    pub state: StepState,
    /// Whether the term holds.
    pub holds: bool,
    /// Whether it can never hold any more.
    pub is_dead: bool,
}

/// How much of a group holds and how much is dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) need: u32,
    pub(super) held: u32,
    pub(super) dead: u32,
    pub(super) of: u32,
}

impl Tally {
    pub(super) fn of(run: &Run, need: u32, terms: &[Term]) -> Self {
        let (mut held, mut dead, mut of) = (0, 0, 0);
        for term in terms {
            held += u32::from(holds(run, term));
            dead += u32::from(is_dead(run, term));
            of += 1;
        }
        Self { need, held, dead, of }
    }

    pub(super) const fn holds(self) -> bool {
        self.held >= self.need
    }

    pub(super) const fn is_dead(self) -> bool {
        self.of - self.dead < self.need
    }
}

pub(super) fn holds(run: &Run, term: &Term) -> bool {
    term.states.has(run.steps[term.step as usize])
}

/// The step that the term watches has ended in another state.
pub(super) fn is_dead(run: &Run, term: &Term) -> bool {
    run.steps[term.step as usize].is_ended() && !holds(run, term)
}

/// The guards that are asked when step `n` is to follow `rule`: their numbers.
pub(super) fn asked(run: &Run, n: u32, rule: &Rule) -> impl Iterator<Item = (GuardOf, u32)> {
    let entry = (rule.condition == Condition::Entry).then_some((GuardOf::Entry, n));
    let (when, action) = (rule.when, rule.action);
    let extras = run.jobset.extras_of(n).iter().filter_map(move |(on, guard)| match on {
        On::Transition(place) => (when == Some(*place)).then_some((GuardOf::Transition, *guard)),
        On::Action(named) => (action == *named).then_some((GuardOf::Action, *guard)),
    });
    entry.into_iter().chain(extras)
}

/// Guard number `guard` as it stands.
pub(super) fn view(run: &Run, on: GuardOf, guard: u32) -> GuardView {
    let guards = &run.jobset.guards;
    let mut left = TERMS_MAX;
    let mut clauses = guards.clauses(guard);
    let shown = clauses.by_ref().take(CLAUSES_MAX).map(|groups| {
        let groups: Vec<GroupView> =
            groups.map(|(need, terms)| group(run, need, terms, &mut left)).collect();
        let tallies = || groups.iter().map(GroupView::tally);
        let (holds, is_dead) = (tallies().all(Tally::holds), tallies().any(Tally::is_dead));
        ClauseView { holds, is_dead, groups }
    });
    GuardView {
        on,
        holds: guards.holds(&run.counters, guard),
        is_dead: guards.is_dead(&run.counters, guard),
        clauses: shown.collect(),
        more: clauses.count(),
    }
}

impl GroupView {
    const fn tally(&self) -> Tally {
        Tally { need: self.need, held: self.held, dead: self.dead, of: self.of }
    }
}

fn group(run: &Run, need: u32, terms: &[Term], left: &mut usize) -> GroupView {
    let Tally { held, dead, of, .. } = Tally::of(run, need, terms);
    let unmet = terms.iter().filter(|term| !holds(run, term));
    let met = terms.iter().filter(|term| holds(run, term));
    let terms: Vec<TermView> =
        unmet.chain(met).take(*left).map(|term| view_term(run, term)).collect();
    *left -= terms.len();
    GroupView { need, held, dead, of, terms }
}

fn view_term(run: &Run, term: &Term) -> TermView {
    let machine = run.jobset.machine(term.step);
    let of_machine = |state: &StepState| machine.state(*state).is_some();
    TermView {
        step: term.step,
        asked: term.states.iter().filter(of_machine).collect(),
        state: run.steps[term.step as usize],
        holds: holds(run, term),
        is_dead: is_dead(run, term),
    }
}
