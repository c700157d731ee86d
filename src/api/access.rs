//! Who may call what: bearer tokens (RFC 6750) on listeners that ask for them.
//!
//! What is open to everybody is listed here, all else needs a token: a route that is added later is
//! not open by mistake. A long answer, like a stream of events, is cut off when its token is revoked.

use std::io;
use std::task::Poll;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};

use super::below_version;
use super::error::ApiError;
use super::state::ApiState;
use crate::domain::access::{Right, Role};
use crate::engine::{Secret, SecretHash, TOKENS_FRESH};

const REALM: &str = "Bearer realm=\"mother\"";

/// Who a client says to be, and what it wants.
#[derive(Debug)]
pub(super) struct Claim {
    token: SecretHash,
    right: Right,
}

/// What the client of a request has to prove; `None` if nothing.
pub(super) fn claim(state: &ApiState, request: &Request) -> Result<Option<Claim>, ApiError> {
    if !state.needs_token || is_open(request.uri().path()) {
        return Ok(None);
    }
    let token = Secret::hash(bearer(request.headers())?);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    Ok(Some(Claim { token, right: right_for(request.method(), route) }))
}

/// Lets in whom the request's token allows it.
pub(super) async fn authorize(
    state: ApiState,
    Claim { token, right }: Claim,
    answer: impl Future<Output = Response>,
) -> Response {
    match state.engine.role_of(&token).await {
        Ok(Some(role)) if role.may(right) => guarded(state, token, role, answer).await,
        Ok(Some(role)) => insufficient(role, right).into_response(),
        Ok(None) => invalid().into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// What nobody has to prove anything for.
fn is_open(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/openapi.json" | "/docs") || path.starts_with("/docs/")
}

/// What a request to a route needs.
fn right_for(method: &Method, route: &str) -> Right {
    let Some(workers) = below_version(route).and_then(|route| route.strip_prefix("/workers"))
    else {
        return Right::Operate;
    };
    match workers {
        "/{id}/drain" => Right::Administer,
        "" | "/{id}" if matches!(*method, Method::GET | Method::HEAD) => Right::Operate,
        _ => Right::Work,
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let message = "this server asks for a token; send it as `Authorization: Bearer TOKEN`";
        return Err(unauthorized("MissingToken", message, REALM.to_owned()));
    };
    let credentials = value.to_str().ok().and_then(|text| text.split_once(' '));
    match credentials {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(invalid()),
    }
}

fn unauthorized(code: &str, message: &str, challenge: String) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
        .target("Authorization")
        .header(header::WWW_AUTHENTICATE, ascii(challenge))
}

fn invalid() -> ApiError {
    let message = "the token is unknown, revoked or expired";
    let challenge = format!("{REALM}, error=\"invalid_token\", error_description=\"{message}\"");
    unauthorized("InvalidToken", message, challenge)
}

fn insufficient(role: Role, right: Right) -> ApiError {
    let needed = right.role();
    let message = format!("a token of the role `{role}` may not do this; it takes `{needed}`");
    let challenge = format!("{REALM}, error=\"insufficient_scope\", scope=\"{needed}\"");
    ApiError::new(StatusCode::FORBIDDEN, "InsufficientRole", message)
        .target("Authorization")
        .header(header::WWW_AUTHENTICATE, ascii(challenge))
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is plain ASCII")
}

/// Answers as long as the token is good.
async fn guarded(
    state: ApiState,
    hash: SecretHash,
    role: Role,
    answer: impl Future<Output = Response>,
) -> Response {
    let mut revoked = Box::pin(revoked(state, hash, role));
    let response = tokio::select! {
        response = answer => response,
        () = &mut revoked => return invalid().into_response(),
    };
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let mut chunks = body.into_data_stream();
    let chunks = stream::poll_fn(move |context| {
        if revoked.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(io::Error::other("the token was revoked"))));
        }
        chunks.poll_next_unpin(context).map_err(io::Error::other)
    });
    Response::from_parts(head, Body::from_stream(chunks))
}

/// Ends when the token is not what it was any more.
async fn revoked(state: ApiState, hash: SecretHash, role: Role) {
    loop {
        tokio::time::sleep(TOKENS_FRESH).await;
        match state.engine.role_of(&hash).await {
            Ok(now) if now != Some(role) => return,
            Ok(_) | Err(_) => {} // A database that is away revokes nothing.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_open() {
        for path in ["/livez", "/readyz", "/openapi.json", "/docs", "/docs/", "/docs/index.css"] {
            assert!(is_open(path), "{path}");
        }
        for path in ["/", "/metrics", "/docsx", "/v1.0/operations", "/openapi.json/", "//livez"] {
            assert!(!is_open(path), "{path}");
        }
    }

    #[test]
    fn what_a_route_needs() {
        let needs = |method, route| right_for(&method, route);
        assert_eq!(needs(Method::POST, "/v1.0/jobsets"), Right::Operate);
        assert_eq!(needs(Method::GET, "/metrics"), Right::Operate);
        assert_eq!(needs(Method::GET, ""), Right::Operate);
        assert_eq!(needs(Method::GET, "/v1.0/workers"), Right::Operate);
        assert_eq!(needs(Method::GET, "/beta/workers/{id}"), Right::Operate);
        assert_eq!(needs(Method::POST, "/v1.0/workers"), Right::Work);
        assert_eq!(needs(Method::POST, "/beta/workers/{id}/settle"), Right::Work);
        assert_eq!(needs(Method::GET, "/v1.0/workers/{id}/jobsets/{jobset}"), Right::Work);
        assert_eq!(needs(Method::POST, "/v1.0/workers/{id}/drain"), Right::Administer);
    }
}
