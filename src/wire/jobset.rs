//! The jobset document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::duration::DurationText;
use super::limits::{LimitsDocument, WallDocument};
use super::machine::MachineDocument;
use super::retry::RetryDocument;
use super::run::{RunDocument, StdinDocument};
use super::scheduling::{ConcurrencyDocument, RateLimitDocument};
use super::unique;
use super::when::WhenDocument;
use crate::domain::definition::{ForEnd, Need, OnCancel, OnFailure, StepDefinition, Work};
use crate::domain::problem::refuse_nul;
use crate::domain::scheduling::Scheduling;
use crate::domain::{Definition, Problem};

/// What is posted to `/v1.0/jobsets`: steps, when each may run, and what they share.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobsetDocument {
    /// A name for people; need not be unique. At most 200 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub name: String,
    /// Shared data of the steps: a JSON object, readable by templates, `SUT_CONTEXT` and the API.
    #[serde(default, deserialize_with = "unique::object", skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
    /// How long the operation may take from its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DurationText>,
    /// How many steps of the operation may run at once. Default: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295_u64)]
    pub max_concurrency: Option<u32>,
    /// Whether the steps begin by themselves.
    #[serde(default, skip_serializing_if = "StartDocument::is_auto")]
    pub start: StartDocument,
    /// Whether DELETE stops the operation; if not it is answered with 405.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub cancellable: bool,
    /// What follows when a client cancels the operation, before it is Cancelled.
    #[serde(default, skip_serializing_if = "OnCancelDocument::is_nothing")]
    pub on_cancel: OnCancelDocument,
    /// The lane in which the operation waits for workers. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub lane: Option<String>,
    /// Which operations of a lane go first: those with the higher number.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub priority: i16,
    /// What the operation must not run beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyDocument>,
    /// How often such operations may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitDocument>,
    /// Free key-values of this run, shown with the operation.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The steps. The order does not matter; guards decide what runs when.
    #[schema(min_items = 1, max_items = 100_000)]
    pub steps: Vec<StepDocument>,
    /// `[a, b]`: b runs after a succeeded (or was skipped).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<StepPair>)]
    pub success_pairs: Vec<(String, String)>,
    /// `[a, b]`: b runs after a failed or timed out; if b succeeds, the failure is handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<StepPair>)]
    pub failure_pairs: Vec<(String, String)>,
    /// Machines that steps may have in place of the default one, by name.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, MachineDocument>,
    /// The state that steps with the default machine begin in: `Waiting` if left out, `Ready` with
    /// `"start": "manual"`. `Paused` on a step makes it a breakpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<String>,
}

/// How a pair of step names is published.
struct StepPair;

impl PartialSchema for StepPair {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .description(Some("Two names of steps."))
            .items(ObjectBuilder::new().schema_type(Type::String))
            .min_items(Some(2))
            .max_items(Some(2))
            .examples([json!(["build", "test"])])
            .into()
    }
}

impl ToSchema for StepPair {}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(value: &i16) -> bool {
    *value == 0
}

/// Whether the steps begin by themselves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StartDocument {
    /// At once.
    #[default]
    Auto,
    /// They wait in `Ready` for a POST to `/v1.0/operations/{id}/start`.
    Manual,
}

impl StartDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// What follows when a client cancels an operation. Steps with `ensure` run in any case.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnCancelDocument {
    /// Nothing.
    #[default]
    Nothing,
    /// The steps with `cleanUp` run, as their guards say.
    CleanUp,
    /// The steps with `compensates` run one after the other, the last one of the order of the steps
    /// first, where what they undo has succeeded.
    Compensate,
}

