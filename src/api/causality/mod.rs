//! The causal order: what happened before an event, what ran while an attempt ran, and a picture.

mod judge;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::collection::{Asked, PARAMETERS, Parameters};
use super::error::ApiError;
use super::events::{no_event, searched};
use super::extract::{EventPath, OperationId, StepPath};
use super::graph;
use super::query::Query;
use super::rows::{attempt_model, event_model};
use super::state::{ApiState, BaseUrl};
use super::steps::number;
use crate::domain::Jobset;
use crate::engine::{EngineError, Span, Suspect, covering, shown_id};
use crate::wire;
use crate::wire::graph::{Edge, EdgeKind, Format, Graph, Node};

pub(super) use judge::{Judged, Marks};

/// How many attempts a picture may have: their order is found by comparing them in pairs.
const PICTURE_MAX: usize = 1_000;

/// Lists what happened before an event, as far as it could know: its causal past.
///
/// The events are in the order in which they happened if `$orderby` says nothing else.
#[utoipa::path(
    get,
    path = "/operations/{id}/events/{seq}/causes",
    operation_id = "listCauses",
    tag = "events",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("seq" = u32, Path, minimum = 1, maximum = 2_147_483_647, description = "The number of the event."),
        Parameters,
    ),
    responses(
        (status = 200, description = "A page.", body = wire::Page<wire::Event>),
        (status = 409, description = "The operation is from before stamps were kept.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn causes(
    State(state): State<ApiState>,
    base: BaseUrl,
    EventPath { operation: id, seq }: EventPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&PARAMETERS)?;
    let found = state.engine.whole_operation(id).await?;
    let jobset = &found.compiled.jobset;
    let model = event_model(jobset);
    let asked = Asked::of(&query, &headers, &state.settings, &model, state.engine.now())?;
    let marks = Marks::of(&asked, &state, id).await?;
    // What happened before has a lower number.
    let events = state.engine.store().events(id, 0, 0, seq.into()).await;
    let mut events = events.map_err(EngineError::from)?;
    let event = events.pop().filter(|event| event.seq == seq);
    let event = event.ok_or_else(|| no_event(seq, &found))?;
    let stamp = event.stamp.ok_or(EngineError::Unstamped { seq })?;
    let is_before = |other: &crate::engine::EventView| {
        other.stamp.as_ref().is_some_and(|other| other.happened_before(&stamp))
    };
    let past = events.into_iter().filter(is_before);
    let members = past.map(|event| Judged::new(event, jobset, &marks)).collect();
    let answered = asked.among(members, searched)?;
    Ok(asked
        .page(&answered, &format!("{}/events/{seq}/causes", base.operation(found.view.shown_id()))))
}

