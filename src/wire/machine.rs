//! Machines of a jobset's own, as they stand in its document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::run::RunDocument;
use super::unique;
use super::when::WhenDocument;
use crate::domain::definition::{End, MachineDefinition, StateDefinition, TransitionDefinition};

/// The states that a step can be in and what leads from one to another.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineDocument {
    /// The state that steps begin in.
    pub initial: String,
    /// The states by name.
    #[serde(deserialize_with = "unique::map")]
    pub states: BTreeMap<String, StateDocument>,
    /// What leads from one state to another. Of several with the same `from` and `action` the first
    /// one whose `when` holds is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<TransitionDocument>,
}

/// A state of a machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateDocument {
    /// What is done in this state, by a worker, from its entering on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunDocument>,
    /// The actions that follow from the outcomes `succeed`, `fail` and `timeout` of the work.
    /// `timeout` is `fail` if left out.
    #[serde(deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, String>,
    /// What it means for the operation that a step ended here; left out: it does not end here.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub end: Option<EndDocument>,
}

/// What it means for the operation that a step ended in some state.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndDocument {
    /// The step did what it was for.
    Succeeded,
    /// It failed.
    Failed,
    /// Neither.
    Neutral,
}

/// A transition of a machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransitionDocument {
    /// The state it leads from.
    pub from: String,
    /// What is done. If it is neither automatic nor an outcome, clients do it by a POST to
    /// `/v1.0/operations/{id}/{action}`.
    pub action: String,
    /// The state it leads to.
    pub to: String,
    /// Whether it happens by itself as soon as its condition holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// Its condition.
    #[serde(default, skip_serializing_if = "WhenDocument::is_empty")]
    pub when: WhenDocument,
}

impl MachineDocument {
    pub(super) fn into_definition(self) -> MachineDefinition {
        let states = self.states.into_iter();
        let transitions = self.transitions.into_iter();
        MachineDefinition {
            initial: self.initial,
            states: states.map(|(name, state)| (name, state.into_definition())).collect(),
            transitions: transitions.map(TransitionDocument::into_definition).collect(),
        }
    }
}

impl StateDocument {
    fn into_definition(self) -> StateDefinition {
        StateDefinition {
            work: self.run.map(RunDocument::into_work),
            outcomes: self.outcomes,
            end: self.end.map(|end| match end {
                EndDocument::Succeeded => End::Succeeded,
                EndDocument::Failed => End::Failed,
                EndDocument::Neutral => End::Neutral,
            }),
        }
    }
}

impl TransitionDocument {
    fn into_definition(self) -> TransitionDefinition {
        TransitionDefinition {
            from: self.from,
            action: self.action,
            to: self.to,
            automatic: self.automatic,
            when: self.when.into_definition(),
        }
    }
}
