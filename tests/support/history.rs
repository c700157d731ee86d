//! What every history must show, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use sutbot::domain::machine::Target;
use sutbot::domain::{Action, Actor, Phase, StepState};
use sutbot::engine::{EventView, Found};
use sutbot::itc::Causality;

/// What stamps say of a history: each event of a step is after the one before it, and none is before
/// what came earlier.
fn check_order(events: &[EventView]) {
    let mut last: BTreeMap<i32, &EventView> = BTreeMap::new();
    let stamp = |event: &EventView| event.stamp.clone().expect("every event has a stamp");
    for pair in events.windows(2) {
        let order = stamp(&pair[0]).compare(&stamp(&pair[1]));
        assert!(matches!(order, Causality::Before | Causality::Concurrent), "{pair:?}");
    }
    for event in events {
        if let Some(before) = event.step.and_then(|step| last.insert(step, event)) {
            assert!(stamp(before).happened_before(&stamp(event)), "{before:?} {event:?}");
        }
    }
}

/// Replays a history: no gap, only legal moves, each attempt run once and ended once, and at its end
/// what the operation shows.
pub(crate) fn check(found: &Found, events: &[EventView]) {
    check_order(events);
    let jobset = &found.compiled.jobset;
    let mut states: Vec<StepState> = jobset.steps.iter().map(|step| step.initial).collect();
    let mut running: BTreeMap<usize, (i32, Option<i64>)> = BTreeMap::new();
    let mut leaving: BTreeMap<usize, (i32, Option<i64>)> = BTreeMap::new();
    let mut used: BTreeSet<(usize, i32)> = BTreeSet::new();
    let mut state = None;
    for (index, event) in events.iter().enumerate() {
        assert_eq!(usize::try_from(event.seq).unwrap(), index + 1, "a gap in the history");
        assert!(index == 0 || event.at >= events[index - 1].at, "time runs backwards");
        state = event.state.or(state);
        let Some(step) = event.step.map(|step| usize::try_from(step).unwrap()) else { continue };
        if event.kind == 7 {
            let ended = leaving.remove(&step);
            assert_eq!(ended, Some((event.attempt.unwrap(), event.worker)), "what had left ended");
            continue;
        }
        let Some(action) = event.action else { continue };
        let (from, to) = (event.from.unwrap(), event.to.unwrap());
        assert_eq!(states[step], from, "step {step} was elsewhere");
        states[step] = to;
        if action == Action::KEEP {
            continue;
        }
        let machine = jobset.machine(u32::try_from(step).unwrap());
        let leads = |target: &Target| match target {
            Target::State(state) => *state == to,
            Target::Before => true,
        };
        let rules = machine.rules_from(from).iter();
        let rule = rules.filter(|r| r.action == action).find(|r| leads(&r.to));
        let rule = rule.unwrap_or_else(|| panic!("no rule {from:?} {action:?} {to:?}"));
        match rule.actor {
            Actor::Engine if to.class() == StepState::RUNNING && event.worker.is_some() => {
                let attempt = event.attempt.unwrap();
                assert!(!leaving.contains_key(&step), "two attempts of {step} at once");
                assert!(used.insert((step, attempt)), "attempt {attempt} of {step} ran twice");
                running.insert(step, (attempt, event.worker));
            }
            Actor::Worker => {
                let named = (event.attempt.unwrap(), event.worker);
                assert_eq!(running.remove(&step), Some(named), "what did not run ended");
            }
            Actor::Lease if action == Action::LOSE => {
                let named = (event.attempt.unwrap(), event.worker);
                assert_eq!(running.remove(&step), Some(named), "what did not run was lost");
            }
            Actor::Lease if action == Action::RECOVER => {
                let named = (event.attempt.unwrap(), event.worker);
                assert_eq!(running.insert(step, named), None, "what ran recovered");
            }
            Actor::Operator if action == Action::CANCEL => _ = running.remove(&step),
            Actor::Engine | Actor::Operator if from != to && from.phase() == Phase::Active => {
                leaving.extend(running.remove(&step).map(|attempt| (step, attempt)));
            }
            Actor::Engine | Actor::Operator | Actor::Lease => {}
        }
    }
    assert_eq!(state, Some(found.view.state));
    assert_eq!(states, found.view.steps);
    assert_eq!(usize::try_from(found.view.version).unwrap(), events.len());
    let open = running.len() + leaving.len();
    assert!(!found.view.state.is_final() || open == 0, "attempts outlived the operation");
}
