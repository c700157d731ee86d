//! `/v1.0/jvvset`: interval tree clocks as a service. Nothing is stored: a client keeps its nodes.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{JsonBytes, read_body};
use super::jobsets::LARGE_BODY;
use super::query::Query;
use super::state::ApiState;
use crate::domain::Problem;
use crate::engine::EngineError;
use crate::itc::{Content, Error, Node};
use crate::wire::{
    CompareRequest, Compared, EventRequest, HappenedBefore, NewNodeRequest, NodeDocument, NodePair,
    StampDocument, TREE_DEPTH_MAX,
};

/// The parameter that says how stamps are answered.
const FORM: &str = "form";
/// What a new node holds, as in the programs that the names come from.
const FIRST_VALUE: i32 = 1;

/// The first node: owns the whole interval and knows nothing.
///
/// A node is kept by its client. All others come from the first one by forks.
#[utoipa::path(
    post,
    path = "/jvvset/nodes",
    operation_id = "newNode",
    tag = "jvvset",
    params(("form" = Option<String>, Query, description = "How stamps are answered: `trees` (default) or `text`.")),
    request_body = Option<NewNodeRequest>,
    responses((status = 200, description = "The node.", body = NodeDocument))
)]
pub(super) async fn new_node(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<NodeDocument>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let request: NewNodeRequest = if bytes.trim_ascii().is_empty() {
            NewNodeRequest::default()
        } else {
            read_body(bytes)?
        };
        let node = Node::new(request.value.unwrap_or_else(|| FIRST_VALUE.into()));
        asked.show(&node, None, asked.form.unwrap_or(Form::Trees))
    })
    .await
}

/// Splits a node into two that know the same and share what it owned. The node itself is spent.
#[utoipa::path(
    post,
    path = "/jvvset/fork",
    operation_id = "forkNode",
    tag = "jvvset",
    params(("form" = Option<String>, Query, description = "How stamps are answered: `trees` or `text`. Default: as in the request.")),
    request_body = NodeDocument,
    responses((status = 200, description = "Both, with new ids.", body = NodePair))
)]
pub(super) async fn fork(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<NodePair>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let given = asked.node(read_body(bytes)?, "")?;
        let (first, second) = given.node.fork().map_err(|error| refused(&error, "stamp"))?;
        Ok(NodePair {
            node1: asked.show(&first, None, given.form)?,
            node2: asked.show(&second, None, given.form)?,
        })
    })
    .await
}

/// Puts two nodes together. Both are spent.
///
/// If one of them knew of all changes of the other, its value stays. If both changed, the answer has
/// a conflict with both values. They must not be copies: 400 if both own the same part.
#[utoipa::path(
    post,
    path = "/jvvset/join",
    operation_id = "joinNodes",
    tag = "jvvset",
    params(("form" = Option<String>, Query, description = "How stamps are answered: `trees` or `text`. Default: as in the request.")),
    request_body = NodePair,
    responses((status = 200, description = "The node of both, with a new id.", body = NodeDocument))
)]
pub(super) async fn join(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<NodeDocument>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let pair: NodePair = read_body(bytes)?;
        let first = asked.node(pair.node1, "node1")?;
        let second = asked.node(pair.node2, "node2")?;
        let joined =
            first.node.join(&second.node).map_err(|error| refused(&error, "node2.stamp"))?;
        asked.show(&joined, None, first.form)
    })
    .await
}

/// Changes the value of a node, and counts the event.
///
/// The value becomes `newValue`, else one more than it was. A `newValue` also decides a conflict.
#[utoipa::path(
    post,
    path = "/jvvset/event",
    operation_id = "nodeEvent",
    tag = "jvvset",
    params(("form" = Option<String>, Query, description = "How stamps are answered: `trees` or `text`. Default: as in the request.")),
    request_body = EventRequest,
    responses((status = 200, description = "The node after the event.", body = NodeDocument))
)]
pub(super) async fn event(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<NodeDocument>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let (node, new_value) = read_body::<EventRequest>(bytes)?.into_parts();
        let given = asked.node(node, "")?;
        let value = new_value.map_or_else(|| one_more(&given.node.content), Ok)?;
        let changed = given.node.event(value).map_err(|error| refused(&error, "stamp"))?;
        asked.show(&changed, given.id, given.form)
    })
    .await
}

/// A copy of a node that owns nothing, for a message or a log. The node itself goes on.
#[utoipa::path(
    post,
    path = "/jvvset/peek",
    operation_id = "peekNode",
    tag = "jvvset",
    params(("form" = Option<String>, Query, description = "How stamps are answered: `trees` or `text`. Default: as in the request.")),
    request_body = NodeDocument,
    responses((status = 200, description = "The copy.", body = NodeDocument))
)]
pub(super) async fn peek(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<NodeDocument>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let given = asked.node(read_body(bytes)?, "")?;
        asked.show(&given.node.peek(), given.id, given.form)
    })
    .await
}

/// How what the first node knows relates to what the second one knows.
#[utoipa::path(
    post,
    path = "/jvvset/compare",
    operation_id = "compareNodes",
    tag = "jvvset",
    request_body = CompareRequest,
    responses((status = 200, description = "What was found.", body = Compared))
)]
pub(super) async fn compare(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<Compared>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let (first, second) = asked.two(bytes)?;
        Ok(Compared::from(first.stamp.compare(&second.stamp)))
    })
    .await
}

