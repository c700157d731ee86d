//! The statement that stores a batch, composed of the parts that have something to store.
//!
//! A typical batch needs half of the parts, and an empty part is not free: the database opens its
//! tables and indexes all the same. The numbers of the parameters are those of the whole, so all
//! combinations are bound alike; each is prepared when it is first needed. There are few.
//!
//! The parts see the same snapshot and none sees another's changes, so no two may touch one row.
//!
//! Long lists are taken apart in the list of what is selected, where the database goes through them
//! in step. In `from` it copies each into a table of its own first, which takes twice the time.

use sqlx::PgConnection;

use super::batch::Batch;
use super::error::StoreError;

/// The name and the end of the statement, around its parts.
const HEAD: &str = "-- batch/apply: operations, history and queues of a set of decisions\n";
const END: &str = "\nselect true";
const ALL_VOUCHED: &str =
    ", require_leases((select count(*) from vouched), cardinality($75::bigint[]))";

impl Batch {
    /// The parts of the statement that have rows.
    fn statement(&self) -> String {
        let checked: Vec<&str> = [
            (!self.changed.id.is_empty(), "changed"),
            (!self.watched.worker.is_empty(), "watched"),
        ]
        .into_iter()
        .filter_map(|(is_needed, name)| is_needed.then_some(name))
        .collect();
        let vouches = !self.vouched.worker.is_empty();
        let has_attempts = !self.attempts.operation.is_empty();
        let parts = [
            (checked.contains(&"changed"), CHANGED),
            (vouches, VOUCHED),
            (checked.contains(&"watched"), WATCHED),
            (!self.made.id.is_empty(), MADE),
            (!self.chunks.operation.is_empty(), CHUNKED),
            (!self.events.operation.is_empty(), HAPPENED),
            (has_attempts, SETTLED),
            (has_attempts, OBEYED),
            (!self.jobsets.id.is_empty(), DEFINED),
            (!self.data.operation.is_empty(), WIDENED),
            (!self.born.is_empty(), BORN),
            (!self.ended.is_empty(), DIED),
            (!self.ready.operation.is_empty(), QUEUED),
            (!self.trimmed.is_empty(), TRIMMED),
            (!self.not_ready.is_empty(), UNQUEUED),
            (!self.timers.operation.is_empty(), TIMED),
            (!self.orders.operation.is_empty(), ORDERED),
            (!self.kept.operation.is_empty(), KEPT),
            (!self.resources.operation.is_empty(), TIED),
            (!self.resources.operation.is_empty(), SHARED),
            (!self.resources.ended.is_empty(), UNSHARED),
            (!self.keys.text.is_empty(), KEYED),
            (!self.admissions.asked.operation.is_empty(), ASKED),
            (!self.admissions.touched.is_empty(), TOUCHED),
            (!self.admissions.ended.is_empty(), LEFT),
        ];
        let parts: Vec<&str> =
            parts.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, part)| part).collect();
        compose(&parts, &checked, vouches)
    }

    /// Stores it all, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an operation has another version than expected or a worker does
    /// not stand as it is told, [`StoreError::LeaseLost`] when the word of a worker does not count or
    /// it has no lease to claim by; otherwise as for any statement.
    #[expect(clippy::too_many_lines, reason = "one line per column")]
    pub async fn apply(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let checked = self.changed.id.len() + self.watched.worker.len();
        let Self { changed, made, events, attempts, .. } = self;
        let asked = &self.admissions.asked;
        sqlx::query(sqlx::AssertSqlSafe(self.statement()))
            .bind(&changed.id)
            .bind(&changed.expected)
            .bind(&changed.state)
            .bind(&changed.stop)
            .bind(&changed.flags)
            .bind(&changed.version)
            .bind(&changed.entered)
            .bind(&changed.steps)
            .bind(&changed.open)
            .bind(&made.jobset)
            .bind(&made.labels)
            .bind(i64::try_from(checked).unwrap_or(i64::MAX))
            .bind(&self.chunks.operation)
            .bind(&self.chunks.chunk)
            .bind(&self.chunks.steps)
            .bind(&events.operation)
            .bind(&events.seq)
            .bind(&events.at)
            .bind(&events.kind)
            .bind(&events.step)
            .bind(&events.attempt)
            .bind(&events.action)
            .bind(&events.from_state)
            .bind(&events.to_state)
            .bind(&events.state)
            .bind(&events.worker)
            .bind(&attempts.operation)
            .bind(&attempts.step)
            .bind(&attempts.attempt)
            .bind(&attempts.worker)
            .bind(&attempts.started)
            .bind(&attempts.ended)
            .bind(&attempts.exit_code)
            .bind(&attempts.signal)
            .bind(&attempts.exception)
            .bind(&attempts.result)
            .bind(&attempts.usage)
            .bind(&self.jobsets.id)
            .bind(&self.jobsets.digest)
            .bind(&self.jobsets.name)
            .bind(&self.jobsets.document)
            .bind(&self.data.operation)
            .bind(&self.data.context)
            .bind(&self.data.cancellation)
            .bind(&self.ended)
            .bind(&self.ready.operation)
            .bind(&self.ready.due)
            .bind(&self.not_ready)
            .bind(&self.timers.operation)
            .bind(&self.timers.at)
            .bind(&self.orders.worker)
            .bind(&self.orders.operation)
            .bind(&self.orders.step)
            .bind(&self.orders.attempt)
            .bind(&self.orders.interrupt)
            .bind(&self.data.edits)
            .bind(&self.data.forked_from)
            .bind(&self.kept.operation)
            .bind(&self.kept.source)
            .bind(&self.kept.step)
            .bind(&changed.clock)
            .bind(&events.stamp)
            .bind(&self.resources.operation)
            .bind(&self.resources.name)
            .bind(&self.resources.ended)
            .bind(&self.orders.force)
            .bind(&self.data.stopped)
            .bind(&made.alias)
            .bind(&self.data.forked_from_alias)
            .bind(&self.keys.kind)
            .bind(&self.keys.text)
            .bind(&self.keys.digest)
            .bind(&self.keys.operation)
            .bind(&self.keys.at)
            .bind(&self.vouched.worker)
            .bind(&self.vouched.is_asked)
            .bind(&self.watched.worker)
            .bind(&self.watched.is_asked)
            .bind(&*self.served_by)
            .bind(&asked.operation)
            .bind(&asked.key)
            .bind(&asked.places)
            .bind(&asked.on_conflict)
            .bind(&asked.rate_key)
            .bind(&asked.rate)
            .bind(&asked.per)
            .bind(&asked.priority)
            .bind(&asked.cancellable)
            .bind(&self.admissions.touched)
            .bind(&self.admissions.paused)
            .bind(&self.admissions.ended)
            .bind(&self.ready.class)
            .bind(&self.ready.rank)
            .bind(&self.trimmed)
            .bind(&made.id)
            .bind(&made.state)
            .bind(&made.stop)
            .bind(&made.flags)
            .bind(&made.version)
            .bind(&made.entered)
            .bind(&made.steps)
            .bind(&made.open)
            .bind(&made.clock)
            .bind(&self.born)
            .bind(&self.chunks.moved)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Composes the parts. The rows of those in `checked` must be $12 together; `vouches`: [`VOUCHED`] is
/// one of the parts.
fn compose(parts: &[&str], checked: &[&str], vouches: bool) -> String {
    let with = if parts.is_empty() { "" } else { "with\n" };
    let count = |name: &&str| format!("(select count(*) from {name})");
    let counts: Vec<String> = checked.iter().map(count).collect();
    let check = format!(", require_rows({}, $12)", counts.join(" + "));
    let check = if checked.is_empty() { "" } else { &check };
    let vouched = if vouches { ALL_VOUCHED } else { "" };
    [HEAD, with, &parts.join(",\n"), END, check, vouched].concat()
}

const CHANGED: &str = r#"changed as (
    update operation o
    set state = u.state, stop = u.stop, flags = u.flags, version = u.version,
        entered = u.entered, steps = u.steps, open = u.open, clock = coalesce(u.clock, o.clock)
    from (
        select unnest($1::uuid[]) as id, unnest($2::int[]) as expected,
            unnest($3::smallint[]) as state, unnest($4::smallint[]) as stop,
            unnest($5::smallint[]) as flags, unnest($6::int[]) as version,
            unnest($7::timestamptz[]) as entered, unnest($8::bytea[]) as steps,
            unnest($9::bytea[]) as open, unnest($61::bytea[]) as clock
    ) u
    where o.id = u.id and o.version = u.expected
    returning 1
)"#;

