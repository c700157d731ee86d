//! What every history must show, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use sutbot::domain::machine::RULES;
use sutbot::domain::{Action, StepState};
use sutbot::engine::{EventView, Found};

/// Replays a history: no gap, only legal moves, each attempt run once and ended once, and at its end
/// what the operation shows.
pub(crate) fn check(found: &Found, events: &[EventView]) {
    let mut states = vec![StepState::Waiting; found.view.steps.len()];
    let mut running: BTreeMap<usize, (i32, Option<i64>)> = BTreeMap::new();
    let mut used: BTreeSet<(usize, i32)> = BTreeSet::new();
    let mut state = None;
    for (index, event) in events.iter().enumerate() {
        assert_eq!(usize::try_from(event.seq).unwrap(), index + 1, "a gap in the history");
        assert!(index == 0 || event.at >= events[index - 1].at, "time runs backwards");
        state = event.state.or(state);
        let (Some(step), Some(action)) = (event.step, event.action) else { continue };
        let step = usize::try_from(step).unwrap();
        let (from, to) = (event.from.unwrap(), event.to.unwrap());
        assert_eq!(states[step], from, "step {step} was elsewhere");
        let allowed = RULES.iter().any(|r| (r.from, r.action, r.to) == (from, action, to));
        assert!(allowed, "no rule {from:?} {action:?} {to:?}");
        states[step] = to;
        match action {
            Action::Run => {
                let attempt = event.attempt.unwrap();
                assert!(used.insert((step, attempt)), "attempt {attempt} of {step} ran twice");
                running.insert(step, (attempt, event.worker));
            }
            Action::Succeed
            | Action::Fail
            | Action::Error
            | Action::Timeout
            | Action::Retry
            | Action::Forgive
            | Action::Lose => {
                let ended = running.remove(&step);
                let named = (event.attempt.unwrap(), event.worker);
                assert_eq!(ended, Some(named), "an attempt ended that did not run");
            }
            Action::Cancel => _ = running.remove(&step),
            Action::Start | Action::Requeue | Action::GiveUp | Action::Close => {}
        }
    }
    assert_eq!(state, Some(found.view.state));
    assert_eq!(states, found.view.steps);
    assert_eq!(usize::try_from(found.view.version).unwrap(), events.len());
    assert!(!found.view.state.is_final() || running.is_empty(), "attempts outlived the operation");
}
