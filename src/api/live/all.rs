//! `/v1.0/events`: what happens to all operations.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::events::shown;
use super::{Filter, Follower, LAST_EVENT_ID, Told, admit, frame, json, stream};
use crate::api::error::ApiError;
use crate::api::negotiate::accepts_events;
use crate::api::present;
use crate::api::query::Query;
use crate::api::rows::operation_event_model;
use crate::api::state::ApiState;
use crate::engine::{LiveEvent, RingFollowed, RingFollower};
use crate::wire;

struct All {
    follower: RingFollower,
    filter: Filter,
}

/// Streams what happens to all operations from now on, or after `Last-Event-ID`.
///
/// Each event has its `kind` as name, and as data an event with the `operation` that it is about.
/// Its `id` means something only to the server that gave it, and only for some time. If events may be
/// missing before a place (the id is too old or of another server, the client was too slow, or the
/// server lost touch with others), that is said by `event: reset`: read anew what you need, by
/// `GET /v1.0/operations`; the stream goes on. There is no collection of all events, so nothing but
/// `Accept: text/event-stream` is answered.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "followEvents",
    tag = "events",
    params(
        ("$filter" = Option<String>, Query, description = "Which events (OData 4.01): `operation` and the properties of an event."),
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on after this event."),
        ("lastEventId" = Option<String>, Query, description = "The same where no header can be set; the header counts if both are there."),
    ),
    responses(
        (status = 200, description = "A stream; the data of its events is an `OperationEvent`.", body = wire::OperationEvent, content_type = "text/event-stream"),
        (status = 429, description = "Too many follow already.", body = wire::ErrorEnvelope, headers(
            ("x-ms-error-code" = String, description = "The code of the error."),
            ("Retry-After" = u32, description = "Seconds to wait before the next try."),
        )),
    )
)]
pub(in crate::api) async fn follow(
    State(state): State<ApiState>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.only(&["$filter", LAST_EVENT_ID])?;
    if !accepts_events(&headers) {
        let message = "the events of all operations are only streamed: ask with `Accept: \
                       text/event-stream`; those of one operation are listed at \
                       /v1.0/operations/{id}/events";
        return Err(
            ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).target("Accept")
        );
    }
    let filter = Filter::of(&query, &state, operation_event_model())?;
    let permit = admit(&state)?;
    let follower = state.engine.follow_all(super::last_event_id(&query, &headers));
    let place = follower.cursor().to_string();
    Ok(stream(&state, permit, Some(place), All { follower, filter }))
}

impl All {
    fn admits(&self, event: &LiveEvent) -> Result<bool, ApiError> {
        self.filter.admits(|| wire::OperationEvent {
            operation: event.operation_id(),
            event: present::live_event(event),
        })
    }
}

impl Follower for All {
    async fn next(&mut self) -> Told {
        loop {
            let events = match self.follower.next().await {
                RingFollowed::Events(events) => events,
                RingFollowed::Lost(cursor) => {
                    let message = "events may be missing here: read anew what you need, by GET \
                                   /v1.0/operations; from here on the stream goes on";
                    let reset = wire::EventsReset { message: message.to_owned() };
                    let mut bytes = Vec::new();
                    frame(&mut bytes, Some(&cursor.to_string()), "reset", &json(&reset));
                    return Told::more(bytes);
                }
            };
            let mut bytes = Vec::new();
            for (cursor, event) in events {
                match self.admits(&event) {
                    Ok(true) => {
                        let (id, operation) = (cursor.to_string(), event.operation_id());
                        // The same object with one more field.
                        let rest = shown(&event).trim_start_matches('{');
                        let data = format!("{{\"operation\":\"{operation}\",{rest}");
                        frame(&mut bytes, Some(&id), present::kind(&event.view), &data);
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

    /// Also tells the place, which moves on while the filter leaves out everything.
    fn beat(&self) -> Vec<u8> {
        format!(":\nid: {}\n\n", self.follower.cursor()).into_bytes()
    }
}
