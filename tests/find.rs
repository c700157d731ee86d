//! Questions about operations, on the schema of the service.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::odata::{ErrorKind, Limits, filter, order_by, search};
use sutbot::postgres::{Cluster, Settings, start};
use sutbot::store::lower::operation_model;
use sutbot::store::{FindAsked, Keyset, Store, StoreError, StoreSettings};
use uuid::Uuid;

/// An operation as the tests need it. Its number is its place in [`operations`], and its second.
struct Stored {
    state: i16,
    stop: Option<i16>,
    name: &'static str,
    labels: Value,
    steps: Vec<u8>,
    exception: Option<&'static str>,
    data: Option<(Value, Value)>,
}

const fn stored(state: i16, name: &'static str, labels: Value, steps: Vec<u8>) -> Stored {
    Stored { state, stop: None, name, labels, steps, exception: None, data: None }
}

fn operations() -> Vec<Stored> {
    let main = || json!({"branch": "main"});
    vec![
        stored(6, "nightly", main(), vec![11, 11, 8]),
        stored(0, "nightly", json!({"branch": "Fix-%_1", "Grüße": "ÄÖÜ"}), vec![1, 1]),
        stored(1, "weekly", main(), vec![11, 2, 1, 5]),
        Stored {
            exception: Some("timeout while waiting"),
            ..stored(7, "nightly", main(), vec![11, 12, 10])
        },
        Stored { stop: Some(1), ..stored(8, "O'Neil", Value::Null, vec![14, 13]) },
        Stored {
            stop: Some(0),
            data: Some((json!({"seed": 5, "n": {"x": "y"}}), json!({"reason": "no need"}))),
            ..stored(9, "weekly", json!({}), vec![11, 14])
        },
        stored(2, "big", main(), [vec![11; 290], vec![3; 10]].concat()),
        stored(11, "gone", main(), vec![11]),
        stored(3, "weekly", json!({"branch": "dev"}), vec![2]),
    ]
}

struct World {
    cluster: Cluster,
    _folder: tempfile::TempDir,
    store: Store,
    ids: Vec<Uuid>,
    base: DateTime<Utc>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { durable: false, ..Settings::new(folder.path()) };
        let cluster = start(&settings).await.expect("a cluster");
        let store = Store::new(&StoreSettings::new(cluster.url())).expect("a store");
        store.migrate().await.expect("a schema");
        let mut connection = PgConnection::connect(&cluster.url()).await.expect("a connection");
        let base = store
            .now()
            .await
            .expect("the time")
            .date_naive()
            .and_hms_opt(12, 0, 0)
            .expect("noon")
            .and_utc();
        let mut ids = Vec::new();
        for (n, operation) in (0_i64..).zip(operations()) {
            let millis =
                u128::try_from(base.timestamp_millis() + n * 1_000 + 123).expect("after 1970");
            let id = Uuid::from_u128(
                millis << 80 | 7 << 76 | 2 << 62 | u128::try_from(n).expect("from zero on") << 40,
            );
            insert(&mut connection, id, &operation).await;
            ids.push(id);
        }
        Self { cluster, _folder: folder, store, ids, base }
    }

    fn asked(&self, filter_text: &str, order: &str) -> FindAsked {
        let (model, limits) = (operation_model(), Limits::default());
        let read = |text: &str| {
            filter(text, model, &limits).unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        FindAsked {
            filter: (!filter_text.is_empty()).then(|| read(filter_text)),
            search: None,
            order: if order.is_empty() {
                Vec::new()
            } else {
                order_by(order, model, &limits).expect("a valid order")
            },
            after: None,
            skip: 0,
            limit: 100,
            now: self.base,
        }
    }

    /// The numbers of what is found, page by page.
    async fn walk(&self, mut asked: FindAsked, page: usize) -> Vec<usize> {
        asked.limit = page;
        let mut numbers = Vec::new();
        loop {
            let found = self.store.find(&asked).await.unwrap_or_else(|error| {
                panic!("{:?}: {error:?}", asked.filter.as_ref().map(ToString::to_string))
            });
            let number =
                |id| self.ids.iter().position(|known| *known == id).expect("one of those stored");
            numbers.extend(found.operations.iter().map(|view| number(view.id)));
            asked.skip = 0;
            let Some(next) = found.next else { return numbers };
            let token = serde_json::to_string(&next).expect("a token");
            asked.after = Some(serde_json::from_str(&token).expect("a place"));
        }
    }

    async fn check(&self, text: &str, expected: &[usize]) {
        for page in [100, 1] {
            let asked = self.asked(text, "");
            assert_eq!(self.walk(asked, page).await, expected, "{text}");
        }
        let count = self.store.count_where(&self.asked(text, "")).await.expect("a count");
        assert_eq!(usize::try_from(count), Ok(expected.len()), "{text}");
        let mut sorted = expected.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let asked = self.asked(text, "createdDateTime desc");
        assert_eq!(self.walk(asked, 2).await, sorted, "{text}, latest first");
    }

    async fn end(self) {
        self.store.close().await;
        self.cluster.stop().await.expect("a shutdown");
    }
}

