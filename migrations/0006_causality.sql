-- Causal order: each event with its interval tree clock stamp, and what the next one is made from.

alter table event add column stamp bytea;
comment on column event.stamp is 'Its interval tree clock stamp (itc::Stamp::encode); null for events from before stamps.';

alter table operation add column clock bytea;
comment on column operation.clock is 'What the stamps of further events are made from, as of some event (store::clock); null for the beginning.';

-- The operations that name a resource and have not ended.
create table resource (
    name        text not null,
    operation   uuid not null,
    primary key (name, operation)
);
create index resource_operation on resource (operation);
comment on table resource is 'Which operations that have not ended share which resource.';
comment on column resource.name is 'SHA-256, in hex, of the value of the label that names it: a value may be too long for an index.';
comment on column resource.operation is 'The operation.';

create table tie (
    operation   uuid not null,
    other       uuid not null,
    seen        integer not null check (seen > 0),
    primary key (operation, other)
) partition by range (operation);
comment on table tie is 'What an operation knew, when it was submitted, of those it shares a resource with.';
comment on column tie.operation is 'The operation.';
comment on column tie.other is 'One that had not ended when it was submitted.';
comment on column tie.seen is 'The seq of the last event of the other one by then: it and all before it happened before.';

alter table message add column stamp bytea;
comment on column message.stamp is 'What the sender knew of the operation (itc::Stamp::peek); null for nothing.';

alter table prompt add column stamp bytea;
comment on column prompt.stamp is 'What the step knew when it asked (itc::Stamp::peek).';

alter table prompt add column reply_stamp bytea;
comment on column prompt.reply_stamp is 'What who replied knew of the operation (itc::Stamp::peek); null for nothing.';

-- The tables that have a partition for each day, so that a new one is a row and no new procedure.
create table partitioned (
    parent      text primary key,
    key         text not null,
    storage     text not null
);
comment on table partitioned is 'The tables that have a partition for each day of operations.';
comment on column partitioned.parent is 'The table.';
comment on column partitioned.key is 'The column with the id of the operation.';
comment on column partitioned.storage is 'The storage parameters of its partitions.';

insert into partitioned (parent, key, storage)
values ('operation', 'id', 'fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05'),
       ('step_chunk', 'operation', 'fillfactor = 50'),
       ('operation_data', 'operation', 'fillfactor = 90'),
       ('event', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
       ('attempt', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
       ('output', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5'),
       ('prompt', 'operation', 'fillfactor = 80'),
       ('message', 'operation', 'fillfactor = 80'),
       ('tie', 'operation', 'autovacuum_vacuum_insert_scale_factor = 0.5');

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
        select p.parent, p.key, p.storage from partitioned p order by p.parent
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

-- Operations that run already keep their days: those get the new partitions too.
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
