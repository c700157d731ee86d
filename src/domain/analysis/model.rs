//! A jobset run in the small: states only, no attempts, no time, no operators but those that a
//! declared machine asks for.
//!
//! A situation is the state of each step. What happens by itself follows at once; what may come out
//! in different ways is tried in each of them. Retries, losses and the limit on concurrency change
//! nothing that matters here, so they are left out. Steps that begin in `Ready` or `Paused` count as
//! started.
//!
//! What keeps this small: where the end of a step is all that others watch, and it watches only ends
//! itself, nothing depends on when it runs; so it runs first, alone, and only its outcomes are tried.
//!
//! The real [`Run`](crate::domain::Run) was rejected for this: a copy of it costs microseconds, which
//! is the price of twenty situations here. A test compares the two.

use std::cell::{Cell, LazyCell};
use std::collections::{BTreeSet, HashSet, VecDeque};

use super::deadlock::guards;
use crate::domain::action::{Action, Actor};
use crate::domain::definition::OnFailure;
use crate::domain::guard::{StateSet, Term};
use crate::domain::jobset::Jobset;
use crate::domain::machine::{Condition, Rule, Target};
use crate::domain::state::{Phase, StepState};

/// Situations that are looked at, at the most, for one jobset.
const SITUATIONS_MAX: usize = 20_000;

/// Guard terms and states of steps that are looked at, at the most, for one jobset: about five
/// milliseconds.
const TERMS_MAX: usize = 500_000;

/// Bytes of the situations that are come upon, at the most, for one jobset. One in which operators
/// may do much leads to thousands of others, and each is kept until it is looked at.
const BYTES_MAX: usize = 16_000_000;

/// Further guards of a step that are passed by in the time that a term takes.
const PASSED_PER_TERM: usize = 16;

/// What may still be spent on a jobset.
#[derive(Debug)]
pub(super) struct Budget {
    situations: Cell<usize>,
    terms: Cell<usize>,
    bytes: Cell<usize>,
    is_spent: Cell<bool>,
}

impl Budget {
    pub(super) const fn full() -> Self {
        Self {
            situations: Cell::new(SITUATIONS_MAX),
            terms: Cell::new(TERMS_MAX),
            bytes: Cell::new(BYTES_MAX),
            is_spent: Cell::new(false),
        }
    }

    fn spend(&self, left: &Cell<usize>, amount: usize) {
        match left.get().checked_sub(amount) {
            Some(less) => left.set(less),
            None => self.is_spent.set(true),
        }
    }

    fn look(&self, steps: usize) {
        self.spend(&self.situations, 1);
        self.spend(&self.terms, steps);
    }

    fn keep(&self, steps: usize) {
        self.spend(&self.bytes, steps * size_of::<StepState>() + size_of::<Node>());
    }
}

/// A situation in which steps wait for each other.
#[derive(Debug)]
pub(super) struct Stuck {
    /// The steps.
    pub(super) waiting: BTreeSet<u32>,
    /// How it came to this: steps and the states that they are in.
    pub(super) causes: Vec<(u32, StepState)>,
}

/// The state of each step of the model.
type Situation = Box<[StepState]>;

/// Something that may happen: to which step, where that leads, and whether it is as hoped for.
#[derive(Clone, Copy, Debug)]
struct Event {
    place: usize,
    to: StepState,
    is_smooth: bool,
}

/// Steps and what decides about them. Steps are called by their place among `steps`.
pub(super) struct Model<'a> {
    jobset: &'a Jobset,
    steps: Vec<u32>,
    /// By number of the step; none for those outside.
    place: Vec<Option<usize>>,
    /// By place: those whose guards name it.
    watchers: Vec<Vec<usize>>,
    /// By place: whether nothing depends on when it runs.
    is_plain: Vec<bool>,
    budget: &'a Budget,
}

/// A way through the situations.
struct Node {
    parent: Option<usize>,
    event: Event,
}

