//! `POST /v1.0/jobsets:batch`: many operations by one request, all of them or none.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::error::ApiError;
use super::extract::{JsonBytes, too_large};
use super::idempotency::{Repetition, check_operation_id};
use super::jobsets;
use super::prefer::Prefer;
use super::present;
use super::query::Query;
use super::state::{ApiState, BaseUrl};
use crate::domain::Problem;
use crate::domain::problem::PROBLEMS_MAX;
use crate::engine::{Compiled, EngineError, RunAsked};
use crate::wire::{self, BatchMember, JobsetDocument, JobsetRuns};

/// Starts many jobsets.
///
/// Answers 202 once all operations are durable, with their ids in the order of the request. If
/// anything in the request is wrong, nothing is started, and `details` tells of each member and run that
/// is wrong. A member is a jobset as it is posted alone, or `{"jobset": {...}, "runs": [...]}`: one
/// definition with a list of its runs, each with its own labels, context and `operationId`.
///
/// The whole request may be repeated if it is named by `Idempotency-Key` or `Repeatability-Request-ID`.
/// A run that has an `operationId` is made once, whatever request it comes in.
#[utoipa::path(
    post,
    path = "/jobsets:batch",
    operation_id = "submitJobsets",
    tag = "jobsets",
    params(
        ("Prefer" = Option<String>, Header, description = "`respond-async`; `return=minimal` for an answer with ids only."),
        ("Repeatability-Request-ID" = Option<String>, Header, max_length = 255, description = "Names the request (OASIS Repeatable Requests 1.0); needs `Repeatability-First-Sent`."),
        ("Repeatability-First-Sent" = Option<String>, Header, description = "When it was first sent, as in `Sun, 06 Nov 1994 08:49:37 GMT`; the same in each repetition."),
        ("Repeatability-Client-ID" = Option<String>, Header, max_length = 255, description = "Names the client; request ids are its own then."),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request: a string in quotes (draft-ietf-httpapi-idempotency-key-header)."),
    ),
    request_body = wire::BatchRequest,
    responses(
        (
            status = 202,
            description = "The operations are durable.",
            body = wire::BatchAccepted,
            headers(
                ("Retry-After" = u32, description = "Seconds to wait before the first poll."),
                ("Repeatability-Result" = String, description = "`accepted`, if the request has repeatability headers."),
            )
        ),
        (status = 409, description = "An `operationId` is that of another operation. Nothing was started.", body = wire::ErrorEnvelope),
        (status = 412, description = "`Repeatability-First-Sent` is so long ago that repetitions are not known any more, or in the future; or the request has a condition. Nothing was started.", body = wire::ErrorEnvelope),
        (status = 413, description = "The body, or all labels and contexts together if each run had its own, are too large. Nothing was started.", body = wire::ErrorEnvelope),
        (status = 422, description = "The `Idempotency-Key` came with another request before.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn submit_batch(
    State(state): State<ApiState>,
    base: BaseUrl,
    query: Query,
    path: MatchedPath,
    headers: HeaderMap,
    JsonBytes(bytes): JsonBytes,
) -> Result<Response, ApiError> {
    query.only(&[])?;
    let window = state.engine.repeatability_window();
    let repetition = Repetition::of(&headers, state.engine.now(), window)?;
    // How long the operations take is not waited for.
    let prefer = Prefer { wait: None, max_page_size: None, ..Prefer::of(&headers) };
    let route = format!("POST {}", path.as_str());
    let answer = start(&state, &base, prefer, bytes, route, &repetition).await;
    repetition.conclude(answer)
}

/// Starts the operations, or finds those that an earlier try started.
async fn start(
    state: &ApiState,
    base: &BaseUrl,
    prefer: Prefer,
    bytes: Bytes,
    route: String,
    repetition: &Repetition,
) -> Result<Response, ApiError> {
    let _permit = tokio::select! {
        biased;
        () = state.draining.cancelled() => return Err(EngineError::ShuttingDown.into()),
        permit = state.batches.acquire() => permit.map_err(|_| EngineError::ShuttingDown)?,
    };
    let (reader, names) = (state.clone(), repetition.clone());
    let read = move || {
        let checked = check(&reader, &bytes, &route)?;
        let identity = names.identity_of_all(&route, &checked.asked)?;
        Ok::<_, ApiError>((checked, identity))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let (Checked { asked, places, warnings }, identity) =
        read.map_err(|_| EngineError::ShuttingDown)??;
    let chosen: Vec<Option<String>> =
        asked.iter().map(|run| run.operation_id().map(str::to_owned)).collect();
    let all = match state.engine.submit_all(asked, identity).await {
        Err(EngineError::IdsTaken(taken)) => return Err(ids_taken(&places, &taken)),
        other => other?,
    };
    state.metrics.submitted(all.made);
    let shown = |(index, chosen): (usize, Option<String>)| {
        let id = chosen.unwrap_or_else(|| all.id(index).to_string());
        let operation_location = (!prefer.minimal).then(|| base.operation(&id));
        wire::AcceptedOperation { id, operation_location }
    };
    let value = chosen.into_iter().enumerate().map(shown).collect();
    let warnings = present::warnings(&warnings);
    let body = Json(wire::BatchAccepted { value, warnings });
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    let seconds = state.settings.retry_after_seconds;
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    prefer.applied(response.headers_mut());
    Ok(response)
}

/// Where an operation stands in the request: in which member and, where that has several, which run.
type Place = (usize, Option<usize>);

fn path_of((member, run): Place) -> String {
    match run {
        None => format!("jobsets[{member}]"),
        Some(run) => format!("jobsets[{member}].runs[{run}]"),
    }
}

fn ids_taken(places: &[Place], taken: &[usize]) -> ApiError {
    let message =
        "it stands for an operation that was asked for before, with another body or route";
    let problems: Vec<Problem> = taken
        .iter()
        .map(|index| Problem::new(format!("{}.operationId", path_of(places[*index])), message))
        .collect();
    let count = problems.len();
    let message = format!("{count} of the ids are taken, see `details`; nothing was started");
    ApiError::new(StatusCode::CONFLICT, "OperationIdTaken", message).details(&problems)
}

/// A batch that was found good.
#[derive(Default)]
struct Checked {
    asked: Vec<RunAsked>,
    /// Where each of them stands.
    places: Vec<Place>,
    warnings: Vec<Problem>,
}

/// Checks a batch to its end, whatever is wrong with it.
struct Check<'a> {
    state: &'a ApiState,
    route: &'a str,
    checked: Checked,
    problems: Vec<Problem>,
    operations: usize,
    steps: usize,
    /// The bytes of labels and contexts, counted for each run that has them from its jobset.
    shared_bytes: usize,
}

fn check(state: &ApiState, bytes: &[u8], route: &str) -> Result<Checked, ApiError> {
    let members = wire::read_batch(bytes).map_err(|problem| invalid(&[problem]))?;
    let (checked, problems) = (Checked::default(), Vec::new());
    let (operations, steps, shared_bytes) = (0, 0, 0);
    let mut check = Check { state, route, checked, problems, operations, steps, shared_bytes };
    let most = state.settings.max_batch.saturating_add(1);
    for (index, member) in members.into_iter().take(most).enumerate() {
        match wire::read_member(member, most) {
            Ok(BatchMember::One(document)) => check.one(index, *document)?,
            Ok(BatchMember::Many(runs)) => check.many(index, runs)?,
            Err(problems) => check.tell(&path_of((index, None)), problems),
        }
    }
    check.refuse_twins();
    if check.problems.is_empty() { Ok(check.checked) } else { Err(invalid(&check.problems)) }
}

fn invalid(problems: &[Problem]) -> ApiError {
    let message = match problems {
        [one] => format!("a jobset is not valid: {}; nothing was started", one.message),
        many => format!("{} problems, see `details`; nothing was started", many.len()),
    };
    ApiError::bad_request("InvalidJobset", message).details(problems)
}

impl Check<'_> {
    /// Takes note of what is wrong at a place; of further places, when there are very many, one thing
    /// each.
    fn tell(&mut self, outer: &str, problems: Vec<Problem>) {
        let most = PROBLEMS_MAX.saturating_sub(self.problems.len()).max(1);
        self.problems.extend(problems.into_iter().take(most).map(|problem| problem.within(outer)));
    }

    fn one(&mut self, member: usize, document: JobsetDocument) -> Result<(), ApiError> {
        let place = (member, None);
        let Some(shared) = self.definition(&path_of(place), document)? else { return Ok(()) };
        let jobsets::Checked { compiled, labels, context } = shared;
        self.add(place, compiled, labels, context, None)
    }

    fn many(&mut self, member: usize, runs: JobsetRuns) -> Result<(), ApiError> {
        let outer = format!("{}.jobset", path_of((member, None)));
        let Some(shared) = self.definition(&outer, *runs.jobset)? else { return Ok(()) };
        let bytes = |part: Option<&Value>| part.map_or(0, |part| part.to_string().len());
        let (label_bytes, context_bytes) =
            (bytes(shared.labels.as_ref()), bytes(shared.context.as_ref()));
        for (index, run) in runs.runs.into_iter().enumerate() {
            let place = (member, Some(index));
            let (mut labels, mut context) = match run.run_data() {
                Ok(own) => own,
                Err(problems) => {
                    self.tell(&path_of(place), problems);
                    continue;
                }
            };
            if run.labels.is_none() {
                labels.clone_from(&shared.labels);
                self.shared_bytes += label_bytes;
            }
            if run.context.is_none() {
                context.clone_from(&shared.context);
                self.shared_bytes += context_bytes;
            }
            self.add(place, Arc::clone(&shared.compiled), labels, context, run.operation_id)?;
        }
        Ok(())
    }

    /// Checks a definition; `None` if something is wrong with it.
    fn definition(
        &mut self,
        outer: &str,
        document: JobsetDocument,
    ) -> Result<Option<jobsets::Checked>, ApiError> {
        match jobsets::compile(self.state, document) {
            Ok(checked) => {
                let left = PROBLEMS_MAX.saturating_sub(self.checked.warnings.len());
                let warnings = checked.compiled.jobset.warnings.iter().take(left);
                self.checked.warnings.extend(warnings.map(|problem| problem.clone().within(outer)));
                Ok(Some(checked))
            }
            Err(EngineError::Invalid(problems)) => {
                self.tell(outer, problems);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds an operation, if it can be made.
    fn add(
        &mut self,
        place: Place,
        compiled: Arc<Compiled>,
        labels: Option<Value>,
        context: Option<Value>,
        operation_id: Option<String>,
    ) -> Result<(), ApiError> {
        self.operations += 1;
        self.steps += compiled.jobset.steps.len();
        self.refuse_too_much()?;
        if let Some(id) = &operation_id
            && let Err(message) = check_operation_id(id, "operationId")
        {
            self.tell(&path_of(place), vec![Problem::new("operationId", message)]);
            return Ok(());
        }
        match RunAsked::new(compiled, labels, context, operation_id, self.route) {
            Ok(asked) => {
                self.checked.asked.push(asked);
                self.checked.places.push(place);
            }
            Err(EngineError::Invalid(problems)) => {
                // What the keys of a definition lack, a run may have.
                let problems = match place {
                    (_, None) => problems,
                    (_, Some(_)) => {
                        problems.iter().map(|p| Problem::new("", p.to_string())).collect()
                    }
                };
                self.tell(&path_of(place), problems);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn refuse_too_much(&self) -> Result<(), ApiError> {
        let settings = &self.state.settings;
        let (operations, steps) = (settings.max_batch, settings.max_batch_steps);
        let too_many = |what| {
            let message = format!("one request makes up to {what}; send the rest in another one");
            Err(ApiError::bad_request("BatchTooLarge", message).target("jobsets"))
        };
        if self.operations > operations {
            return too_many(format!("{operations} operations"));
        }
        if self.steps > steps {
            return too_many(format!("{steps} steps, those of all its operations together"));
        }
        if self.shared_bytes > settings.max_body_bytes {
            return Err(too_large(
                settings.max_body_bytes,
                "labels and contexts, written out for each run,",
            ));
        }
        Ok(())
    }

    /// Two operations cannot have one id.
    fn refuse_twins(&mut self) {
        let mut known = HashSet::new();
        let mut twins = Vec::new();
        for (asked, place) in self.checked.asked.iter().zip(&self.checked.places) {
            if let Some(id) = asked.operation_id()
                && !known.insert(id)
            {
                twins.push((*place, format!("`{id}` stands twice")));
            }
        }
        for (place, message) in twins {
            self.tell(&path_of(place), vec![Problem::new("operationId", message)]);
        }
    }
}
