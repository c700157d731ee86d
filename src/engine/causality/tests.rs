//! Attempts of histories written by hand, and their order against sets of what is known.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use expect_test::expect;
use serde_json::json;

use super::attempts::{Mark, Span, covering, spans};
use super::sharing::{Order, shared_resource};
use crate::domain::definition::StepDefinition;
use crate::domain::{Action, Definition, Jobset, Limits, StepState, resources};
use crate::itc::Stamp;
use crate::store::EventView;

const WORKER: Option<i64> = Some(7);

fn at(seq: i32) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seq.into())
}

/// Event `seq`: step 0 moves by an action of that name.
fn moved(
    seq: i32,
    attempt: i32,
    action: &str,
    states: [&str; 2],
    worker: Option<i64>,
) -> EventView {
    let [from, to] = states.map(StepState::parse);
    let action = Action::BUILT_IN.into_iter().find(|known| known.name() == action);
    assert!(action.is_some() && from.is_some() && to.is_some(), "{states:?}");
    let (step, attempt) = (Some(0), Some(attempt).filter(|attempt| *attempt > 0));
    let (state, stamp) = (None, None);
    EventView { seq, at: at(seq), kind: 1, step, attempt, action, from, to, state, worker, stamp }
}

fn attempt_ended(seq: i32, attempt: i32) -> EventView {
    let event = moved(seq, attempt, "run", ["Waiting", "Running"], WORKER);
    EventView { kind: 7, action: None, from: None, to: None, ..event }
}

/// `2 Interrupted 5-8`: attempt 2, the state, the begin and the end.
fn told(events: &[EventView]) -> String {
    let step = StepDefinition { name: "a".to_owned(), ..StepDefinition::default() };
    let definition = Definition { steps: vec![step], ..Definition::default() };
    let jobset = Jobset::compile(definition, &Limits::default()).unwrap();
    let line = |Span { attempt, state, begin, end, .. }: Span| {
        let end = end.map_or_else(|| "...".to_owned(), |end| end.seq.to_string());
        format!("{attempt} {state:?} {}-{end}\n", begin.seq)
    };
    spans(events, &jobset).into_iter().map(line).collect()
}

