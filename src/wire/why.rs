//! Why a step does not move, and why an operation has not ended or ended as it did.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::operation::timestamp;
use crate::domain::explain::{
    Because, ClauseView, Elsewhere, GroupView, GuardOf, GuardView, Kind, Move, OperationExplained,
    StepExplained, StepSaid, TermView,
};
use crate::domain::{Action, Actor, Run, StepState};

/// Why a step is where it is: `GET /v1.0/operations/{id}/steps/{name}/explain`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepExplanation {
    /// Its name.
    pub name: String,
    /// Its number.
    pub n: u32,
    /// Its state.
    #[schema(example = "Waiting")]
    pub state: String,
    /// The root causes, the nearest first.
    pub because: Vec<RootCause>,
    /// How many root causes are not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
    /// What a client may do with it now.
    pub actions: Vec<String>,
    /// The rules of its machine from this state.
    pub moves: Vec<ExplainedMove>,
    /// What a client may do only from other states.
    pub elsewhere: Vec<ElsewhereAction>,
}

/// Why an operation has not ended, or ended as it did: `GET /v1.0/operations/{id}/explain`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationExplanation {
    /// Its id.
    pub id: String,
    /// Its state.
    #[schema(example = "Running")]
    pub state: String,
    /// Whether it is held by an operator: nothing new starts.
    pub paused: bool,
    /// The root causes, those that keep most steps first. Once it ended: why steps never ran.
    pub because: Vec<RootCause>,
    /// How many root causes are not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
    /// Once it ended: the steps that ended without having done their work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<ExplainedStep>,
    /// How many of those are not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub never_more: usize,
    /// Once it failed: the steps that made it fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<ExplainedStep>,
    /// How many of those are not told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_more: usize,
}

/// What, at the end of all chains, keeps a step or an operation from going on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootCause {
    /// Who or what could bring a change: `step`, `worker`, `person`, `timer` or `operation`.
    #[schema(pattern = "^(step|worker|person|timer|operation)$")]
    pub kind: String,
    /// The step at the root; absent where it is about many or about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The whole of it for people, with the steps on the way to the root.
    #[schema(
        example = "`deploy` waits for `canary` to be Skipped or Succeeded; `canary` is Paused: resume, skip or block it"
    )]
    pub message: String,
    /// What a client can do about it: verbs for `step`, or for the operation where that is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// When it passes or is ended by itself.
    #[serde(default, serialize_with = "maybe_timestamp", skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// The steps from the one that is explained to the root; each waits for the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// For an operation: how many steps it keeps, or kept, from going on, directly or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
}

/// A step with a sentence about it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedStep {
    /// Its name.
    pub name: String,
    /// Its number.
    pub n: u32,
    /// Its state.
    pub state: String,
    /// What is to be said.
    pub message: String,
}

/// A rule from the state that a step is in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedMove {
    /// What is done.
    pub action: String,
    /// The state that it leads to.
    pub to: String,
    /// Who does it: `operator`, `engine`, `worker`, or `lease` (the engine, when a lease runs out).
    #[schema(pattern = "^(operator|engine|worker|lease)$")]
    pub by: String,
    /// Whether it can be done now.
    pub possible: bool,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The guards that do not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<ExplainedGuard>,
}

/// A guard that does not hold. One of its clauses must.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedGuard {
    /// Where it was written: `entry` (pairs and `when`), `action` (under `guards`) or `transition`
    /// (of a machine).
    #[schema(pattern = "^(entry|action|transition)$")]
    pub on: String,
    /// Whether it can never hold any more by itself.
    pub dead: bool,
    /// Its clauses, up to a limit.
    pub clauses: Vec<ExplainedClause>,
    /// How many clauses are not shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

/// A clause of a guard. All its groups must hold.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedClause {
    /// Whether it can never hold any more by itself.
    pub dead: bool,
    /// Its groups.
    pub groups: Vec<ExplainedGroup>,
}

/// A group of a clause. At least `need` of its terms must hold.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedGroup {
    /// How many terms must hold.
    pub need: u32,
    /// How many terms there are.
    pub of: u32,
    /// How many hold.
    pub held: u32,
    /// How many can never hold any more by themselves.
    pub dead: u32,
    /// The terms, those that do not hold first, up to a limit.
    pub terms: Vec<ExplainedTerm>,
}

/// "This step is in one of these states."
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedTerm {
    /// The name of the step.
    pub step: String,
    /// The states that are asked for.
    pub states: Vec<String>,
    /// The state that it is in.
    pub state: String,
    /// Whether the term holds.
    pub holds: bool,
    /// Whether it can never hold any more by itself.
    pub dead: bool,
}

/// An action that a client may take only from other states.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct ElsewhereAction {
    /// What is done.
    pub action: String,
    /// The states from which it can be done.
    pub from: Vec<String>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// As all times on the wire, where there is one.
