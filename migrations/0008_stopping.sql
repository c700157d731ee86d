-- Stopping: by force, with what runs at the end, and times that are up for single steps.

-- Each partition has the check of its own that it was made with.
do $$
declare
    partition regclass;
begin
    alter table operation drop constraint operation_stop_check;
    for partition in select inhrelid::regclass from pg_inherits where inhparent = 'operation'::regclass
    loop
        execute format('alter table %s drop constraint if exists operation_stop_check', partition);
    end loop;
    alter table operation add constraint operation_stop_check check (stop between 0 and 2);
end $$;

alter table stop_order add column force boolean not null default false;
comment on column stop_order.force is 'Whether SIGKILL comes at once.';

alter table operation_data add column stopped jsonb;
comment on column operation_data.stopped is 'What its stop found begun and not ended: by step number, interrupted or unknown.';

comment on table deadline is 'When time is up next, of an operation or of a step that waits; a row may outlive that until it is due.';
comment on column deadline.due is 'When it is up.';
comment on column event.kind is '0 submitted, 1 step moved, 2 cancel requested, 3 deadline passed, 4 context changed, 5 paused, 6 resumed, 7 attempt ended, 8 abort requested.';
comment on column attempt.worker is 'The worker incarnation that ran it; 0 if none took it in time.';
