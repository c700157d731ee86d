//! The parts of the statement that stores a batch: what each writes or asks, and from which lists.
//!
//! Long lists are taken apart in the list of what is selected, where the database goes through them
//! in step. In `from` it copies each into a table of its own first, which takes twice the time.

use super::Part;

fn rows<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

pub(super) const CHANGED: Part = Part {
    text: r#"changed as (
    update operation o
    set state = u.state, stop = u.stop, flags = u.flags, version = u.version,
        entered = u.entered, steps = u.steps, open = u.open, clock = coalesce(u.clock, o.clock)
    from (
        select unnest($1::uuid[]) as id, unnest($2::int[]) as expected,
            unnest($3::smallint[]) as state, unnest($4::smallint[]) as stop,
            unnest($5::smallint[]) as flags, unnest($6::int[]) as version,
            unnest($7::timestamptz[]) as entered, unnest($8::bytea[]) as steps,
            unnest($9::bytea[]) as open, unnest($10::bytea[]) as clock
    ) u
    where o.id = u.id and o.version = u.expected
    returning 1
)"#,
    bind: |q, b| {
        q.bind(&b.changed.id)
            .bind(&b.changed.expected)
            .bind(&b.changed.state)
            .bind(&b.changed.stop)
            .bind(&b.changed.flags)
            .bind(&b.changed.version)
            .bind(&b.changed.entered)
            .bind(&b.changed.steps)
            .bind(&b.changed.open)
            .bind(&b.changed.clock)
    },
};

/// That all operations which were decided on had the versions that memory has.
pub(super) const ALL_CHANGED: Part = Part {
    text: "require_rows((select count(*) from changed), $1)",
    bind: |q, b| q.bind(rows(&b.changed.id)),
};

/// That the workers which are given attempts hold their leases, and that those whose late word counts
/// may yet come back. Who ends an incarnation ([`end_incarnation`](super::Store::end_incarnation)) or
/// takes it over for another server ([`take_seat`](super::Store::take_seat)) waits until this is
/// stored, so that it sees what the worker holds. Heartbeats go on.
pub(super) const VOUCHED: Part = Part {
    text: "require_leases($1::bigint[], $2::boolean[], $3::text)",
    bind: |q, b| q.bind(&b.vouched.worker).bind(&b.vouched.is_asked).bind(&*b.served_by),
};

/// The workers of which it is told that they are lost, or are back. The lock makes a heartbeat wait
/// until that is stored, so that whoever tells the opposite sees it.
pub(super) const WATCHED: Part = Part {
    text: r#"watched as (
    select w.id
    from unnest($1::bigint[], $2::boolean[]) as u (id, is_lost)
    join worker w on w.id = u.id
    where (w.lease_until <= clock_timestamp()) = u.is_lost
    for share of w
)"#,
    bind: |q, b| q.bind(&b.watched.worker).bind(&b.watched.is_asked),
};

/// That all of them stand as it is told.
pub(super) const ALL_WATCHED: Part = Part {
    text: "require_rows((select count(*) from watched), $1)",
    bind: |q, b| q.bind(rows(&b.watched.worker)),
};

pub(super) const MADE: Part = Part {
    text: r#"made as (
    insert into operation (id, jobset, state, stop, flags, version, entered, steps, open, labels,
        clock, alias)
    select unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::smallint[]),
        unnest($4::smallint[]), unnest($5::smallint[]), unnest($6::int[]),
        unnest($7::timestamptz[]), unnest($8::bytea[]), unnest($9::bytea[]),
        unnest($10::jsonb[]), unnest($11::bytea[]), unnest($12::text[])
)"#,
    bind: |q, b| {
        q.bind(&b.made.id)
            .bind(&b.made.jobset)
            .bind(&b.made.state)
            .bind(&b.made.stop)
            .bind(&b.made.flags)
            .bind(&b.made.version)
            .bind(&b.made.entered)
            .bind(&b.made.steps)
            .bind(&b.made.open)
            .bind(&b.made.labels)
            .bind(&b.made.clock)
            .bind(&b.made.alias)
    },
};

