//! Runs of many participants, with three other ways to tell what knew of what.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use itc_oracle::{IntervalTreeClock as _, LessThanOrEqual as _};
use proptest::prelude::*;
use sutbot::itc::{Causality, Stamp};

use crate::support::{Clock, acts, config, run};

/// A causal history: the set of all events that are known.
#[derive(Clone, Default)]
struct History {
    known: BTreeSet<u32>,
    count: Rc<Cell<u32>>,
}

fn next(count: &Cell<u32>) -> u32 {
    count.set(count.get() + 1);
    count.get()
}

impl Clock for History {
    fn event(&mut self) {
        self.known.insert(next(&self.count));
    }

    fn fork(&mut self) -> Self {
        self.clone()
    }

    fn join(&mut self, other: &Self) {
        self.known.extend(&other.known);
    }

    fn note(&self) -> Self {
        self.clone()
    }
}

/// A version vector, in a world that has names: both halves of a fork get new ones.
#[derive(Clone, Default)]
struct Vector {
    name: u32,
    known: BTreeMap<u32, u32>,
    count: Rc<Cell<u32>>,
}

impl Vector {
    fn leq(&self, other: &Self) -> bool {
        self.known.iter().all(|(name, events)| other.known.get(name) >= Some(events))
    }
}

impl Clock for Vector {
    fn event(&mut self) {
        *self.known.entry(self.name).or_default() += 1;
    }

    fn fork(&mut self) -> Self {
        self.name = next(&self.count);
        Self { name: next(&self.count), ..self.clone() }
    }

    fn join(&mut self, other: &Self) {
        for (name, events) in &other.known {
            let known = self.known.entry(*name).or_default();
            *known = (*known).max(*events);
        }
    }

    fn note(&self) -> Self {
        self.clone()
    }
}

/// The crate `itc` 0.1.3. It panics where ids overlap, so it is asked nothing of that kind, and has
/// no bound of depth.
impl Clock for itc_oracle::Stamp {
    fn event(&mut self) {
        *self = itc_oracle::IntervalTreeClock::event(self);
    }

    fn fork(&mut self) -> Self {
        let (first, second) = itc_oracle::IntervalTreeClock::fork(self);
        *self = first;
        second
    }

    fn join(&mut self, other: &Self) {
        *self = itc_oracle::IntervalTreeClock::join(self, other);
    }

    fn note(&self) -> Self {
        self.peek().0
    }
}

fn expected(leq: bool, geq: bool) -> Causality {
    match (leq, geq) {
        (true, true) => Causality::Equal,
        (true, false) => Causality::Before,
        (false, true) => Causality::After,
        (false, false) => Causality::Concurrent,
    }
}

type World = (Stamp, (History, (Vector, itc_oracle::Stamp)));

fn compare(a: &World, b: &World) -> Result<(), TestCaseError> {
    let (stamp_a, (history_a, (vector_a, other_a))) = a;
    let (stamp_b, (history_b, (vector_b, other_b))) = b;
    let ours = stamp_a.compare(stamp_b);
    let (known_a, known_b) = (&history_a.known, &history_b.known);
    let by_history = expected(known_a.is_subset(known_b), known_b.is_subset(known_a));
    prop_assert_eq!(ours, by_history, "{} {}", stamp_a, stamp_b);
    prop_assert_eq!(ours, expected(vector_a.leq(vector_b), vector_b.leq(vector_a)));
    prop_assert_eq!(ours, expected(other_a.leq(other_b), other_b.leq(other_a)));
    prop_assert_eq!(stamp_a.happened_before(stamp_b), ours == Causality::Before);
    prop_assert_eq!(stamp_a.peek().compare(stamp_b), ours);
    Ok(())
}

proptest! {
    #![proptest_config(config(400))]

    /// Not only those that take part at the end are compared: notes of any time as well.
    #[test]
    fn histories_vectors_and_the_other_program_agree(acts in acts(80)) {
        let seed = (Stamp::seed(), (History::default(), (Vector::default(), itc_oracle::Stamp::seed())));
        let ran = run(seed, &acts);
        let all: Vec<&World> = ran.parts.iter().chain(&ran.notes).collect();
        for a in &all {
            prop_assert_eq!(a.0.to_string(), a.1.1.1.to_string());
            for b in &all {
                compare(a, b)?;
            }
        }
    }

    /// Whoever takes part owns a part of its own, and all together own all.
    #[test]
    fn nothing_is_lost_and_nothing_is_owned_twice(acts in acts(80), at in 0..64_usize) {
        let parts = run(Stamp::seed(), &acts).parts;
        let whole = Stamp::join_many(parts.clone()).unwrap().unwrap();
        prop_assert!(whole.id().is_one());
        prop_assert!(parts.iter().all(|part| part.leq(&whole)));
        let part = &parts[at % parts.len()];
        prop_assert!(part.join(part).is_err());
        // An event of who owns all leaves one number.
        prop_assert!(whole.event().unwrap().events().children().is_none());
    }
}
