-- Steering: what orders, edits and forks need beyond the first form.

alter table stop_order add column interrupt boolean not null default false;
comment on column stop_order.interrupt is 'Whether SIGINT comes before SIGTERM: an operator interrupted the step.';

alter table operation_data add column edits jsonb;
comment on column operation_data.edits is 'What clients edited for attempts, by step number: {attempt, env?, command?, shell?}.';
alter table operation_data add column forked_from uuid;
comment on column operation_data.forked_from is 'The operation whose results it took over.';

-- The low half of a byte of state says what the state counts as; the high half tells the states of a
-- machine of the jobset''s own apart.
create or replace function error_message(of_id uuid, of_state smallint, of_stop smallint, packed bytea)
    returns text
    language sql stable parallel safe
    return case error_code(of_state, of_stop)
        when 'OperationTimeout' then 'the operation did not end within its deadline'
        when 'StepFailed' then coalesce(
            (select string_agg(r.message, e'\n' order by r.step)
             from (select distinct on (a.step) a.step, a.exception ->> 'message' as message
                   from attempt a
                   where a.operation = of_id
                   order by a.step, a.attempt desc) r,
                  (select all_steps(of_id, packed) as steps offset 0) s
             where get_byte(s.steps, r.step) & 15 in (9, 12, 13)),
            'its last attempt failed')
    end;
