//! `happenedBefore` and `concurrentWith` in questions about the events of an operation.
//!
//! The query language only knows that events have such functions. What they are compared with is
//! looked up before any event is judged, so a question that names an event that there is not is
//! refused whichever events there are.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use crate::api::collection::{Asked, refused};
use crate::api::error::ApiError;
use crate::api::present;
use crate::api::rows::{CONCURRENT_WITH, HAPPENED_BEFORE};
use crate::api::state::ApiState;
use crate::domain::Jobset;
use crate::engine::{EngineError, EventView, LiveEvent};
use crate::itc::{Causality, Stamp};
use crate::odata::{self, ErrorKind, Expr, Kind, Row, Value};
use crate::wire;

/// The stamps that questions compare with, by how they are written there.
#[derive(Debug, Default)]
pub(in crate::api) struct Marks(HashMap<String, Stamp>);

/// An event of an operation, to be asked about its place in the causal order.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(in crate::api) struct Judged {
    pub(in crate::api) event: wire::Event,
    #[serde(skip)]
    stamp: Option<Stamp>,
    #[serde(skip)]
    marks: Arc<Marks>,
}

/// A stamp as a question writes it.
enum Written {
    /// The number of an event.
    Number(i32),
    /// Itself.
    Stamp(Stamp),
}

impl Marks {
    /// What is named by a question about the events of an operation.
    pub(in crate::api) async fn of(
        asked: &Asked,
        state: &ApiState,
        operation: Uuid,
    ) -> Result<Arc<Self>, ApiError> {
        let filter = asked.filter.iter().map(|filter| ("$filter", filter));
        let order = asked.order.iter().map(|item| ("$orderby", &item.expr));
        Self::named_by(filter.chain(order), state, operation).await
    }

    /// What is named by these expressions, each with the parameter that it stands in.
    pub(in crate::api) async fn named_by<'a>(
        expressions: impl Iterator<Item = (&'static str, &'a Expr)>,
        state: &ApiState,
        operation: Uuid,
    ) -> Result<Arc<Self>, ApiError> {
        let mut stamps = HashMap::new();
        let mut numbers = Vec::new();
        let nodes_max = state.settings.max_stamp_nodes;
        for (parameter, expr) in expressions {
            let mut failed = None;
            visit(expr, &mut |call, arguments| match written(call, arguments, nodes_max) {
                Ok((text, Written::Stamp(stamp))) => _ = stamps.insert(text.to_owned(), stamp),
                Ok((text, Written::Number(seq))) => {
                    numbers.push((parameter, &arguments[1], text, seq));
                }
                Err(error) => _ = failed.get_or_insert(error),
            });
            if let Some(error) = failed {
                return Err(refused(parameter, error));
            }
        }
        if !numbers.is_empty() {
            let seqs: Vec<i32> = numbers.iter().map(|(.., seq)| *seq).collect();
            let found = state.engine.store().stamps(operation, &seqs).await;
            let mut found: HashMap<i32, Option<Stamp>> =
                found.map_err(EngineError::from)?.into_iter().collect();
            for (parameter, place, text, seq) in numbers {
                let problem = match found.get_mut(&seq) {
                    None => format!("the operation has no event {seq}"),
                    Some(None) => EngineError::Unstamped { seq }.to_string(),
                    Some(Some(stamp)) => {
                        stamps.insert(text.to_owned(), stamp.clone());
                        continue;
                    }
                };
                let error = odata::Error::of(ErrorKind::Argument, place, problem);
                return Err(refused(parameter, error));
            }
        }
        Ok(Arc::new(Self(stamps)))
    }
}

/// Calls `found` with each call of a function of events and its arguments.
fn visit<'a>(expr: &'a Expr, found: &mut dyn FnMut(&'a Expr, &'a [Expr])) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Kind::Custom(_, arguments) = &expr.kind {
            found(expr, arguments);
        }
        expr.operands(&mut |operand| open.push(operand));
    }
}

/// The stamp that is the second argument of a call. The first one is the stamp of the event itself.
fn written<'a>(
    call: &Expr,
    arguments: &'a [Expr],
    nodes_max: usize,
) -> Result<(&'a str, Written), odata::Error> {
    let wrong = |expr: &Expr, message: &str| odata::Error::of(ErrorKind::Argument, expr, message);
    let [first, second] = arguments else { return Err(wrong(call, "two arguments are expected")) };
    let is_own = |kind: &Kind| matches!(kind, Kind::Property(path) if path.to_string() == "stamp");
    if !is_own(&first.kind) {
        return Err(wrong(first, "the first argument is `stamp`, the one of the event itself"));
    }
    let Kind::Literal(Value::String(text)) = &second.kind else {
        return Err(wrong(second, "the number of an event in quotes is expected, such as '17'"));
    };
    if text.starts_with('(') {
        let stamp = Stamp::parse(text, nodes_max);
        let stamp = stamp.map_err(|error| wrong(second, &format!("this is no stamp: {error}")))?;
        return Ok((text, Written::Stamp(stamp)));
    }
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_digits);
    let number = number.ok_or_else(|| {
        wrong(second, "this is neither the number of an event, such as '17', nor a stamp")
    })?;
    Ok((text, Written::Number(number)))
}

impl Judged {
    /// An event that was read.
    pub(in crate::api) fn new(event: EventView, jobset: &Jobset, marks: &Arc<Marks>) -> Self {
        let shown = present::event(&event, jobset);
        Self { event: shown, stamp: event.stamp, marks: Arc::clone(marks) }
    }

    /// An event that is being told.
    pub(in crate::api) fn live(event: &LiveEvent, marks: &Arc<Marks>) -> Self {
        let stamp = event.view.stamp.as_ref().filter(|_| !marks.0.is_empty()).cloned();
        Self { event: present::live_event(event), stamp, marks: Arc::clone(marks) }
    }
}

impl Row for Judged {
    fn get(&self, path: &str) -> Value {
        self.event.get(path)
    }

    fn call(&self, function: &str, arguments: &[Value]) -> Result<Value, String> {
        let mark = arguments.get(1).and_then(Value::as_str).and_then(|text| self.marks.0.get(text));
        let (Some(stamp), Some(mark)) = (&self.stamp, mark) else { return Ok(Value::Null) };
        let order = stamp.compare(mark);
        match function {
            HAPPENED_BEFORE => Ok((order == Causality::Before).into()),
            CONCURRENT_WITH => Ok((order == Causality::Concurrent).into()),
            other => Err(format!("`{other}` is no function of events")),
        }
    }
}
