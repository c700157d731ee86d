//! Many operations, made by the database itself: ten days of runs of one jobset.

use sqlx::PgConnection;

use crate::Failure;

/// Operations alone, which is enough to ask about them.
const OPERATIONS: &str = r#"
    with numbered as (
        select n, (extract(epoch from now()) * 1000)::bigint - ($1 - n) * 864000000 / $1 as millis
        from generate_series(1, $1) n
    )
    insert into operation (id, jobset, state, version, entered, steps, open, labels)
    select (lpad(to_hex(millis), 12, '0') || '7000' || '8' || lpad(to_hex(n), 15, '0'))::uuid,
        (select id from jobset limit 1),
        case when n % 2000 = 0 and $2 then 0 when n % 1000 = 0 and $2 then 1 when n % 7 = 0 then 7
             else 6 end,
        3,
        to_timestamp(millis / 1000.0 + 1),
        case when n % 2000 = 0 and $2 then '\x01' when n % 1000 = 0 and $2 then '\x02'
             when n % 7 = 0 then '\x0c' else '\x0b' end::bytea,
        '',
        case when n % 10 = 0 then null
             else jsonb_build_object('build', n::text, 'branch',
                 case when n % 10 < 4 then 'main' else 'fix-' || n % 5000 end) end
    from numbered
"#;

/// The history that the operation has which was really run, for each that has none.
const HISTORY: &str = r#"
    insert into event (operation, seq, at, kind, step, attempt, action, from_state, to_state, state,
        worker, stamp)
    select o.id, e.seq, o.entered, e.kind, e.step, e.attempt, e.action, e.from_state, e.to_state,
        e.state, e.worker, e.stamp
    from operation o
    cross join (select * from event) e
    where not exists (select from event h where h.operation = o.id)
"#;

/// Stores so many operations beside the one that was run, whose jobset they get. One in a thousand
/// has not ended, or none.
pub(crate) async fn operations(
    database: &mut PgConnection,
    count: usize,
    are_some_live: bool,
) -> Result<(), Failure> {
    let days = "call ensure_partitions(current_date - 11, current_date)";
    sqlx::raw_sql(days).execute(&mut *database).await?;
    let stored = sqlx::query(OPERATIONS).bind(i64::try_from(count)?).bind(are_some_live);
    stored.execute(&mut *database).await?;
    let live = "insert into live (operation) select id from operation where state < 6";
    sqlx::raw_sql(live).execute(&mut *database).await?;
    settle(database).await
}

/// Stores a history for each of them.
pub(crate) async fn histories(database: &mut PgConnection) -> Result<(), Failure> {
    sqlx::raw_sql(HISTORY).execute(&mut *database).await?;
    settle(database).await
}

/// What the database would do after a while.
async fn settle(database: &mut PgConnection) -> Result<(), Failure> {
    sqlx::raw_sql("vacuum (analyze)").execute(&mut *database).await?;
    sqlx::raw_sql("checkpoint").execute(database).await?;
    Ok(())
}