/// Whether the second node knows all that the first one knows, and more.
#[utoipa::path(
    post,
    path = "/jvvset/happenedBefore",
    operation_id = "happenedBefore",
    tag = "jvvset",
    request_body = CompareRequest,
    responses((status = 200, description = "What was found.", body = HappenedBefore))
)]
pub(super) async fn happened_before(
    State(state): State<ApiState>,
    query: Query,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<HappenedBefore>, ApiError> {
    answer(state, query, bytes, |asked, bytes| {
        let (first, second) = asked.two(bytes)?;
        Ok(HappenedBefore { result: first.stamp.happened_before(&second.stamp) })
    })
    .await
}

/// How stamps are written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Trees,
    Text,
}

/// What belongs to a request beside its body.
struct Asked {
    state: ApiState,
    /// The form of the answer, if it was asked for.
    form: Option<Form>,
}

/// A node of a request.
struct Given {
    node: Node<Value>,
    id: Option<Uuid>,
    /// The form of the answer.
    form: Form,
}

/// Works a request out, off the threads that answer requests if it is large.
async fn answer<T: Serialize + Send + 'static>(
    state: ApiState,
    query: Query,
    bytes: axum::body::Bytes,
    work: impl FnOnce(&Asked, &[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let query = query.only(&[FORM])?;
    let form = match query.get(FORM) {
        None => None,
        Some("trees") => Some(Form::Trees),
        Some("text") => Some(Form::Text),
        Some(_) => {
            let message = "`form` is `trees` or `text`";
            return Err(ApiError::bad_request("InvalidParameter", message).target(FORM));
        }
    };
    let asked = Asked { state, form };
    if bytes.len() < LARGE_BODY {
        return work(&asked, &bytes).map(Json);
    }
    let done = tokio::task::spawn_blocking(move || work(&asked, &bytes)).await;
    done.map_err(|_| EngineError::ShuttingDown)?.map(Json)
}

impl Asked {
    fn nodes_max(&self) -> usize {
        self.state.settings.max_stamp_nodes
    }

    fn node(&self, document: NodeDocument, place: &str) -> Result<Given, ApiError> {
        let id = match document.id.as_deref().map(Uuid::try_parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => {
                let place = if place.is_empty() { "id".to_owned() } else { format!("{place}.id") };
                return Err(invalid(&Problem::new(place, "the `id` of a node is a UUID")));
            }
        };
        let written = match document.stamp {
            StampDocument::Text(_) => Form::Text,
            StampDocument::Trees(_) => Form::Trees,
        };
        let node = document.read(place, self.nodes_max()).map_err(|problem| invalid(&problem))?;
        Ok(Given { node, id, form: self.form.unwrap_or(written) })
    }

    fn two(&self, bytes: &[u8]) -> Result<(Node<Value>, Node<Value>), ApiError> {
        let request: CompareRequest = read_body(bytes)?;
        let first = self.node(request.first, "first")?;
        Ok((first.node, self.node(request.second, "second")?.node))
    }

    /// A node as it is answered. Without an id it gets a new one.
    fn show(
        &self,
        node: &Node<Value>,
        id: Option<Uuid>,
        form: Form,
    ) -> Result<NodeDocument, ApiError> {
        let (nodes, nodes_max) = (node.stamp.nodes(), self.nodes_max());
        if nodes > nodes_max {
            let message = format!(
                "the stamp of the answer would have {nodes} nodes, more than {nodes_max} \
                 (--max-stamp-nodes)"
            );
            return Err(ApiError::bad_request("StampTooLarge", message).target("stamp"));
        }
        let stamp = match form {
            Form::Text => StampDocument::text(&node.stamp),
            Form::Trees => StampDocument::trees(&node.stamp).ok_or_else(|| {
                let message = format!(
                    "the stamp of the answer has more than {TREE_DEPTH_MAX} levels; ask for its \
                     text: ?form=text"
                );
                ApiError::bad_request("StampTooDeep", message).target(FORM)
            })?,
        };
        let id = id.unwrap_or_else(|| self.state.engine.new_id());
        Ok(NodeDocument::new(id.to_string(), stamp, node.content.clone()))
    }
}

/// What a value becomes by an event that does not say.
fn one_more(content: &Content<Value>) -> Result<Value, ApiError> {
    let missing =
        |message: &str| Err(ApiError::bad_request("MissingValue", message).target("newValue"));
    match content {
        Content::Value(Value::Number(number)) => {
            let next = number.as_i64().and_then(|number| number.checked_add(1));
            next.map_or_else(|| missing("the value cannot be counted up"), |next| Ok(next.into()))
        }
        Content::Value(_) => missing("only a whole number is counted up; say the new value"),
        Content::Conflict { .. } => missing("the node has a conflict; say which value counts"),
    }
}

fn invalid(problem: &Problem) -> ApiError {
    ApiError::bad_request("InvalidNode", problem.message.clone()).target(problem.path.clone())
}

/// What the clock refuses, with the stamp that it is about.
fn refused(error: &Error, stamp: &str) -> ApiError {
    let (code, place) = match error {
        Error::Overlap { .. } => ("OverlappingIds", stamp),
        Error::Anonymous => ("AnonymousStamp", stamp),
        Error::TooDeep => ("StampTooDeep", stamp),
        Error::Overflow => ("TooManyEvents", stamp),
        Error::Unresolved { first: true } => ("UnresolvedConflict", "node1.hasConflict"),
        Error::Unresolved { first: false } => ("UnresolvedConflict", "node2.hasConflict"),
        Error::NotNormal => ("InvalidNode", stamp),
    };
    ApiError::bad_request(code, error.to_string()).target(place)
}