#[test]
fn an_attempt_lasts_from_its_claim_to_the_end_of_its_process() {
    let history = [
        moved(2, 0, "start", ["Ready", "Waiting"], None),
        moved(3, 1, "run", ["Waiting", "Running"], WORKER),
        moved(4, 1, "retry", ["Running", "Waiting"], WORKER),
        moved(5, 2, "run", ["Waiting", "Running"], WORKER),
        // The worker is lost; what it may still do is not known.
        moved(6, 2, "lose", ["Running", "Unresponsive"], WORKER),
        moved(7, 2, "requeue", ["Unresponsive", "Waiting"], WORKER),
        moved(8, 3, "run", ["Waiting", "Running"], WORKER),
        // The process outlives the state that it was run for.
        moved(9, 3, "interrupt", ["Running", "Interrupted"], WORKER),
        attempt_ended(10, 3),
        moved(11, 3, "resume", ["Interrupted", "Waiting"], None),
        moved(12, 4, "run", ["Waiting", "Running"], WORKER),
        moved(13, 4, "fail", ["Running", "Failed"], WORKER),
        moved(14, 4, "rerun", ["Failed", "Waiting"], None),
        moved(15, 5, "run", ["Waiting", "Running"], WORKER),
    ];
    expect![[r#"
        1 Waiting 3-4
        2 Unresponsive 5-6
        3 Interrupted 8-10
        4 Failed 12-13
        5 Running 15-...
    "#]]
    .assert_eq(&told(&history));
    expect![[r#"
        1 Waiting 3-4
        2 Unresponsive 5-6
        3 Interrupted 8-...
    "#]]
    .assert_eq(&told(&history[..8]));
    // What a fork keeps was run by another operation.
    assert_eq!(told(&[moved(2, 3, "keep", ["Waiting", "Succeeded"], None)]), "");
}

/// A generator of numbers, the same each time (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// Attempts that begin knowing of some that have ended, with the attempts whose ends each knows.
fn drawn(chance: &mut Chance) -> (Vec<Span>, Vec<BTreeSet<usize>>) {
    let count = 1 + chance.below(80);
    let mut parts = Stamp::seed().fork_many(count).unwrap();
    let mut spans: Vec<Span> = Vec::new();
    let mut pasts: Vec<BTreeSet<usize>> = Vec::new();
    let mut seq = 0;
    let mark = |stamp: &Stamp, seq: &mut i32| {
        *seq += 1;
        Mark { seq: *seq, at: at(*seq), stamp: Some(stamp.peek()) }
    };
    let mut open: Vec<(usize, Stamp)> = Vec::new();
    while let Some(part) = parts.pop() {
        let (mut stamp, mut past) = (part, BTreeSet::new());
        for _ in 0..chance.below(4) {
            let first = chance.below(spans.len().max(1));
            if let Some(end) = spans.get(first).and_then(|span| span.end.as_ref()) {
                stamp = stamp.join(end.stamp.as_ref().unwrap()).unwrap();
                past.insert(first);
                past.extend(pasts[first].clone());
            }
        }
        let stamp = stamp.event().unwrap();
        let (step, begin) = (u32::try_from(spans.len()).unwrap(), mark(&stamp, &mut seq));
        open.push((spans.len(), stamp));
        let (attempt, worker, state) = (1, WORKER, StepState::RUNNING);
        spans.push(Span { step, attempt, worker, state, begin, end: None });
        pasts.push(past);
        while chance.below(3) > 0 && !open.is_empty() {
            let (ended, stamp) = open.swap_remove(chance.below(open.len()));
            spans[ended].end = Some(mark(&stamp.event().unwrap(), &mut seq));
        }
    }
    (spans, pasts)
}

#[test]
fn stamps_tell_the_order_of_attempts_and_its_fewest_arrows() {
    let mut arrows = 0;
    for seed in 0..200 {
        let (spans, pasts) = drawn(&mut Chance(seed));
        let all = 0..spans.len();
        for (first, second) in all.clone().flat_map(|a| all.clone().map(move |b| (a, b))) {
            let before = pasts[second].contains(&first);
            assert_eq!(spans[first].happened_before(&spans[second]), before, "seed {seed}");
            let either = before || pasts[first].contains(&second);
            assert_eq!(spans[first].is_concurrent_with(&spans[second]), !either, "seed {seed}");
        }
        let is_between = |first: &usize, second: usize| {
            pasts[second].iter().any(|third| pasts[*third].contains(first))
        };
        let direct = |second: usize| {
            let past = pasts[second].iter();
            past.filter(move |first| !is_between(first, second)).map(move |first| (*first, second))
        };
        let naive: Vec<(usize, usize)> = all.flat_map(direct).collect();
        assert_eq!(covering(&spans), naive, "seed {seed}");
        arrows += naive.len();
    }
    assert!(arrows > 1_000, "{arrows} arrows show nothing");
}

#[test]
fn nothing_is_before_an_attempt_without_stamps() {
    let (mut spans, _) = drawn(&mut Chance(1));
    for span in &mut spans {
        span.begin.stamp = None;
    }
    assert_eq!(covering(&spans), []);
}

#[test]
fn resources_are_shared_by_name() {
    let labels = json!({"resource": "a", "resource.db": "b", "resources": "c", "branch": "d"});
    let ours = resources(Some(&labels));
    assert_eq!(ours, [("resource", "a"), ("resource.db", "b")]);
    let shared = |labels| shared_resource(&ours, &labels).map(str::to_owned);
    assert_eq!(shared(json!({"resource.disk": "b"})).as_deref(), Some("b"));
    assert_eq!(shared(json!({"resource.x": "b", "resource": "a"})).as_deref(), Some("a"));
    assert_eq!(shared(json!({"resources": "a", "branch": "b"})), None);
    assert_eq!(resources(None), []);
}

#[test]
fn operations_knew_of_each_other_what_their_ties_tell() {
    let seen = Order::seen;
    // Submitted when the other one had got to event 9; when it had ended; at the same moment.
    assert_eq!(seen(Some(&9), Some(at(50)), at(20)), 9);
    assert_eq!(seen(None, Some(at(20)), at(20)), i32::MAX);
    assert_eq!(seen(None, Some(at(21)), at(20)), 0);
    assert_eq!(seen(None, None, at(20)), 0);
    let span = |begin, end: Option<i32>| {
        let mark = |seq| Mark { seq, at: at(seq), stamp: None };
        let (worker, state) = (WORKER, StepState::RUNNING);
        let (begin, end) = (mark(begin), end.map(mark));
        Span { step: 0, attempt: 1, worker, state, begin, end }
    };
    let order = Order { theirs: 9, ours: 0 };
    let ours = span(3, Some(12));
    assert!(!order.is_concurrent(&ours, &span(2, Some(9))));
    assert!(order.is_concurrent(&ours, &span(2, Some(10))));
    assert!(order.is_concurrent(&ours, &span(2, None)));
    let order = Order { theirs: 0, ours: 12 };
    assert!(!order.is_concurrent(&ours, &span(2, None)));
    assert!(order.is_concurrent(&span(3, None), &span(2, None)));
}
