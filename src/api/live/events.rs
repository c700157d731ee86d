//! The events of one operation as a stream.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use uuid::Uuid;

use super::{Filter, Follower, LAST_EVENT_ID, Told, admit, foreign_id, frame, json, stream};
use crate::api::causality::{Judged, Marks};
use crate::api::error::ApiError;
use crate::api::present;
use crate::api::query::Query;
use crate::api::rows::event_model;
use crate::api::state::ApiState;
use crate::engine::{EventFollower, Followed, LiveEvent};
use crate::wire;

struct Events {
    follower: EventFollower,
    filter: Filter,
    marks: Arc<Marks>,
}

/// Answers `GET /operations/{id}/events` with a stream.
pub(in crate::api) async fn follow(
    state: &ApiState,
    id: Uuid,
    query: Query,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["$filter", "after", LAST_EVENT_ID])?;
    let after = match super::last_event_id(&query, headers) {
        Some(text) => {
            let number = text.parse().ok().filter(|number: &i32| *number >= 0);
            number.ok_or_else(|| foreign_id(text, "a whole number is expected"))?
        }
        None => query.number("after")?.unwrap_or(0),
    };
    let found = state.engine.whole_operation(id).await?;
    let filter = Filter::of(&query, state, &event_model(&found.compiled.jobset))?;
    let condition = filter.condition.iter().map(|condition| ("$filter", condition));
    let marks = Marks::named_by(condition, state, id).await?;
    let permit = admit(state)?;
    let follower = state.engine.follow_events(&found, after);
    Ok(stream(state, permit, None, Events { follower, filter, marks }))
}

/// The event as JSON, made once for all who follow.
pub(super) fn shown(event: &LiveEvent) -> &str {
    event.shown(|event| json(&present::live_event(event)))
}

impl Follower for Events {
    async fn next(&mut self) -> Told {
        loop {
            let events = match self.follower.next().await {
                Ok(Followed::Events(events)) => events,
                Ok(Followed::Ended(state)) => {
                    let mut bytes = Vec::new();
                    let end = wire::EventsEnd { state: state.name().to_owned() };
                    frame(&mut bytes, None, "end", &json(&end));
                    return Told::last(bytes);
                }
                Err(error) => return Told::fault(error),
            };
            let mut bytes = Vec::new();
            for event in events {
                match self.filter.admits(|| Judged::live(&event, &self.marks)) {
                    Ok(true) => {
                        let (id, kind) = (event.view.seq.to_string(), present::kind(&event.view));
                        frame(&mut bytes, Some(&id), kind, shown(&event));
                    }
                    Ok(false) => {}
                    Err(error) => return Told::fault(error),
                }
            }
            if !bytes.is_empty() {
                return Told::more(bytes);
            }
        }
    }
}
