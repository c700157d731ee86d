//! The statement that stores a batch, composed of the parts that have something to store.
//!
//! A typical batch needs half of the parts, and an empty part is not free: the database opens its
//! tables and indexes all the same. The numbers of the parameters are those of the whole, so all
//! combinations are bound alike; each is prepared when it is first needed. There are few.
//!
//! The parts see the same snapshot and none sees another's changes, so no two may touch one row.

/// The name and the end of the statement, around its parts.
const HEAD: &str = "-- batch/apply: operations, history and queues of a set of decisions\n";
const END: &str = "\nselect true";
const ALL_VOUCHED: &str =
    ", require_leases((select count(*) from vouched), cardinality($75::bigint[]))";

/// Composes the parts. The rows of those in `checked` must be $12 together; `vouches`: [`VOUCHED`] is
/// one of the parts.
pub(super) fn compose(parts: &[&str], checked: &[&str], vouches: bool) -> String {
    let with = if parts.is_empty() { "" } else { "with\n" };
    let count = |name: &&str| format!("(select count(*) from {name})");
    let counts: Vec<String> = checked.iter().map(count).collect();
    let check = format!(", require_rows({}, $12)", counts.join(" + "));
    let check = if checked.is_empty() { "" } else { &check };
    let vouched = if vouches { ALL_VOUCHED } else { "" };
    [HEAD, with, &parts.join(",\n"), END, check, vouched].concat()
}

pub(super) const OPERATIONS: &str = r#"op as (
    select * from unnest($1::uuid[], $2::int[], $3::smallint[], $4::smallint[], $5::smallint[],
        $6::int[], $7::timestamptz[], $8::bytea[], $9::bytea[], $10::uuid[], $11::jsonb[], $61::bytea[],
        $68::text[])
        as u (id, expected, state, stop, flags, version, entered, steps, open, jobset, labels, clock,
            alias)
)"#;

pub(super) const CHANGED: &str = r#"changed as (
    update operation o
    set state = u.state, stop = u.stop, flags = u.flags, version = u.version,
        entered = u.entered, steps = u.steps, open = u.open, clock = coalesce(u.clock, o.clock)
    from op u
    where o.id = u.id and o.version = u.expected and u.expected > 0
    returning 1
)"#;

/// The workers that are given attempts or whose late word counts. The lock makes who ends an
/// incarnation ([`end_incarnation`](super::Store::end_incarnation)) or takes it over for another
/// server ([`take_seat`](super::Store::take_seat)) wait until what it holds can be seen, and is in
/// nobody else's way: heartbeats go on.
pub(super) const VOUCHED: &str = r#"vouched as (
    select w.id
    from unnest($75::bigint[], $76::boolean[]) as u (id, claims)
    join worker w on w.id = u.id
    where w.over is null
        and (not u.claims or w.lease_until > clock_timestamp() and w.served_by = $79)
    for key share of w
)"#;

/// The workers of which it is told that they are lost, or are back. The lock makes a heartbeat wait
/// until that is stored, so that whoever tells the opposite sees it.
pub(super) const WATCHED: &str = r#"watched as (
    select w.id
    from unnest($77::bigint[], $78::boolean[]) as u (id, is_lost)
    join worker w on w.id = u.id
    where (w.lease_until <= clock_timestamp()) = u.is_lost
    for share of w
)"#;

pub(super) const MADE: &str = r#"made as (
    insert into operation (id, jobset, state, stop, flags, version, entered, steps, open, labels,
        clock, alias)
    select id, jobset, state, stop, flags, version, entered, steps, open, labels, clock, alias
    from op where expected = 0
)"#;

pub(super) const CHUNKED: &str = r#"chunked as (
    insert into step_chunk (operation, chunk, steps)
    select * from unnest($13::uuid[], $14::int[], $15::bytea[])
    on conflict (operation, chunk) do update set steps = excluded.steps
)"#;

pub(super) const HAPPENED: &str = r#"happened as (
    insert into event (operation, seq, at, kind, step, attempt, action, from_state, to_state,
        state, worker, stamp)
    select * from unnest($16::uuid[], $17::int[], $18::timestamptz[], $19::smallint[], $20::int[],
        $21::int[], $22::smallint[], $23::smallint[], $24::smallint[], $25::smallint[],
        $26::bigint[], $62::bytea[])
)"#;