async fn insert(connection: &mut PgConnection, id: Uuid, operation: &Stored) {
    let mut jobset = [0; 16];
    jobset[..operation.name.len()].copy_from_slice(operation.name.as_bytes());
    let jobset = Uuid::from_bytes(jobset);
    let chunked = operation.steps.len() > sutbot::store::CHUNK;
    sqlx::query(
        "insert into jobset (id, digest, name, document) values ($1, $2, $3, '{}')
         on conflict do nothing",
    )
    .bind(jobset)
    .bind([0_u8; 32])
    .bind(operation.name)
    .execute(&mut *connection)
    .await
    .expect("a row is stored");
    sqlx::query(
        "insert into operation (id, jobset, state, stop, flags, version, entered, steps, open, labels)
         values ($1, $2, $3, $4, $5, 1, created_at($1) + interval '5.0015 seconds', $6, '', $7)",
    )
    .bind(id)
    .bind(jobset)
    .bind(operation.state)
    .bind(operation.stop)
    .bind(i16::from(operation.data.is_some()))
    .bind(if chunked { &[] } else { operation.steps.as_slice() })
    .bind((!operation.labels.is_null()).then(|| operation.labels.clone()))
    .execute(&mut *connection)
    .await
    .expect("a row is stored");
    for (n, chunk) in (0_i32..).zip(operation.steps.chunks(256)).filter(|_| chunked) {
        sqlx::query("insert into step_chunk (operation, chunk, steps) values ($1, $2, $3)")
            .bind(id)
            .bind(n)
            .bind(chunk)
            .execute(&mut *connection)
            .await
            .expect("a row is stored");
    }
    if operation.state < 6 {
        let query = sqlx::query("insert into live (operation) values ($1)").bind(id);
        query.execute(&mut *connection).await.expect("a row is stored");
    }
    if let Some(message) = operation.exception {
        sqlx::query(
            "insert into attempt (operation, step, attempt, worker, started, ended, exception)
             values ($1, 1, 1, 1, now(), now(), $2), ($1, 0, 1, 1, now(), now(), $3)",
        )
        .bind(id)
        .bind(json!({"type": "Timeout", "message": message}))
        .bind(json!({"type": "Odd", "message": "of a step that succeeded"}))
        .execute(&mut *connection)
        .await
        .expect("a row is stored");
    }
    if let Some((context, cancellation)) = &operation.data {
        sqlx::query("insert into operation_data values ($1, $2, 1, $3)")
            .bind(id)
            .bind(context)
            .bind(cancellation)
            .execute(connection)
            .await
            .expect("a row is stored");
    }
}

#[tokio::test]
async fn filters_find_operations() {
    let world = World::new().await;
    let all = [1, 2, 6, 8, 0, 3, 4, 5];
    for (text, expected) in [
        ("true", all.as_slice()),
        ("", &all),
        ("status eq 'running'", &[2, 6, 8]),
        ("status eq 'RUNNING' and state ne 'zombie'", &[2, 8]),
        ("status in ('notstarted','failed')", &[1, 3, 4]),
        ("not (status in ('notstarted','failed'))", &[2, 6, 8, 0, 5]),
        ("state eq 'Timeout' or state eq 'Cancelled'", &[4, 5]),
        ("state eq 'Tombstone'", &[7]),
        ("state eq 'Tombstone' or status eq 'failed'", &[3, 4, 7]),
        ("status eq null", &[]),
        ("status ne null and status eq 'failed'", &[3, 4]),
        ("status eq 'running' and status eq 'failed'", &[]),
        ("labels/branch eq 'main'", &[2, 6, 0, 3]),
        ("labels/branch eq 'MAIN'", &[]),
        ("tolower(labels/branch) eq 'fix-%_1'", &[1]),
        ("contains(labels/branch,'%')", &[1]),
        ("labels/branch ne 'main'", &[1, 8, 4, 5]),
        ("labels/branch eq null", &[4, 5]),
        ("labels/any(l:l/key eq 'Grüße' and tolower(l/value) eq 'äöü')", &[1]),
        ("labels/$count eq 0", &[4, 5]),
        ("name eq 'O''Neil'", &[4]),
        ("startswith(name,'night') and status eq 'failed'", &[3]),
        ("name in ('big','weekly') and status eq 'running'", &[2, 6, 8]),
        ("category eq 'jobsets' and not paused", &all),
    ] {
        world.check(text, expected).await;
    }
    world.end().await;
}

