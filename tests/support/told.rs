//! What operators were told that they did, and what they did by the history.

use std::collections::HashMap;

use serde_json::Value;
use sutbot::domain::{Action, Actor};
use sutbot::engine::{EventView, Found};
use uuid::Uuid;

/// A step of an operation, and how it was moved: `action from to`.
pub(crate) type Move = (Uuid, u64, String);

/// Takes note of the answer to a verb.
pub(crate) fn note_moves(told: &mut HashMap<Move, i64>, id: Uuid, action: &str, moved: &Value) {
    for step in moved.as_array().expect("a list") {
        let text = |name: &str| step[name].as_str().expect("a state");
        let how = format!("{action} {} {}", text("from"), text("to"));
        *told.entry((id, step["n"].as_u64().expect("a number"), how)).or_default() += 1;
    }
}

/// What operators did by the history, beside ending the operation.
pub(crate) fn done(found: &Found, events: &[EventView], is_fork: bool) -> HashMap<Move, i64> {
    let jobset = &found.compiled.jobset;
    let mut done = HashMap::new();
    // No operator moves a step of an operation that is being stopped.
    for event in events.iter().take_while(|event| ![2, 3, 8].contains(&event.kind)) {
        let (Some(step), Some(action)) = (event.step, event.action) else { continue };
        let n = u32::try_from(step).expect("a number of a step");
        let (from, to) = (event.from.expect("a move"), event.to.expect("a move"));
        let rules = jobset.machine(n).rules_from(from).iter();
        let by_operator = rules.clone().any(|r| r.action == action && r.actor == Actor::Operator);
        // In a fork, what is run again is started by the fork.
        let is_start = is_fork && action == Action::START;
        if !by_operator || action == Action::CANCEL || is_start {
            continue;
        }
        let (action, from, to) =
            (jobset.action_name(action), jobset.state_name(n, from), jobset.state_name(n, to));
        *done.entry((found.view.id, u64::from(n), format!("{action} {from} {to}"))).or_default() +=
            1;
    }
    done
}
