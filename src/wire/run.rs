//! What an attempt does, as it stands in a document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::unique;
use crate::domain::definition::{Function, Instruction, Work};

/// What a program reads from its standard input.
///
/// It is empty unless a step asks for messages, because a program that reads its input to the end
/// would otherwise wait for ever.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StdinDocument {
    /// Nothing.
    #[default]
    Empty,
    /// Messages and replies to its prompts, one line of JSON each; the end comes never.
    Messages,
}

impl StdinDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// What an attempt does.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunDocument {
    /// Starts a program without a shell; each part is a template.
    Command(Vec<String>),
    /// Runs a text by `/bin/sh -c`; a template.
    Shell(String),
    /// Asks people to do something and waits for their reply, without holding a slot of a worker.
    Instruction(InstructionDocument),
    /// Calls a function of the worker's program in a process of its own.
    Function(FunctionDocument),
}

/// A call of a function that the worker's program registered. Its answer is the result of the step.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FunctionDocument {
    /// The name it was registered by.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What it is given, any JSON; texts in it are templates.
    #[serde(default, deserialize_with = "unique::value", skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
}

/// What people are asked to do. The result of the step is `{"value": ..., "comment": ...}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstructionDocument {
    /// What is to be done; a template.
    pub text: String,
    /// Who is meant; only told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub who: Option<String>,
    /// A JSON Schema that the value of the reply must fit; at most 64 KiB.
    #[serde(default, deserialize_with = "unique::object", skip_serializing_if = "Option::is_none")]
    pub schema: Option<Map<String, Value>>,
}

impl RunDocument {
    pub(super) fn into_work(self) -> Work {
        match self {
            Self::Command(parts) => Work::Command(parts),
            Self::Shell(text) => Work::Shell(text),
            Self::Instruction(InstructionDocument { text, who, schema }) => {
                Work::Instruction(Instruction { text, who, schema })
            }
            Self::Function(FunctionDocument { name, arguments }) => {
                Work::Function(Function { name, arguments })
            }
        }
    }
}
