//! The calls of the handler API that steers a workflow over a socket, on top of the typed client.
//!
//! In the system that these calls come from, a socket belongs to one workflow. Here a server has
//! many operations, so [`make_api_client`] gives a client of the server and
//! [`ApiClient::operation`] the handler of one operation. Arguments and answers mean the same, with
//! these differences:
//!
//! | there | here |
//! |---|---|
//! | requests are pickled Python objects: whoever opens the socket runs code | HTTP and JSON on a socket that only its owner opens |
//! | no answer in time is `None`, as is an answer of nothing | an error that says what happened |
//! | ids come from a snapshot that may be a second old, and whether the steps were moved is never told | the ids of the steps that were moved, told after that is durable |
//! | an id is a counter of the process | [`StepId`]: the topological number and the name |
//! | `list` and `status` are in no order | in topological order |
//! | `dry_run`, `message`, `fields` and `states` cannot be tags | tags are an argument of their own |
//!
//! As there, changes take `dry_run` first: with `true` nothing is changed and the answer tells what
//! would be. Tags choose the steps that have at least those with those values; `n` and `name` are
//! tags that every step has; no tags choose all steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::filters::{all_tags, is_automatic};
use super::{
    Client, ClientError, SteerOutcome, StepId, Verb, extract_step_ids, filter_steps_by_states,
    filter_steps_by_tags,
};
use crate::wire::{
    MessageReceiver, MessageRequest, MovedStep, Operation, Prompt, SteerRequest, Step,
};

/// Key-values that chosen steps have.
type Tags = BTreeMap<String, String>;

/// A client of the server that listens on the Unix socket `socket_file`; each answer may take
/// `timeout`, for which 5 seconds are usual. Questions that nobody answers are asked a few times.
///
/// # Errors
/// As for [`Client::over_socket`].
pub fn make_api_client(
    socket_file: impl AsRef<Path>,
    timeout: Duration,
) -> Result<ApiClient, ClientError> {
    let client = Client::over_socket(socket_file.as_ref(), None)?;
    Ok(ApiClient::new(client.with_timeout(timeout)))
}

/// The handler API of all operations of a server.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: Client,
}

impl ApiClient {
    /// The handler API over any client, for example one over TCP.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The typed client below, for all other calls.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The handler of one operation. Whether there is such an operation shows the first call.
    #[must_use]
    pub fn operation(&self, id: impl Into<String>) -> OperationHandler {
        OperationHandler { client: self.client.clone(), id: id.into() }
    }
}

/// What [`OperationHandler::status`] tells of a step, beside its number and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusField {
    /// Its tags.
    Tags,
    /// Its state.
    State,
    /// What may be done with it now.
    Actions,
    /// What it asks of people and nobody has replied to.
    Io,
    /// What its latest attempt wrote to stdout and stderr.
    Output,
    /// The JSON result of its last attempt.
    ReturnValue,
    /// Why its last attempt failed.
    Exception,
}

impl StatusField {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Tags,
        Self::State,
        Self::Actions,
        Self::Io,
        Self::Output,
        Self::ReturnValue,
        Self::Exception,
    ];
}

/// The status of a step: its number and name, and the fields that were asked for.
///
/// A field is `None` when it was not asked for. `return_value` and `exception` are JSON `null` when
/// there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepStatus {
    /// Its topological number.
    pub n: u32,
    /// Its name.
    pub name: String,
    /// Its tags, the automatic ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What may be done with it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
    /// What it asks of people and nobody has replied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<Vec<Prompt>>,
    /// What its latest attempt wrote; what is not UTF-8 is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The JSON result of its last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_value: Option<Value>,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Value>,
}

/// What [`OperationHandler::rerun`] did.
#[derive(Clone, Debug)]
pub struct Reran {
    /// The steps that are (would be) run again.
    pub steps: Vec<StepId>,
    /// The new operation that runs them, when the one that was asked has ended.
    pub operation: Option<Operation>,
}

/// Which steps a call is about, as the server is told.
struct Selected {
    tags: Tags,
    steps: Option<Vec<String>>,
}

/// The handler API of one operation.
#[derive(Clone, Debug)]
pub struct OperationHandler {
    client: Client,
    id: String,
}

impl OperationHandler {
    /// The shared data of the operation as it is now, with what the steps have brought about under
    /// `step_data`: for each step `return_value` and `exception`, each `null` if there is none.
    ///
    /// The older system answers only `step_data` and drops all other keys; here they are all there.
    /// A key `step_data` of the shared data itself is answered as it is. What steps wrote and asked
    /// is told by [`OperationHandler::status`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation.
    pub async fn get_serialized_context(&self) -> Result<Value, ClientError> {
        let mut context = match self.client.context(&self.id).await? {
            Value::Object(context) => context,
            // There is nothing to add to what is no object.
            other => return Ok(other),
        };
        let steps = self.client.steps(&self.id).await?;
        let data = steps.into_iter().map(|step| {
            let data = [
                ("return_value".to_owned(), step.result.unwrap_or_default()),
                ("exception".to_owned(), step.exception.unwrap_or_default()),
            ];
            (step.name, Value::Object(Map::from_iter(data)))
        });
        let data = Value::Object(data.collect());
        context.entry("step_data").or_insert(data);
        Ok(Value::Object(context))
    }

