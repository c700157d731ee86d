//! The HTTP surface, by the long-running-operations guidelines (Microsoft REST API Guidelines 13,
//! Azure REST API Guidelines), on axum.
//!
//! A handler extracts, converts, calls the engine and presents. Each route is described where it is
//! written and cannot exist undescribed; the document is committed under `openapi/` and compared by a
//! test. `/beta` serves the same routes as `/v1.0`. Every answer that is not a success has one
//! envelope, whoever refused the request.

mod access;
mod batch;
mod causality;
mod collection;
mod condition;
mod document;
mod error;
mod events;
mod explain;
mod extract;
mod graph;
mod health;
mod idempotency;
mod jobsets;
mod jvvset;
mod live;
mod messages;
mod metrics;
mod middleware;
mod negotiate;
mod operations;
mod output;
mod prefer;
mod present;
mod prompts;
mod query;
mod range;
pub mod rows;
mod serve;
mod state;
mod steer;
mod steps;
mod workers;

pub use document::openapi;
pub use serve::{Listen, serve};
pub use state::{ApiSettings, ApiState};

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::Route;
use tower::layer::layer_fn;
use tower::util::{Either, option_layer};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::middleware::{Guarded, Observed};

/// Where the versions are. `/beta` is `/v1.0` under another name.
const VERSIONS: [&str; 2] = ["/v1.0", "/beta"];

/// What a route is below its version; `None` if it has none.
fn below_version(route: &str) -> Option<&str> {
    VERSIONS.iter().find_map(|version| route.strip_prefix(version))
}

/// The routes below a version.
fn versioned() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(jobsets::show))
        .routes(routes!(graph::of_jobset))
        .routes(routes!(operations::list))
        .routes(routes!(operations::count))
        .routes(routes!(operations::show, operations::cancel, steer::steer_many))
        .routes(routes!(steer::steer))
        .routes(routes!(graph::of_operation))
        .routes(routes!(steps::list))
        .routes(routes!(steps::show))
        .routes(routes!(output::output))
        .routes(routes!(explain::of_operation))
        .routes(routes!(explain::of_step))
        .routes(routes!(events::list))
        .routes(routes!(events::show))
        .routes(routes!(causality::causes))
        .routes(routes!(causality::concurrent))
        .routes(routes!(causality::picture))
        .routes(routes!(live::all::follow))
        .routes(routes!(events::context, events::patch_context))
        .routes(routes!(prompts::waiting))
        .routes(routes!(prompts::waiting_of))
        .routes(routes!(prompts::list))
        .routes(routes!(prompts::reply))
        .routes(routes!(messages::send))
        .routes(routes!(messages::list))
        .routes(routes!(jvvset::new_node))
        .routes(routes!(jvvset::fork))
        .routes(routes!(jvvset::join))
        .routes(routes!(jvvset::event))
        .routes(routes!(jvvset::peek))
        .routes(routes!(jvvset::compare))
        .routes(routes!(jvvset::happened_before))
        .routes(routes!(workers::list, workers::register))
        .routes(routes!(workers::show))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::work::poll))
        .routes(routes!(workers::work::heartbeat))
        .routes(routes!(workers::work::settle))
        .routes(routes!(workers::work::append_output))
        .routes(routes!(workers::work::data))
        .routes(routes!(workers::work::ended))
        .routes(routes!(workers::work::jobset))
        .routes(routes!(workers::work::leave))
        .routes(routes!(workers::people::append_messages))
        .routes(routes!(workers::people::ask))
        .routes(routes!(workers::people::reply_before))
        .routes(routes!(workers::people::close_prompts))
        .routes(routes!(workers::people::mail))
        .routes(routes!(workers::people::passed_on))
        .routes(routes!(jobsets::submit))
        .routes(routes!(batch::submit_batch))
}

/// The routes beside the versions.
fn plain() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Where no web page of another origin may call, none has to be told so.
type MaybeCors = Either<Cors<Guarded<Route>>, Guarded<Route>>;

/// The whole service.
pub fn router(state: ApiState) -> Router {
    let with_aliases = |router: OpenApiRouter<ApiState>| {
        router
            // The same to a client that encodes every `$`.
            .route("/operations/%24count", axum::routing::get(operations::count))
            .route(
                "/operations/{id}/{verb}",
                axum::routing::MethodRouter::new().fallback(steer::other_method),
            )
    };
    let described = VERSIONS
        .into_iter()
        .fold(plain(), |router, version| router.nest(version, with_aliases(versioned())));
    let (described, _) = described.split_for_parts();
    let observed = {
        let state = state.clone();
        layer_fn(move |inner: MaybeCors| Observed { state: state.clone(), inner })
    };
    let guarded = {
        let state = state.clone();
        layer_fn(move |inner: Route| Guarded { state: state.clone(), inner })
    };
    let origins = &state.settings.cors_origins;
    let cors = option_layer((!origins.is_empty()).then(|| cors(origins)));
    // As one layer: the router puts each in a box.
    let around = (observed, cors, guarded);
    Router::new()
        .merge(described)
        .merge(document::routes())
        .fallback(health::unknown_route)
        .method_not_allowed_fallback(health::unknown_method)
        .layer(around)
        .with_state(state)
}

/// Which web pages may call, and what they may read.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(
            [
                header::ACCEPT,
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static("prefer"),
            ]
            .into_iter()
            .chain(idempotency::HEADERS)
            .collect::<Vec<_>>(),
        )
        .expose_headers([
            operations::OPERATION_LOCATION,
            header::LOCATION,
            header::RETRY_AFTER,
            header::ETAG,
            error::ERROR_CODE,
            idempotency::RESULT,
        ])
}
