//! The lowering against the evaluator: random expressions over random rows have the same answer in
//! PostgreSQL and in memory.
//!
//! `ODATA_SQL_CASES` asks for more cases than the everyday run has.

#[path = "odata/support/mod.rs"]
mod support;

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use sutbot::odata::{ErrorKind, Expr, Limits, OrderItem, Value, eval, filter, order_by};
use sutbot::postgres::{Cluster, Settings, start};
use sutbot::store::lower::{Columns, Form, Lowering};
use sutbot::store::{Store, StoreError, StoreSettings};
use uuid::Uuid;

use support::{condition, model, now, row};

const CASES: usize = 2_500;
const ROWS: usize = 40;
const NESTING: u32 = 3;

/// One column of each type, as a table of the service would have them.
const TABLE: &str = r#"
    create table thing (
        n bigint primary key, id text, name text, status smallint not null, state text,
        percent double precision, attempts bigint, exit_code bigint, cancel boolean, paused boolean,
        created timestamptz, ended timestamptz, day date, clock time, took bigint, key uuid,
        has_error boolean, code text, message text, line bigint,
        labels jsonb, tags jsonb, steps jsonb, context jsonb
    )
"#;

const STATUSES: [&str; 5] = ["notstarted", "running", "succeeded", "failed", "canceled"];

fn columns() -> Columns {
    let codes = (0_i16..).zip(STATUSES).map(|(code, name)| (name, vec![code])).collect();
    Columns::new()
        .value("id", "o.id")
        .value("name", "o.name")
        .add("status", "o.status", Form::Codes(codes))
        .value("state", "o.state")
        .value("percentComplete", "o.percent")
        .value("attempts", "o.attempts")
        .value("exitCode", "o.exit_code")
        .value("cancelRequested", "o.cancel")
        .value("paused", "o.paused")
        .value("createdDateTime", "o.created")
        .value("endedDateTime", "o.ended")
        .value("day", "o.day")
        .value("clock", "o.clock")
        .value("took", "o.took")
        .value("key", "o.key")
        .add("error", "o.has_error", Form::Presence)
        .value("error/code", "o.code")
        .value("error/message", "o.message")
        .value("error/line", "o.line")
        .value("labels", "o.labels")
        .value("tags", "o.tags")
        .value("steps", "o.steps")
        .value("context", "o.context")
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::String(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), json(value)));
            serde_json::Value::Object(fields.collect())
        }
        other => panic!("{other:?} does not stand in JSON"),
    }
}

macro_rules! read {
    ($value:expr, $variant:ident, $ty:ty) => {{
        let value: Option<$ty> = match $value {
            Value::$variant(value) => Some(value.clone()),
            _ => None,
        };
        value
    }};
}

async fn insert(connection: &mut PgConnection, n: usize, row: &Value) {
    let at = |path: &str| row.at(path).clone();
    let text = |path: &str| read!(&at(path), String, String);
    let int = |path: &str| read!(&at(path), Int, i64);
    let micros = read!(&at("took"), Duration, chrono::TimeDelta)
        .map(|took| took.num_microseconds().expect("generated durations are small"));
    let status = STATUSES
        .iter()
        .position(|name| at("status").as_str() == Some(name))
        .expect("one of the five");
    let mut query = QueryBuilder::<Postgres>::new("insert into thing values (");
    let mut list = query.separated(", ");
    list.push_bind(i64::try_from(n).expect("a small number"))
        .push_bind(text("id"))
        .push_bind(text("name"))
        .push_bind(i16::try_from(status).expect("a small number"))
        .push_bind(text("state"))
        .push_bind(read!(&at("percentComplete"), Double, f64))
        .push_bind(int("attempts"))
        .push_bind(int("exitCode"))
        .push_bind(read!(&at("cancelRequested"), Boolean, bool))
        .push_bind(read!(&at("paused"), Boolean, bool))
        .push_bind(read!(&at("createdDateTime"), DateTimeOffset, DateTime<Utc>))
        .push_bind(read!(&at("endedDateTime"), DateTimeOffset, DateTime<Utc>))
        .push_bind(read!(&at("day"), Date, NaiveDate))
        .push_bind(read!(&at("clock"), TimeOfDay, NaiveTime))
        .push_bind(micros)
        .push_bind(read!(&at("key"), Guid, Uuid))
        .push_bind(!at("error").is_null())
        .push_bind(text("error/code"))
        .push_bind(text("error/message"))
        .push_bind(int("error/line"))
        .push_bind(json(&at("labels")))
        .push_bind(json(&at("tags")))
        .push_bind(json(&at("steps")))
        .push_bind(json(&at("context")));
    query.push(")").build().execute(connection).await.expect("a row is stored");
}

