//! Connections, and what differs where a pooler stands between this process and the database.
//!
//! A pooler in transaction mode gives a connection of the database to whoever needs one, for a
//! transaction at a time. So a session has no settings of its own, nothing is heard by LISTEN, and a
//! statement that was prepared is not there when it is to be executed. Behind one, each statement is
//! therefore a transaction, which says at its begin what the session would have said once. `deallocate
//! all` takes away what others prepared by the same names. That works with every pooler and every
//! version of it, and costs two round trips more for each statement; a batch of the engine is one
//! statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{
    PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres,
};
use sqlx::{
    AssertSqlSafe, Connection, Describe, Either, Error, Execute, Executor, PgConnection, PgPool,
    SqlStr, Transaction,
};

/// A connection that was idle may have died with the database; one that was just used has not.
const IDLE: Duration = Duration::from_secs(1);

/// How a session behaves: names of settings of the database and their values.
pub(super) type Session<'a> = [(&'static str, &'a str)];

/// From when on connections are trusted to lead to a database that takes writes.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    origin: Instant,
    /// Milliseconds after `origin`.
    since: Arc<AtomicU64>,
}

impl Trust {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), since: Arc::default() }
    }

    /// Connections that were made until now are closed when they are to be used again.
    pub(super) fn end(&self) {
        let millis = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(millis, Ordering::Relaxed);
    }

    fn includes(&self, connection: &PoolConnectionMetadata) -> bool {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        since.is_zero() || connection.age < self.origin.elapsed().saturating_sub(since)
    }
}

/// Connections whose sessions behave alike.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pool: PgPool,
    /// How a transaction begins behind a pooler.
    opening: Option<Arc<str>>,
}

impl Pool {
    /// A pool of up to `connections`. Each is asked whether it is still alive when it was idle, if
    /// `is_asked`.
    pub(super) fn new(
        options: &PgConnectOptions,
        session: &Session<'_>,
        connections: u32,
        is_pooled: bool,
        is_asked: bool,
        trust: &Trust,
    ) -> Self {
        let options = options.clone();
        let (options, opening) = if is_pooled {
            let settings =
                session.iter().map(|(name, value)| format!("; set local {name} = {value}"));
            let opening = format!("begin; deallocate all{}", settings.collect::<String>());
            let options = options.extra_float_digits(None).statement_cache_capacity(0);
            (options, Some(opening.into()))
        } else {
            (options.options(session.iter().copied()), None)
        };
        let trust = trust.clone();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .before_acquire(move |connection, state| {
                let is_trusted = trust.includes(&state);
                Box::pin(async move {
                    let is_fresh = !is_asked || state.idle_for < IDLE;
                    Ok(is_trusted && (is_fresh || connection.ping().await.is_ok()))
                })
            })
            .connect_lazy_with(options);
        Self { pool, opening }
    }

    /// Whether a pooler stands between this process and the database.
    pub(super) const fn is_pooled(&self) -> bool {
        self.opening.is_some()
    }

    /// The connections themselves, for what needs a session.
    pub(super) const fn direct(&self) -> &PgPool {
        &self.pool
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        match &self.opening {
            None => self.pool.begin().await,
            Some(opening) => self.pool.begin_with(AssertSqlSafe(opening.to_string())).await,
        }
    }

    /// Begins a transaction on a connection of this pool.
    pub(super) async fn begin_on<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Transaction<'c, Postgres>, Error> {
        match &self.opening {
            None => connection.begin().await,
            Some(opening) => connection.begin_with(AssertSqlSafe(opening.to_string())).await,
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

type Step = Either<PgQueryResult, PgRow>;

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled() {
            return self.pool.fetch_many(query);
        }
        let pool = self.clone();
        let steps = async move {
            let mut transaction = pool.begin().await?;
            let steps: Vec<Step> = transaction.fetch_many(query).try_collect().await?;
            transaction.commit().await?;
            Ok::<_, Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(steps).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.is_pooled() {
            return self.pool.fetch_optional(query);
        }
        let rows = self.fetch_all(query);
        Box::pin(async move { Ok(rows.await?.into_iter().next()) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}