pub(super) const CHUNKED: Part = Part {
    text: r#"chunked as (
    insert into step_chunk (operation, chunk, steps, moved)
    select unnest($1::uuid[]), unnest($2::int[]), unnest($3::bytea[]), unnest($4::bytea[])
    on conflict (operation, chunk) do update set steps = excluded.steps, moved = excluded.moved
)"#,
    bind: |q, b| {
        q.bind(&b.chunks.operation)
            .bind(&b.chunks.chunk)
            .bind(&b.chunks.steps)
            .bind(&b.chunks.moved)
    },
};

pub(super) const HAPPENED: Part = Part {
    text: r#"happened as (
    insert into event (operation, seq, at, kind, step, attempt, action, from_state, to_state,
        state, worker, stamp)
    select unnest($1::uuid[]), unnest($2::int[]), unnest($3::timestamptz[]),
        unnest($4::smallint[]), unnest($5::int[]), unnest($6::int[]), unnest($7::smallint[]),
        unnest($8::smallint[]), unnest($9::smallint[]), unnest($10::smallint[]),
        unnest($11::bigint[]), unnest($12::bytea[])
)"#,
    bind: |q, b| {
        q.bind(&b.events.operation)
            .bind(&b.events.seq)
            .bind(&b.events.at)
            .bind(&b.events.kind)
            .bind(&b.events.step)
            .bind(&b.events.attempt)
            .bind(&b.events.action)
            .bind(&b.events.from_state)
            .bind(&b.events.to_state)
            .bind(&b.events.state)
            .bind(&b.events.worker)
            .bind(&b.events.stamp)
    },
};

pub(super) const SETTLED: Part = Part {
    text: r#"settled as (
    insert into attempt (operation, step, attempt, worker, started, ended, exit_code, signal,
        exception, result, usage)
    select unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::bigint[]),
        unnest($5::timestamptz[]), unnest($6::timestamptz[]), unnest($7::int[]),
        unnest($8::int[]), unnest($9::jsonb[]), unnest($10::jsonb[]), unnest($11::jsonb[])
)"#,
    bind: |q, b| {
        q.bind(&b.attempts.operation)
            .bind(&b.attempts.step)
            .bind(&b.attempts.attempt)
            .bind(&b.attempts.worker)
            .bind(&b.attempts.started)
            .bind(&b.attempts.ended)
            .bind(&b.attempts.exit_code)
            .bind(&b.attempts.signal)
            .bind(&b.attempts.exception)
            .bind(&b.attempts.result)
            .bind(&b.attempts.usage)
    },
};

pub(super) const OBEYED: Part = Part {
    text: r#"obeyed as (
    delete from stop_order s
    using unnest($1::bigint[], $2::uuid[], $3::int[], $4::int[])
        as u (worker, operation, step, attempt)
    where s.worker = u.worker and s.operation = u.operation and s.step = u.step
        and s.attempt = u.attempt
)"#,
    bind: |q, b| {
        q.bind(&b.attempts.worker)
            .bind(&b.attempts.operation)
            .bind(&b.attempts.step)
            .bind(&b.attempts.attempt)
    },
};

pub(super) const DEFINED: Part = Part {
    text: r#"defined as (
    insert into jobset as j (id, digest, name, document)
    select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[]) as u (id) order by u.id
    on conflict (id) do update
    set used = excluded.used
    where j.used < excluded.used - interval '1 hour'
)"#,
    bind: |q, b| {
        q.bind(&b.jobsets.id)
            .bind(&b.jobsets.digest)
            .bind(&b.jobsets.name)
            .bind(&b.jobsets.document)
    },
};