    /// Starts all steps that are ready. Answers which.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn start(&self, dry_run: bool) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Start, dry_run, &Tags::new()).await
    }

    /// Ends the operation: pauses every step that can be paused, so that nothing new starts,
    /// interrupts the running ones and cancels the operation. Answers which steps were interrupted.
    ///
    /// The older system also stops its server, and forgets steps that begin to run while it shuts
    /// down. Here the server goes on with the other operations, and cancelling ends what is left.
    ///
    /// # Errors
    /// As for [`Client::steer`]; [`ClientError::Refused`] with 405 when the operation may not be
    /// cancelled, and then its steps remain paused and interrupted. That the operation has ended
    /// already is no error.
    pub async fn shutdown(&self, dry_run: bool) -> Result<Vec<StepId>, ClientError> {
        let none = Tags::new();
        if dry_run {
            let outcome = self.steer(&Verb::Interrupt, true, &none).await;
            return self.or_ended(outcome).await;
        }
        let paused = self.steer(&Verb::Pause, false, &none).await;
        self.or_ended(paused).await?;
        let interrupted = self.steer(&Verb::Interrupt, false, &none).await;
        let interrupted = self.or_ended(interrupted).await?;
        self.client.cancel(&self.id, Some("shut down")).await?;
        Ok(interrupted)
    }

    /// Sends a message, which is any JSON, to the running steps with these tags. Answers which get
    /// it: only those that can read it, while the older system also tells those that cannot.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn send_message_to_steps(
        &self,
        message: Value,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        let Some(Selected { tags, steps }) = self.select(tags).await? else {
            return Ok(Vec::new());
        };
        let request = MessageRequest { message, tags, steps, after: None, dry_run };
        let sent = self.client.send_message(&self.id, &request).await?;
        let id = |MessageReceiver { n, name, .. }| StepId { n, name };
        Ok(sent.value.into_iter().map(id).collect())
    }

    /// The tags of the steps with these tags, the automatic ones `n` and `name` included.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn list(
        &self,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<BTreeMap<String, String>>, ClientError> {
        let steps = self.client.steps(&self.id).await?;
        Ok(filter_steps_by_tags(&steps, tags).map(all_tags).collect())
    }

    /// The status of the steps that have these tags and are in one of `states`, if those are given.
    /// Without `fields` all of them are told.
    ///
    /// [`StatusField::Output`] costs a request per step, so ask for what is needed.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn status(
        &self,
        fields: Option<&[StatusField]>,
        states: Option<&[&str]>,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepStatus>, ClientError> {
        let fields = fields.unwrap_or(&StatusField::ALL);
        let steps = self.client.steps(&self.id).await?;
        let tagged = filter_steps_by_tags(&steps, tags);
        let chosen: Vec<&Step> = match states {
            Some(states) => filter_steps_by_states(tagged, states).collect(),
            None => tagged.collect(),
        };
        let mut asked: BTreeMap<String, Vec<Prompt>> = BTreeMap::new();
        if fields.contains(&StatusField::Io) {
            for prompt in self.client.waiting(&self.id).await? {
                asked.entry(prompt.step.clone()).or_default().push(prompt);
            }
        }
        let mut all = Vec::with_capacity(chosen.len());
        for step in chosen {
            let mut status = status_of(step, fields, &asked);
            if fields.contains(&StatusField::Output) {
                status.output = Some(self.output(step).await?);
            }
            all.push(status);
        }
        Ok(all)
    }

    /// The steps with these tags that ask something to which nobody has replied. The older system
    /// tells all running steps, whether they ask or not.
    ///
    /// # Errors
    /// As for [`Client::steps`].
    pub async fn steps_waiting_for_user_input(
        &self,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        let prompts = self.client.waiting(&self.id).await?;
        let steps = self.client.steps(&self.id).await?;
        let askers: BTreeSet<&str> = prompts.iter().map(|prompt| prompt.step.as_str()).collect();
        let asking =
            filter_steps_by_tags(&steps, tags).filter(|step| askers.contains(step.name.as_str()));
        Ok(extract_step_ids(asking).collect())
    }

    /// Pauses the steps with these tags that have not begun to run. Answers which.
    ///
    /// A step is either paused or run: it cannot come to be paused and running at once, as it can in
    /// the older system.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn pause(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Pause, dry_run, tags).await
    }

    /// Interrupts the running steps with these tags: SIGINT to the step and all its descendants, and
    /// stronger signals if it does not end. The older system sends SIGTERM to the step's process
    /// alone, so what that started goes on. Answers which.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn interrupt(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Interrupt, dry_run, tags).await
    }

    /// Lets the steps with these tags go on that were paused or interrupted, or are held after an
    /// error. A step that was paused before the start is ready again and waits for it; in the older
    /// system it starts. Answers which.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn resume(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Resume, dry_run, tags).await
    }

    /// Runs the steps with these tags again that have ended or are held, as a new attempt with its
    /// own result; without tags, those that went wrong. When the operation has ended, a new one runs
    /// them. In the older system this is possible after an error only, and the old result remains.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn rerun(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Reran, ClientError> {
        let none = Reran { steps: Vec::new(), operation: None };
        let Some(selected) = self.select(tags).await? else { return Ok(none) };
        let mut request = selected.request(dry_run);
        match self.client.steer(&self.id, &Verb::Rerun, &request).await {
            Err(error) => none_allows(error).map(|_| none),
            Ok(SteerOutcome::Steered(steered)) => Ok(Reran { steps: ids(steered.value), ..none }),
            Ok(SteerOutcome::Forked(submitted)) => {
                // What has ended does not change any more, so it still says what was chosen.
                request.dry_run = true;
                let chosen = self.client.steer(&self.id, &Verb::Rerun, &request).await?;
                let steps = ids(chosen.moved().to_vec());
                Ok(Reran { steps, operation: Some(submitted.operation) })
            }
        }
    }

    /// Marks the steps with these tags to be skipped that do not run and have not ended. Answers
    /// which.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn skip(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Skip, dry_run, tags).await
    }

    /// Takes the mark to be skipped from the steps with these tags; each is what it was before. In
    /// the older system even a step that was not started yet then runs. Answers which.
    ///
    /// # Errors
    /// As for [`Client::steer`].
    pub async fn unskip(
        &self,
        dry_run: bool,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<StepId>, ClientError> {
        self.steer(&Verb::Unskip, dry_run, tags).await
    }

    async fn steer(
        &self,
        verb: &Verb,
        dry_run: bool,
        tags: &Tags,
    ) -> Result<Vec<StepId>, ClientError> {
        let Some(selected) = self.select(tags).await? else { return Ok(Vec::new()) };
        let answer = self.client.steer(&self.id, verb, &selected.request(dry_run)).await;
        answer.map(|outcome| ids(outcome.moved().to_vec())).or_else(none_allows)
    }

    /// No steps, where the reason for an error is that the operation has ended.
    async fn or_ended(
        &self,
        outcome: Result<Vec<StepId>, ClientError>,
    ) -> Result<Vec<StepId>, ClientError> {
        match outcome {
            Err(ClientError::Refused(..)) if self.client.operation(&self.id).await?.has_ended() => {
                Ok(Vec::new())
            }
            outcome => outcome,
        }
    }

    /// The steps with these tags; `None` when there are none.
    ///
    /// Tags of the jobset are left to the server. The automatic ones are looked up here; that is no
    /// race, because names, numbers and tags never change.
    async fn select(&self, tags: &Tags) -> Result<Option<Selected>, ClientError> {
        if !tags.keys().any(|key| is_automatic(key)) {
            return Ok(Some(Selected { tags: tags.clone(), steps: None }));
        }
        let steps = self.client.steps(&self.id).await?;
        let names: Vec<String> =
            filter_steps_by_tags(&steps, tags).map(|step| step.name.clone()).collect();
        Ok((!names.is_empty()).then_some(Selected { tags: Tags::new(), steps: Some(names) }))
    }

    /// What the latest attempt of a step wrote.
    async fn output(&self, step: &Step) -> Result<String, ClientError> {
        if step.attempt == 0 {
            return Ok(String::new());
        }
        let bytes = self.client.output(&self.id, &step.name, None, None).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Selected {
    fn request(self, dry_run: bool) -> SteerRequest {
        SteerRequest { steps: self.steps, tags: self.tags, dry_run, ..SteerRequest::default() }
    }
}

fn ids(moved: Vec<MovedStep>) -> Vec<StepId> {
    moved.into_iter().map(|MovedStep { n, name, .. }| StepId { n, name }).collect()
}

/// Tags choose steps, they do not name them: that none of those allows a call is no error. The server
/// is told names in place of the automatic tags, and refuses then.
fn none_allows(error: ClientError) -> Result<Vec<StepId>, ClientError> {
    match error {
        ClientError::Refused(_, body) if body.error.code == "TransitionNotAllowed" => Ok(vec![]),
        error => Err(error),
    }
}

/// Everything but the output, which is not known here.
fn status_of(
    step: &Step,
    fields: &[StatusField],
    asked: &BTreeMap<String, Vec<Prompt>>,
) -> StepStatus {
    let mut status = StepStatus { n: step.n, name: step.name.clone(), ..StepStatus::default() };
    for field in fields {
        match field {
            StatusField::Tags => status.tags = Some(all_tags(step)),
            StatusField::State => status.state = Some(step.state.clone()),
            StatusField::Actions => status.actions = Some(step.actions.clone()),
            StatusField::Io => status.io = Some(asked.get(&step.name).cloned().unwrap_or_default()),
            StatusField::Output => {}
            StatusField::ReturnValue => {
                status.return_value = Some(step.result.clone().unwrap_or_default());
            }
            StatusField::Exception => {
                status.exception = Some(step.exception.clone().unwrap_or_default());
            }
        }
    }
    status
}
