//! The only room that knows SQL: one file per table or command, rows in, domain types out.
//!
//! The layout is the packed one: a narrow row per operation with a byte per step, guarded by a
//! version, an insert-only history, and small side tables for what is live or ready. It was
//! measured at three times the throughput of a row per step. `migrations/` holds the schema with a
//! comment on every column.
//!
//! Three pools: `write` for the engine, whose statements are prepared once with a generic plan over
//! index scans (plans made while tables are empty would choose scans that are ruinous later); `read`
//! for reading by key, with generic plans too; and `ask` for questions of clients' own making, each
//! planned for what it asks and bounded in time. `pool.rs` tells what differs behind a pooler.
//!
//! Deliberately absent: an abstraction over databases. PostgreSQL is part of the design.

mod admission;
mod anew;
mod apply;
mod batch;
mod causality;
mod clock;
mod columns;
mod connect;
mod error;
mod find;
mod idempotency;
mod known;
mod lease;
mod live;
pub mod lower;
mod message;
mod migrate;
mod operation;
mod output;
mod packed;
mod pool;
mod prompt;
mod read;
mod ready;
mod record;
mod remote;
mod retention;
mod token;
mod view;
mod worker;

pub use admission::{
    AdmissionState, AdmissionView, Decided, DueAdmission, InLine, InTurn, RateChange,
};
pub use batch::Batch;
pub use causality::{Sharer, SharersAsked, Tie};
pub use connect::WriteBar;
pub use error::StoreError;
pub use find::{FindAsked, FoundPage, Keyset};
pub use idempotency::{KeyKind, KnownKey, SubmissionKey, own_id};
pub use known::Known;
pub use lease::Tenure;
pub use live::{NewEvent, NewOutput, OutputPlace};
pub use message::{
    AttemptKey, DueMessage, FROM_STEP, MessagePlace, MessageView, StepMessage, TO_STEP,
};
pub use operation::StoredRun;
pub use output::{OutputOf, OutputPiece, OutputStart, OutputView};
pub use packed::CHUNK;
pub use prompt::{NewPrompt, PromptKey, PromptPlace, PromptView, PromptsAsked, ReplyView};
pub use read::{AttemptView, ContextView, EventView, JobsetView, LastMove};
pub use ready::{Claimable, Offer};
pub use record::{
    AttemptRecord, AttemptReport, HAS_DATA, HAS_EDITS, HAS_MACHINES, HAS_RESOURCES, HAS_RESULT,
    HAS_TERMS, NewJobset, NewOperation, OperationData, PAUSED,
};
pub use remote::{HeldBy, KnownWorker, SeatTaken, WorkerView};
pub use retention::{Buried, KeptDay};
pub use token::{NewToken, SecretHash, TokenView};
pub use view::{OperationView, shown_id};
pub use worker::{Heartbeat, LostWorker, NewWorker, Order, Standing};

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, Postgres};
use sqlx::{PgConnection, Transaction};

use self::pool::{Pool, Session, Trust};

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `postgres://...`.
    pub url: String,
    /// Connections for questions of clients' own making: filters, searches, orders.
    pub ask_connections: u32,
    /// Connections for all other reading.
    pub read_connections: u32,
    /// Connections for the engine.
    pub write_connections: u32,
    /// The longest time that a client's question may take.
    pub statement_timeout: Duration,
}

impl StoreSettings {
    /// The defaults, for a database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ask_connections: 4,
            read_connections: 8,
            write_connections: 6,
            statement_timeout: Duration::from_secs(10),
        }
    }
}

fn options(settings: &StoreSettings) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(&settings.url)?.application_name("mother"))
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    ask: Pool,
    read: Pool,
    write: Pool,
    trust: Trust,
}

impl Store {
    /// Prepares to connect to a database directly; connections are made when they are needed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the URL is not one of a PostgreSQL database.
    pub fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(Self::with(settings, &options(settings)?, false))
    }

    /// Connects to a database, after a look at the way there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Refused`], [`StoreError::ReadOnly`] when it takes
    /// no writes.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let options = options(settings)?;
        let is_pooled = connect::is_pooled(&options).await?;
        if is_pooled {
            tracing::info!(
                "behind a pooler: polling instead of LISTEN, a transaction per statement"
            );
        }
        let store = Self::with(settings, &options, is_pooled);
        store.check_writable().await?;
        Ok(store)
    }

    fn with(settings: &StoreSettings, options: &PgConnectOptions, is_pooled: bool) -> Self {
        let timeout = settings.statement_timeout.as_millis().to_string();
        let jit = ("jit", "off");
        // A custom plan of a statement over partitions looks cheaper than the generic one, so it would
        // be planned anew each time, and that costs more than running it.
        let plans = ("plan_cache_mode", "force_generic_plan");
        // Nor is it made for tables as small as they were when it was made.
        let scans = ("enable_seqscan", "off");
        let timeout = ("statement_timeout", timeout.as_str());
        let trust = Trust::new();
        let pool = |session: &Session<'_>, connections, is_asked| {
            Pool::new(options, session, connections, is_pooled, is_asked, &trust)
        };
        Self {
            ask: pool(&[jit, timeout], settings.ask_connections, true),
            read: pool(&[jit, timeout, plans, scans], settings.read_connections, true),
            // The engine finds out by itself and tries again, so it saves the question each time.
            write: pool(
                &[
                    jit,
                    plans,
                    scans,
                    ("enable_hashjoin", "off"),
                    ("enable_mergejoin", "off"),
                    ("statement_timeout", "60000"),
                    // A server that was stopped in the middle of a transaction must not keep others
                    // waiting.
                    ("idle_in_transaction_session_timeout", "10000"),
                ],
                settings.write_connections,
                false,
            ),
            trust,
        }
    }

    /// A connection for the engine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none can be had.
    pub async fn writer(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        Ok(self.write.acquire().await?)
    }

    /// Begins a transaction of the engine on such a connection.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Transaction<'c, Postgres>, StoreError> {
        Ok(self.write.begin_on(connection).await?)
    }

    /// The time by the clock of the database.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.read).await?)
    }

    /// Tells other processes what happened. All commits that tell something queue up behind each
    /// other. As only those hear it who listen now, this one does not wait for the disk meanwhile.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn notify(&self, channel: &str, payloads: &[String]) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            -- store/notify
            with told as (
                select pg_notify($1, payload)
                from unnest($2::text[]) payload
            )
            select set_config('synchronous_commit', 'off', true), count(*)
            from told
            "#,
        )
        .bind(channel)
        .bind(payloads)
        .execute(&self.read)
        .await?;
        Ok(())
    }

    /// A connection that hears what other processes tell.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn listener(
        &self,
        channels: &[&str],
    ) -> Result<sqlx::postgres::PgListener, StoreError> {
        let mut listener = sqlx::postgres::PgListener::connect_with(self.read.direct()).await?;
        listener.listen_all(channels.iter().copied()).await?;
        Ok(listener)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.write.close().await;
        self.ask.close().await;
        self.read.close().await;
    }
}
