//! What a client asks of a collection: `$filter`, `$orderby`, `$search`, `$select` and paging, the same
//! for every collection (OData 4.01).
//!
//! A page ends with a link that carries the whole question and the place where the next page begins
//! (`$skiptoken`). The place is a key, not a count, wherever the order allows it, so pages stay correct
//! while members are added and change.

use std::cmp::Ordering;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::error::ApiError;
use super::prefer::Prefer;
use super::query::{Query, encode};
use super::state::{ApiSettings, DEFAULT_PAGE_SIZE};
use crate::engine::EngineError;
use crate::odata::{self, ErrorKind, Expr, Model, OrderItem, Row, Search, Select};
use crate::wire;

/// The parameters that every collection knows.
pub(super) const PARAMETERS: [&str; 8] =
    ["$filter", "$orderby", "$search", "$select", "$top", "$skip", "$count", "$skiptoken"];

/// Members are passed over by `$skip` up to here; links go further.
const SKIP_MAX: i64 = 1_000_000_000;

/// The same for the document of the API.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct Parameters {
    /// Which members (OData 4.01): `state eq 'Failed' and contains(name,'night')`.
    #[param(rename = "$filter")]
    filter: Option<String>,
    /// In which order: `createdDateTime desc, name`.
    #[param(rename = "$orderby")]
    orderby: Option<String>,
    /// Words to look for: `timeout NOT "disk full"`.
    #[param(rename = "$search")]
    search: Option<String>,
    /// Which properties to show: `id,state`.
    #[param(rename = "$select")]
    select: Option<String>,
    /// How many at the most, over all pages.
    #[param(rename = "$top", minimum = 0, maximum = 9_223_372_036_854_775_807_u64)]
    top: Option<i64>,
    /// How many to pass over first.
    #[param(rename = "$skip", minimum = 0, maximum = 9_223_372_036_854_775_807_u64)]
    skip: Option<i64>,
    /// Whether to tell how many there are in all.
    #[param(rename = "$count")]
    count: Option<bool>,
    /// Where a page begins; comes from `@odata.nextLink`.
    #[param(rename = "$skiptoken")]
    skiptoken: Option<String>,
}

/// A question to a collection.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) filter: Option<Expr>,
    pub(super) search: Option<Search>,
    pub(super) order: Vec<OrderItem>,
    /// What to show of each member.
    pub(super) select: Select,
    /// How many members this page has at the most.
    pub(super) size: usize,
    /// How many members to pass over first.
    pub(super) skip: i64,
    /// Whether to tell how many there are in all.
    pub(super) count: bool,
    /// The instant that `now()` stands for, the same on all pages.
    pub(super) now: DateTime<Utc>,
    /// Where the page begins; its form depends on the collection and the order.
    after: Option<Value>,
    /// How many members all pages together may have.
    top: Option<usize>,
    /// The parameters that all pages share, encoded.
    carried: String,
    pub(super) prefer: Prefer,
}

/// What a link carries beside the question.
#[derive(Debug, Deserialize, Serialize)]
struct Place {
    now: DateTime<Utc>,
    after: Value,
}

impl Asked {
    /// Reads and checks the question.
    pub(super) fn of(
        query: &Query,
        headers: &HeaderMap,
        settings: &ApiSettings,
        model: &Model,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        let limits = &settings.query_limits;
        let prefer = Prefer::of(headers);
        let top: Option<i64> = query.number("$top")?;
        let top = top.map(|top| usize::try_from(top).unwrap_or(usize::MAX));
        let preferred = prefer.max_page_size.or(top).unwrap_or(DEFAULT_PAGE_SIZE);
        let size = preferred.min(settings.max_page_size).min(top.unwrap_or(usize::MAX));
        let skip: i64 = query.number("$skip")?.unwrap_or(0);
        let place = query.get("$skiptoken").map(place).transpose()?;
        Ok(Self {
            filter: read(query, "$filter", |text| odata::filter(text, model, limits))?,
            search: read(query, "$search", |text| odata::search(text, limits))?,
            order: read(query, "$orderby", |text| odata::order_by(text, model, limits))?
                .unwrap_or_default(),
            select: select(query, model, limits)?,
            size,
            skip: skip.min(SKIP_MAX),
            count: query.flag("$count")?,
            now: place.as_ref().map_or(now, |place| place.now),
            after: place.map(|place| place.after),
            top,
            carried: carried(query),
            prefer,
        })
    }

    /// Whether every member is wanted, in the order in which it is kept.
    pub(super) const fn is_plain(&self) -> bool {
        self.filter.is_none() && self.search.is_none() && self.order.is_empty()
    }

    /// Where the page begins.
    pub(super) fn after<T: DeserializeOwned>(&self) -> Result<Option<T>, ApiError> {
        let read = |after: &Value| T::deserialize(after).map_err(|_| foreign_token());
        self.after.as_ref().map(read).transpose()
    }

    /// The query of the page after one of `members` that ended at `after`; `None` when the client
    /// wants no more.
    pub(super) fn next_link(&self, after: &impl Serialize, members: usize) -> Option<String> {
        let left = self.top.map(|top| top.saturating_sub(members));
        if left == Some(0) || members == 0 {
            return None;
        }
        let place = Place { now: self.now, after: serde_json::to_value(after).ok()? };
        let token = BASE64URL_NOPAD.encode(serde_json::to_string(&place).ok()?.as_bytes());
        let top = left.map(|left| format!("&$top={left}")).unwrap_or_default();
        Some(format!("$skiptoken={token}{top}{}", self.carried))
    }

