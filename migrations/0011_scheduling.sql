-- Workers of several kinds.

alter table worker
    add column labels jsonb not null default '{}' check (jsonb_typeof(labels) = 'object'),
    add column lanes text[];
comment on column worker.labels is 'What it has and is, for steps that require it.';
comment on column worker.lanes is 'The only lanes that it takes operations from; null for all.';

-- Makes the statement that calls it fail when a worker that it gives attempts to has lost its lease.
create function require_leases(counted bigint, expected bigint) returns boolean
    language plpgsql as $$
begin
    if counted <> expected then
        raise exception 'a worker has lost its lease: % of % hold one', counted, expected
            using errcode = 'SB002';
    end if;
    return true;
end $$;

-- The queue by what an operation asks of a worker, in the order of ranks. What can only be claimed
-- later stands in an index of its own until it is due.
drop index ready_due;
alter table ready
    alter column due drop not null,
    add column class text collate "C" not null default '',
    add column rank timestamptz;
update ready set rank = due, due = case when due > clock_timestamp() then due end;
alter table ready
    alter column rank set not null,
    drop constraint ready_pkey,
    add primary key (operation, class);
create index ready_rank on ready (class, rank, operation) where due is null;
create index ready_due on ready (due) where due is not null;
comment on table ready is 'The operations with steps that a worker could claim, at once or when due; one row for each class.';
comment on column ready.class is
    'What a worker must offer: JSON of the lane and of the labels that steps require; empty for the default lane and no labels.';
comment on column ready.rank is
    'Lower ranks get free slots first: when the operation was last given one, or was made, less the ageing time (a setting) for each point of its priority. So one of priority 10 goes before those that have waited up to 10 times that longer, none waits for ever, and who was given a slot goes behind its equals.';
comment on column ready.due is 'From when on there is something to claim; null for at once.';
