//! What an attempt writes, as a stream of bytes or of events.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Follower, Stream, Told, admit, foreign_id, frame, json, stream};
use crate::api::error::ApiError;
use crate::api::negotiate::{accepts_events, prefers_json};
use crate::api::present;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::engine::{Found, LiveOutput, OutputFollower};
use crate::wire;

struct Output {
    follower: OutputFollower,
    /// 1 stdout, 2 stderr, both without.
    stream: Option<i16>,
    /// Whether the pieces are told as events; as they are otherwise.
    as_events: bool,
}

/// Answers `GET .../output?follow=true`.
pub(in crate::api) async fn follow(
    state: &ApiState,
    found: &Found,
    n: u32,
    attempt: Option<i32>,
    only: Option<i16>,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let as_events = accepts_events(headers);
    if !as_events && prefers_json(headers) {
        let message = "output is followed as text, or as events with `Accept: text/event-stream`";
        return Err(
            ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).target("Accept")
        );
    }
    let place = super::last_event_id(query, headers).filter(|_| as_events);
    let (resumed, after) = place.map(self::place).transpose()?.unwrap_or((None, 0));
    if let (Some(asked), Some(resumed)) = (attempt, resumed)
        && asked != resumed
    {
        let message = format!("the stream was of attempt {resumed}, not {asked}");
        return Err(ApiError::bad_request("InvalidParameter", message).target("attempt"));
    }
    let permit = admit(state)?;
    let chosen = attempt.or(resumed);
    let follower = state.engine.follow_output(found, n, chosen, after).await?;
    let follower = follower.ok_or_else(|| {
        let message = format!("the step has no attempt {}", chosen.unwrap_or_default());
        ApiError::not_found(message).target("attempt")
    })?;
    let output = Output { follower, stream: only, as_events };
    if as_events {
        return Ok(stream(state, permit, None, output));
    }
    let draining = state.draining.clone();
    let stream =
        Stream { follower: output, begin: None, keep_alive: None, draining, _permit: permit };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // What a step writes may be anything, and is to be shown as text.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, stream.into_body()).into_response())
}

/// `<attempt>-<seq>`, or `<seq>` alone for the attempt that is asked for.
fn place(text: &str) -> Result<(Option<i32>, i32), ApiError> {
    let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0);
    let read = match text.split_once('-') {
        Some((attempt, seq)) => number(attempt).map(Some).zip(number(seq)),
        None => number(text).map(|seq| (None, seq)),
    };
    read.ok_or_else(|| foreign_id(text, "<attempt>-<seq> is expected"))
}

impl Output {
    /// A remark of the worker belongs to both streams.
    fn wants(&self, piece: &LiveOutput) -> bool {
        let stream = piece.piece.stream;
        self.stream.is_none_or(|wanted| stream == wanted || stream == 0)
    }

    fn end(&self) -> Told {
        let mut bytes = Vec::new();
        if self.as_events {
            let attempt = self.follower.attempt().and_then(|attempt| u32::try_from(attempt).ok());
            frame(&mut bytes, None, "end", &json(&wire::OutputEnd { attempt }));
        }
        Told::last(bytes)
    }
}

impl Follower for Output {
    async fn next(&mut self) -> Told {
        loop {
            let pieces = match self.follower.next().await {
                Ok(Some(pieces)) => pieces,
                Ok(None) => return self.end(),
                Err(error) if self.as_events => return Told::fault(error),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "api.output.cut");
                    return Told::last(Vec::new());
                }
            };
            let mut bytes = Vec::new();
            for piece in pieces.iter().filter(|piece| self.wants(piece)) {
                if self.as_events {
                    let id = format!("{}-{}", piece.attempt, piece.piece.seq);
                    let data = json(&present::output_piece(piece.piece.clone()));
                    frame(&mut bytes, Some(&id), "output", &data);
                } else {
                    bytes.extend_from_slice(&piece.piece.data);
                }
            }
            if !bytes.is_empty() {
                return Told::more(bytes);
            }
        }
    }
}
