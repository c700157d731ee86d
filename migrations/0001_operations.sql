-- Operations, their history and what the engine needs to move them on.
--
-- Tables that grow with every operation are partitioned by day over the operation's id, a UUID
-- version 7, whose first 48 bits are the milliseconds of its creation. So one bound finds all that
-- belongs to an operation, the primary key is also the order of creation, and retention is a DROP.

-- The smallest id of an operation made at `moment`.
create function first_id_at(moment timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid;

-- Makes the statement that calls it fail when it changed fewer rows than it meant to.
create function require_rows(counted bigint, expected bigint) returns boolean
    language plpgsql as $$
begin
    if counted <> expected then
        raise exception 'another writer was faster: % of % rows', counted, expected
            using errcode = 'SB001';
    end if;
    return true;
end $$;

create table jobset (
    id          uuid primary key,
    digest      bytea not null check (octet_length(digest) = 32),
    name        text not null,
    document    text not null,
    created     timestamptz not null default clock_timestamp()
);
comment on table jobset is 'Validated definitions, one row per content.';
comment on column jobset.id is 'The first 16 bytes of the digest.';
comment on column jobset.digest is 'SHA-256 of the document.';
comment on column jobset.name is 'The name it gives itself; not unique.';
comment on column jobset.document is 'Canonical JSON, without labels and context, which belong to a run.';
comment on column jobset.created is 'When it was first submitted.';

create table operation (
    id          uuid primary key,
    jobset      uuid not null,
    state       smallint not null check (state between 0 and 12),
    stop        smallint check (stop between 0 and 1),
    flags       smallint not null default 0,
    version     integer not null check (version > 0),
    entered     timestamptz not null,
    steps       bytea not null,
    open        bytea not null,
    labels      jsonb
) partition by range (id);
comment on table operation is 'One narrow row per run of a jobset; the authority on its state.';
comment on column operation.id is 'UUID version 7; its time is the creation time.';
comment on column operation.jobset is 'What is run.';
comment on column operation.state is 'Code of domain::OperationState.';
comment on column operation.stop is 'Code of domain::Stop; null unless it is being, or was, stopped.';
comment on column operation.flags is 'Bit 0: has an operation_data row. Bit 1: some attempt has a result.';
comment on column operation.version is 'The seq of its last event; every change compares and sets it.';
comment on column operation.entered is 'When it entered its state.';
comment on column operation.steps is 'Code of domain::StepState per step; empty when the steps are in step_chunk.';
comment on column operation.open is 'Open attempts, 32 bytes each (store::packed).';
comment on column operation.labels is 'Free key-values of the run.';

create table step_chunk (
    operation   uuid not null,
    chunk       integer not null check (chunk >= 0),
    steps       bytea not null check (octet_length(steps) between 1 and 256),
    primary key (operation, chunk)
) partition by range (operation);
comment on table step_chunk is 'Step states of operations with more than 256 steps.';
comment on column step_chunk.operation is 'The operation.';
comment on column step_chunk.chunk is 'Holds the steps from 256 * chunk on.';
comment on column step_chunk.steps is 'Code of domain::StepState per step.';

create table operation_data (
    operation       uuid primary key,
    context         jsonb,
    context_version integer not null,
    cancellation    jsonb
) partition by range (operation);
comment on table operation_data is 'The wide, rarely written part of an operation.';
comment on column operation_data.operation is 'The operation.';
comment on column operation_data.context is 'Shared data of its steps, a JSON object.';
comment on column operation_data.context_version is 'Raised by every change of the context.';
comment on column operation_data.cancellation is 'Who asked for the cancellation, when and why.';

create table event (
    operation   uuid not null,
    seq         integer not null check (seq > 0),
    at          timestamptz not null,
    kind        smallint not null,
    step        integer,
    attempt     integer,
    action      smallint,
    from_state  smallint,
    to_state    smallint,
    state       smallint,
    worker      bigint,
    primary key (operation, seq)
) partition by range (operation);
comment on table event is 'The history, insert only.';
comment on column event.operation is 'The operation.';
comment on column event.seq is 'From 1 without gaps.';
comment on column event.at is 'When it was decided, by the clock of the database.';
comment on column event.kind is '0 submitted, 1 step moved, 2 cancel requested, 3 deadline passed, 4 context changed.';
comment on column event.step is 'The number of the step that moved.';
comment on column event.attempt is 'The attempt concerned; 0 for none.';
comment on column event.action is 'Code of domain::Action.';
comment on column event.from_state is 'Code of domain::StepState.';
comment on column event.to_state is 'Code of domain::StepState.';
comment on column event.state is 'The state that the operation entered by it.';
comment on column event.worker is 'The worker incarnation concerned.';

create table attempt (
    operation   uuid not null,
    step        integer not null check (step >= 0),
    attempt     integer not null check (attempt > 0),
    worker      bigint not null,
    started     timestamptz not null,
    ended       timestamptz not null,
    exit_code   integer,
    signal      integer,
    exception   jsonb,
    result      jsonb,
    usage       jsonb,
    primary key (operation, step, attempt)
) partition by range (operation);
comment on table attempt is 'How attempts ended, insert only.';
comment on column attempt.operation is 'The operation.';
comment on column attempt.step is 'The number of the step.';
comment on column attempt.attempt is 'The number of the attempt, from 1.';
comment on column attempt.worker is 'The worker incarnation that ran it.';
comment on column attempt.started is 'When it was claimed.';
comment on column attempt.ended is 'When its outcome was recorded.';
comment on column attempt.exit_code is 'What the process exited with.';
comment on column attempt.signal is 'What signal ended the process.';
comment on column attempt.exception is 'Why it failed: {type, message}.';
comment on column attempt.result is 'The JSON it wrote to SUT_OUTPUT.';
comment on column attempt.usage is 'What it used: times in seconds, memory in bytes.';

create table output (
    operation   uuid not null,
    step        integer not null,
    attempt     integer not null,
    seq         integer not null check (seq > 0),
    at          timestamptz not null,
    stream      smallint not null check (stream between 0 and 2),
    data        bytea not null,
    primary key (operation, step, attempt, seq)
) partition by range (operation);
comment on table output is 'What steps wrote, in pieces as they came, insert only.';
comment on column output.operation is 'The operation.';
comment on column output.step is 'The number of the step.';
comment on column output.attempt is 'The number of the attempt.';
comment on column output.seq is 'The order in which the pieces were read, over both streams.';
comment on column output.at is 'When it was read.';
comment on column output.stream is '1 stdout, 2 stderr, 0 a remark of the worker.';
comment on column output.data is 'The bytes.';

create table live (
    operation   uuid primary key
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on table live is 'The operations that have not ended: what listing and rescue start from.';
comment on column live.operation is 'The operation.';

create table ready (
    operation   uuid primary key,
    due         timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index ready_due on ready (due, operation);
comment on table ready is 'The operations with steps that a worker could claim, at once or when due.';
comment on column ready.operation is 'The operation.';
comment on column ready.due is 'From when on there is something to claim.';

create table deadline (
    operation   uuid primary key,
    due         timestamptz not null
);
create index deadline_due on deadline (due);
comment on table deadline is 'When operations run out of time; a row may outlive its operation until it is due.';
comment on column deadline.operation is 'The operation.';
comment on column deadline.due is 'When its time is up.';

create table worker (
    id          bigint generated always as identity primary key,
    name        text not null,
    host        text not null,
    pid         integer not null,
    slots       integer not null check (slots >= 0),
    started     timestamptz not null default clock_timestamp(),
    heartbeat   timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null
) with (fillfactor = 50);
comment on table worker is 'Process incarnations that hold leases; a row leaves when its lease was revoked.';
comment on column worker.id is 'The incarnation: fences every write. Never used again.';
comment on column worker.name is 'For people.';
comment on column worker.host is 'The host it runs on.';
comment on column worker.pid is 'Its process there.';
comment on column worker.slots is 'How many attempts it runs at once.';
comment on column worker.started is 'When it registered.';
comment on column worker.heartbeat is 'When it was last heard of.';
comment on column worker.lease_until is 'Until when it may act.';

create table stop_order (
    worker      bigint not null,
    operation   uuid not null,
    step        integer not null,
    attempt     integer not null,
    primary key (worker, operation, step, attempt)
);
comment on table stop_order is 'Attempts whose processes a worker must end; settled attempts take theirs away.';
comment on column stop_order.worker is 'The worker incarnation that runs it.';
comment on column stop_order.operation is 'The operation.';
comment on column stop_order.step is 'The number of the step.';
comment on column stop_order.attempt is 'The number of the attempt.';

-- Makes the partitions of the days from `first` to `last`. A table that is attached takes a weaker
-- lock than one that is created as a partition, so running servers are not held up.
create procedure ensure_partitions(first date, last date)
    language plpgsql as $$
declare
    parent text;
    key text;
    day date;
    name text;
    storage text;
begin
    perform pg_advisory_xact_lock(hashtext('sutbot.partitions'));
    for parent, key, storage in
        values ('operation', 'id', 'fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05'),
               ('step_chunk', 'operation', 'fillfactor = 50'),
               ('operation_data', 'operation', 'fillfactor = 90'),
               ('event', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
               ('attempt', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
               ('output', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5')
    loop
        for day in select generate_series(first, last, interval '1 day')::date loop
            name := parent || to_char(day, '_YYYYMMDD');
            if to_regclass(name) is null then
                execute format('create table %I (like %I including all) with (%s)', name, parent, storage);
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, name,
                    first_id_at(day::timestamp at time zone 'UTC'),
                    first_id_at((day + 1)::timestamp at time zone 'UTC'));
            end if;
        end loop;
    end loop;
end $$;