/// Lists the attempts that ran causally concurrent with one of this step: the suspects if it failed
/// for no reason of its own. The one that began last comes first.
///
/// Two attempts are concurrent if neither had ended before the other began as far as that one could
/// know: by what the jobset lets follow from what, not by the clock. Attempts of other operations
/// count if both operations have a label `resource`, or one that begins with `resource.`, with the same
/// value; one that had ended when the other operation was submitted happened before it. Of such
/// operations the newest 1,000 are looked at, and of those the newest with 200,000 events together.
#[utoipa::path(
    get,
    path = "/operations/{id}/steps/{name}/concurrent",
    operation_id = "listConcurrent",
    tag = "steps",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("name" = String, Path, description = "The name of the step."),
        ("attempt" = Option<u32>, Query, minimum = 1, maximum = 2_147_483_647, description = "Which attempt; the last one if left out."),
        Parameters,
    ),
    responses(
        (status = 200, description = "A page.", body = wire::Page<wire::ConcurrentAttempt>),
        (status = 409, description = "The operation is from before stamps were kept.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn concurrent(
    State(state): State<ApiState>,
    base: BaseUrl,
    path: StepPath,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut known = PARAMETERS.to_vec();
    known.push("attempt");
    let query = query.only(&known)?;
    let attempt = query.number("attempt")?;
    let found = state.engine.whole_operation(path.operation).await?;
    let model = attempt_model(&found.compiled.jobset);
    let asked = Asked::of(&query, &headers, &state.settings, &model, state.engine.now())?;
    let n = number(&found, &path.step)?;
    let suspects = state.engine.suspects(&found, n, attempt).await?;
    let members = suspects.suspects.into_iter().map(shown).collect();
    let answered = asked.among(members, |other: &wire::ConcurrentAttempt| {
        let resource = other.resource.as_deref().unwrap_or_default();
        format!("{} {} {resource}", other.step, other.state)
    })?;
    let step = super::query::encode(&path.step);
    // A page that follows is about the same attempt, whatever began meanwhile.
    let attempt = suspects.span.attempt;
    let operation = base.operation(found.view.shown_id());
    Ok(asked.page(&answered, &format!("{operation}/steps/{step}/concurrent?attempt={attempt}")))
}

fn shown(suspect: Suspect) -> wire::ConcurrentAttempt {
    let Suspect { operation, alias, step, state, span, resource } = suspect;
    wire::ConcurrentAttempt {
        operation: shown_id(operation, alias.as_deref()),
        step,
        attempt: span.attempt,
        started_date_time: span.begin.at,
        ended_date_time: span.end.map(|end| end.at),
        state,
        worker: span.worker,
        resource,
    }
}

/// Shows the causal order of an operation as a graph: its attempts, and which had ended before which
/// began as far as that one could know.
///
/// Mermaid, DOT or SVG by `Accept` or by `format`; Mermaid if both are left out. What follows from
/// several arrows has no arrow of its own; attempts without a way from one to the other are
/// concurrent. Up to 1,000 attempts are drawn; more are a 400.
#[utoipa::path(
    get,
    path = "/operations/{id}/causality",
    operation_id = "getCausality",
    tag = "operations",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("format" = Option<String>, Query, pattern = "^(dot|mermaid|svg)$", description = "The format, whatever `Accept` says."),
        ("If-None-Match" = Option<String>, Header, description = "The entity tag that is known."),
    ),
    responses(
        (
            status = 200,
            description = "The graph.",
            content(
                (String = "text/vnd.mermaid"),
                (String = "text/vnd.graphviz"),
                (String = "image/svg+xml"),
            ),
            headers(("ETag" = String, description = "Changes with every change of the operation.")),
        ),
        (status = 304, description = "It is as the client knows it."),
        (status = 409, description = "The operation is from before stamps were kept.", body = wire::ErrorEnvelope),
    )
)]
pub(super) async fn picture(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = graph::format(query, &headers, [Format::Mermaid, Format::Dot, Format::Svg])?;
    let found = state.engine.whole_operation(id).await?;
    let etag = graph::etag(&found, format);
    if super::condition::is_known(&headers, &etag) {
        return Ok(graph::answer(None, etag));
    }
    let spans = state.engine.attempts(&found).await?;
    if spans.len() > PICTURE_MAX {
        return Err(graph::too_large(format!(
            "{} attempts are too many for a picture, which is drawn up to {PICTURE_MAX}; ask for \
             those that are concurrent with one: GET .../steps/{{name}}/concurrent",
            spans.len()
        )));
    }
    // Off the threads that answer requests: comparing a thousand with each other takes a while.
    let drawn = tokio::task::spawn_blocking(move || {
        let jobset = &found.compiled.jobset;
        graph::render(&order(&spans, jobset, &found.compiled.record.name), format)
    });
    let text = drawn.await.map_err(|_| EngineError::ShuttingDown)??;
    Ok(graph::answer(Some(graph::drawing(text, format)), etag))
}

/// The attempts and the fewest arrows that tell their order.
fn order(spans: &[Span], jobset: &Jobset, name: &str) -> Graph {
    let node = |span: &Span| Node {
        name: format!("{} #{}", jobset.step(span.step).definition.name, span.attempt),
        state: Some(jobset.state_name(span.step, span.state).to_owned()),
        class: graph::class(span.state),
        note: None,
    };
    let edges = covering(spans).into_iter();
    let edges = edges.map(|(from, to)| Edge { from, to, kind: EdgeKind::Before }).collect();
    Graph { name: name.to_owned(), nodes: spans.iter().map(node).collect(), edges }
}
