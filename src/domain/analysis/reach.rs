//! Which states each step can reach, and which guards can ever hold.
//!
//! Optimistic: every outcome that the definition allows may come, and operators do whatever a rule
//! lets them do. So what stays outside is out of reach for certain. The two grow together: a step
//! reaches more when another guard of it can hold, a guard can hold when steps reach the states that
//! it asks for. What only waits for itself never gets in.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::domain::action::{Action, Actor};
use crate::domain::definition::OnFailure;
use crate::domain::guard::{StateSet, Term};
use crate::domain::jobset::{Jobset, Role};
use crate::domain::machine::{Condition, Machine, On, Rule, Target};
use crate::domain::state::StepState;

/// How many guard terms are looked at per term of the jobset before the analysis gives up. Steps are
/// asked in topological order, and again only when a step that their guards name reaches more;
/// without cyclic alternatives each is asked once.
const EFFORT: usize = 32;

/// The least fixed point.
#[derive(Debug)]
pub(in crate::domain) struct Reach {
    /// By step.
    states: Vec<StateSet>,
    /// By guard.
    possible: Vec<bool>,
}

/// All that decides what a step can reach, beside what other steps do: equal steps are worked out
/// once.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    machine: usize,
    initial: StepState,
    has_timeout: bool,
    has_timer: bool,
    closing: Closing,
    forgives: bool,
    /// Whether its entry guard is there, and can hold.
    entry: (bool, bool),
    /// Its further guards, and whether they can hold.
    extras: Vec<(On, bool)>,
}

impl Reach {
    /// Works it out.
    pub(in crate::domain) fn of(jobset: &Jobset) -> Self {
        let all = jobset.steps.len();
        let guards = jobset.guards.len();
        let mut reach =
            Self { states: vec![StateSet::default(); all], possible: vec![false; guards] };
        let mut kinds = HashMap::new();
        let mut queued = vec![true; all];
        let mut queue: VecDeque<u32> = (0..jobset.len()).collect();
        let mut effort = EFFORT * (jobset.guards.term_count() + guards);
        while let Some(n) = queue.pop_front() {
            queued[n as usize] = false;
            let own = std::iter::once(n).chain(jobset.extras_of(n).iter().map(|(_, guard)| *guard));
            for guard in own {
                if reach.possible[guard as usize] {
                    continue;
                }
                let Some(left) = effort.checked_sub(1 + cost(jobset, guard)) else {
                    return Self::everything(jobset);
                };
                effort = left;
                reach.possible[guard as usize] = reach.could_hold(jobset, guard);
            }
            let states = *kinds
                .entry(reach.kind(jobset, n))
                .or_insert_with_key(|kind| closure(jobset, n, kind));
            if states == std::mem::replace(&mut reach.states[n as usize], states) {
                continue;
            }
            for guard in jobset.guards.watchers(n) {
                let watcher = jobset.owner(guard) as usize;
                if !reach.possible[guard as usize] && !std::mem::replace(&mut queued[watcher], true)
                {
                    queue.push_back(jobset.owner(guard));
                }
            }
        }
        reach
    }

    /// What is said of a jobset that was built to defeat the order: anything may happen.
    fn everything(jobset: &Jobset) -> Self {
        let states = |machine: &Machine| machine.states().iter().map(|s| s.state).collect();
        Self {
            states: jobset.steps.iter().map(|step| states(&step.machine)).collect(),
            possible: vec![true; jobset.guards.len()],
        }
    }

    /// The states that step `n` can reach.
    pub(in crate::domain) fn states(&self, n: u32) -> StateSet {
        self.states[n as usize]
    }

    /// Whether that guard can ever hold.
    pub(super) fn is_possible(&self, guard: u32) -> bool {
        self.possible[guard as usize]
    }

    /// Whether that term of a guard can ever hold.
    pub(super) fn is_term_possible(&self, term: Term) -> bool {
        !self.states(term.step).and(term.states).is_empty()
    }

    fn could_hold(&self, jobset: &Jobset, guard: u32) -> bool {
        if jobset.guards.is_open(guard) {
            return true;
        }
        jobset.guards.clauses(guard).any(|groups| {
            let mut conjunction: Vec<Term> = Vec::new();
            for (need, terms) in groups {
                let possible = terms.iter().filter(|term| self.is_term_possible(**term)).count();
                if possible < need as usize {
                    return false;
                }
                if need as usize == terms.len() {
                    conjunction.extend(terms);
                }
            }
            !self.contradicts_itself(&mut conjunction)
        })
    }

    /// Whether one step is asked to be in two states at once.
    fn contradicts_itself(&self, conjunction: &mut [Term]) -> bool {
        conjunction.sort_unstable_by_key(|term| term.step);
        conjunction.chunk_by(|a, b| a.step == b.step).any(|terms| {
            let reached = self.states(terms[0].step);
            terms.iter().map(|term| term.states).fold(reached, StateSet::and).is_empty()
        })
    }

