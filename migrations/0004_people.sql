-- What steps ask of people, and what people and steps tell each other.
--
-- Both tables grow with operations, so they are partitioned by day like the others and are dropped
-- with them. What is open or not delivered yet is found by small partial indexes.

create table prompt (
    operation   uuid not null,
    step        integer not null check (step >= 0),
    attempt     integer not null check (attempt > 0),
    seq         integer not null check (seq > 0),
    worker      bigint not null,
    step_name   text not null,
    kind        smallint not null check (kind between 0 and 1),
    own_id      text,
    text        text not null,
    who         text,
    schema      jsonb,
    asked       timestamptz not null default clock_timestamp(),
    reply       jsonb,
    replied     timestamptz,
    heard       timestamptz,
    closed      timestamptz,
    primary key (operation, step, attempt, seq),
    check ((reply is null) = (replied is null))
) partition by range (operation);
comment on table prompt is 'Questions of steps to people. Open while it has no reply and is not closed.';
comment on column prompt.operation is 'The operation.';
comment on column prompt.step is 'The number of the step.';
comment on column prompt.attempt is 'The number of the attempt.';
comment on column prompt.seq is 'Its number within the attempt, from 1.';
comment on column prompt.worker is 'The worker incarnation that runs the attempt and waits for the reply.';
comment on column prompt.step_name is 'The name of the step, so that all prompts are listed by one question.';
comment on column prompt.kind is '0 an instruction, 1 a prompt of a running program.';
comment on column prompt.own_id is 'What the program calls it; null if it does not.';
comment on column prompt.text is 'What is asked or to be done.';
comment on column prompt.who is 'Who is meant.';
comment on column prompt.schema is 'The JSON Schema that the value of the reply must fit.';
comment on column prompt.asked is 'When it was asked.';
comment on column prompt.reply is 'The reply: {status, value?, comment?}. Set once.';
comment on column prompt.replied is 'When it was replied to.';
comment on column prompt.heard is 'When the step was given the reply.';
comment on column prompt.closed is 'When the attempt ended; nobody listens any more.';
create index prompt_open on prompt (asked, operation, step, attempt, seq)
    where reply is null and closed is null;
comment on index prompt_open is 'What waits for people, oldest first.';
create index prompt_of_worker on prompt (worker) where heard is null and closed is null;
comment on index prompt_of_worker is 'What a worker waits for or has to pass on.';

create table message (
    operation    uuid not null,
    step         integer not null check (step >= 0),
    attempt      integer not null check (attempt > 0),
    direction    smallint not null check (direction between 0 and 1),
    seq          integer not null check (seq > 0),
    at           timestamptz not null default clock_timestamp(),
    body         jsonb not null,
    acknowledged timestamptz,
    primary key (operation, step, attempt, direction, seq)
) partition by range (operation);
comment on table message is 'What steps were told and told themselves, in order per attempt and direction.';
comment on column message.operation is 'The operation.';
comment on column message.step is 'The number of the step.';
comment on column message.attempt is 'The number of the attempt.';
comment on column message.direction is '0 to the step, 1 from the step.';
comment on column message.seq is 'From 1 without gaps.';
comment on column message.at is 'When it was stored.';
comment on column message.body is 'Any JSON, null included.';
comment on column message.acknowledged is 'When it was written to the stdin of the step.';
create index message_due on message (operation, step, attempt, seq)
    where direction = 0 and acknowledged is null;
comment on index message_due is 'What has to be passed on to running steps.';

-- As before, with the two tables of this file.
create or replace procedure ensure_partitions(first date, last date)
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
               ('output', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
               ('prompt', 'operation', 'fillfactor = 80'),
               ('message', 'operation', 'fillfactor = 80')
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

-- Operations that run already may ask as well: their days get partitions too.
do $$
declare
    first date := (
        select min(to_date(right(c.relname, 8), 'YYYYMMDD'))
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'operation'::regclass);
begin
    if first is not null then
        call ensure_partitions(first, (clock_timestamp() at time zone 'UTC')::date);
    end if;
end $$;