/// The workers that are given attempts or whose late word counts. The lock makes who ends an
/// incarnation ([`end_incarnation`](super::Store::end_incarnation)) or takes it over for another
/// server ([`take_seat`](super::Store::take_seat)) wait until what it holds can be seen, and is in
/// nobody else's way: heartbeats go on.
const VOUCHED: &str = r#"vouched as (
    select w.id
    from unnest($75::bigint[], $76::boolean[]) as u (id, claims)
    join worker w on w.id = u.id
    where w.over is null
        and (not u.claims or w.lease_until > clock_timestamp() and w.served_by = $79)
    for key share of w
)"#;

/// The workers of which it is told that they are lost, or are back. The lock makes a heartbeat wait
/// until that is stored, so that whoever tells the opposite sees it.
const WATCHED: &str = r#"watched as (
    select w.id
    from unnest($77::bigint[], $78::boolean[]) as u (id, is_lost)
    join worker w on w.id = u.id
    where (w.lease_until <= clock_timestamp()) = u.is_lost
    for share of w
)"#;

const MADE: &str = r#"made as (
    insert into operation (id, jobset, state, stop, flags, version, entered, steps, open, labels,
        clock, alias)
    select unnest($95::uuid[]), unnest($10::uuid[]), unnest($96::smallint[]),
        unnest($97::smallint[]), unnest($98::smallint[]), unnest($99::int[]),
        unnest($100::timestamptz[]), unnest($101::bytea[]), unnest($102::bytea[]),
        unnest($11::jsonb[]), unnest($103::bytea[]), unnest($68::text[])
)"#;

