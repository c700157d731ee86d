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