impl<'a> Model<'a> {
    /// A model of these steps, which depend on no other.
    pub(super) fn new(jobset: &'a Jobset, steps: Vec<u32>, budget: &'a Budget) -> Self {
        let mut place = vec![None; jobset.steps.len()];
        for (at, n) in steps.iter().enumerate() {
            place[*n as usize] = Some(at);
        }
        let mut watchers = vec![BTreeSet::new(); steps.len()];
        let mut is_plain: Vec<bool> =
            steps.iter().map(|n| jobset.machine(*n).name.is_empty()).collect();
        for (watcher, n) in steps.iter().enumerate() {
            let is_own = !jobset.machine(*n).name.is_empty();
            for guard in guards(jobset, *n) {
                for term in jobset.guards.clauses(guard).flatten().flat_map(|(_, terms)| terms) {
                    let Some(source) = place[term.step as usize] else { continue };
                    watchers[source].insert(watcher);
                    let only_ends = asks_for_ends(*term);
                    is_plain[source] &= only_ends && !is_own;
                    is_plain[watcher] &= only_ends;
                }
            }
        }
        let watchers = watchers.into_iter().map(|set| set.into_iter().collect()).collect();
        Self { jobset, steps, place, watchers, is_plain, budget }
    }

    /// The situation with the fewest failures in which steps of `cycle` wait for each other, if
    /// there is one and the budget lasts to find it.
    pub(super) fn search(&self, cycle: &BTreeSet<u32>) -> Option<Stuck> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut first = self.first();
        self.settle(&mut first, None);
        let mut seen: HashSet<Situation> = HashSet::new();
        // What went smoothly goes to the front, a failure to the back.
        let mut queue: VecDeque<(Situation, Option<usize>)> = VecDeque::from([(first, None)]);
        while let Some((situation, node)) = queue.pop_front() {
            self.budget.look(self.steps.len());
            if self.is_over() {
                return None;
            }
            if !seen.insert(situation.clone()) {
                continue;
            }
            let events = self.events(&situation);
            if self.is_over() {
                return None;
            }
            if events.is_empty()
                && let Some(stuck) = self.stuck(&situation, cycle, &nodes, node)
            {
                return Some(stuck);
            }
            for event in events {
                self.budget.keep(self.steps.len());
                if self.is_over() {
                    return None;
                }
                let mut next = situation.clone();
                next[event.place] = event.to;
                self.settle(&mut next, Some(event.place));
                nodes.push(Node { parent: node, event });
                let entry = (next, Some(nodes.len() - 1));
                if event.is_smooth {
                    queue.push_front(entry);
                } else {
                    queue.push_back(entry);
                }
            }
        }
        None
    }

    fn is_over(&self) -> bool {
        self.budget.is_spent.get()
    }

    fn first(&self) -> Situation {
        let begin = |n: &u32| {
            let step = self.jobset.step(*n);
            match step.initial {
                StepState::READY | StepState::PAUSED => step.machine.initial,
                state => state,
            }
        };
        self.steps.iter().map(begin).collect()
    }

    /// Carries out what follows by itself; only from the step at `moved`, if it is told.
    fn settle(&self, situation: &mut Situation, moved: Option<usize>) {
        let mut agenda: VecDeque<usize> = match moved {
            Some(place) => [place].into_iter().chain(self.watched_by(place)).collect(),
            None => (0..self.steps.len()).collect(),
        };
        while let Some(place) = agenda.pop_front() {
            if self.is_over() {
                return;
            }
            let Some(to) = self.forced(situation, place) else { continue };
            situation[place] = to;
            agenda.push_back(place);
            agenda.extend(self.watched_by(place));
        }
    }

    fn watched_by(&self, place: usize) -> impl Iterator<Item = usize> {
        self.watchers[place].iter().copied()
    }

    /// Where the engine moves a step at once, if it does.
    fn forced(&self, situation: &Situation, place: usize) -> Option<StepState> {
        let state = situation[place];
        if state.is_ended() {
            return None;
        }
        match self.automatic(situation, place) {
            Some(rule) => match rule.to {
                Target::State(to) if to.class() != StepState::RUNNING => Some(to),
                Target::State(_) | Target::Before => None,
            },
            None if state.phase() == Phase::Pending && self.is_dead(situation, place) => {
                Some(StepState::UNREACHABLE)
            }
            None => None,
        }
    }

    /// The first automatic rule that can be followed.
    fn automatic(&self, situation: &Situation, place: usize) -> Option<&Rule> {
        let n = self.steps[place];
        let state = situation[place];
        // Many rules may ask for the same entry guard, which may be long.
        let is_entered = LazyCell::new(|| self.holds(situation, n));
        self.jobset.machine(n).automatic(state).find(|rule| {
            (rule.condition != Condition::Entry || *is_entered)
                && self.guards_hold(situation, n, rule)
        })
    }

    fn guards_hold(&self, situation: &Situation, n: u32, rule: &Rule) -> bool {
        self.extras_on(n, rule).all(|guard| self.holds(situation, guard))
    }

    /// The further guards of step `n` that are put on a rule.
    fn extras_on(&self, n: u32, rule: &Rule) -> impl Iterator<Item = u32> {
        let extras = self.jobset.extras_of(n);
        self.budget.spend(&self.budget.terms, extras.len() / PASSED_PER_TERM);
        extras.iter().filter(move |(on, _)| on.is_on(rule)).map(|(_, guard)| *guard)
    }

    fn holds(&self, situation: &Situation, guard: u32) -> bool {
        self.evaluate(guard, |term| self.is_met(situation, term))
    }

    fn is_met(&self, situation: &Situation, term: Term) -> bool {
        self.state_of(situation, term).is_some_and(|state| term.states.has(state))
    }

    /// The state of the step that a term names; every step that decides something has one.
    fn state_of(&self, situation: &Situation, term: Term) -> Option<StepState> {
        self.place[term.step as usize].map(|place| situation[place])
    }

    /// Whether no automatic rule can ever be followed any more.
    fn is_dead(&self, situation: &Situation, place: usize) -> bool {
        let n = self.steps[place];
        let may = |term: Term| {
            let state = self.state_of(situation, term);
            state.is_some_and(|state| term.states.has(state) || !state.is_ended())
        };
        let may_enter = LazyCell::new(|| self.evaluate(n, may));
        self.jobset.machine(n).automatic(situation[place]).all(|rule| {
            let is_shut = rule.condition == Condition::Entry && !*may_enter;
            is_shut || self.extras_on(n, rule).any(|guard| !self.evaluate(guard, may))
        })
    }

    fn evaluate(&self, guard: u32, holds: impl Fn(Term) -> bool) -> bool {
        let guards = &self.jobset.guards;
        guards.is_open(guard)
            || guards.clauses(guard).any(|mut groups| {
                groups.all(|(need, terms)| {
                    self.budget.spend(&self.budget.terms, terms.len());
                    terms.iter().filter(|term| holds(**term)).count() >= need as usize
                })
            })
    }

    /// What may happen in a situation that has settled.
    fn events(&self, situation: &Situation) -> Vec<Event> {
        let claims = |place: &usize| {
            let is_waiting = situation[*place].class() == StepState::WAITING;
            is_waiting && self.automatic(situation, *place).is_some()
        };
        let plain = (0..self.steps.len()).filter(|place| self.is_plain[*place]).find(claims);
        if let Some(place) = plain {
            return self.outcomes(situation, place, StepState::RUNNING);
        }
        (0..self.steps.len()).flat_map(|place| self.events_of(situation, place)).collect()
    }

    fn events_of(&self, situation: &Situation, place: usize) -> Vec<Event> {
        let state = situation[place];
        if state.is_ended() || self.is_over() {
            return Vec::new();
        }
        let mut events = if state.class() == StepState::RUNNING {
            self.outcomes(situation, place, state)
        } else {
            let rule = self.automatic(situation, place);
            let claimed = rule.and_then(|rule| match rule.to {
                Target::State(to) => Some(Event { place, to, is_smooth: true }),
                Target::Before => None,
            });
            claimed.into_iter().collect()
        };
        events.extend(self.by_operator(situation, place));
        events
    }

    /// How an attempt in `state` may come out.
    fn outcomes(&self, situation: &Situation, place: usize, state: StepState) -> Vec<Event> {
        let n = self.steps[place];
        let step = self.jobset.step(n);
        let Some(known) = step.machine.state(state) else { return Vec::new() };
        let failed = match step.on_failure() {
            OnFailure::Fail | OnFailure::Continue => known.outcomes.fail,
            OnFailure::Hold => known.outcomes.hold,
            OnFailure::Skip => known.outcomes.forgive,
        };
        let times_out = step.definition.timeout.is_some() && failed == known.outcomes.fail;
        let timeout = times_out.then_some((known.outcomes.timeout, false));
        let ways = [(known.outcomes.succeed, true), (failed, false)].into_iter().chain(timeout);
        let follow = |(action, is_smooth): (Action, bool)| {
            let mut rules = step.machine.rules_from(state).iter();
            let rule = rules.find(|r| r.action == action && self.guards_hold(situation, n, r))?;
            match rule.to {
                Target::State(to) => Some(Event { place, to, is_smooth }),
                Target::Before => None,
            }
        };
        ways.filter_map(follow).collect()
    }

    /// What a declared machine asks an operator to do.
    fn by_operator(&self, situation: &Situation, place: usize) -> Vec<Event> {
        let n = self.steps[place];
        let machine = self.jobset.machine(n);
        if machine.name.is_empty() {
            return Vec::new();
        }
        let rules = machine.rules_from(situation[place]).iter();
        rules
            .filter(|rule| rule.actor == Actor::Operator && self.guards_hold(situation, n, rule))
            .filter_map(|rule| match rule.to {
                Target::State(to) if to.is_own() && to != rule.from => {
                    Some(Event { place, to, is_smooth: false })
                }
                Target::State(_) | Target::Before => None,
            })
            .collect()
    }

    /// The steps of `cycle` that wait for each other in a situation in which nothing may happen.
    fn stuck(
        &self,
        situation: &Situation,
        cycle: &BTreeSet<u32>,
        nodes: &[Node],
        node: Option<usize>,
    ) -> Option<Stuck> {
        let places = 0..self.steps.len();
        // A person may have to decide; who waits for that waits for nobody else.
        if situation.iter().any(|state| state.phase() == Phase::Held) {
            return None;
        }
        let is_waiting = |place: &usize| situation[*place].phase() == Phase::Pending;
        let waiting: Vec<usize> = places.filter(is_waiting).collect();
        // Where others wait for each other too, they are a cycle of their own.
        let is_inside = |place: &usize| cycle.contains(&self.steps[*place]);
        if waiting.is_empty() || !waiting.iter().all(is_inside) {
            return None;
        }
        let mut causes = BTreeSet::new();
        for place in &waiting {
            for guard in guards(self.jobset, self.steps[*place]) {
                let terms = self.jobset.guards.clauses(guard).flatten().flat_map(|(_, t)| t);
                causes.extend(terms.filter_map(|term| self.place[term.step as usize]));
            }
        }
        let way = std::iter::successors(node, |node| nodes[*node].parent);
        let rough = way.map(|node| nodes[node].event).filter(|event| !event.is_smooth);
        causes.extend(rough.map(|event| event.place));
        let ended = causes.into_iter().filter(|place| situation[*place].is_ended());
        Some(Stuck {
            waiting: waiting.iter().map(|place| self.steps[*place]).collect(),
            causes: ended.map(|place| (self.steps[place], situation[place])).collect(),
        })
    }
}

/// Whether a term asks for nothing that passes.
fn asks_for_ends(term: Term) -> bool {
    static PASSING: std::sync::LazyLock<StateSet> = std::sync::LazyLock::new(|| {
        let states = (0..=u8::MAX).filter_map(StepState::from_code);
        states.filter(|state| !state.is_ended()).collect()
    });
    term.states.and(*PASSING).is_empty()
}
