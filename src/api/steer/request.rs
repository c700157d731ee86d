//! What a verb is sent with: reading it, and refusing what the verb does not take.

use serde_json::Value;

use crate::api::error::ApiError;
use crate::domain::decide::Verb;
use crate::domain::problem::{hint, refuse_nul};
use crate::domain::{Action, Jobset};
use crate::engine::{Edit, SteerOrder};
use crate::wire;
use crate::wire::ScopeDocument;

/// A verb, in terms of what it asks of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Take(Action),
    Next {
        count: u32,
    },
    Rerun {
        cascade: bool,
    },
    /// The operation as a whole.
    Pause(bool),
}

impl Order {
    pub(super) const fn in_engine(self) -> SteerOrder {
        match self {
            Self::Take(action) => SteerOrder::Steps(Verb::Take(action)),
            Self::Next { count } => SteerOrder::Steps(Verb::Next(count)),
            Self::Rerun { cascade } => SteerOrder::Steps(Verb::Rerun { cascade }),
            Self::Pause(paused) => SteerOrder::Pause(paused),
        }
    }
}

/// The verbs that any operation has, beside `next`.
const VERBS: [Action; 12] = [
    Action::START,
    Action::PAUSE,
    Action::RESUME,
    Action::INTERRUPT,
    Action::SKIP,
    Action::UNSKIP,
    Action::RERUN,
    Action::BLOCK,
    Action::UNBLOCK,
    Action::HOLD,
    Action::UNHOLD,
    Action::RUN_NOW,
];

const NEXT: &str = "next";

/// The names of the verbs that any operation has.
pub(super) fn verb_names() -> impl Iterator<Item = &'static str> {
    VERBS.into_iter().map(Action::name).chain([NEXT])
}

/// The verb of that name: one of ours, or an action that a machine of the jobset names.
pub(super) fn verb_named(name: &str, jobset: &Jobset) -> Result<Order, ApiError> {
    if name == NEXT {
        return Ok(Order::Next { count: 1 });
    }
    let action = jobset.action(name);
    let is_verb = |action: &Action| VERBS.contains(action) || action.own_index().is_some();
    action.filter(is_verb).map(Order::Take).ok_or_else(|| {
        let mut known: Vec<&str> = verb_names().collect();
        known.extend(jobset.own_actions().iter().map(String::as_str));
        unknown_verb(name, &known)
    })
}

pub(super) fn unknown_verb(name: &str, known: &[&str]) -> ApiError {
    let near = hint(name, known.iter().copied());
    let message =
        format!("there is no verb `{}`{near}; verbs are {}", name.escape_debug(), known.join(", "));
    ApiError::not_found(message).target("verb")
}

/// Reads the body, which may be empty; `filter` is the parameter `$filter`.
pub(super) fn read(bytes: &[u8], filter: Option<&str>) -> Result<wire::SteerRequest, ApiError> {
    let text = bytes.trim_ascii();
    let mut request = if text.is_empty() {
        wire::SteerRequest::default()
    } else {
        // serde takes a list for the fields of an object in their order: `[]` would be all steps.
        if text.first() == Some(&b'[') {
            return Err(bad("", "the request must be a JSON object"));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let request: wire::SteerRequest =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| {
                let path = error.path().to_string();
                bad(&path, format!("the request is not valid: {}", error.inner()))
            })?;
        reader.end().map_err(|error| bad("", format!("the body is not one JSON: {error}")))?;
        request
    };
    if let Some(filter) = filter {
        if request.filter.is_some() {
            return Err(bad("filter", "`filter` stands in the body and in the URL"));
        }
        request.filter = Some(filter.to_owned());
    }
    Ok(request)
}

fn bad(target: &str, message: impl Into<String>) -> ApiError {
    let error = ApiError::bad_request("InvalidRequest", message);
    if matches!(target, "" | ".") { error } else { error.target(target) }
}

/// Puts verb and request together, and refuses what the verb does not take.
pub(super) fn check(
    verb: Order,
    name: &str,
    request: &wire::SteerRequest,
) -> Result<(Order, Edit), ApiError> {
    let foreign = |field: &str, verbs: &str| {
        let message = format!("`{field}` belongs to {verbs}, not to `{name}`");
        Err(bad(field, message))
    };
    let (is_next, is_rerun) =
        (matches!(verb, Order::Next { .. }), verb == Order::Take(Action::RERUN));
    if request.count.is_some() && !is_next {
        return foreign("count", "`next`");
    }
    if request.count == Some(0) {
        return Err(bad("count", "`count` must be at least 1"));
    }
    if request.cascade && !is_rerun {
        return foreign("cascade", "`rerun`");
    }
    let edit = edit(request)?;
    if edit != Edit::default() && !is_rerun {
        return foreign("env, command, shell and context", "`rerun`");
    }
    let is_whole = request.scope == ScopeDocument::Operation;
    let order = match verb {
        Order::Take(Action::PAUSE) if is_whole => Order::Pause(true),
        Order::Take(Action::RESUME) if is_whole => Order::Pause(false),
        _ if is_whole => return foreign("scope", "`pause` and `resume`"),
        Order::Take(Action::RERUN) => Order::Rerun { cascade: request.cascade },
        Order::Next { .. } => Order::Next { count: request.count.unwrap_or(1) },
        other => other,
    };
    let selects = request.steps.is_some()
        || !request.tags.is_empty()
        || request.states.is_some()
        || request.filter.is_some()
        || request.branch;
    if is_whole && selects {
        return Err(bad("scope", "`scope` is `operation`, so no steps can be selected"));
    }
    Ok((order, edit))
}

/// What is changed for the attempts that a rerun leads to.
fn edit(request: &wire::SteerRequest) -> Result<Edit, ApiError> {
    if request.command.is_some() && request.shell.is_some() {
        return Err(bad("shell", "`command` and `shell` exclude each other"));
    }
    if request.command.as_ref().is_some_and(|parts| parts.first().is_none_or(String::is_empty)) {
        return Err(bad("command", "`command` needs the program as its first part"));
    }
    if let Some(name) = request.env.keys().find(|name| name.is_empty() || name.contains('=')) {
        return Err(bad("env", format!("`{}` cannot name a variable", name.escape_debug())));
    }
    let parts = serde_json::json!({
        "env": request.env, "command": request.command, "shell": request.shell,
        "context": request.context,
    });
    refuse_nul(&parts, "").map_err(|problem| bad(&problem.path, problem.message))?;
    Ok(Edit {
        env: request.env.clone(),
        command: request.command.clone(),
        shell: request.shell.clone(),
        context: request.context.clone().map(Value::Object),
    })
}

/// A state that no step of the jobset can be in is a slip.
pub(super) fn check_states(request: &wire::SteerRequest, jobset: &Jobset) -> Result<(), ApiError> {
    let Some(states) = &request.states else { return Ok(()) };
    let known = jobset.state_names();
    for name in states {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let near = hint(name, known.iter().copied());
            let message = format!("no state is called `{}`{near}", name.escape_debug());
            return Err(bad("states", message));
        }
    }
    Ok(())
}
