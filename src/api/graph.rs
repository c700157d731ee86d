//! `/v1.0/operations/{id}/graph` and `/v1.0/jobsets/{id}/graph`: drawings.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::extract::OperationId;
use super::negotiate::best;
use super::query::Query;
use super::state::ApiState;
use crate::domain::{Phase, StepState};
use crate::engine::{EngineError, Found};
use crate::wire;
use crate::wire::graph::{Class, Format, Graph};

/// Shows an operation as a graph: its steps with their states, and what each waits for.
///
/// DOT, Mermaid or SVG by `Accept` or by `format`; DOT if both are left out. Arrows of success pairs
/// are solid, of failure pairs dashed and red, of conditions dotted with the states that they ask
/// for. Up to 5,000 steps and 20,000 arrows are drawn as SVG; more are a 400.
#[utoipa::path(
    get,
    path = "/operations/{id}/graph",
    operation_id = "getOperationGraph",
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
                (String = "text/vnd.graphviz"),
                (String = "text/vnd.mermaid"),
                (String = "image/svg+xml"),
            ),
            headers(("ETag" = String, description = "Changes with every change of the operation.")),
        ),
        (status = 304, description = "It is as the client knows it."),
    )
)]
pub(super) async fn of_operation(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = format(query, &headers, Format::ALL)?;
    let found = state.engine.whole_operation(id).await?;
    let etag = etag(&found, format);
    let drawn = if super::condition::is_known(&headers, &etag) {
        None
    } else {
        Some(draw(found, format, true).await?)
    };
    Ok(answer(drawn, etag))
}

/// Tells the versions of an operation and the formats of one apart.
pub(super) fn etag(found: &Found, format: Format) -> HeaderValue {
    let tag = format!("\"{}-{}\"", found.view.version, format.name());
    HeaderValue::from_str(&tag).expect("digits and a name are a header value")
}

/// The drawing, or that it is as the client knows it.
pub(super) fn answer(drawn: Option<Response>, etag: HeaderValue) -> Response {
    let mut response = drawn.unwrap_or_else(|| StatusCode::NOT_MODIFIED.into_response());
    response.headers_mut().insert(header::ETAG, etag);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Shows the jobset that an operation runs as a graph, without states.
///
/// The formats and limits are those of the graph of an operation.
#[utoipa::path(
    get,
    path = "/jobsets/{id}/graph",
    operation_id = "getJobsetGraph",
    tag = "jobsets",
    params(
        ("id" = String, Path, description = "The id of the operation."),
        ("format" = Option<String>, Query, pattern = "^(dot|mermaid|svg)$", description = "The format, whatever `Accept` says."),
    ),
    responses((status = 200, description = "The graph.", content(
        (String = "text/vnd.graphviz"),
        (String = "text/vnd.mermaid"),
        (String = "image/svg+xml"),
    )))
)]
pub(super) async fn of_jobset(
    State(state): State<ApiState>,
    OperationId(id): OperationId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = format(query, &headers, Format::ALL)?;
    let mut response = draw(state.engine.whole_operation(id).await?, format, false).await?;
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The format that is asked for: by the parameter, which people type, before `Accept`, which
/// browsers send by themselves; the first of these if nothing is.
pub(super) fn format(
    query: Query,
    headers: &HeaderMap,
    formats: [Format; 3],
) -> Result<Format, ApiError> {
    let query = query.only(&["format"])?;
    if let Some(name) = query.get("format") {
        return name.parse().map_err(|error| {
            let message = format!("`format` is `{}`: {error}", name.escape_debug());
            ApiError::bad_request("InvalidParameter", message).target("format")
        });
    }
    best(headers, &formats.map(|format| (format, format.media_type()))).ok_or_else(|| {
        let types = Format::ALL.map(Format::media_type).join(", ");
        let message = format!("`Accept` excludes all that a graph can be: {types}");
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).target("Accept")
    })
}

/// Draws off the threads that answer requests: a large jobset takes a while.
async fn draw(found: Found, format: Format, with_states: bool) -> Result<Response, ApiError> {
    let drawn = tokio::task::spawn_blocking(move || {
        let Found { view, compiled, .. } = found;
        let definition = wire::decode_definition(&compiled.record.document)
            .map_err(|reason| EngineError::BadJobset { id: view.jobset, reason })?;
        let mut graph = Graph::of(&definition, &compiled.jobset);
        if with_states {
            let jobset = &compiled.jobset;
            let named = |(n, state): (u32, &StepState)| {
                (jobset.state_name(n, *state).to_owned(), class(*state))
            };
            graph = graph.with_states((0..).zip(&view.steps).map(named));
        }
        render(&graph, format)
    });
    Ok(drawing(drawn.await.map_err(|_| EngineError::ShuttingDown)??, format))
}

/// The graph as text, if it can be drawn.
pub(super) fn render(graph: &Graph, format: Format) -> Result<String, ApiError> {
    graph.render(format).map_err(|error| too_large(error.to_string()).target("format"))
}

pub(super) fn too_large(message: String) -> ApiError {
    ApiError::bad_request("GraphTooLarge", message)
}

/// An answer that is a drawing.
pub(super) fn drawing(text: String, format: Format) -> Response {
    let kind = match format {
        Format::Dot => "text/vnd.graphviz; charset=utf-8",
        Format::Mermaid => "text/vnd.mermaid; charset=utf-8",
        Format::Svg => "image/svg+xml",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // A browser runs what stands in an SVG; nothing in ours is to be run or loaded.
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    ];
    (headers, text).into_response()
}

/// The colour of a state.
pub(super) fn class(state: StepState) -> Class {
    match (state.phase(), state.class()) {
        (Phase::Pending, _) | (Phase::Held, StepState::READY) => Class::Waiting,
        (Phase::Active, _) => Class::Running,
        (Phase::Held, _) => Class::Held,
        (Phase::Ended, StepState::SUCCEEDED) => Class::Good,
        (Phase::Ended, StepState::SKIPPED | StepState::UNREACHABLE | StepState::CANCELLED) => {
            Class::Skipped
        }
        (Phase::Ended, _) => Class::Bad,
    }
}