struct World {
    cluster: Cluster,
    _folder: tempfile::TempDir,
    connection: PgConnection,
    columns: Columns,
    rows: Vec<Value>,
    runner: TestRunner,
    /// Rows on which both fail.
    failed: usize,
    /// Rows on which only the evaluator fails.
    spared: usize,
}

impl World {
    async fn new() -> Self {
        let mut runner = TestRunner::new(Config::default());
        let rows = (0..ROWS).map(|_| sample(&mut runner, &row())).collect();
        Self::of(rows, runner).await
    }

    async fn of(rows: Vec<Value>, runner: TestRunner) -> Self {
        use sqlx::Connection;

        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { durable: false, ..Settings::new(folder.path()) };
        let cluster = start(&settings).await.expect("a cluster");
        let store = Store::new(&StoreSettings::new(cluster.url())).expect("a store");
        store.migrate().await.expect("a schema");
        store.close().await;
        let mut connection = PgConnection::connect(&cluster.url()).await.expect("a connection");
        sqlx::query(TABLE).execute(&mut connection).await.expect("a table");
        for (n, row) in rows.iter().enumerate() {
            insert(&mut connection, n, row).await;
        }
        Self {
            cluster,
            _folder: folder,
            connection,
            columns: columns(),
            rows,
            runner,
            failed: 0,
            spared: 0,
        }
    }

    fn random_filter(&mut self, strategy: &impl Strategy<Value = String>) -> (String, Expr) {
        let limits = Limits { nodes: 100_000, text_bytes: 1 << 20, ..Limits::default() };
        loop {
            let text = sample(&mut self.runner, strategy);
            if let Ok(expr) = filter(&text, &model(), &limits) {
                return (text, expr);
            }
        }
    }

    /// The rows among `of` that PostgreSQL keeps, or why it failed.
    async fn kept(&mut self, expr: &Expr, of: &[i64]) -> Result<Vec<i64>, (String, sqlx::Error)> {
        // The rows are set apart first: no other row may be looked at.
        let mut query = QueryBuilder::new("select o.n from (select * from thing where n = any (");
        query.push_bind(of.to_vec()).push(") offset 0) o where ");
        let mut lowering = Lowering::new(&self.columns, now());
        lowering.filter(&mut query, expr).expect("all of it has a form in SQL");
        query.push(" order by o.n");
        let answer =
            query.build_query_scalar().persistent(false).fetch_all(&mut self.connection).await;
        answer.map_err(|error| (query.sql().as_str().to_owned(), error))
    }

