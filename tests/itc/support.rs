//! Random runs, and what holds of every stamp.

use proptest::prelude::*;
use sutbot::itc::{COUNTER_MAX, DEPTH_MAX, Event, Id, NODES_MAX, Stamp};

/// How many cases are asked for.
pub(crate) fn cases(everyday: u32) -> u32 {
    let asked = std::env::var("SUTBOT_ITC_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(everyday)
}

/// How a property is tried.
pub(crate) fn config(everyday: u32) -> ProptestConfig {
    let cases = cases(everyday);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Xorshift: the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits") % bound.max(1)
    }
}

pub(crate) fn stamp(text: &str) -> Stamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Something that happens in a run. The numbers say to whom, modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Event(usize),
    Fork(usize),
    Join(usize, usize),
    /// Leaves a note: an anonymous stamp.
    Note(usize),
    /// Reads a note.
    Read(usize, usize),
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let who = || 0..64_usize;
    prop_oneof![
        5 => who().prop_map(Act::Event),
        3 => who().prop_map(Act::Fork),
        2 => (who(), who()).prop_map(|(a, b)| Act::Join(a, b)),
        1 => who().prop_map(Act::Note),
        1 => (who(), who()).prop_map(|(a, b)| Act::Read(a, b)),
    ]
}

pub(crate) fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(act(), 0..most)
}

/// What a clock can do. A run does it with several at once.
pub(crate) trait Clock: Clone {
    fn event(&mut self);
    /// Keeps one half, answers the other.
    fn fork(&mut self) -> Self;
    fn join(&mut self, other: &Self);
    fn note(&self) -> Self;
}

impl Clock for Stamp {
    fn event(&mut self) {
        let next = Self::event(self).expect("no copies, shallow, few events");
        check(&next);
        assert!(self.happened_before(&next));
        *self = next;
    }

    fn fork(&mut self) -> Self {
        let (first, second) = Self::fork(self).expect("no copies, shallow, few events");
        check(&first);
        check(&second);
        *self = first;
        second
    }

    fn join(&mut self, other: &Self) {
        *self = Self::join(self, other).expect("no copies, shallow, few events");
        check(self);
    }

    fn note(&self) -> Self {
        let note = self.peek();
        check(&note);
        note
    }
}

impl<A: Clock, B: Clock> Clock for (A, B) {
    fn event(&mut self) {
        self.0.event();
        self.1.event();
    }

    fn fork(&mut self) -> Self {
        (self.0.fork(), self.1.fork())
    }

    fn join(&mut self, other: &Self) {
        self.0.join(&other.0);
        self.1.join(&other.1);
    }

    fn note(&self) -> Self {
        (self.0.note(), self.1.note())
    }
}

/// Who takes part at the end, and all notes that were left.
pub(crate) struct Ran<C> {
    pub(crate) parts: Vec<C>,
    pub(crate) notes: Vec<C>,
}

pub(crate) fn run<C: Clock>(seed: C, acts: &[Act]) -> Ran<C> {
    let (mut parts, mut notes) = (vec![seed], Vec::<C>::new());
    for act in acts {
        let count = parts.len();
        match *act {
            Act::Event(who) => parts[who % count].event(),
            Act::Fork(who) => {
                let other = parts[who % count].fork();
                parts.push(other);
            }
            Act::Join(who, whom) if who % count != whom % count => {
                let other = parts[whom % count].clone();
                parts[who % count].join(&other);
                parts.swap_remove(whom % count);
            }
            Act::Note(who) => notes.push(parts[who % count].note()),
            Act::Read(who, which) if !notes.is_empty() => {
                parts[who % count].join(&notes[which % notes.len()]);
            }
            Act::Join(..) | Act::Read(..) => {}
        }
    }
    Ran { parts, notes }
}

/// Stamps that take part at the end of a run.
pub(crate) fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
    acts(60).prop_map(|acts| run(Stamp::seed(), &acts).parts)
}

/// Normal form, figures and forms of a stamp.
pub(crate) fn check(stamp: &Stamp) {
    let id = check_id(stamp.id());
    let (event, height) = check_event(stamp.events());
    assert_eq!((stamp.id().depth(), stamp.events().depth()), (id.0, event.0));
    assert_eq!((stamp.nodes(), stamp.events().height()), (id.1 + event.1, height));
    assert!(id.0 <= DEPTH_MAX && event.0 <= DEPTH_MAX && height <= COUNTER_MAX);
    assert_eq!(stamp.to_string().parse().as_ref(), Ok(stamp));
    assert_eq!(Stamp::decode(&stamp.encode(), NODES_MAX).as_ref(), Ok(stamp));
}

/// Levels and nodes.
fn check_id(id: &Id) -> (usize, usize) {
    let Some((left, right)) = id.children() else { return (0, 1) };
    assert!(!(left.is_zero() && right.is_zero()), "{id}");
    assert!(!(left.is_one() && right.is_one()), "{id}");
    let (left, right) = (check_id(left), check_id(right));
    (1 + left.0.max(right.0), 1 + left.1 + right.1)
}

/// Levels and nodes, and the largest number.
fn check_event(event: &Event) -> ((usize, usize), u64) {
    let Some((left, right)) = event.children() else { return ((0, 1), event.base()) };
    assert_eq!(left.base().min(right.base()), 0, "{event}");
    assert!(left.children().is_some() || left != right, "{event}");
    let ((left, high_left), (right, high_right)) = (check_event(left), check_event(right));
    let height = event.base() + high_left.max(high_right);
    ((1 + left.0.max(right.0), 1 + left.1 + right.1), height)
}
