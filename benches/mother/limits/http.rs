//! The barest routes: a row by group commit, a row by its key, a constant.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{new_id, store};
use crate::Failure;
use crate::child;

/// Rows per batch, as in the engine.
const BATCH_MAX: usize = 500;
/// Connections for reading, as in the store.
const READERS: u32 = 8;

type Row = (Uuid, String, oneshot::Sender<()>);

#[derive(Clone, Debug)]
struct Shared {
    rows: mpsc::Sender<Row>,
    pool: PgPool,
    constant: String,
}

/// Plays the role.
pub(crate) async fn serve(url: String) -> Result<(), Failure> {
    let (rows, inbox) = mpsc::channel(10_000);
    let pool = PgPoolOptions::new().max_connections(READERS).connect(&url).await?;
    tokio::spawn(commit(PgConnection::connect(&url).await?, inbox));
    // As long as an operation's representation.
    let constant = format!(r#"{{"value":"{}"}}"#, "x".repeat(600));
    let router = Router::new()
        .route("/row", post(add))
        .route("/row/{id}", get(by_key))
        .route("/none", get(nothing))
        .with_state(Shared { rows, pool, constant });
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    child::tell(&listener.local_addr()?)?;
    Ok(axum::serve(listener, router).with_graceful_shutdown(child::told_to_end()).await?)
}

/// Group commit: one batch in flight, the next one gathers meanwhile.
async fn commit(mut connection: PgConnection, mut inbox: mpsc::Receiver<Row>) {
    let mut rows = Vec::with_capacity(BATCH_MAX);
    while inbox.recv_many(&mut rows, BATCH_MAX).await > 0 {
        let (mut ids, mut bodies, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (id, body, tell) in rows.drain(..) {
            ids.push(id);
            bodies.push(body);
            told.push(tell);
        }
        if store(&mut connection, &ids, &bodies).await.is_ok() {
            for tell in told {
                let _gone = tell.send(());
            }
        }
    }
}

async fn add(State(shared): State<Shared>, body: String) -> impl IntoResponse {
    let id = new_id();
    let (tell, told) = oneshot::channel();
    let sent = shared.rows.send((id, body, tell)).await.is_ok();
    if sent && told.await.is_ok() {
        (StatusCode::ACCEPTED, [(header::LOCATION, format!("/row/{id}"))], shared.constant)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::LOCATION, String::new())], String::new())
    }
}

async fn by_key(State(shared): State<Shared>, Path(id): Path<Uuid>) -> impl IntoResponse {
    let row: Result<(Uuid, Vec<u8>), _> =
        sqlx::query_as("select id, steps from operation where id = $1")
            .bind(id)
            .fetch_one(&shared.pool)
            .await;
    match row {
        Ok(_) => (StatusCode::OK, shared.constant),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn nothing(State(shared): State<Shared>) -> String {
    shared.constant
}