pub(super) const WIDENED: Part = Part {
    text: r#"widened as (
    insert into operation_data as d (operation, context, context_version, cancellation, edits,
        forked_from, stopped, forked_from_alias)
    select operation, context, (context is not null)::int, cancellation, edits, forked_from, stopped,
        forked_from_alias
    from unnest($1::uuid[], $2::jsonb[], $3::jsonb[], $4::jsonb[], $5::uuid[], $6::jsonb[],
        $7::text[])
        as u (operation, context, cancellation, edits, forked_from, stopped, forked_from_alias)
    on conflict (operation) do update
    set context = coalesce(excluded.context, d.context),
        context_version = d.context_version + (excluded.context is not null)::int,
        cancellation = coalesce(d.cancellation || excluded.cancellation, excluded.cancellation,
            d.cancellation),
        stopped = coalesce(d.stopped || excluded.stopped, excluded.stopped, d.stopped),
        edits = case when excluded.edits is null then d.edits
                     else coalesce(d.edits, '{}') || excluded.edits end
)"#,
    bind: |q, b| {
        q.bind(&b.data.operation)
            .bind(&b.data.context)
            .bind(&b.data.cancellation)
            .bind(&b.data.edits)
            .bind(&b.data.forked_from)
            .bind(&b.data.stopped)
            .bind(&b.data.forked_from_alias)
    },
};

pub(super) const BORN: Part = Part {
    text: r#"born as (
    insert into live (operation) select unnest($1::uuid[])
)"#,
    bind: |q, b| q.bind(&b.born),
};

pub(super) const DIED: Part = Part {
    text: r#"died as (
    delete from live where operation = any ($1::uuid[])
)"#,
    bind: |q, b| q.bind(&b.ended),
};

pub(super) const QUEUED: Part = Part {
    text: r#"queued as (
    insert into ready as r (operation, class, rank, due)
    select unnest($1::uuid[]), unnest($2::text[]), unnest($3::timestamptz[]),
        unnest($4::timestamptz[])
    on conflict (operation, class) do update set rank = excluded.rank, due = excluded.due
    where (r.rank, r.due) is distinct from (excluded.rank, excluded.due)
)"#,
    bind: |q, b| {
        q.bind(&b.ready.operation).bind(&b.ready.class).bind(&b.ready.rank).bind(&b.ready.due)
    },
};

/// Operations whose steps require more than one set of labels stand in the queue with those only
/// which are waited for now.
pub(super) const TRIMMED: Part = Part {
    text: r#"trimmed as (
    delete from ready r
    where r.operation = any ($1::uuid[])
      and not exists (
          select from unnest($2::uuid[], $3::text[]) as u (operation, class)
          where u.operation = r.operation and u.class = r.class)
)"#,
    bind: |q, b| q.bind(&b.trimmed).bind(&b.ready.operation).bind(&b.ready.class),
};

pub(super) const UNQUEUED: Part = Part {
    text: r#"unqueued as (
    delete from ready where operation = any ($1::uuid[])
)"#,
    bind: |q, b| q.bind(&b.not_ready),
};

pub(super) const TIMED: Part = Part {
    text: r#"timed as (
    insert into deadline (operation, due)
    select * from unnest($1::uuid[], $2::timestamptz[])
    on conflict (operation) do update set due = excluded.due
)"#,
    bind: |q, b| q.bind(&b.timers.operation).bind(&b.timers.at),
};

pub(super) const ORDERED: Part = Part {
    text: r#"ordered as (
    insert into stop_order (worker, operation, step, attempt, interrupt, force)
    select * from unnest($1::bigint[], $2::uuid[], $3::int[], $4::int[], $5::boolean[],
        $6::boolean[])
    on conflict (worker, operation, step, attempt) do update
    set interrupt = stop_order.interrupt and excluded.interrupt,
        force = stop_order.force or excluded.force
)"#,
    bind: |q, b| {
        q.bind(&b.orders.worker)
            .bind(&b.orders.operation)
            .bind(&b.orders.step)
            .bind(&b.orders.attempt)
            .bind(&b.orders.interrupt)
            .bind(&b.orders.force)
    },
};