    async fn check_filter(&mut self, text: &str, expr: &Expr) {
        let answers: Vec<_> = self.rows.iter().map(|row| eval::matches(expr, row, now())).collect();
        let numbered = || (0_i64..).zip(&answers);
        let fine: Vec<i64> =
            numbered().filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n).collect();
        let expected: Vec<i64> =
            numbered().filter(|(_, answer)| **answer == Ok(true)).map(|(n, _)| n).collect();
        let kept = self.kept(expr, &fine).await;
        let kept = kept.unwrap_or_else(|(sql, error)| panic!("{text}\n{sql}\n{error}"));
        if kept != expected {
            let wrong: Vec<_> = fine
                .iter()
                .filter(|n| kept.contains(n) != expected.contains(n))
                .map(|n| (n, &self.rows[index(*n)]))
                .collect();
            panic!("{text}\nis {expr}\nkept {kept:?}\nexpected {expected:?}\n{wrong:#?}");
        }
        let failing: Vec<i64> =
            numbered().filter(|(_, answer)| answer.is_err()).map(|(n, _)| n).take(2).collect();
        for n in failing {
            let Err(error) = &answers[index(n)] else { continue };
            match self.kept(expr, &[n]).await {
                // It did without the operation, because a null or a constant decides the answer.
                Ok(_) => self.spared += 1,
                Err((sql, found)) => {
                    let code = found.as_database_error().and_then(sqlx::error::DatabaseError::code);
                    let code = code.unwrap_or_default().into_owned();
                    let expected = match error.kind {
                        ErrorKind::DivisionByZero => ["22012"].as_slice(),
                        _ => &["22003", "22008"],
                    };
                    assert!(expected.contains(&code.as_str()), "{text}\n{error}\n{sql}\n{found}");
                    self.failed += 1;
                }
            }
        }
    }

    async fn end(self) {
        self.cluster.stop().await.expect("a shutdown");
    }
}

fn index(n: i64) -> usize {
    usize::try_from(n).expect("rows are numbered from zero")
}

fn sample<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).expect("a value can be generated").current()
}

