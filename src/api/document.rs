//! The OpenAPI document and the page that shows it.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use super::idempotency::is_submission;
use super::state::ApiState;
use crate::wire;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "SUT Bot",
        description = "Runs jobsets: sets of steps that test a system under test concurrently and \
            repair it when a test fails. POST a jobset, get 202 and an Operation-Location, poll it.",
        license(name = "Apache 2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(wire::ErrorEnvelope)),
    servers((url = "/")),
    // The empty one: a server on loopback asks for none.
    security((), ("bearer" = [])),
)]
struct Info;

/// The document of `/v1.0` and the routes beside it.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, mut document) = OpenApiRouter::<ApiState>::with_openapi(Info::openapi())
        .merge(super::plain())
        .nest("/v1.0", super::versioned())
        .split_for_parts();
    let scheme =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(TOKENS)).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            describe_errors(path, operation);
        }
    }
    document
}

const TOKENS: &str = "A token from `mother token create`. A server asks for one where it can be reached \
                      from other machines, or if it is told to (`--require-token`).";

/// Every error has the same envelope, so the answers are described in one place.
fn describe_errors(path: &str, operation: &mut Operation) {
    let mut errors = vec![("500", "An error of the server."), ("503", "Try again later.")];
    if matches!(path, "/livez" | "/readyz") {
        operation.security = Some(Vec::new());
    } else {
        errors.push(("401", "The server asks for a token, and this is none that it knows."));
    }
    if path.starts_with("/v1.0") {
        errors.extend([
            ("400", "The request is not valid; `details` says what is wrong and where."),
            ("403", "The token has not the role, or a web page of another origin may not do this."),
            ("404", "There is no such thing."),
            ("405", "The method is not offered here, or the operation is not cancellable."),
            ("406", "`Accept` excludes every form of the answer."),
        ]);
    }
    if operation.request_body.is_some() {
        errors.extend([
            ("409", "The operation has ended."),
            ("413", "The body is too large."),
            ("415", "The body must be JSON."),
        ]);
        if !is_submission(path) {
            errors.push(("501", "Repeatable requests are not supported here."));
        }
    }
    errors.push(("412", "The condition of the request does not hold."));
    for (status, description) in errors {
        let header = match status {
            "401" => Some(("WWW-Authenticate", "`Bearer`, and what is wrong with the token.")),
            "405" => Some(("Allow", "The methods that are offered.")),
            "503" => Some(("Retry-After", "Seconds to wait before the next try.")),
            _ => None,
        };
        let response = error_response(description, header);
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}

fn error_response(description: &str, header: Option<(&str, &str)>) -> Response {
    let text = |description| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
    };
    let envelope = Content::new(Some(Ref::from_schema_name("ErrorEnvelope")));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", envelope)
        .header("x-ms-error-code", text("The code of the error."));
    match header {
        Some((name, description)) => response.header(name, text(description)).build(),
        None => response.build(),
    }
}

/// `/openapi.json` and `/docs`.
pub(super) fn routes() -> Router<ApiState> {
    SwaggerUi::new("/docs").url("/openapi.json", openapi()).into()
}
