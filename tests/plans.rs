//! Which indexes the usual questions are answered from, by the plans of the database.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use sqlx::{Connection, PgConnection};
use sutbot::odata::{Limits, filter, order_by};
use sutbot::postgres::{Cluster, Settings, start};
use sutbot::store::lower::operation_model;
use sutbot::store::{FindAsked, Keyset, Store, StoreSettings};
use uuid::Uuid;

/// 20,000 operations over the two days before noon, of which each hundredth has not ended. Three of
/// ten are of branch main, one of 500 is of branch rare, and one of ten has no labels. Noon, so that
/// no partition is so small at some time of the day that reading all of it is the better plan. The
/// labels are dealt by a hash: what is periodic looks to the planner's evenly spaced samples like one
/// label only, or like none.
const LOAD: &str = r#"
    insert into jobset (id, digest, name, document)
    values (gen_random_uuid(), sha256('x'), 'nightly', '{}');

    with numbered as (
        select n, (extract(epoch from date_trunc('day', now(), 'UTC')) * 1000)::bigint
            + 12 * 3600 * 1000 - (20000 - n) * 8640 as millis
        from generate_series(1, 20000) n
    ), made as (
        select n, to_timestamp(millis / 1000.0) as at, abs(hashtext(n::text)) % 1000 as dealt,
            (lpad(to_hex(millis), 12, '0') || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid as id,
            case when n % 200 = 0 then 0 when n % 100 = 0 then 1 when n % 7 = 0 then 7 else 6 end
                as state
        from numbered
    )
    insert into operation (id, jobset, state, version, entered, steps, open, labels)
    select id, (select id from jobset), state, 3, at, '\x0b0b', '',
        case when dealt < 100 then null
             when dealt < 102 then jsonb_build_object('branch', 'rare', 'build', n::text)
             when dealt < 400 then jsonb_build_object('branch', 'main', 'build', n::text)
             else jsonb_build_object('branch', 'dev', 'build', n::text) end
    from made;

    insert into live (operation) select id from operation where state < 6;
    analyze;
"#;

struct World {
    cluster: Cluster,
    _folder: tempfile::TempDir,
    store: Store,
    connection: PgConnection,
    /// The time after all operations.
    now: DateTime<Utc>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { durable: false, ..Settings::new(folder.path()) };
        let cluster = start(&settings).await.expect("a cluster");
        let store = Store::new(&StoreSettings::new(cluster.url())).expect("a store");
        store.migrate().await.expect("a schema");
        let mut connection = PgConnection::connect(&cluster.url()).await.expect("a connection");
        let more = "call ensure_partitions(current_date - 3, current_date)";
        sqlx::raw_sql(more).execute(&mut connection).await.expect("partitions");
        sqlx::raw_sql(LOAD).execute(&mut connection).await.expect("operations");
        let noon = "select date_trunc('day', now(), 'UTC') + interval '12 hours'";
        let now = sqlx::query_scalar(noon).fetch_one(&mut connection).await.expect("the time");
        Self { cluster, _folder: folder, store, connection, now }
    }

    fn asked(&self, condition: &str, order: &str) -> FindAsked {
        let (model, limits) = (operation_model(), Limits::default());
        let expect = "a valid question";
        FindAsked {
            filter: (!condition.is_empty())
                .then(|| filter(condition, model, &limits).expect(expect)),
            search: None,
            order: if order.is_empty() {
                Vec::new()
            } else {
                order_by(order, model, &limits).expect(expect)
            },
            after: None,
            skip: 0,
            limit: 100,
            now: self.now,
        }
    }

    /// The plans of a question; none of them reads a whole partition, unless that is empty.
    async fn plans(&self, asked: &FindAsked) -> Vec<String> {
        let plans = self.store.explain(asked).await.expect("plans");
        for plan in &plans {
            let lines: Vec<&str> = plan.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let is_whole = line.contains("Seq Scan on operation");
                let is_empty = line.contains("never executed") || line.contains("rows=0 ");
                let removed = lines[at..].iter().take(3).any(|line| line.contains("Rows Removed"));
                assert!(!is_whole || is_empty && !removed, "{line}\n{plan}");
            }
        }
        plans
    }

    /// The plans of a question that takes its order from the index over the ids.
    async fn in_order(&self, asked: &FindAsked) {
        for plan in self.plans(asked).await {
            // What is shown of a single row is not looked at.
            let plan = plan.split("SubPlan").next().unwrap_or_default();
            assert!(!plan.contains("Sort"), "{plan}");
            assert!(plan.contains("_pkey"), "{plan}");
        }
    }

    /// The operation that so many were made before.
    async fn nth(&mut self, n: i64) -> Uuid {
        let query = sqlx::query_scalar("select id from operation order by id offset $1 limit 1");
        query.bind(n).fetch_one(&mut self.connection).await.expect("an operation")
    }
}

#[tokio::test]
async fn usual_questions_are_answered_from_indexes() {
    let mut world = World::new().await;
    world.in_order(&world.asked("", "")).await;
    world.in_order(&world.asked("status eq 'running'", "")).await;
    world.in_order(&world.asked("status eq 'running'", "createdDateTime desc")).await;
    let since = (world.now - Duration::days(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let recent =
        |branch: &str| format!("labels/branch eq '{branch}' and createdDateTime gt {since}");
    world.in_order(&world.asked(&recent("main"), "createdDateTime")).await;
    world.in_order(&world.asked(&recent("main"), "createdDateTime desc")).await;

    let plan = world.plans(&world.asked(&recent("rare"), "createdDateTime")).await.concat();
    assert!(plan.contains("_labels_idx"), "{plan}");
    let build = world.asked("labels/build eq '777'", "createdDateTime desc");
    let plan = world.plans(&build).await.concat();
    assert!(plan.contains("_labels_idx"), "{plan}");

    let deep = world.nth(10_000).await;
    let after = Some(Keyset::Group(2, deep));
    world.in_order(&FindAsked { after, ..world.asked("", "") }).await;
    let after = Some(Keyset::Sorted(Vec::new(), deep));
    world.in_order(&FindAsked { after: after.clone(), ..world.asked("", "createdDateTime") }).await;
    let asked = FindAsked { after, ..world.asked("", "createdDateTime desc") };
    world.in_order(&asked).await;
    world.labels_are_indexed_in_every_partition().await;
    world.cluster.stop().await.expect("an end");
}

impl World {
    /// Also in those that are made later.
    async fn labels_are_indexed_in_every_partition(&mut self) {
        let later = "call ensure_partitions(current_date + 10, current_date + 11)";
        sqlx::raw_sql(later).execute(&mut self.connection).await.expect("partitions");
        let counts = "select
            (select count(*) from pg_inherits where inhparent = 'operation'::regclass),
            (select count(*) from pg_inherits where inhparent = 'operation_labels'::regclass)";
        let counts: (i64, i64) =
            sqlx::query_as(counts).fetch_one(&mut self.connection).await.expect("counts");
        assert!(counts.0 >= 6 && counts.0 == counts.1, "{counts:?}");
        let valid: bool = sqlx::query_scalar(
            "select bool_and(indisvalid) from pg_index where indexrelid::regclass::text like '%labels%'",
        )
        .fetch_one(&mut self.connection)
        .await
        .expect("validity");
        assert!(valid);
    }
}