fn cases(everyday: usize) -> usize {
    std::env::var("ODATA_SQL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(everyday)
}

#[tokio::test]
async fn random_filters_keep_the_same_rows() {
    let mut world = World::new().await;
    let strategy = condition(NESTING);
    for _ in 0..cases(CASES) {
        let (text, expr) = world.random_filter(&strategy);
        world.check_filter(&text, &expr).await;
    }
    let (failed, spared) = (world.failed, world.spared);
    assert!(failed > 10 * spared, "{failed} rows fail in both, {spared} in memory only");

    world.end().await;
}

/// What rows are sorted by in the test: every type, nulls, expressions.
const ORDERS: [&str; 14] = [
    "name",
    "name desc",
    "status,percentComplete desc",
    "state desc,attempts",
    "percentComplete,exitCode desc",
    "paused,cancelRequested desc,endedDateTime",
    "endedDateTime desc",
    "day,clock desc",
    "took desc,key",
    "key desc,day desc",
    "error/code,labels/branch desc",
    "length(name) desc,tolower(name)",
    "name eq null,tags/$count desc,cast(context/a,Edm.Double)",
    "createdDateTime sub endedDateTime,percentComplete gt 1 desc",
];

#[tokio::test]
async fn pages_walk_through_every_order_as_in_memory() {
    const PAGE: i64 = 7;
    let mut world = World::new().await;
    for text in ORDERS {
        let order = order_by(text, &model(), &Limits::default()).unwrap_or_else(|error| {
            panic!("{text}: {error}");
        });
        let mut expected: Vec<i64> = (0..).take(ROWS).collect();
        expected.sort_by(|a, b| in_memory(&world.rows, &order, *a, *b));
        let mut walked = Vec::new();
        let mut place: Option<(Vec<Option<String>>, i64)> = None;
        loop {
            let mut query = QueryBuilder::new("select o.n, ");
            let mut lowering = Lowering::new(&world.columns, now());
            let sorting = lowering.sorting(&order);
            sorting.place(&mut query);
            query.push(" from thing o cross join lateral (select ");
            sorting.columns(&mut lowering, &mut query).expect("all of it has a form in SQL");
            query.push(") k where ");
            match &place {
                Some((keys, last)) => sorting.after(&mut query, keys, "o.n", *last),
                None => drop(query.push("true")),
            }
            query.push(" order by ");
            sorting.order_by(&mut query, "o.n");
            query.push(" limit ").push_bind(PAGE);
            let page: Vec<(i64, Vec<Option<String>>)> =
                query.build_query_as().fetch_all(&mut world.connection).await.unwrap();
            walked.extend(page.iter().map(|(n, _)| *n));
            let Some((n, keys)) = page.into_iter().last() else { break };
            place = Some((keys, n));
        }
        assert_eq!(walked, expected, "{text}");
    }
    world.end().await;
}

fn in_memory(rows: &[Value], order: &[OrderItem], a: i64, b: i64) -> Ordering {
    let row = |n: i64| &rows[index(n)];
    eval::compare(order, row(a), row(b), now()).expect("none of the keys fails").then(a.cmp(&b))
}

#[tokio::test]
async fn a_function_of_the_model_is_refused() {
    let expr =
        filter("happenedBefore('a','b')", &model(), &Limits::default()).expect("a valid filter");
    let columns = columns();
    let mut query = QueryBuilder::new("");
    let refused = Lowering::new(&columns, now()).filter(&mut query, &expr).unwrap_err();
    let is_named = matches!(&refused, StoreError::BadExpression { kind: ErrorKind::Unsupported, message, .. }
        if message.contains("happenedBefore"));
    assert!(is_named, "{refused}");
}

/// Texts that are, or nearly are, in the literal form of some type.
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "5", "+5", "-0", "007", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "00000000000000000000000005", "1.5", "-1.50e3", "+1.5E+3", "1e400", "-1e400", "1e-400", "0.1",
    "1e308", "5e-324", "5.", ".5", "1e", "e1", "0x10", " 5", "5 ", "5\n", "\n5", "٣", "1_000",
    "NaN", "Infinity", "", "-", "+", "true", "TRUE", "False", "t", "2026-02-28", "2026-02-29",
    "2024-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2026-2-1", "２０２６-01-01",
    "2026-13-01", "2026-01-00", "00:00", "23:59:59.123456789", "24:00", "12:60", "12:00:60", "1:00",
    "12:00:00.1234567890123", "12:00:00.", "12:00:00.5", "2026-01-31T12:01:03.450Z",
    "2026-01-31t12:01z", "2026-01-31T12:01:03+14:30", "2026-01-31T12:01:03 01:00",
    "2026-01-31T12:01:03-24:00", "2026-01-31T12:01:03+00:60", "0001-01-01T00:00:00+01:00",
    "0001-01-01T00:00:00-01:00", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-00:01",
    "2026-01-31T12:01", "2026-01-31T24:00Z", "2026-01-31 12:01Z", "2026-02-31T12:01Z", "PT1H",
    "pt1h", "P1D", "P", "PT", "P1DT", "-P1DT2H3M4.5S", "+PT0.0000001S", "PT1.0H", "PT1.5H",
    "PT1.0000001H", "PT1.0000000H5M", "PT1H1H", "PT1S1M", "PT5", "P106751991DT4H54.775807S",
    "-P106751991DT4H54.775807S", "P106751991DT4H54.775808S", "P106751992D", "PT9223372036854775807S",
    "P1Y", "P1M", "PT1H2M3.123456789012S", "PT1.1234567890123S",
    "01234567-89ab-cdef-0123-456789abcdef", "01234567-89AB-CDEF-0123-456789ABCDEF",
    "0123456789abcdef0123456789abcdef", "{01234567-89ab-cdef-0123-456789abcdef}",
    "01234567-89ab-cdef-0123-456789abcdeg", "ΑΣ ΑΣ", "ǅ", "ŉ", "ﬃ", "İSTANBUL", "ıi", "Straße", "ὈΔΥΣΣΕΎΣ",
    "\u{85}a\u{2003}", "\u{200b}a\u{feff}", "\u{3000}\u{b}", "𝄞𐐀",
];