pub(super) fn maybe_timestamp<'a, S: Serializer>(
    time: impl IntoIterator<Item = &'a DateTime<Utc>>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match time.into_iter().next() {
        Some(time) => timestamp(time, s),
        None => s.serialize_none(),
    }
}

impl StepExplanation {
    /// What was found about a step of `run`.
    #[must_use]
    pub fn of(run: &Run, found: &StepExplained) -> Self {
        let say = Say(run);
        // That of the operation as a whole has its own method.
        let moves = found.moves.iter().filter(|m| m.action != Action::CANCEL);
        let elsewhere = found.elsewhere.iter().filter(|e| e.action != Action::CANCEL);
        Self {
            name: say.step(found.step),
            n: found.step,
            state: say.state(found.step, found.state),
            because: found.because.iter().map(|because| say.cause(because)).collect(),
            more: found.more,
            actions: say.actions(&found.actions),
            moves: moves.map(|m| say.one_move(found.step, m)).collect(),
            elsewhere: elsewhere.map(|e| say.elsewhere(found.step, e)).collect(),
        }
    }
}

impl OperationExplanation {
    /// What was found about `run`.
    #[must_use]
    pub fn of(run: &Run, found: &OperationExplained) -> Self {
        let say = Say(run);
        Self {
            id: run.id().to_string(),
            state: run.state().name().to_owned(),
            paused: run.is_paused(),
            because: found.because.iter().map(|because| say.cause(because)).collect(),
            more: found.more,
            never: found.never.iter().map(|said| say.said(said)).collect(),
            never_more: found.never_more,
            failed: found.failed.iter().map(|said| say.said(said)).collect(),
            failed_more: found.failed_more,
        }
    }
}

/// Numbers to names.
struct Say<'a>(&'a Run);

impl Say<'_> {
    fn step(&self, n: u32) -> String {
        self.0.jobset().step(n).definition.name.clone()
    }

    fn state(&self, n: u32, state: StepState) -> String {
        self.0.jobset().state_name(n, state).to_owned()
    }

    fn action(&self, action: Action) -> String {
        self.0.jobset().action_name(action).to_owned()
    }

    fn actions(&self, actions: &[Action]) -> Vec<String> {
        let steps = actions.iter().filter(|action| **action != Action::CANCEL);
        steps.map(|action| self.action(*action)).collect()
    }

    fn cause(&self, because: &Because) -> RootCause {
        let kind = match because.kind {
            Kind::Step => "step",
            Kind::Worker => "worker",
            Kind::Person => "person",
            Kind::Timer => "timer",
            Kind::Operation => "operation",
        };
        RootCause {
            kind: kind.to_owned(),
            step: because.step.map(|n| self.step(n)),
            message: because.message.clone(),
            verbs: self.actions(&because.verbs),
            until: because.until,
            via: because.via.iter().map(|n| self.step(*n)).collect(),
            steps: because.steps,
        }
    }

    fn said(&self, said: &StepSaid) -> ExplainedStep {
        ExplainedStep {
            name: self.step(said.step),
            n: said.step,
            state: self.state(said.step, self.0.steps()[said.step as usize]),
            message: said.message.clone(),
        }
    }

    fn one_move(&self, n: u32, found: &Move) -> ExplainedMove {
        let by = match found.actor {
            Actor::Operator => "operator",
            Actor::Engine => "engine",
            Actor::Worker => "worker",
            Actor::Lease => "lease",
        };
        ExplainedMove {
            action: self.action(found.action),
            to: self.state(n, found.to),
            by: by.to_owned(),
            possible: found.refused.is_none(),
            message: found.refused.clone(),
            guards: found.guards.iter().map(|guard| self.guard(guard)).collect(),
        }
    }

    fn elsewhere(&self, n: u32, found: &Elsewhere) -> ElsewhereAction {
        let from = found.from.iter().map(|state| self.state(n, *state)).collect();
        ElsewhereAction { action: self.action(found.action), from }
    }

    fn guard(&self, guard: &GuardView) -> ExplainedGuard {
        let on = match guard.on {
            GuardOf::Entry => "entry",
            GuardOf::Action => "action",
            GuardOf::Transition => "transition",
        };
        let clause = |clause: &ClauseView| ExplainedClause {
            dead: clause.is_dead,
            groups: clause.groups.iter().map(|group| self.group(group)).collect(),
        };
        ExplainedGuard {
            on: on.to_owned(),
            dead: guard.is_dead,
            clauses: guard.clauses.iter().map(clause).collect(),
            more: guard.more,
        }
    }

    fn group(&self, group: &GroupView) -> ExplainedGroup {
        let term = |term: &TermView| ExplainedTerm {
            step: self.step(term.step),
            states: term.asked.iter().map(|state| self.state(term.step, *state)).collect(),
            state: self.state(term.step, term.state),
            holds: term.holds,
            dead: term.is_dead,
        };
        let GroupView { need, held, dead, of, .. } = *group;
        ExplainedGroup { need, of, held, dead, terms: group.terms.iter().map(term).collect() }
    }
}