#[tokio::test]
async fn filters_see_what_is_not_a_column() {
    let world = World::new().await;
    let all = [1, 2, 6, 8, 0, 3, 4, 5];
    let at = |seconds: i64, millis: i64| {
        let time = world.base + chrono::TimeDelta::milliseconds(seconds * 1_000 + millis);
        time.to_rfc3339_opts(SecondsFormat::Millis, true)
    };
    let id = world.ids[3];
    for (text, expected) in [
        ("error eq null", [1, 2, 6, 8, 0, 5].as_slice()),
        ("error/code eq 'OperationTimeout'", &[4]),
        ("error/code eq 'StepFailed' and contains(error/message,'timeout')", &[3]),
        ("contains(error/message,'succeeded')", &[]),
        ("cancellation/reason eq 'no need'", &[5]),
        ("context/seed eq 5 and context/n/x eq 'y'", &[5]),
        ("stepCounts/Succeeded gt 200", &[6]),
        ("stepCounts/Unresponsive eq 10", &[6]),
        ("stepCounts/Succeeded eq 2 and stepCounts/Ready eq 0", &[0]),
        ("percentComplete eq 100", &[0]),
        ("percentComplete eq 25.0 or percentComplete eq 96", &[2, 6]),
        ("attention", &[2]),
        (&format!("createdDateTime gt {} and createdDateTime lt {}", at(2, 123), at(4, 123)), &[3]),
        (
            &format!("createdDateTime ge {} and createdDateTime le {}", at(2, 123), at(4, 122)),
            &[2, 3],
        ),
        (&format!("{} eq createdDateTime", at(3, 123)), &[3]),
        (&format!("createdDateTime ne {}", at(3, 123)), &[1, 2, 6, 8, 0, 4, 5]),
        (&format!("createdDateTime eq {}", at(3, 122)), &[]),
        (
            "createdDateTime gt now() add duration'PT5S' and createdDateTime lt 9999-12-31",
            &[6, 8, 5],
        ),
        ("createdDateTime gt 1900-01-01 and createdDateTime ge mindatetime()", &all),
        (&format!("lastActionDateTime eq {}", at(8, 124)), &[3]),
        ("lastActionDateTime sub createdDateTime eq duration'PT5.001S'", &all),
        (&format!("id eq '{id}'"), &[3]),
        (&format!("id eq '{}'", id.to_string().to_uppercase()), &[]),
        ("id eq 'nothing'", &[]),
        (&format!("id in ('{id}','x')"), &[3]),
        ("stepCounts/Failed ne 0 and 10 div stepCounts/Failed eq 10", &[3]),
        ("error/message ne null and 10 div (length(labels/branch) sub 3) eq 10", &[3]),
        ("category eq 'x' and 10 div (length(category) sub 7) eq 10", &[]),
        ("matchesPattern(name,'^[a-o]ig$')", &[6]),
        ("name eq '''; drop table operation; --'", &[]),
    ] {
        world.check(text, expected).await;
    }
    world.end().await;
}

