//! Operations from days past.

use sqlx::PgConnection;
use uuid::Uuid;

/// Makes an operation with all that belongs to it so many days older: its id, which tells when it was
/// made, and the time of its last change. Answers its new id.
pub(crate) async fn age(database: &mut PgConnection, id: Uuid, days: u32) -> Uuid {
    let older = format!(
        "select (left(first_id_at(created_at('{id}') - interval '{days} days')::text, 13)
                 || right('{id}', 23))::uuid"
    );
    let older: Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(older))
        .fetch_one(&mut *database)
        .await
        .expect("an id");
    let moved = format!(
        r#"
        do $$
        declare
            day date := (created_at('{older}') at time zone 'UTC')::date;
            kept record;
        begin
            call ensure_partitions(day, day);
            for kept in
                select parent, key from partitioned
                union all
                values ('live', 'operation'), ('ready', 'operation'), ('deadline', 'operation'),
                       ('resource', 'operation'), ('idempotency_key', 'operation')
            loop
                execute format('update %I set %I = $1 where %2$I = $2', kept.parent, kept.key)
                    using '{older}'::uuid, '{id}'::uuid;
            end loop;
            update operation set entered = entered - interval '{days} days' where id = '{older}';
        end $$
        "#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(moved)).execute(database).await.expect("a move");
    older
}

/// Whether a table has a partition for the day on which an operation was made.
pub(crate) async fn has_day(database: &mut PgConnection, table: &str, of: Uuid) -> bool {
    let asked = "select to_regclass($1 || to_char(created_at($2) at time zone 'UTC', '_YYYYMMDD'))
                 is not null";
    let asked = sqlx::query_scalar(asked).bind(table).bind(of);
    asked.fetch_one(database).await.expect("an answer")
}