/// An operation is tied with 1,000 others at the most for each resource, the newest ones.
pub(super) const TIED: Part = Part {
    text: r#"tied as (
    insert into tie (operation, other, seen)
    select u.operation, o.id, max(o.version)
    from unnest($1::uuid[], $2::text[]) as u (operation, name)
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
)"#,
    bind: |q, b| q.bind(&b.resources.operation).bind(&b.resources.name),
};

pub(super) const SHARED: Part = Part {
    text: r#"shared as (
    insert into resource (operation, name)
    select operation, encode(sha256(convert_to(name, 'UTF8')), 'hex')
    from unnest($1::uuid[], $2::text[]) as u (operation, name)
    on conflict do nothing
)"#,
    bind: |q, b| q.bind(&b.resources.operation).bind(&b.resources.name),
};

pub(super) const UNSHARED: Part = Part {
    text: r#"unshared as (
    delete from resource where operation = any ($1::uuid[])
)"#,
    bind: |q, b| q.bind(&b.resources.ended),
};

pub(super) const KEPT: Part = Part {
    text: r#"kept as (
    insert into attempt (operation, step, attempt, worker, started, ended, exit_code, signal,
        exception, result, usage)
    select u.operation, a.step, a.attempt, a.worker, a.started, a.ended, a.exit_code, a.signal,
        a.exception, a.result, a.usage
    from unnest($1::uuid[], $2::uuid[], $3::int[]) as u (operation, source, step)
    cross join lateral (
        select * from attempt a
        where a.operation = u.source and a.step = u.step
        order by a.attempt desc
        limit 1
    ) a
)"#,
    bind: |q, b| q.bind(&b.kept.operation).bind(&b.kept.source).bind(&b.kept.step),
};

pub(super) const ASKED: Part = Part {
    text: r#"asked as (
    insert into admission (operation, key, places, on_conflict, rate_key, rate, per, priority,
        cancellable)
    select * from unnest($1::uuid[], $2::text[], $3::int[], $4::smallint[], $5::text[],
        $6::int[], $7::bigint[], $8::smallint[], $9::boolean[])
)"#,
    bind: |q, b| {
        q.bind(&b.admissions.asked.operation)
            .bind(&b.admissions.asked.key)
            .bind(&b.admissions.asked.places)
            .bind(&b.admissions.asked.on_conflict)
            .bind(&b.admissions.asked.rate_key)
            .bind(&b.admissions.asked.rate)
            .bind(&b.admissions.asked.per)
            .bind(&b.admissions.asked.priority)
            .bind(&b.admissions.asked.cancellable)
    },
};

pub(super) const TOUCHED: Part = Part {
    text: r#"touched as (
    update admission a
    set paused = u.paused, is_due = true
    from unnest($1::uuid[], $2::boolean[]) as u (operation, paused)
    where a.operation = u.operation
)"#,
    bind: |q, b| q.bind(&b.admissions.touched).bind(&b.admissions.paused),
};

pub(super) const LEFT: Part = Part {
    text: r#"gone as (
    update admission set state = 3, is_due = true where operation = any ($1::uuid[])
)"#,
    bind: |q, b| q.bind(&b.admissions.ended),
};

/// In one order, so that two batches with the same keys do not wait for each other.
pub(super) const KEYED: Part = Part {
    text: r#"keyed as (
    insert into idempotency_key (kind, key, digest, operation, at)
    select *
    from unnest($1::smallint[], $2::text[], $3::bytea[], $4::uuid[], $5::timestamptz[])
        as u (kind, key, digest, operation, at)
    order by kind, key
)"#,
    bind: |q, b| {
        q.bind(&b.keys.kind)
            .bind(&b.keys.text)
            .bind(&b.keys.digest)
            .bind(&b.keys.operation)
            .bind(&b.keys.at)
    },
};
