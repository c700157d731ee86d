//! Every answer that is not a success: one envelope, its code also in a header.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::Problem;
use crate::engine::EngineError;
use crate::wire::{Detail, ErrorBody, ErrorEnvelope, RefusedStep};

/// The header that repeats the code (Azure REST API Guidelines).
pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// How long a client should wait before it tries again what the server could not do now.
const RETRY_SECONDS: u32 = 1;

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    headers: HeaderMap,
}

impl ApiError {
    /// An error with a code for programs and a sentence for people.
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            target: None,
            details: Vec::new(),
        };
        Self { status, body: Box::new(body), headers: HeaderMap::new() }
    }

    pub(super) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Whether the request itself is at fault.
    pub(super) fn is_of_client(&self) -> bool {
        self.status.is_client_error()
    }

    /// The part of the request that it is about.
    pub(super) fn target(mut self, target: impl Into<String>) -> Self {
        self.body.target = Some(target.into());
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// A jobset with these problems.
    pub(super) fn invalid_jobset(problems: &[Problem]) -> Self {
        let message = match problems {
            [one] => format!("the jobset is not valid: {}", one.message),
            many => format!("the jobset is not valid: {} problems, see `details`", many.len()),
        };
        let error = Self::bad_request("InvalidJobset", message);
        error.details(problems)
    }

    /// Each thing that is wrong, with its place.
    pub(super) fn details(mut self, problems: &[Problem]) -> Self {
        self.body.target = problems.first().map(|problem| problem.path.clone());
        let detail = |problem: &Problem| Detail {
            code: "InvalidValue".to_owned(),
            message: problem.message.clone(),
            target: Some(problem.path.clone()),
        };
        self.body.details = problems.iter().map(detail).collect();
        self
    }

    /// None of the steps that were named could be moved.
    pub(super) fn not_allowed(refused: &[RefusedStep]) -> Self {
        let message = match refused {
            [one] => one.message.clone(),
            many => format!("none of the {} steps could be moved, see `details`", many.len()),
        };
        let mut error = Self::new(StatusCode::CONFLICT, "TransitionNotAllowed", message);
        error.body.target = refused.first().map(|step| step.name.clone());
        error.body.details = refused
            .iter()
            .map(|step| Detail {
                code: "TransitionNotAllowed".to_owned(),
                message: step.message.clone(),
                target: Some(step.name.clone()),
            })
            .collect();
        error
    }

    /// The same as an entry in an answer that is about many things.
    pub(super) fn into_detail(self) -> Detail {
        Detail { code: self.body.code, message: self.body.message, target: self.body.target }
    }

    /// The body alone, for an answer that has begun already.
    pub(super) fn into_envelope(self) -> ErrorEnvelope {
        ErrorEnvelope { error: *self.body }
    }

    fn unavailable(code: &str, message: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
            .header(header::RETRY_AFTER, HeaderValue::from(RETRY_SECONDS))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Unavailable => Self::unavailable("DatabaseUnavailable", message),
            EngineError::ReadOnly(_) => Self::unavailable("DatabaseReadOnly", message),
            EngineError::Overloaded => Self::unavailable("Overloaded", message),
            EngineError::ShuttingDown => Self::unavailable("ShuttingDown", message),
            EngineError::NotFound | EngineError::Forgotten(_) => Self::not_found(message),
            EngineError::Tombstone => Self::new(StatusCode::GONE, "OperationTombstone", message),
            EngineError::NoAttempt { .. } => Self::not_found(message).target("attempt"),
            EngineError::Unstamped { .. } => Self::new(StatusCode::CONFLICT, "NoStamps", message),
            EngineError::VersionMismatch(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message)
                    .target("If-Match")
            }
            EngineError::NotCancellable => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "NotCancellable", message)
                    .header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
            }
            EngineError::KeyTaken(kind) => super::idempotency::taken(kind, message),
            EngineError::IdsTaken(_) => {
                Self::new(StatusCode::CONFLICT, "OperationIdTaken", message)
            }
            EngineError::Ended => Self::new(StatusCode::CONFLICT, "OperationEnded", message),
            EngineError::Stale(_) => Self::new(StatusCode::CONFLICT, "StaleAttempt", message),
            EngineError::NoWorker => Self::not_found(message).target("id"),
            EngineError::LeaseLost => Self::new(StatusCode::GONE, "LeaseLost", message),
            EngineError::NotTheWorker => {
                Self::new(StatusCode::FORBIDDEN, "NotTheWorker", message).target("Worker-Secret")
            }
            EngineError::Invalid(problems) => Self::invalid_jobset(&problems),
            EngineError::BadExpression { kind, .. } => Self::bad_request(kind.code(), message),
            EngineError::BadJobset { .. } | EngineError::Store(_) | EngineError::Refused(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "api.request.failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalError",
                    "an error of the server; its log says more under this request's id",
                )
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = HeaderValue::from_str(&self.body.code);
        let envelope = Json(ErrorEnvelope { error: *self.body });
        let mut response = (self.status, self.headers, envelope).into_response();
        if let Ok(code) = code {
            response.headers_mut().insert(ERROR_CODE, code);
        }
        response
    }
}