/// The types that texts can be read as, and the property that is made to hold what they are.
const CASTS: [(&str, &str); 8] = [
    ("Edm.Boolean", "paused"),
    ("Edm.Int64", "exitCode"),
    ("Edm.Double", "percentComplete"),
    ("Edm.Date", "day"),
    ("Edm.TimeOfDay", "clock"),
    ("Edm.DateTimeOffset", "endedDateTime"),
    ("Edm.Duration", "took"),
    ("Edm.Guid", "key"),
];

#[tokio::test]
async fn texts_and_json_are_read_alike() {
    let read = |text: &str| {
        order_by(text, &model(), &Limits::default()).expect("a valid expression").remove(0).expr
    };
    let mut runner = TestRunner::new(Config::default());
    let mut rows = Vec::new();
    for (n, text) in TEXTS.iter().enumerate() {
        let Value::Object(mut fields) = sample(&mut runner, &row()) else { continue };
        let mut set = |name: &str, value: Value| {
            let field = fields.iter_mut().find(|(known, _)| known == name);
            field.expect("a property of the model").1 = value;
        };
        let plain = Value::Object(vec![("name".to_owned(), (*text).into())]);
        for (ty, property) in CASTS {
            let cast = read(&format!("cast(name,{ty})"));
            set(property, eval::evaluate(&cast, &plain, now()).expect("a cast never fails"));
        }
        set("name", (*text).into());
        // Every other row holds JSON numbers and the like instead of texts.
        let numbers = [
            Value::Int(5),
            Value::Double(5.5),
            Value::Double(-2e18),
            Value::Double(1e300),
            Value::Int(i64::MIN),
            true.into(),
            Value::Null,
            Value::List(vec![Value::Int(1)]),
        ];
        let content = if n % 2 == 0 { (*text).into() } else { numbers[n / 2 % 8].clone() };
        set("context", Value::Object(vec![("a".to_owned(), content)]));
        rows.push(Value::Object(fields));
    }
    let mut world = World::of(rows, runner).await;
    let mut texts = vec![
        "tolower(name) eq toupper(name)".to_owned(),
        "substring(name,1,2) eq substring(name,1) or trim(name) eq name".to_owned(),
        "length(toupper(name)) gt length(name)".to_owned(),
        "tolower(toupper(name)) eq 'ας ας' or toupper(name) eq 'STRASSE'".to_owned(),
        "endswith(name,'5') or endswith(name,'') or indexof(name,'') eq 0".to_owned(),
        "cast(percentComplete,Edm.Int64) ne null and round(percentComplete) eq percentComplete"
            .to_owned(),
        "cast(paused,Edm.String) eq tolower(name) or cast(key,Edm.String) eq tolower(name)"
            .to_owned(),
        "cast(day,Edm.String) eq name or cast(exitCode,Edm.String) eq name".to_owned(),
        "time(endedDateTime) gt clock or date(endedDateTime) le day".to_owned(),
        "(fractionalseconds(clock) eq 0.5 or hour(clock) eq 23) ne (second(clock) eq 59)"
            .to_owned(),
        "year(day) eq 1 or totalseconds(took) lt 0 or context/a eq 5 or context/a eq 5.5"
            .to_owned(),
        "context/a ne null and (context/a in (5,true_x,null))".replace("true_x", "7"),
        "context/a in ('5',null) or context/any(c:c/x eq 1) or context/a/any(c:c eq 1)".to_owned(),
    ];
    for (ty, property) in CASTS {
        texts.push(format!("cast(name,{ty}) eq {property}"));
        texts.push(format!("cast(name,{ty}) ne {property} or {property} eq null"));
        texts.push(format!("cast(context/a,{ty}) eq {property}"));
        texts.push(format!("cast(context/a,{ty}) ge {property}"));
        texts.push(format!("isof(context/a,{ty}) and isof({property},{ty})"));
        texts.push(format!("isof(name,{ty}) or context/a eq {property}"));
    }
    for text in texts {
        let expr = filter(&text, &model(), &Limits::default())
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        world.check_filter(&text, &expr).await;
    }
    world.end().await;
}
