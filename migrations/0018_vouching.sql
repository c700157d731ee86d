-- Who gives attempts to a worker, or takes its late word, keeps its incarnation from being ended by an
-- advisory lock instead of one of its row. Several who lock a row leave a multixact in it, and while
-- somebody keeps a transaction open each look at the row reads those of all its old versions, one more
-- for each heartbeat: 6 microseconds each.

create function worker_lock(worker bigint) returns bigint
    language sql immutable parallel safe
    return hashtextextended('sutbot.worker', worker);
comment on function worker_lock is 'The advisory lock of an incarnation: shared by transactions that need it not to be over, and to be given attempts by the same server, until they commit; exclusive for who changes that.';

create function require_leases(workers bigint[], claimed boolean[], server text) returns boolean
    language plpgsql as $$
declare
    vouched bigint;
begin
    -- Before they are looked at, so that what the one before us changed is seen.
    perform pg_advisory_xact_lock_shared(worker_lock(id)) from unnest(workers) id;
    select count(*) into vouched
    from unnest(workers, claimed) as u (id, is_claimed)
    join worker w on w.id = u.id
    where w.over is null
        and (not u.is_claimed or w.lease_until > clock_timestamp() and w.served_by = server);
    if vouched <> cardinality(workers) then
        raise exception 'a worker has lost its lease: % of % hold one', vouched,
            cardinality(workers) using errcode = 'SB002';
    end if;
    return true;
end $$;
comment on function require_leases(bigint[], boolean[], text) is 'Fails unless all of these incarnations may yet come back and those that are claimed for hold a lease and are given attempts by this server; keeps that so until the transaction ends.';