const CHUNKED: &str = r#"chunked as (
    insert into step_chunk (operation, chunk, steps, moved)
    select unnest($13::uuid[]), unnest($14::int[]), unnest($15::bytea[]), unnest($105::bytea[])
    on conflict (operation, chunk) do update set steps = excluded.steps, moved = excluded.moved
)"#;

const HAPPENED: &str = r#"happened as (
    insert into event (operation, seq, at, kind, step, attempt, action, from_state, to_state,
        state, worker, stamp)
    select unnest($16::uuid[]), unnest($17::int[]), unnest($18::timestamptz[]),
        unnest($19::smallint[]), unnest($20::int[]), unnest($21::int[]), unnest($22::smallint[]),
        unnest($23::smallint[]), unnest($24::smallint[]), unnest($25::smallint[]),
        unnest($26::bigint[]), unnest($62::bytea[])
)"#;

const SETTLED: &str = r#"settled as (
    insert into attempt (operation, step, attempt, worker, started, ended, exit_code, signal,
        exception, result, usage)
    select unnest($27::uuid[]), unnest($28::int[]), unnest($29::int[]), unnest($30::bigint[]),
        unnest($31::timestamptz[]), unnest($32::timestamptz[]), unnest($33::int[]),
        unnest($34::int[]), unnest($35::jsonb[]), unnest($36::jsonb[]), unnest($37::jsonb[])
)"#;

const OBEYED: &str = r#"obeyed as (
    delete from stop_order s
    using unnest($30::bigint[], $27::uuid[], $28::int[], $29::int[])
        as u (worker, operation, step, attempt)
    where s.worker = u.worker and s.operation = u.operation and s.step = u.step
        and s.attempt = u.attempt
)"#;

const DEFINED: &str = r#"defined as (
    insert into jobset as j (id, digest, name, document)
    select * from unnest($38::uuid[], $39::bytea[], $40::text[], $41::text[]) as u (id) order by u.id
    on conflict (id) do update
    set used = excluded.used
    where j.used < excluded.used - interval '1 hour'
)"#;

const WIDENED: &str = r#"widened as (
    insert into operation_data as d (operation, context, context_version, cancellation, edits,
        forked_from, stopped, forked_from_alias)
    select operation, context, (context is not null)::int, cancellation, edits, forked_from, stopped,
        forked_from_alias
    from unnest($42::uuid[], $43::jsonb[], $44::jsonb[], $56::jsonb[], $57::uuid[], $67::jsonb[],
        $69::text[])
        as u (operation, context, cancellation, edits, forked_from, stopped, forked_from_alias)
    on conflict (operation) do update
    set context = coalesce(excluded.context, d.context),
        context_version = d.context_version + (excluded.context is not null)::int,
        cancellation = coalesce(d.cancellation || excluded.cancellation, excluded.cancellation,
            d.cancellation),
        stopped = coalesce(d.stopped || excluded.stopped, excluded.stopped, d.stopped),
        edits = case when excluded.edits is null then d.edits
                     else coalesce(d.edits, '{}') || excluded.edits end
)"#;