pub(super) const SETTLED: &str = r#"settled as (
    insert into attempt (operation, step, attempt, worker, started, ended, exit_code, signal,
        exception, result, usage)
    select * from unnest($27::uuid[], $28::int[], $29::int[], $30::bigint[], $31::timestamptz[],
        $32::timestamptz[], $33::int[], $34::int[], $35::jsonb[], $36::jsonb[], $37::jsonb[])
)"#;

pub(super) const OBEYED: &str = r#"obeyed as (
    delete from stop_order s
    using unnest($30::bigint[], $27::uuid[], $28::int[], $29::int[])
        as u (worker, operation, step, attempt)
    where s.worker = u.worker and s.operation = u.operation and s.step = u.step
        and s.attempt = u.attempt
)"#;

pub(super) const DEFINED: &str = r#"defined as (
    insert into jobset as j (id, digest, name, document)
    select * from unnest($38::uuid[], $39::bytea[], $40::text[], $41::text[]) as u (id) order by u.id
    on conflict (id) do update
    set used = excluded.used
    where j.used < excluded.used - interval '1 hour'
)"#;

pub(super) const WIDENED: &str = r#"widened as (
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

pub(super) const BORN: &str = r#"born as (
    insert into live (operation)
    select id from op where expected = 0 and id <> all ($45::uuid[])
)"#;

pub(super) const DIED: &str = r#"died as (
    delete from live where operation = any ($45::uuid[])
)"#;

pub(super) const QUEUED: &str = r#"queued as (
    insert into ready as r (operation, class, rank, due)
    select * from unnest($46::uuid[], $92::text[], $93::timestamptz[], $47::timestamptz[])
    on conflict (operation, class) do update set rank = excluded.rank, due = excluded.due
    where (r.rank, r.due) is distinct from (excluded.rank, excluded.due)
)"#;

/// Operations whose steps require more than one set of labels stand in the queue with those only
/// which are waited for now.
pub(super) const TRIMMED: &str = r#"trimmed as (
    delete from ready r
    where r.operation = any ($94::uuid[])
      and not exists (
          select from unnest($46::uuid[], $92::text[]) as u (operation, class)
          where u.operation = r.operation and u.class = r.class)
)"#;

pub(super) const UNQUEUED: &str = r#"unqueued as (
    delete from ready where operation = any ($48::uuid[])
)"#;

pub(super) const TIMED: &str = r#"timed as (
    insert into deadline (operation, due)
    select * from unnest($49::uuid[], $50::timestamptz[])
    on conflict (operation) do update set due = excluded.due
)"#;

pub(super) const ORDERED: &str = r#"ordered as (
    insert into stop_order (worker, operation, step, attempt, interrupt, force)
    select * from unnest($51::bigint[], $52::uuid[], $53::int[], $54::int[], $55::boolean[],
        $66::boolean[])
    on conflict (worker, operation, step, attempt) do update
    set interrupt = stop_order.interrupt and excluded.interrupt,
        force = stop_order.force or excluded.force
)"#;

/// An operation is tied with 1,000 others at the most for each resource, the newest ones.
pub(super) const TIED: &str = r#"tied as (
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

pub(super) const SHARED: &str = r#"shared as (
    insert into resource (operation, name)
    select operation, encode(sha256(convert_to(name, 'UTF8')), 'hex')
    from unnest($63::uuid[], $64::text[]) as u (operation, name)
    on conflict do nothing
)"#;

pub(super) const UNSHARED: &str = r#"unshared as (
    delete from resource where operation = any ($65::uuid[])
)"#;

pub(super) const KEPT: &str = r#"kept as (
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

pub(super) const ASKED: &str = r#"asked as (
    insert into admission (operation, key, places, on_conflict, rate_key, rate, per, priority,
        cancellable)
    select * from unnest($80::uuid[], $81::text[], $82::int[], $83::smallint[], $84::text[],
        $85::int[], $86::bigint[], $87::smallint[], $88::boolean[])
)"#;

pub(super) const TOUCHED: &str = r#"touched as (
    update admission a
    set paused = u.paused, is_due = true
    from unnest($89::uuid[], $90::boolean[]) as u (operation, paused)
    where a.operation = u.operation
)"#;

pub(super) const LEFT: &str = r#"gone as (
    update admission set state = 3, is_due = true where operation = any ($91::uuid[])
)"#;

/// In one order, so that two batches with the same keys do not wait for each other.
pub(super) const KEYED: &str = r#"keyed as (
    insert into idempotency_key (kind, key, digest, operation, at)
    select *
    from unnest($70::smallint[], $71::text[], $72::bytea[], $73::uuid[], $74::timestamptz[])
        as u (kind, key, digest, operation, at)
    order by kind, key
)"#;