#[tokio::test]
async fn search_order_and_places() {
    let world = World::new().await;
    for (text, expected) in [
        ("NIGHTLY", [1, 0, 3].as_slice()),
        ("nightly NOT main", &[1]),
        ("äöü OR \"timeout while\"", &[1, 3]),
        ("grüße", &[1]),
        ("%", &[1]),
        ("weekly AND (dev OR main)", &[2, 8]),
    ] {
        let found = search(text, &Limits::default()).unwrap();
        let asked = FindAsked { search: Some(found), ..world.asked("", "") };
        assert_eq!(world.walk(asked.clone(), 1).await, expected, "{text}");
        let count = world.store.count_where(&asked).await.unwrap();
        assert_eq!(usize::try_from(count), Ok(expected.len()), "{text}");
    }
    for (order, expected) in [
        ("id desc", [8, 6, 5, 4, 3, 2, 1, 0]),
        ("name,createdDateTime desc", [4, 6, 3, 1, 0, 8, 5, 2]),
        ("error/code desc", [3, 4, 0, 1, 2, 5, 6, 8]),
        ("labels/branch", [4, 5, 1, 8, 0, 2, 3, 6]),
        ("status desc,percentComplete", [5, 3, 4, 0, 8, 2, 6, 1]),
        ("state,name desc,id", [1, 2, 6, 8, 0, 3, 4, 5]),
    ] {
        for page in [1, 3, 100] {
            assert_eq!(world.walk(world.asked("", order), page).await, expected, "{order}");
        }
    }
    for skip in 0..10 {
        let asked = FindAsked { skip, ..world.asked("name ne 'big'", "") };
        let rest = [1, 2, 8, 0, 3, 4, 5];
        let passed = usize::try_from(skip).unwrap().min(rest.len());
        assert_eq!(world.walk(asked, 2).await, rest[passed..], "skip {skip}");
    }
    world.end().await;
}

#[tokio::test]
async fn questions_without_an_answer_are_told() {
    let world = World::new().await;
    let place = |keys: &[&str]| {
        let keys = keys.iter().map(|key| Some((*key).to_owned())).collect();
        Some(Keyset::Sorted(keys, Uuid::nil()))
    };
    for (text, order, after, kind) in [
        ("10 div stepCounts/Failed eq 10", "", None, ErrorKind::DivisionByZero),
        ("stepCounts/Succeeded add 9223372036854775807 gt 1", "", None, ErrorKind::OutOfRange),
        ("createdDateTime add duration'P9999999D' gt now()", "id", None, ErrorKind::OutOfRange),
        ("1 div (1 sub 1) eq percentComplete", "", None, ErrorKind::DivisionByZero),
        ("resourceLocation eq 'x'", "", None, ErrorKind::Unsupported),
        ("result/unit eq 'x'", "", None, ErrorKind::Unsupported),
        ("", "name", place(&[]), ErrorKind::Argument),
        ("", "", place(&[]), ErrorKind::Argument),
        ("", "percentComplete", place(&["'; drop table operation"]), ErrorKind::Argument),
    ] {
        let asked = FindAsked { after, ..world.asked(text, order) };
        let found = world.store.find(&asked).await;
        let is_told =
            matches!(&found, Err(StoreError::BadExpression { kind: told, .. }) if *told == kind);
        assert!(is_told, "{text} {order}: {found:?}");
    }
    let long = vec!["name eq 'big'"; 200].join(" or ");
    world.check(&long, &[6]).await;
    let deep = format!("{}attention{}", "(not (".repeat(24), "))".repeat(24));
    world.check(&deep, &[2]).await;
    let names: Vec<String> = (0..1_000).map(|n| format!("'{n}'")).collect();
    world.check(&format!("name in ({},'big')", names[1..].join(",")), &[6]).await;
    let nested = format!("{}name{} eq 'big'", "trim(".repeat(90), ")".repeat(90));
    world.check(&nested, &[6]).await;
    world.check("false and 1 div (1 sub 1) eq percentComplete", &[]).await;
    world.end().await;
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_ended() {
    let world = World::new().await;
    let settings = StoreSettings {
        statement_timeout: std::time::Duration::from_millis(1),
        ..StoreSettings::new(world.cluster.url())
    };
    let hurried = Store::new(&settings).unwrap();
    let terms: Vec<String> = (0..90)
        .map(|n| format!("matchesPattern(concat(name,'{n}'),'(x+x+)+y|[^a]{{20}}')"))
        .take(9)
        .collect();
    let mut asked = world.asked(&terms.join(" or "), "name");
    asked.search = Some(search("nothing", &Limits::default()).unwrap());
    let mut found = hurried.find(&asked).await;
    for _ in 0..50 {
        if found.is_err() {
            break;
        }
        found = hurried.find(&asked).await;
    }
    assert!(
        matches!(&found, Err(StoreError::BadExpression { kind: ErrorKind::Limit, .. })),
        "{found:?}"
    );
    hurried.close().await;
    world.end().await;
}