const BORN: &str = r#"born as (
    insert into live (operation) select unnest($104::uuid[])
)"#;

const DIED: &str = r#"died as (
    delete from live where operation = any ($45::uuid[])
)"#;

const QUEUED: &str = r#"queued as (
    insert into ready as r (operation, class, rank, due)
    select unnest($46::uuid[]), unnest($92::text[]), unnest($93::timestamptz[]),
        unnest($47::timestamptz[])
    on conflict (operation, class) do update set rank = excluded.rank, due = excluded.due
    where (r.rank, r.due) is distinct from (excluded.rank, excluded.due)
)"#;

/// Operations whose steps require more than one set of labels stand in the queue with those only
/// which are waited for now.
const TRIMMED: &str = r#"trimmed as (
    delete from ready r
    where r.operation = any ($94::uuid[])
      and not exists (
          select from unnest($46::uuid[], $92::text[]) as u (operation, class)
          where u.operation = r.operation and u.class = r.class)
)"#;

const UNQUEUED: &str = r#"unqueued as (
    delete from ready where operation = any ($48::uuid[])
)"#;

const TIMED: &str = r#"timed as (
    insert into deadline (operation, due)
    select * from unnest($49::uuid[], $50::timestamptz[])
    on conflict (operation) do update set due = excluded.due
)"#;

const ORDERED: &str = r#"ordered as (
    insert into stop_order (worker, operation, step, attempt, interrupt, force)
    select * from unnest($51::bigint[], $52::uuid[], $53::int[], $54::int[], $55::boolean[],
        $66::boolean[])
    on conflict (worker, operation, step, attempt) do update
    set interrupt = stop_order.interrupt and excluded.interrupt,
        force = stop_order.force or excluded.force
)"#;

/// An operation is tied with 1,000 others at the most for each resource, the newest ones.
const TIED: &str = r#"tied as (
    insert into tie (operation, other, seen)
    select u.operation, o.id, max(o.version)
    from unnest($63::uuid[], $64::text[]) as u (operation, name)
    cross join lateral (
        select r.operation
        from resource r
        where r.name = encode(sha256(convert_to(u.name, 'UTF8')), 'hex')
            and r.operation <> u.operation
        order by r.operation desc
        limit 1000
    ) r
    join operation o on o.id = r.operation
    group by u.operation, o.id
)"#;

const SHARED: &str = r#"shared as (
    insert into resource (operation, name)
    select operation, encode(sha256(convert_to(name, 'UTF8')), 'hex')
    from unnest($63::uuid[], $64::text[]) as u (operation, name)
    on conflict do nothing
)"#;

const UNSHARED: &str = r#"unshared as (
    delete from resource where operation = any ($65::uuid[])
)"#;

const KEPT: &str = r#"kept as (
    insert into attempt (operation, step, attempt, worker, started, ended, exit_code, signal,
        exception, result, usage)
    select u.operation, a.step, a.attempt, a.worker, a.started, a.ended, a.exit_code, a.signal,
        a.exception, a.result, a.usage
    from unnest($58::uuid[], $59::uuid[], $60::int[]) as u (operation, source, step)
    cross join lateral (
        select * from attempt a
        where a.operation = u.source and a.step = u.step
        order by a.attempt desc
        limit 1
    ) a
)"#;

const ASKED: &str = r#"asked as (
    insert into admission (operation, key, places, on_conflict, rate_key, rate, per, priority,
        cancellable)
    select * from unnest($80::uuid[], $81::text[], $82::int[], $83::smallint[], $84::text[],
        $85::int[], $86::bigint[], $87::smallint[], $88::boolean[])
)"#;

const TOUCHED: &str = r#"touched as (
    update admission a
    set paused = u.paused, is_due = true
    from unnest($89::uuid[], $90::boolean[]) as u (operation, paused)
    where a.operation = u.operation
)"#;

const LEFT: &str = r#"gone as (
    update admission set state = 3, is_due = true where operation = any ($91::uuid[])
)"#;

/// In one order, so that two batches with the same keys do not wait for each other.
const KEYED: &str = r#"keyed as (
    insert into idempotency_key (kind, key, digest, operation, at)
    select *
    from unnest($70::smallint[], $71::text[], $72::bytea[], $73::uuid[], $74::timestamptz[])
        as u (kind, key, digest, operation, at)
    order by kind, key
)"#;