    /// Which parameter it is due to that the database has no answer.
    pub(super) fn failed(&self, error: EngineError) -> ApiError {
        let EngineError::BadExpression { kind, .. } = &error else { return error.into() };
        let target = if *kind == ErrorKind::Argument && self.after.is_some() {
            "$skiptoken"
        } else if self.filter.is_some() {
            "$filter"
        } else if self.order.is_empty() {
            "$search"
        } else {
            "$orderby"
        };
        ApiError::from(error).target(target)
    }

    /// A page of what was answered; the next one is found at `path` with the query of the link.
    pub(super) fn page<T: Serialize>(&self, answered: &Answered<T>, path: &str) -> Response {
        let joint = if path.contains('?') { '&' } else { '?' };
        let next_link = answered
            .next
            .and_then(|next| self.next_link(&next, answered.members.len()))
            .map(|query| format!("{path}{joint}{query}"));
        let value = answered.members.iter().map(|member| self.show(member)).collect();
        let count = self.count.then_some(answered.total);
        let mut response = Json(wire::Page::<Value> { value, count, next_link }).into_response();
        Prefer { max_page_size: self.prefer.max_page_size, ..Prefer::default() }
            .applied(response.headers_mut());
        response
    }

    /// What is shown of a member.
    pub(super) fn show(&self, member: &impl Serialize) -> Value {
        project(&self.select, serde_json::to_value(member).unwrap_or_default())
    }
}

/// Members that answer a question.
pub(super) struct Answered<T> {
    pub(super) members: Vec<T>,
    /// How many there are on all pages.
    pub(super) total: i64,
    /// Where the next page begins.
    pub(super) next: Option<i64>,
}

impl Asked {
    /// Answers a question about members that are all at hand, in the order in which they are kept.
    /// `text` is what `$search` looks at. The place of a page is the number of members before it.
    pub(super) fn among<T: Row>(
        &self,
        mut members: Vec<T>,
        text: impl Fn(&T) -> String,
    ) -> Result<Answered<T>, ApiError> {
        if let Some(search) = &self.search {
            members.retain(|member| {
                let text = text(member).to_lowercase();
                search.matches(&|term: &str| text.contains(&term.to_lowercase()))
            });
        }
        let mut failed = None;
        if let Some(filter) = &self.filter {
            members.retain(|member| match odata::eval::matches(filter, member, self.now) {
                Ok(matches) => matches,
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            });
        }
        if !self.order.is_empty() {
            members.sort_by(|left, right| {
                odata::eval::compare(&self.order, left, right, self.now).unwrap_or_else(|error| {
                    failed.get_or_insert(error);
                    Ordering::Equal
                })
            });
        }
        if let Some(error) = failed {
            return Err(refused("$filter", error));
        }
        let total = members.len();
        let begin = self.after::<i64>()?.unwrap_or(0).saturating_add(self.skip);
        let begin = usize::try_from(begin).unwrap_or(usize::MAX).min(total);
        let end = begin.saturating_add(self.size).min(total);
        members.truncate(end);
        members.drain(..begin);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let next = (end < total).then(|| count(end));
        Ok(Answered { members, total: count(total), next })
    }
}

/// What a client wants to see of a member; also where a single one is asked for.
pub(super) fn select(
    query: &Query,
    model: &Model,
    limits: &odata::Limits,
) -> Result<Select, ApiError> {
    let select = read(query, "$select", |text| odata::select(text, model, limits))?;
    Ok(select.unwrap_or(Select::All))
}

/// Leaves of a member what was selected.
pub(super) fn project(select: &Select, member: Value) -> Value {
    let Select::Paths(paths) = select else { return member };
    let mut shown = Value::Object(Map::new());
    for path in paths {
        let mut from = &member;
        let mut to = &mut shown;
        let mut segments = path.segments().peekable();
        while let Some(segment) = segments.next() {
            let Some(found) = from.get(segment) else { break };
            from = found;
            let Some(object) = to.as_object_mut() else { break };
            if segments.peek().is_none() {
                object.insert(segment.to_owned(), found.clone());
                break;
            }
            to = object.entry(segment).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    shown
}

pub(super) fn read<T>(
    query: &Query,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, odata::Error>,
) -> Result<Option<T>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    parse(text).map(Some).map_err(|error| refused(name, error))
}

/// An expression in `name` was refused.
pub(super) fn refused(name: &str, error: odata::Error) -> ApiError {
    let odata::Error { kind, message, position, text } = error;
    let near = if text.is_empty() { String::new() } else { format!(", at `{text}`") };
    let message = format!("{message} (position {position} of {name}{near})");
    ApiError::bad_request(kind.code(), message).target(name)
}

fn carried(query: &Query) -> String {
    ["$filter", "$orderby", "$search", "$select", "$count"]
        .into_iter()
        .filter_map(|name| query.get(name).map(|value| format!("&{name}={}", encode(value))))
        .collect()
}

fn place(token: &str) -> Result<Place, ApiError> {
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| foreign_token())?;
    serde_json::from_slice(&bytes).map_err(|_| foreign_token())
}

fn foreign_token() -> ApiError {
    let message = "this is no `$skiptoken` of ours; take it from `@odata.nextLink`";
    ApiError::bad_request("InvalidParameter", message).target("$skiptoken")
}