impl OnCancelDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// One step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepDocument {
    /// Unique within the jobset; at most 200 bytes, no control characters and no `/`.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f/$]([^\x00-\x1f\x7f-\x9f/]*[^\s\x00-\x1f\x7f-\x9f/])?$"
    )]
    pub name: String,
    /// What an attempt does. Without it the step is a milestone that succeeds by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunDocument>,
    /// Free key-values.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The condition under which the step runs, beside the pairs.
    #[serde(default, skip_serializing_if = "WhenDocument::is_empty")]
    pub when: WhenDocument,
    /// How many of the pairs that point to this step must hold.
    #[serde(default, skip_serializing_if = "NeedDocument::is_all")]
    pub need: NeedDocument,
    /// How long one attempt may take. Default: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// How long the step may wait for a worker once it may run. Default: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<DurationText>,
    /// How long all attempts may take together, the waits between them included, from the start of
    /// the first one. Default: as long as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout: Option<DurationText>,
    /// The time between SIGTERM and SIGKILL. Default: 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<DurationText>,
    /// When a failed attempt is followed by another. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryDocument>,
    /// What becomes of the step when its last attempt failed.
    #[serde(default, skip_serializing_if = "OnFailureDocument::is_fail")]
    pub on_failure: OnFailureDocument,
    /// Environment variables; the values are templates.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The folder it starts in; a template. Default: the folder of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub cwd: Option<String>,
    /// The name of its machine, one of `machines`. Default: the default step machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The state that it begins in. Default: that of the jobset, or of its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<String>,
    /// Conditions of further actions by name: `{"pause": {"canary": ["Waiting"]}}`.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub guards: BTreeMap<String, WhenDocument>,
    /// What the program reads from its standard input.
    #[serde(default, skip_serializing_if = "StdinDocument::is_empty")]
    pub stdin: StdinDocument,
    /// Whether it runs however the operation ends, cancelled and timed out included: when its guards
    /// hold, or else when nothing else moves any more. Without guards: at the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ensure: bool,
    /// Whether it runs only when the operation is cancelled with `"onCancel": "cleanUp"`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean_up: bool,
    /// The step that it undoes: it runs only when the operation is cancelled with
    /// `"onCancel": "compensate"` and that step has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensates: Option<String>,
    /// What the processes of an attempt may use. An attempt whose worker cannot keep them to it
    /// fails.
    #[serde(default, skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
    /// Whether it is cut off from the network, from other processes and from all files but its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// What must stand between an attempt and the rest of its host: the attempt fails where that
    /// cannot be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containment: Vec<WallDocument>,
    /// Labels that a worker must have to run it: `{"os": "linux"}`.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<String, String>,
    /// Environment variables whose values the worker knows. They are masked wherever they appear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// What becomes of a step when its last attempt failed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailureDocument {
    /// It is Failed, and so is the operation unless a failure pair handles it.
    #[default]
    Fail,
    /// It is held in Error; the operation stays open for an operator.
    Hold,
    /// It is Failed, but the operation may still succeed.
    Continue,
    /// It is Skipped.
    Skip,
}

impl OnFailureDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_fail(&self) -> bool {
        matches!(self, Self::Fail)
    }
}

/// How many of the pairs that point to a step must hold: `all` (default), `any`, or a number.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected `all`, `any` or a number")]
pub enum NeedDocument {
    /// All of each kind, or any one of them.
    Word(NeedWord),
    /// At least so many.
    #[default]
    #[serde(skip)]
    #[schema(ignore)]
    All,
    /// At least so many.
    AtLeast(NeedNumber),
}

/// How many.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = u64, minimum = 1, maximum = 4_294_967_295_u64)]
pub struct NeedNumber(u32);

/// `all` or `any`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum NeedWord {
    /// All of each kind.
    All,
    /// Any one of them.
    Any,
}

impl NeedDocument {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_all(&self) -> bool {
        matches!(self, Self::All | Self::Word(NeedWord::All))
    }
}

impl JobsetDocument {
    /// The text by which equal definitions are recognised: everything but what belongs to one run.
    #[must_use]
    pub fn canonical(&self) -> String {
        let definition = Self { context: None, labels: BTreeMap::new(), ..self.clone() };
        serde_json::to_string(&definition).expect("a document of strings and numbers is JSON")
    }

    /// What belongs to one run: labels and context, `None` where there are none.
    ///
    /// # Errors
    /// PostgreSQL keeps no NUL characters, so they are refused.
    pub fn run_data(&self) -> Result<(Option<Value>, Option<Value>), Vec<Problem>> {
        run_data(Some(&self.labels), self.context.as_ref())
    }

