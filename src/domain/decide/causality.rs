//! The causal order of a run, kept naively as sets of events, against its stamps.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::changes::{Event, Fact};
use crate::domain::guard::Term;
use crate::domain::machine::{Condition, Rule, Target};
use crate::domain::{Action, Jobset, Stamped, Stamps, StepState};
use crate::itc::{Causality, Stamp, Twig};

/// The numbers of events.
type Past = BTreeSet<i32>;

/// What has happened so far, and what each event knows of.
#[derive(Default)]
pub(super) struct Order {
    states: Vec<StepState>,
    stamps: Vec<Stamp>,
    /// What each event knows of, itself included.
    pasts: BTreeMap<i32, Past>,
    /// The events that are no step's.
    service: Past,
    /// The events of steps that are not for the end.
    regular: Past,
    /// The last event of each step.
    last: BTreeMap<u32, i32>,
    /// The last change of the context.
    context: Option<i32>,
    stop: Option<i32>,
    /// What was stored last, and what happened since.
    stored: Option<Stamps>,
    since: Vec<Stamped>,
}

impl Order {
    /// Takes in the next event and compares what its stamp says of all before it.
    pub(super) fn take(&mut self, event: &Event, jobset: &Jobset) {
        if self.states.is_empty() {
            self.states = jobset.steps.iter().map(|step| step.initial).collect();
        }
        let bytes = event.stamp.as_ref().expect("every event has a stamp");
        let stamp = Stamp::decode(bytes, usize::MAX).unwrap();
        let mut known = Past::new();
        for (seq, earlier) in (1..).zip(&self.stamps) {
            match earlier.compare(&stamp) {
                Causality::Before => _ = known.insert(seq),
                Causality::Concurrent => {}
                order => panic!("{seq} is {order:?} {event:?}"),
            }
        }
        let step = step_of(event);
        if let Some(step) = step {
            let own = self.last.get(&step).copied();
            let is_brought_back = own.is_some() && self.states[step as usize].is_ended();
            let causes = self.causes(event, jobset);
            let mut must: Past =
                own.into_iter().chain(causes).flat_map(|e| self.pasts[&e].clone()).collect();
            let begins_at_end = Self::begins_at_end(event, jobset);
            if begins_at_end && (self.stop.is_some() || jobset.waits_for_end(step)) {
                must.extend(&self.regular);
            }
            assert!(must.is_subset(&known), "{event:?} must know {must:?}, not {known:?}");
            // Who takes a part from the service knows what that knows; who is brought back by a client
            // may know all.
            let more: Past = known.difference(&must).copied().collect();
            let may_know_all = is_brought_back || begins_at_end;
            assert!(may_know_all || more.is_subset(&self.service), "{event:?} knows {more:?}");
            self.last.insert(step, event.seq);
            if !jobset.is_for_end(step) {
                self.regular.insert(event.seq);
            }
        } else {
            assert_eq!(known, self.service, "{event:?}");
            self.service.insert(event.seq);
        }
        let changes_context = event.fact == Fact::ContextChanged;
        self.since.push(Stamped { step, changes_context, stamp: Some(stamp.clone()) });
        known.insert(event.seq);
        self.pasts.insert(event.seq, known);
        self.stamps.push(stamp);
        match event.fact {
            Fact::Moved { step, to, .. } => self.states[step as usize] = to,
            Fact::ContextChanged => self.context = Some(event.seq),
            Fact::StopRequested(_) => self.stop = Some(event.seq),
            Fact::Submitted
            | Fact::Paused
            | Fact::Resumed
            | Fact::Admitted
            | Fact::AttemptEnded { .. } => {}
        }
    }

    /// Whether a step begins that is for the end: it may have waited for everything else.
    fn begins_at_end(event: &Event, jobset: &Jobset) -> bool {
        let Fact::Moved { step, attempt, action, .. } = event.fact else { return false };
        action == Action::RUN && attempt == 1 && jobset.is_for_end(step)
    }

