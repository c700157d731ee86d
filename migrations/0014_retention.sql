-- What one process at a time does for all, and how long operations are kept.

create table lease (
    name        text primary key,
    holder      uuid not null,
    until       timestamptz not null
) with (fillfactor = 50);
comment on table lease is 'Duties that one process at a time has.';
comment on column lease.name is 'The duty.';
comment on column lease.holder is 'The process that has it: an id that it gave itself.';
comment on column lease.until is 'Until when, unless it renews it; whoever comes later takes it.';

alter table operation add column ended_as smallint check (ended_as between 6 and 10);
comment on column operation.ended_as is 'Of a tombstone: the state it ended in; null for all others.';

alter table jobset add column used timestamptz not null default clock_timestamp();
comment on column jobset.used is 'When an operation was last made of it, to the hour: one that none is made of any more is forgotten some day.';

-- Drops what a table has of one day. Gives up soon where the lock cannot be had, because whoever
-- comes after this one waits as long: it is tried again later.
create procedure drop_partition(parent text, day date)
    language plpgsql as $$
begin
    set local lock_timeout = '100ms';
    execute format('drop table if exists %I', parent || to_char(day, '_YYYYMMDD'));
end $$;