    /// The definition in terms of the domain.
    #[must_use]
    pub fn into_definition(self) -> Definition {
        Definition {
            name: self.name,
            steps: self.steps.into_iter().map(StepDocument::into_definition).collect(),
            success_pairs: self.success_pairs,
            failure_pairs: self.failure_pairs,
            deadline: self.deadline.map(|text| text.0),
            max_concurrency: self.max_concurrency,
            manual_start: match self.start {
                StartDocument::Auto => false,
                StartDocument::Manual => true,
            },
            cancellable: self.cancellable,
            on_cancel: match self.on_cancel {
                OnCancelDocument::Nothing => OnCancel::Nothing,
                OnCancelDocument::CleanUp => OnCancel::CleanUp,
                OnCancelDocument::Compensate => OnCancel::Compensate,
            },
            machines: self
                .machines
                .into_iter()
                .map(|(name, machine)| (name, machine.into_definition()))
                .collect(),
            initial_state: self.initial_state,
            scheduling: Scheduling {
                lane: self.lane,
                priority: self.priority,
                concurrency: self.concurrency.map(ConcurrencyDocument::into_concurrency),
                rate_limit: self.rate_limit.map(RateLimitDocument::into_rate_limit),
            },
        }
    }
}

/// Labels and context of a run, `None` where there are none.
pub(super) fn run_data(
    labels: Option<&BTreeMap<String, String>>,
    context: Option<&Map<String, Value>>,
) -> Result<(Option<Value>, Option<Value>), Vec<Problem>> {
    let labels = labels.filter(|labels| !labels.is_empty()).map(|labels| json!(labels));
    let context = context.cloned().map(Value::Object);
    let parts = [("labels", &labels), ("context", &context)];
    let problems: Vec<Problem> = parts
        .into_iter()
        .filter_map(|(path, part)| refuse_nul(part.as_ref()?, path).err())
        .collect();
    if problems.is_empty() { Ok((labels, context)) } else { Err(problems) }
}

impl StepDocument {
    fn into_definition(self) -> StepDefinition {
        StepDefinition {
            name: self.name,
            tags: self.tags,
            work: self.run.map_or(Work::Milestone, RunDocument::into_work),
            when: self.when.into_definition(),
            need: match self.need {
                NeedDocument::All | NeedDocument::Word(NeedWord::All) => Need::All,
                NeedDocument::Word(NeedWord::Any) => Need::Any,
                NeedDocument::AtLeast(number) => Need::AtLeast(number.0),
            },
            timeout: self.timeout.map(|text| text.0),
            queue_timeout: self.queue_timeout.map(|text| text.0),
            total_timeout: self.total_timeout.map(|text| text.0),
            grace: self.grace.map(|text| text.0),
            retry: self.retry.map(RetryDocument::into_definition).unwrap_or_default(),
            on_failure: match self.on_failure {
                OnFailureDocument::Fail => OnFailure::Fail,
                OnFailureDocument::Hold => OnFailure::Hold,
                OnFailureDocument::Continue => OnFailure::Continue,
                OnFailureDocument::Skip => OnFailure::Skip,
            },
            env: self.env,
            cwd: self.cwd,
            machine: self.machine,
            initial_state: self.initial_state,
            guards: self
                .guards
                .into_iter()
                .map(|(action, when)| (action, when.into_definition()))
                .collect(),
            takes_messages: self.stdin == StdinDocument::Messages,
            for_end: ForEnd {
                ensure: self.ensure,
                clean_up: self.clean_up,
                compensates: self.compensates,
            },
            limits: self.limits.into_limits(),
            sandbox: self.sandbox,
            containment: self.containment.into_iter().map(WallDocument::into_wall).collect(),
            requires: self.requires,
            secrets: self.secrets,
        }
    }
}

/// Reads the stored form of a definition.
///
/// # Errors
/// Says where the text is not a jobset document.
pub fn decode_definition(document: &str) -> Result<Definition, String> {
    let document: JobsetDocument =
        serde_json::from_str(document).map_err(|error| error.to_string())?;
    Ok(document.into_definition())
}