    /// What a server would load; now and then it is stored.
    pub(super) fn load(&mut self, stamps: &Stamps) -> Stamps {
        if self.since.len() > 10 {
            self.stored = Some(stamps.clone());
            self.since.clear();
        }
        let loaded = Stamps::rebuild(self.stored.clone(), self.since.clone());
        assert_eq!(loaded.trunk.peek(), stamps.trunk.peek());
        for (step, branch) in &stamps.branches {
            let loaded = loaded.branches.get(step).map(|branch| branch.stamp.peek());
            assert_eq!(loaded, Some(branch.stamp.peek()), "{step}");
        }
        loaded
    }

    /// The events that the event follows from beside those of its own step.
    fn causes(&self, event: &Event, jobset: &Jobset) -> Vec<i32> {
        let Fact::Moved { step, action, from, to, .. } = event.fact else { return Vec::new() };
        let leads = |rule: &&Rule| {
            rule.action == action && (rule.to == Target::State(to) || rule.to == Target::Before)
        };
        let mut steps = BTreeSet::new();
        let guards = || {
            let extras = jobset.extras_of(step).iter().map(|(_, guard)| *guard);
            std::iter::once(step).chain(extras)
        };
        if let Some(rule) = jobset.machine(step).rules_from(from).iter().find(leads) {
            let extras = jobset.extras_of(step).iter().filter(|(on, _)| on.is_on(rule));
            steps.extend(extras.flat_map(|(_, guard)| self.that_hold(jobset, *guard)));
            let dead = match rule.condition {
                Condition::Dead => Some(true),
                Condition::Alive => Some(false),
                _ => None,
            };
            steps.extend(dead.into_iter().flat_map(|dead| {
                guards().flat_map(move |guard| self.that_are(dead, jobset, guard))
            }));
            if rule.condition == Condition::Entry {
                steps.extend(self.that_hold(jobset, step));
            }
        }
        steps.remove(&step);
        let mut causes: Vec<i32> = steps.iter().filter_map(|n| self.last.get(n).copied()).collect();
        causes.extend(self.stop.filter(|_| action == Action::CANCEL));
        let begins = to.class() == StepState::RUNNING && action != Action::RECOVER;
        causes.extend(self.context.filter(|_| begins));
        causes
    }

    fn is_met(&self, term: &Term) -> bool {
        term.states.has(self.states[term.step as usize])
    }

    /// The steps that contribute to the clauses of a guard that hold.
    fn that_hold(&self, jobset: &Jobset, guard: u32) -> Vec<u32> {
        let clauses = jobset.guards.clauses(guard).map(Iterator::collect::<Vec<_>>);
        let met = |terms: &[Term]| terms.iter().filter(|term| self.is_met(term)).count();
        let held = clauses.filter(|groups| groups.iter().all(|(need, t)| met(t) >= *need as usize));
        let terms = held.flatten().flat_map(|(_, terms)| terms);
        terms.filter(|term| self.is_met(term)).map(|term| term.step).collect()
    }

    /// The steps of a guard that can never satisfy it any more, or those that may yet.
    fn that_are(&self, dead: bool, jobset: &Jobset, guard: u32) -> Vec<u32> {
        let terms = jobset.guards.clauses(guard).flatten().flat_map(|(_, terms)| terms);
        let is_dead = |t: &&Term| self.states[t.step as usize].is_ended() && !self.is_met(t);
        terms.filter(|term| is_dead(term) == dead).map(|term| term.step).collect()
    }
}

fn step_of(event: &Event) -> Option<u32> {
    match event.fact {
        Fact::Moved { step, .. } | Fact::AttemptEnded { step, .. } => Some(step),
        Fact::Submitted
        | Fact::StopRequested(_)
        | Fact::ContextChanged
        | Fact::Paused
        | Fact::Resumed
        | Fact::Admitted => None,
    }
}

/// What is owned is owned once, and nothing is lost.
pub(super) fn check_parts(stamps: &Stamps) {
    let parts = stamps.branches.values().map(|branch| &branch.stamp).chain([&stamps.trunk]);
    let whole = Stamp::join_many(parts.map(Twig::stamp)).unwrap().unwrap();
    assert!(whole.id().is_one(), "a part was lost");
}