    fn kind(&self, jobset: &Jobset, n: u32) -> Kind {
        let step = jobset.step(n);
        let extras = jobset.extras_of(n).iter();
        Kind {
            machine: std::ptr::from_ref(&*step.machine) as usize,
            initial: step.initial,
            has_timeout: step.definition.timeout.is_some(),
            has_timer: step.has_timer(),
            closing: match step.role {
                Role::Regular => Closing::WhenShut,
                Role::CleanUp | Role::Compensates(_) => Closing::AtEnd,
                Role::Ensure => Closing::Never,
            },
            forgives: step.on_failure() == OnFailure::Skip,
            entry: (!jobset.guards.is_open(n), self.is_possible(n)),
            extras: extras.map(|(on, guard)| (*on, self.is_possible(*guard))).collect(),
        }
    }
}

/// When a step is closed that has not run.
#[derive(PartialEq, Eq, Hash)]
enum Closing {
    /// When its guards can never hold any more.
    WhenShut,
    /// When the operation ends and was not cancelled.
    AtEnd,
    /// It always runs.
    Never,
}

fn cost(jobset: &Jobset, guard: u32) -> usize {
    jobset.guards.clauses(guard).flatten().map(|(_, terms)| terms.len()).sum()
}

/// The states that a step of that kind can reach.
fn closure(jobset: &Jobset, n: u32, kind: &Kind) -> StateSet {
    let machine = jobset.machine(n);
    let guards = GuardsOf::kind(kind);
    let rules: Vec<&Rule> =
        machine.rules().iter().filter(|rule| allows(machine, kind, &guards, rule)).collect();
    let mut reached: StateSet = [kind.initial].into_iter().collect();
    loop {
        let before = reached;
        for rule in rules.iter().filter(|rule| before.has(rule.from)) {
            match rule.to {
                Target::State(to) => reached.insert(to),
                Target::Before => remembered(machine, kind, rule.from, &mut reached),
            }
        }
        if reached == before {
            return reached;
        }
    }
}

/// What the further guards of a kind are put on. In sets, because a machine may have a thousand
/// rules with a guard on each.
struct GuardsOf {
    all: HashSet<On>,
    /// Those that can never hold.
    shut: HashSet<On>,
}

impl GuardsOf {
    fn kind(kind: &Kind) -> Self {
        let shut = kind.extras.iter().filter(|(_, can_hold)| !can_hold);
        Self {
            all: kind.extras.iter().map(|(on, _)| *on).collect(),
            shut: shut.map(|(on, _)| *on).collect(),
        }
    }
}

/// Whether one of the guards is put on a rule.
fn is_any_on(guards: &HashSet<On>, rule: &Rule) -> bool {
    guards.contains(&On::Action(rule.action))
        || rule.when.is_some_and(|when| guards.contains(&On::Transition(when)))
}

/// Where a rule may lead that leads back from `state`: a step may have come there from any state
/// that it remembers, or without remembering one.
fn remembered(machine: &Machine, kind: &Kind, state: StepState, reached: &mut StateSet) {
    let before = *reached;
    let mut forgets = kind.initial == state;
    for rule in machine.rules().iter().filter(|rule| before.has(rule.from)) {
        if rule.remembers {
            reached.insert(rule.from);
        } else if rule.to == Target::State(state) && rule.from != state {
            forgets = true;
        }
    }
    if forgets {
        reached.insert(machine.initial);
    }
}

/// Whether a rule may ever be followed.
fn allows(machine: &Machine, kind: &Kind, guards: &GuardsOf, rule: &Rule) -> bool {
    if rule.condition == Condition::Entry && !kind.entry.1 || is_any_on(&guards.shut, rule) {
        return false;
    }
    match rule.actor {
        Actor::Worker => may_follow(machine, kind, rule),
        Actor::Engine if rule.condition == Condition::Overdue => {
            kind.has_timer && (kind.forgives || rule.action != Action::FORGIVE)
        }
        Actor::Engine if rule.action == Action::CLOSE => match kind.closing {
            // Nothing that could always be left by itself is ever closed.
            Closing::WhenShut => {
                !machine.automatic(rule.from).any(|rule| is_unguarded(kind, guards, rule))
            }
            Closing::AtEnd => true,
            Closing::Never => false,
        },
        Actor::Engine | Actor::Lease | Actor::Operator => true,
    }
}

/// Whether an outcome may come.
fn may_follow(machine: &Machine, kind: &Kind, rule: &Rule) -> bool {
    let Some(state) = machine.state(rule.from) else { return true };
    let outcomes = state.outcomes;
    let is_only = |action: Action, others: [Action; 3]| {
        rule.action == action && !others.contains(&rule.action)
    };
    let times_out = is_only(outcomes.timeout, [outcomes.succeed, outcomes.fail, outcomes.hold]);
    let forgives = is_only(outcomes.forgive, [outcomes.succeed, outcomes.fail, outcomes.hold]);
    (kind.has_timeout || !times_out) && (kind.forgives || !forgives)
}

fn is_unguarded(kind: &Kind, guards: &GuardsOf, rule: &Rule) -> bool {
    let is_entered = rule.condition == Condition::Entry && kind.entry.0;
    !is_entered && !is_any_on(&guards.all, rule)
}
